//! Slack, by an incoming webhook.

use std::fmt;

use serde_json::{Value, json};
use spectra_types::Secret;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::http::Endpoint;
use crate::message::{Message, Severity};
use crate::retry::{Attempt, Delivery, Options, deliver, new_id};
use crate::template::{Markup, Template};
use crate::text::{cut, cut_escaped, mrkdwn};

/// Slack's limits: <https://docs.slack.dev/reference/block-kit/blocks>.
const HEADER: usize = 150;
const SECTION: usize = 3000;
const FIELD: usize = 2000;
const FIELDS_A_SECTION: usize = 10;
/// Ours: five sections. A message that needs more needs a page, and fifty blocks are the limit.
const FIELDS: usize = 50;
/// Ours, of a field's name, so that the value keeps its room.
const NAME: usize = 200;

/// A channel of Slack, by the URL of an incoming webhook.
pub(crate) struct Slack {
    endpoint: Endpoint,
    options: Options,
}

/// The URL is the secret.
impl fmt::Debug for Slack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slack").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Slack {
    /// The channel that Slack gave the URL for. Nothing is sent yet.
    pub(crate) fn new(url: &Secret<String>, options: Options) -> Result<Self, Error> {
        Ok(Self { endpoint: Endpoint::new(url.expose(), options.timeout)?, options })
    }

    /// Scheme, host and port: all of the URL that may be shown.
    pub(crate) fn endpoint(&self) -> &str {
        self.endpoint.shown()
    }

    pub(crate) async fn send(
        &self,
        message: &Message,
        template: &Template,
        cancel: &CancellationToken,
        told: impl FnMut(&str),
    ) -> Result<Delivery, Error> {
        let body = body(message, template).to_string();
        let attempt = || self.attempt(&body);
        deliver(self.endpoint(), new_id(), &self.options, cancel, told, attempt).await
    }

    async fn attempt(&self, body: &str) -> Attempt {
        match self.endpoint.post(&[], body).await {
            // A sign-in page answers 200 as well.
            Ok(yes) => self.endpoint.confirm("Slack", yes, |words| words == "ok").await,
            Err(attempt) => attempt,
        }
    }
}

fn body(message: &Message, template: &Template) -> Value {
    let (title, text) = template.render(message, Markup::Mrkdwn);
    let title = format!("{} {title}", sign_of(message.severity));
    let mut blocks = vec![json!({"type": "header", "text": {
        "type": "plain_text", "text": cut(&title, HEADER), "emoji": true,
    }})];
    let mut section = |text: &str| {
        if !text.trim().is_empty() {
            blocks.push(json!({"type": "section", "text": marked(text, SECTION)}));
        }
    };
    let mut more = 0;
    if let Some(text) = text {
        section(&text);
    } else {
        section(&mrkdwn(&message.summary));
        for fields in message.fields.iter().take(FIELDS).collect::<Vec<_>>().chunks(FIELDS_A_SECTION) {
            let fields: Vec<_> = fields.iter().map(|field| self::field(&field.name, &field.value)).collect();
            blocks.push(json!({"type": "section", "fields": fields}));
        }
        more = message.fields.len().saturating_sub(FIELDS);
        let (links, left_out) = links(message);
        if !links.is_empty() {
            blocks.push(json!({"type": "section", "text": marked(&links, SECTION)}));
        }
        more += left_out;
    }
    let mut foot = vec![mrkdwn(message.event.as_str()), mrkdwn(&message.key), message.time.to_string()];
    foot.retain(|part| !part.is_empty());
    if more > 0 {
        foot.push(format!("{more} more fields or links are not shown"));
    }
    blocks.push(json!({"type": "context", "elements": [marked(&foot.join(" · "), FIELD)]}));
    // What notifications show, and screen readers say.
    json!({"text": cut_escaped(&mrkdwn(&title), SECTION), "blocks": blocks})
}

/// `verbatim`: an `@here` in somebody's commit message calls nobody.
fn marked(text: &str, limit: usize) -> Value {
    json!({"type": "mrkdwn", "text": cut_escaped(text, limit), "verbatim": true})
}

fn field(name: &str, value: &str) -> Value {
    let value = if value.trim().is_empty() { "–".to_owned() } else { mrkdwn(value) };
    marked(&format!("{}\n{value}", Markup::Mrkdwn.bold(&cut(name, NAME))), FIELD)
}

/// As many links as there is room for, each of them whole, and how many there are more.
fn links(message: &Message) -> (String, usize) {
    let (mut text, mut left_out) = (String::new(), 0);
    for link in &message.links {
        let line = Markup::Mrkdwn.link(&link.name, &link.url);
        if text.encode_utf16().count() + line.encode_utf16().count() + 1 > SECTION {
            left_out += 1;
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&line);
    }
    (text, left_out)
}

const fn sign_of(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "ℹ️",
        Severity::Success => "✅",
        Severity::Warning => "⚠️",
        Severity::Critical => "🚨",
    }
}
