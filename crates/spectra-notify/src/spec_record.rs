//! The form in which a channel's description is kept.
//!
//! One flat record for all kinds, read by hand: serde's own tagged enums buffer what they read, and numbers do not
//! survive that when JSON keeps them exactly.

use serde::{Deserialize, Serialize};

use crate::email::MailTls;
use crate::message::Severity;
use crate::pattern::Pattern;
use crate::spec::{ChannelSpec, EmailTarget, Target};
use crate::template::Template;

const VERSION: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Slack,
    Webhook,
    Email,
    PagerDuty,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Webhook => "webhook",
            Self::Email => "email",
            Self::PagerDuty => "pagerduty",
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    #[serde(default = "version")]
    version: u32,
    name: String,
    kind: Kind,
    #[serde(default = "all")]
    events: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_severity: Option<Severity>,
    #[serde(default, skip_serializing_if = "is_default")]
    template: Template,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url_env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret_env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    routing_key_env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<MailTls>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    username_env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password_env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_file: Option<String>,
}

const fn version() -> u32 {
    VERSION
}

fn all() -> Vec<String> {
    vec![Pattern::any().to_string()]
}

fn is_default(template: &Template) -> bool {
    *template == Template::default()
}

impl Record {
    fn new(kind: Kind, name: String) -> Self {
        Self {
            version: VERSION,
            name,
            kind,
            events: all(),
            min_severity: None,
            template: Template::default(),
            url_env: None,
            secret_env: None,
            routing_key_env: None,
            endpoint: None,
            source: None,
            host: None,
            port: None,
            tls: None,
            from: None,
            to: None,
            username_env: None,
            password_env: None,
            ca_file: None,
        }
    }

    /// The first attribute that nobody took.
    fn left_over(&self) -> Option<&'static str> {
        let attributes = [
            ("url_env", self.url_env.is_some()),
            ("secret_env", self.secret_env.is_some()),
            ("routing_key_env", self.routing_key_env.is_some()),
            ("endpoint", self.endpoint.is_some()),
            ("source", self.source.is_some()),
            ("host", self.host.is_some()),
            ("port", self.port.is_some()),
            ("tls", self.tls.is_some()),
            ("from", self.from.is_some()),
            ("to", self.to.is_some()),
            ("username_env", self.username_env.is_some()),
            ("password_env", self.password_env.is_some()),
            ("ca_file", self.ca_file.is_some()),
        ];
        attributes.into_iter().find(|(_, there)| *there).map(|(name, _)| name)
    }
}

impl TryFrom<Record> for ChannelSpec {
    type Error = String;

    fn try_from(mut record: Record) -> Result<Self, String> {
        let (name, kind) = (record.name.clone(), record.kind.as_str());
        if record.version != VERSION {
            return Err(format!("version {} of channels is not known here", record.version));
        }
        let missing =
            |attribute: &str| format!("the channel `{name}` of the kind `{kind}` needs `{attribute}`");
        let target = match record.kind {
            Kind::Slack => {
                Target::Slack { url_env: record.url_env.take().ok_or_else(|| missing("url_env"))? }
            }
            Kind::Webhook => Target::Webhook {
                url_env: record.url_env.take().ok_or_else(|| missing("url_env"))?,
                secret_env: record.secret_env.take(),
            },
            Kind::Email => Target::Email(EmailTarget {
                host: record.host.take().ok_or_else(|| missing("host"))?,
                port: record.port.take(),
                tls: record.tls.take().unwrap_or_default(),
                from: record.from.take().ok_or_else(|| missing("from"))?,
                to: record.to.take().ok_or_else(|| missing("to"))?,
                username_env: record.username_env.take(),
                password_env: record.password_env.take(),
                ca_file: record.ca_file.take(),
            }),
            Kind::PagerDuty => Target::PagerDuty {
                routing_key_env: record.routing_key_env.take().ok_or_else(|| missing("routing_key_env"))?,
                endpoint: record.endpoint.take(),
                source: record.source.take(),
            },
        };
        if let Some(attribute) = record.left_over() {
            return Err(format!("the channel `{name}` is of the kind `{kind}`, which has no `{attribute}`"));
        }
        let Record { events, min_severity, template, .. } = record;
        Ok(Self { name, target, events, min_severity, template })
    }
}

impl From<ChannelSpec> for Record {
    fn from(spec: ChannelSpec) -> Self {
        let ChannelSpec { name, target, events, min_severity, template } = spec;
        let record = match target {
            Target::Slack { url_env } => Self { url_env: Some(url_env), ..Self::new(Kind::Slack, name) },
            Target::Webhook { url_env, secret_env } => {
                Self { url_env: Some(url_env), secret_env, ..Self::new(Kind::Webhook, name) }
            }
            Target::Email(target) => Self {
                host: Some(target.host),
                port: target.port,
                tls: Some(target.tls),
                from: Some(target.from),
                to: Some(target.to),
                username_env: target.username_env,
                password_env: target.password_env,
                ca_file: target.ca_file,
                ..Self::new(Kind::Email, name)
            },
            Target::PagerDuty { routing_key_env, endpoint, source } => Self {
                routing_key_env: Some(routing_key_env),
                endpoint,
                source,
                ..Self::new(Kind::PagerDuty, name)
            },
        };
        Self { events, min_severity, template, ..record }
    }
}
