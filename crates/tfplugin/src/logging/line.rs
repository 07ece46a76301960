//! One event, one line of JSON.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::Redact;
use super::writer::Writer;

/// What Terraform reads of a line, less room for the line break.
const LINE_LIMIT: usize = (64 << 10) - 256;
/// How long texts may be, tried in this order until the line fits.
const TEXT_LIMITS: [usize; 4] = [16 << 10, 4 << 10, 1 << 10, 128];
/// Years of 400 repeat.
const DAYS_OF_ERA: i64 = 146_097;

/// Makes lines of events, with the fields of the spans around them.
pub(super) struct HclogLayer {
    writer: Writer,
}

impl HclogLayer {
    pub(super) const fn new(writer: Writer) -> Self {
        Self { writer }
    }
}

/// The fields of one span, kept with it.
struct SpanFields(Fields);

impl<S> Layer<S> for HclogLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().replace(SpanFields(fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(SpanFields(fields)) = span.extensions_mut().get_mut()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flatten().collect::<Vec<_>>().into_iter().rev() {
            if let Some(SpanFields(inherited)) = span.extensions().get() {
                // A span's message is its own business.
                fields.map.extend(inherited.map.clone());
            }
        }
        event.record(&mut fields);
        let metadata = event.metadata();
        let head =
            Head { level: level(*metadata.level()), module: metadata.target(), time: SystemTime::now() };
        self.writer.line(compose(&head, fields, super::redactor().as_ref()));
    }
}

const fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// What every line has.
struct Head<'a> {
    level: &'static str,
    module: &'a str,
    time: SystemTime,
}

/// The message and the other fields of an event or span.
#[derive(Clone, Debug, Default)]
struct Fields {
    message: String,
    map: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, name: &str, value: Value) {
        match (name, value) {
            ("message", Value::String(text)) => self.message = text,
            ("message", value) => self.message = value.to_string(),
            (name, value) => drop(self.map.insert(safe_key(name), value)),
        }
    }
}

/// No key of a user's may begin with `@`: those are Terraform's, and it crashes on the wrong kind of value.
fn safe_key(name: &str) -> String {
    let plain = name.trim_start_matches('@');
    if plain.len() == name.len() { name.to_owned() } else { format!("at_{plain}") }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for infinity and its kin.
        let number = serde_json::Number::from_f64(value);
        self.put(field.name(), number.map_or_else(|| Value::String(value.to_string()), Value::Number));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            // Formatting into a string cannot fail.
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        self.put(field.name(), text.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), format!("{value:?}").into());
    }
}

/// A line of our own, outside any subscriber.
pub(super) fn notice(level: &'static str, message: &str) -> String {
    let fields = Fields { message: message.to_owned(), map: Map::new() };
    compose(
        &Head { level, module: module_path!(), time: SystemTime::now() },
        fields,
        super::redactor().as_ref(),
    )
}

/// Redacts, then cuts, then checks what the redaction of the whole line has left.
fn compose(head: &Head<'_>, fields: Fields, redact: Option<&Redact>) -> String {
    let fields = match redact {
        None => fields,
        // Before anything is cut: half a secret is not recognised any more.
        Some(redact) => Fields {
            message: redact(&fields.message).into_owned(),
            map: fields
                .map
                .into_iter()
                .map(|(key, value)| (safe_key(&redact(&key)), redact_value(value, redact)))
                .collect(),
        },
    };
    let line = fit(head, fields);
    let Some(redact) = redact else { return line };
    match redact(&line) {
        Cow::Borrowed(_) => line,
        // Only what lies across texts, or is no text, is left for this: the line may have lost its form.
        Cow::Owned(redacted) if redacted.len() <= LINE_LIMIT && is_sound(&redacted) => redacted,
        Cow::Owned(_) => {
            fit(head, Fields { message: "[a line with a secret in it]".to_owned(), map: Map::new() })
        }
    }
}

/// Terraform's three keys are there, as strings.
fn is_sound(line: &str) -> bool {
    let Ok(Value::Object(map)) = serde_json::from_str(line) else { return false };
    !line.contains('\n')
        && ["@level", "@message", "@timestamp"].iter().all(|key| map.get(*key).is_some_and(Value::is_string))
}

fn redact_value(value: Value, redact: &Redact) -> Value {
    match value {
        Value::String(text) => Value::String(redact(&text).into_owned()),
        other => other,
    }
}

/// The line, with its texts cut as far as needed.
fn fit(head: &Head<'_>, fields: Fields) -> String {
    let mut fields = fields;
    let mut line = render(head, &fields);
    for limit in TEXT_LIMITS {
        if line.len() <= LINE_LIMIT {
            return line;
        }
        cut(&mut fields.message, limit);
        for value in fields.map.values_mut() {
            if let Value::String(text) = value {
                cut(text, limit);
            }
        }
        line = render(head, &fields);
    }
    if line.len() > LINE_LIMIT {
        // Too many fields, or too long keys: the message is what matters.
        let count = fields.map.len();
        fields.map = Map::from_iter([("fields_dropped".to_owned(), count.into())]);
        line = render(head, &fields);
    }
    line
}

