//! PagerDuty, by its Events API v2.

use std::fmt;

use aws_lc_rs::digest;
use serde_json::{Map, Value, json};
use spectra_types::Secret;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::http::Endpoint;
use crate::message::{Message, Severity};
use crate::retry::{Attempt, Delivery, Options, deliver, new_id};
use crate::signature::hexadecimal;
use crate::template::{Markup, Template};
use crate::text::{clean, cut, one_line, page};

/// Where events go, unless the account is in the EU region: there it is `https://events.eu.pagerduty.com/v2/enqueue`.
pub const ENDPOINT: &str = "https://events.pagerduty.com/v2/enqueue";

/// PagerDuty's limits. An event may have 512 kB; ours below keep it under that.
const DEDUP_KEY: usize = 255;
const SUMMARY: usize = 1024;
/// Ours.
const FIELDS: usize = 50;
const NAME: usize = 200;
const VALUE: usize = 1000;
const TEXT: usize = 4000;
const LINKS: usize = 20;
const URL: usize = 2000;

/// A service of PagerDuty. What is critical triggers an alert, and a success resolves what was triggered under the same
/// key.
pub(crate) struct PagerDuty {
    endpoint: Endpoint,
    routing_key: Secret<String>,
    source: String,
    options: Options,
}

impl fmt::Debug for PagerDuty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PagerDuty").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl PagerDuty {
    /// The service with this integration key; `source` is what alerts say they are from. Nothing is sent yet.
    pub(crate) fn new(
        endpoint: &str,
        routing_key: Secret<String>,
        source: &str,
        options: Options,
    ) -> Result<Self, Error> {
        let endpoint = Endpoint::new(endpoint, options.timeout)?;
        Ok(Self { endpoint, routing_key, source: source.to_owned(), options })
    }

    /// Whether a text has the form of an integration key.
    pub(crate) fn is_routing_key(text: &str) -> bool {
        text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    }

    /// Scheme, host and port.
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
        let key = dedup_key(&message.key).ok_or_else(|| Error::NoKey { event: message.event.to_string() })?;
        let body = self.body(message, &key, template).to_string();
        let attempt = || self.attempt(&body);
        deliver(self.endpoint(), new_id(), &self.options, cancel, told, attempt).await
    }

    async fn attempt(&self, body: &str) -> Attempt {
        match self.endpoint.post(&[], body).await {
            Ok(yes) if yes.status == 202 => Attempt::Accepted(yes.status),
            // A page that is lost must not look like one that was sent.
            Ok(yes) => self.endpoint.confirm("PagerDuty", yes, |_| false).await,
            Err(attempt) => attempt,
        }
    }

    fn body(&self, message: &Message, key: &str, template: &Template) -> Value {
        let severity = match message.severity {
            Severity::Success => {
                return json!({
                    "routing_key": self.routing_key.expose(), "event_action": "resolve", "dedup_key": key,
                });
            }
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        let (title, text) = template.render(message, Markup::Plain);
        let mut details = Map::new();
        let text = text.unwrap_or_else(|| clean(&message.summary));
        if !text.trim().is_empty() {
            details.insert("summary".to_owned(), cut(&text, TEXT).into());
        }
        for field in message.fields.iter().take(FIELDS) {
            add(&mut details, cut(&one_line(&field.name), NAME), cut(&clean(&field.value), VALUE));
        }
        // A URL that is cut leads nowhere.
        let links = message.links.iter().filter_map(|link| Some((&link.name, page(&link.url)?)));
        let links = links.filter(|(_, url)| url.len() <= URL).take(LINKS);
        let links: Vec<_> =
            links.map(|(name, url)| json!({"href": url, "text": cut(&one_line(name), NAME)})).collect();
        json!({
            "routing_key": self.routing_key.expose(),
            "event_action": "trigger",
            "dedup_key": key,
            "client": "Spectra",
            "links": links,
            "payload": {
                "summary": cut(&title, SUMMARY),
                "source": self.source,
                "severity": severity,
                "timestamp": message.time.to_string(),
                "class": cut(&one_line(message.event.as_str()), NAME),
                "custom_details": details,
            },
        })
    }
}

/// Names may come twice, and `summary` is one of them; none of what they say is lost.
fn add(details: &mut Map<String, Value>, name: String, value: String) {
    let value = match details.get(&name).and_then(Value::as_str) {
        Some(before) => format!("{before}\n{value}"),
        None => value,
    };
    details.insert(name, value.into());
}

/// The key as it is, or its digest if it is too long: cut keys could be the same.
fn dedup_key(key: &str) -> Option<String> {
    let line = one_line(key);
    match line.chars().count() {
        0 => None,
        1..=DEDUP_KEY => Some(line),
        _ => {
            Some(format!("sha256:{}", hexadecimal(digest::digest(&digest::SHA256, key.as_bytes()).as_ref())))
        }
    }
}
