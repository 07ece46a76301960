//! Logs the way Terraform reads them: one JSON object a line on stderr.
//!
//! # Levels
//!
//! The most specific variable that is set decides; the values are those of Terraform (`TRACE`, `DEBUG`, `INFO`,
//! `WARN`, `ERROR`, `OFF`; `JSON` and anything else mean `TRACE`).
//!
//! | Variable | Decides for |
//! |---|---|
//! | `TF_LOG_PROVIDER_<NAME>_<SUBSYSTEM>` | one subsystem of this provider |
//! | `TF_LOG_PROVIDER_<NAME>` | this provider |
//! | `TF_LOG_PROVIDER` | every provider |
//! | `TF_LOG` | everything |
//!
//! `<NAME>` is the provider's name in upper case with `-` as `_`. A subsystem is the end of a tracing target or of
//! one of its parents, in upper case with `::` as `_`: `TF_LOG_PROVIDER_ACME_HTTP` decides for the targets
//! `acme::http` and `acme_client::http::pool`. Of several that fit, the longest decides. Libraries below the
//! provider (HTTP, TLS) are held to warnings unless a subsystem names them: `TF_LOG_PROVIDER_ACME_HYPER=DEBUG`.
//!
//! # Fields
//!
//! A line has the fields of the spans around it, whichever level those have. The outermost is that of the call: `tf_req_id`, `tf_rpc`,
//! `tf_resource_type` and its like stand in every line of a handler, and of the clients that it calls, as long as they run in
//! its task. A task of its own keeps them with `tracing::Instrument::in_current_span`.
//!
//! # Safety of the lines
//!
//! Terraform itself crashes on a line whose `@level`, `@message` or `@timestamp` is no string, so keys that begin
//! with `@` are renamed to `at_…`. Every text passes the redactor ([`set_redactor`]) before it is cut to fit the
//! 64 KiB that Terraform reads of a line. Writing happens on a thread of its own: a reader that has stopped reading
//! costs lines, never a blocked handler.

mod filter;
mod line;
pub(crate) mod panics;
mod writer;

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

pub use self::filter::LogFilter;
use self::line::HclogLayer;
pub(crate) use self::line::timestamp;
use self::writer::Writer;

type Redact = Arc<dyn for<'a> Fn(&'a str) -> Cow<'a, str> + Send + Sync>;

static REDACTOR: RwLock<Option<Redact>> = RwLock::new(None);
/// The writer that [`init`] has started.
static STDERR: OnceLock<Writer> = OnceLock::new();

/// Starts logging for the provider of this name: levels from the environment, lines on stderr, panics as errors.
///
/// To be called by `main`: a panic of the thread that calls it is taken for the end of the process, and written
/// in the form that Terraform shows its user as a crash.
///
/// Does nothing more than install the panic hook when the program already has a global subscriber.
pub fn init(provider: &str) {
    panics::on_main_thread();
    panics::install();
    let filter = LogFilter::from_environment(
        provider,
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
    );
    let writer = STDERR.get_or_init(|| Writer::start(io::stderr())).clone();
    let subscriber = tracing_subscriber::registry().with(HclogLayer::new(writer).with_filter(filter));
    // The subscriber that is there already stays.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// The same as a layer for a subscriber of your own, with the lines going to `output`. The returned guard waits a
/// moment for the last lines when it is dropped.
pub fn layer<S>(
    filter: LogFilter,
    output: impl Write + Send + 'static,
) -> (impl Layer<S> + Send + Sync, Guard)
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let writer = Writer::start(output);
    (HclogLayer::new(writer.clone()).with_filter(filter), Guard(writer))
}

/// Flushes when dropped.
#[derive(Debug)]
pub struct Guard(Writer);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.flush();
    }
}

/// Waits, at most a tenth of a second, until the lines so far are written.
pub fn flush() {
    if let Some(writer) = STDERR.get() {
        writer.flush();
    }
}

/// The last resort against a secret in a log: called with every text of every line, and with the line as a whole.
///
/// It must not log. What it returns is written instead.
pub fn set_redactor(redact: impl for<'a> Fn(&'a str) -> Cow<'a, str> + Send + Sync + 'static) {
    *REDACTOR.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(redact));
}

/// `text` as the redactor leaves it, for what goes elsewhere than into the log.
pub(crate) fn redacted(text: &str) -> String {
    redactor().map_or_else(|| text.to_owned(), |redact| redact(text).into_owned())
}

/// The redactor at this moment; called outside the lock.
fn redactor() -> Option<Redact> {
    REDACTOR.read().unwrap_or_else(PoisonError::into_inner).clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::sync::Mutex;
    use tracing::level_filters::LevelFilter;

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that come of what is logged in between.
    fn lines(filter: LogFilter, log: impl FnOnce()) -> Vec<Value> {
        let output = Output::default();
        let (layer, guard) = layer(filter, output.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        drop(guard);
        let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    #[test]
    fn an_event_carries_the_fields_of_its_spans() {
        let lines = lines(LogFilter::level(LevelFilter::INFO), || {
            let call = tracing::debug_span!("call", tf_rpc = "ReadResource", status = tracing::field::Empty);
            let _call = call.enter();
            call.record("status", 503);
            let _inner = tracing::trace_span!("request", attempt = 2, tf_rpc = "inner").entered();
            let error = Outer(io::Error::other("cause"));
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::info!(target: "acme::http", error, "retrying {}", 7);
            tracing::debug!("not heard");
        });
        assert_eq!(lines.len(), 1);
        let line = &lines[0];
        assert_eq!(line["@level"], "info");
        assert_eq!(line["@module"], "acme.http");
        assert_eq!(line["@message"], "retrying 7");
        assert_eq!((&line["attempt"], &line["status"]), (&2.into(), &503.into()));
        assert_eq!(line["tf_rpc"], "inner");
        assert_eq!(line["error"], "outer: cause");
    }

    #[test]
    fn terraforms_keys_cannot_be_taken() {
        let lines = lines(LogFilter::level(LevelFilter::TRACE), || {
            tracing::warn!("@level" = 5, "@timestamp" = true, "@message" = 1.5, message = 12, "said");
        });
        let line = lines[0].as_object().unwrap();
        assert!(line.iter().all(|(key, value)| !key.starts_with('@') || value.is_string()), "{line:?}");
        assert_eq!(line["at_level"], 5);
        assert_eq!(line["at_timestamp"], true);
    }

    #[test]
    fn without_a_message_there_is_an_empty_one() {
        let lines = lines(LogFilter::level(LevelFilter::TRACE), || tracing::error!(code = 3));
        assert_eq!(lines[0]["@message"], "");
        assert_eq!(lines[0]["code"], 3);
    }

    #[test]
    fn the_redactor_sees_every_text() {
        set_redactor(|text| {
            if text.contains("hunter2") { text.replace("hunter2", "[redacted]").into() } else { text.into() }
        });
        let lines = lines(LogFilter::level(LevelFilter::TRACE), || {
            let _span = tracing::info_span!("call", token = "hunter2").entered();
            tracing::info!(body = ?["hunter2"], "with hunter2");
        });
        assert_eq!(lines[0]["@message"], "with [redacted]");
        assert_eq!(lines[0]["token"], "[redacted]");
        assert!(!lines[0].to_string().contains("hunter2"));
    }
}