/// Cuts to `limit` bytes or a little less, and says so.
fn cut(text: &mut String, limit: usize) {
    if text.len() > limit {
        let end = text.floor_char_boundary(limit);
        let missing = text.len() - end;
        text.truncate(end);
        // Formatting into a string cannot fail.
        let _ = write!(text, "… [{missing} bytes more]");
    }
}

fn render(head: &Head<'_>, fields: &Fields) -> String {
    let mut map = fields.map.clone();
    map.insert("@level".to_owned(), head.level.into());
    map.insert("@message".to_owned(), fields.message.as_str().into());
    map.insert("@module".to_owned(), head.module.replace("::", ".").into());
    map.insert("@timestamp".to_owned(), timestamp(head.time).into());
    Value::Object(map).to_string()
}

/// UTC with exactly six fractional digits: with any other number Terraform takes the line for plain text.
pub(crate) fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let (year, month, day) = civil(seconds / 86_400);
    let second = seconds % 86_400;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let micros = since.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Year, month and day of a day counted from 1970-01-01, by counting from 1 March of year 0: the leap day is then
/// the last of its year, and every month but the last has its length by one formula.
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + if month <= 2 { 1 } else { 0 }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::time::Duration;

    fn at(seconds: u64, nanos: u32) -> SystemTime {
        UNIX_EPOCH + Duration::new(seconds, nanos)
    }

    fn head() -> Head<'static> {
        Head { level: "info", module: "acme::http", time: at(1_700_000_000, 0) }
    }

    #[test]
    fn timestamps_have_six_digits_and_a_zone() {
        for (seconds, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, 1_000, "2000-02-29T00:00:00.000001Z"),
            (951_868_799, 999_999_999, "2000-02-29T23:59:59.999999Z"),
            (1_709_251_199, 500_000_000, "2024-02-29T23:59:59.500000Z"),
            (1_735_689_600, 0, "2025-01-01T00:00:00.000000Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(timestamp(at(seconds, nanos)), text);
        }
    }

    #[test]
    fn a_line_has_the_four_keys_and_the_fields() {
        let mut fields = Fields::default();
        fields.put("message", "sent".into());
        fields.put("status", 200.into());
        insta::assert_snapshot!(
            compose(&head(), fields, None),
            @r#"{"@level":"info","@message":"sent","@module":"acme.http","@timestamp":"2023-11-14T22:13:20.000000Z","status":200}"#
        );
    }

    #[test]
    fn long_texts_are_cut_and_say_so() {
        let mut fields = Fields::default();
        fields.put("message", "short".into());
        fields.put("body", "ü".repeat(100_000).into());
        let line = compose(&head(), fields, None);
        assert!(line.len() <= LINE_LIMIT);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["@message"], "short");
        assert!(value["body"].as_str().unwrap().ends_with("bytes more]"));
    }

    #[test]
    fn a_secret_is_gone_wherever_it_stands() {
        let redact: Redact = Arc::new(|text: &str| {
            if text.contains("s3cr\"et") || text.contains("424242") {
                Cow::Owned(text.replace("s3cr\"et", "[redacted]").replace("424242", "[redacted]"))
            } else {
                Cow::Borrowed(text)
            }
        });
        let mut fields = Fields::default();
        // Escaped in the line, and where a cut would fall: both must be seen before.
        fields.put("message", format!("{}s3cr\"et", "x".repeat((16 << 10) - 3)).into());
        fields.put("s3cr\"et", "in a key".into());
        fields.put("padding", "y".repeat(70_000).into());
        let line = compose(&head(), fields, Some(&redact));
        assert!(!line.contains("s3c"), "{line}");
        assert!(is_sound(&line));
        // A number is no text: the line as a whole loses its form and is withheld.
        let mut fields = Fields::default();
        fields.put("message", "fine".into());
        fields.put("pin", 424_242.into());
        let line = compose(&head(), fields, Some(&redact));
        assert!(!line.contains("424242") && is_sound(&line), "{line}");
    }

    proptest! {
        #[test]
        fn any_field_leaves_terraforms_keys_strings(
            message in any::<String>(),
            fields in proptest::collection::vec((prop_oneof![
                Just("@level".to_owned()), Just("@message".to_owned()), Just("@timestamp".to_owned()),
                Just("@@module".to_owned()), Just("message".to_owned()), any::<String>(),
            ], prop_oneof![
                any::<i64>().prop_map(Value::from), any::<bool>().prop_map(Value::from),
                Just(Value::Null), any::<String>().prop_map(Value::from),
                any::<Option<f64>>().prop_map(Value::from),
                (0..200_000usize).prop_map(|length| "\u{1}".repeat(length).into()),
            ]), 0..40),
        ) {
            let mut all = Fields::default();
            all.put("message", message.into());
            for (name, value) in fields {
                all.put(&name, value);
            }
            let line = compose(&head(), all, None);
            prop_assert!(line.len() <= LINE_LIMIT);
            prop_assert!(is_sound(&line));
            let value: Value = serde_json::from_str(&line).unwrap();
            for (key, value) in value.as_object().unwrap() {
                prop_assert!(!key.starts_with('@') || value.is_string());
            }
        }
    }
}
