//! A channel as somebody writes it down: without any secret, and with the names of the variables that hold them.

use serde::{Deserialize, Serialize};
use spectra_types::Secret;

use crate::channel::{Channel, Transport};
use crate::email::{self, Email, MailSettings, MailTls};
use crate::error::Error;
use crate::http::check_url;
use crate::message::Severity;
use crate::pagerduty::{ENDPOINT, PagerDuty};
use crate::pattern::Pattern;
use crate::retry::Options;
use crate::slack::Slack;
use crate::spec_record::Record;
use crate::template::Template;
use crate::webhook::Webhook;

/// Looks up an environment variable.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// A channel's description. It holds no secret and can be kept anywhere.
///
/// Its form is flat, with `kind` saying which attributes belong to it; others are refused:
/// `{"version":1,"name":"ops","kind":"slack","url_env":"OPS_SLACK_URL","events":["rollout.*"],"min_severity":"warning"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Record", into = "Record")]
pub struct ChannelSpec {
    /// What its owner calls it; outcomes and errors name it so.
    pub name: String,
    /// Where it leads.
    pub target: Target,
    /// The events that it wants: names, in which `*` stands for any text. By default all. PagerDuty takes every success
    /// besides, for that ends what was triggered.
    pub events: Vec<String>,
    /// The least severity that it wants. By default `success`, which is everything but `info`; for PagerDuty `critical`.
    pub min_severity: Option<Severity>,
    /// Its own words.
    pub template: Template,
}

/// Where a channel leads, and which variables hold what must be kept secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// `slack`
    Slack {
        /// Holds the incoming webhook's URL.
        url_env: String,
    },
    /// `webhook`
    Webhook {
        /// Holds the URL.
        url_env: String,
        /// Holds the secret to sign with.
        secret_env: Option<String>,
    },
    /// `email`
    Email(EmailTarget),
    /// `pagerduty`
    PagerDuty {
        /// Holds the integration key.
        routing_key_env: String,
        /// Where events go; by default [`ENDPOINT`].
        endpoint: Option<String>,
        /// What alerts say they are from; by default `spectra`.
        source: Option<String>,
    },
}

/// A mail server, and who writes to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailTarget {
    /// The server's name or address.
    pub host: String,
    /// Its port; without one, what is usual for `tls`.
    pub port: Option<u16>,
    /// How the connection is protected.
    pub tls: MailTls,
    /// The sender.
    pub from: String,
    /// The recipients.
    pub to: Vec<String>,
    /// Holds the user name; goes with `password_env`.
    pub username_env: Option<String>,
    /// Holds the password.
    pub password_env: Option<String>,
    /// A file of certificates in PEM that are trusted beside the system's own.
    pub ca_file: Option<String>,
}

impl ChannelSpec {
    /// A channel that wants everything but `info` (PagerDuty: what is critical) in the messages' own words.
    #[must_use]
    pub fn new(name: impl Into<String>, target: Target) -> Self {
        Self {
            name: name.into(),
            target,
            events: vec![Pattern::any().to_string()],
            min_severity: None,
            template: Template::default(),
        }
    }

    /// Whether it makes sense, as far as can be said without its secrets.
    pub fn validate(&self) -> Result<(), Error> {
        self.problem().map_or(Ok(()), |problem| Err(self.wrong(problem)))
    }

    /// Opens it with the secrets from `env`. Nothing is sent yet. An empty variable is one that is not set.
    pub fn open(&self, env: Environment<'_>) -> Result<Channel, Error> {
        self.open_with(env, Options::default())
    }

    /// Opens it to send with these options.
    pub fn open_with(&self, env: Environment<'_>, options: Options) -> Result<Channel, Error> {
        self.validate()?;
        let transport = match &self.target {
            Target::Slack { url_env } => {
                let url = self.secret(env, url_env, "url_env")?;
                Transport::Slack(Slack::new(&url, options).map_err(|error| self.no_url(url_env, &error))?)
            }
            Target::Webhook { url_env, secret_env } => {
                let url = self.secret(env, url_env, "url_env")?;
                let secret = self.optional(env, secret_env.as_deref(), "secret_env")?;
                let webhook = Webhook::new(url.expose(), secret, options);
                Transport::Webhook(webhook.map_err(|error| self.no_url(url_env, &error))?)
            }
            Target::Email(target) => Transport::Email(self.email(target, env, options)?),
            Target::PagerDuty { routing_key_env, endpoint, source } => {
                let attribute = "routing_key_env";
                let key = self.secret(env, routing_key_env, attribute)?;
                if !PagerDuty::is_routing_key(key.expose()) {
                    let state = "no integration key: those have 32 letters and digits";
                    return Err(self.variable(routing_key_env, attribute, state));
                }
                let endpoint = endpoint.as_deref().unwrap_or(ENDPOINT);
                let source = source.as_deref().unwrap_or("spectra");
                Transport::PagerDuty(PagerDuty::new(endpoint, key, source, options)?)
            }
        };
        Ok(Channel {
            name: self.name.clone(),
            events: self.patterns().map_err(|problem| self.wrong(problem))?,
            min_severity: self.least(),
            template: self.template.clone(),
            transport,
        })
    }

    fn least(&self) -> Severity {
        self.min_severity.unwrap_or(match self.target {
            Target::PagerDuty { .. } => Severity::Critical,
            _ => Severity::Success,
        })
    }

    fn patterns(&self) -> Result<Vec<Pattern>, String> {
        let patterns = self.events.iter().map(|text| text.parse());
        patterns.collect::<Result<_, _>>().map_err(|problem: String| format!("`events`: {problem}"))
    }

    fn email(&self, target: &EmailTarget, env: Environment<'_>, options: Options) -> Result<Email, Error> {
        let user = target.username_env.as_deref();
        let user = user.map(|name| self.value(env, name, "username_env")).transpose()?;
        let password = self.optional(env, target.password_env.as_deref(), "password_env")?;
        let authorities = match &target.ca_file {
            None => None,
            Some(path) => Some(
                std::fs::read(path)
                    .map_err(|error| self.wrong(format!("`ca_file`: `{path}` cannot be read: {error}")))?,
            ),
        };
        Email::new(
            MailSettings {
                host: target.host.clone(),
                port: target.port,
                tls: target.tls,
                from: target.from.clone(),
                to: target.to.clone(),
                login: user.zip(password),
                authorities,
            },
            options,
        )
    }

    fn problem(&self) -> Option<String> {
        if self.name.trim().is_empty() || self.name.chars().any(char::is_control) {
            return Some("`name` is empty, or has control characters".to_owned());
        }
        if self.events.is_empty() {
            return Some("`events` is empty, so it would hear of nothing".to_owned());
        }
        if let Err(problem) = self.patterns().and_then(|_| self.template.validate()) {
            return Some(problem);
        }
        let variables: &[(_, Option<&String>)] = match &self.target {
            Target::Slack { url_env } => &[("url_env", Some(url_env))],
            Target::Webhook { url_env, secret_env } => {
                &[("url_env", Some(url_env)), ("secret_env", secret_env.as_ref())]
            }
            Target::Email(target) => &[
                ("username_env", target.username_env.as_ref()),
                ("password_env", target.password_env.as_ref()),
            ],
            Target::PagerDuty { routing_key_env, .. } => &[("routing_key_env", Some(routing_key_env))],
        };
        let wrong = variables.iter().find(|(_, name)| name.is_some_and(|name| !is_variable(name)));
        if let Some((attribute, _)) = wrong {
            // Not repeated: it may be the secret.
            return Some(format!(
                "`{attribute}` is not the name of an environment variable; the value itself does not belong there"
            ));
        }
        match &self.target {
            Target::Email(target) => {
                if target.username_env.is_some() != target.password_env.is_some() {
                    return Some("`username_env` and `password_env` go together".to_owned());
                }
                email::check(&target.host, target.tls, &target.from, &target.to).err()
            }
            Target::PagerDuty { endpoint, source, .. } => {
                if source.as_ref().is_some_and(|source| source.trim().is_empty()) {
                    return Some("`source` is empty".to_owned());
                }
                if matches!(self.min_severity, Some(Severity::Info | Severity::Success)) {
                    let but = "a success ends an alert, and nobody is called for an info";
                    return Some(format!("`min_severity` is `warning` or `critical` for PagerDuty: {but}"));
                }
                let problem = check_url(endpoint.as_deref()?).err();
                problem.map(|error| format!("`endpoint`: {error}"))
            }
            Target::Slack { .. } | Target::Webhook { .. } => None,
        }
    }

    fn secret(
        &self,
        env: Environment<'_>,
        variable: &str,
        attribute: &'static str,
    ) -> Result<Secret<String>, Error> {
        self.value(env, variable, attribute).map(Secret::new)
    }

    fn value(&self, env: Environment<'_>, variable: &str, attribute: &'static str) -> Result<String, Error> {
        let value = env(variable).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        value.ok_or_else(|| self.variable(variable, attribute, "not set"))
    }

    fn optional(
        &self,
        env: Environment<'_>,
        variable: Option<&str>,
        attribute: &'static str,
    ) -> Result<Option<Secret<String>>, Error> {
        variable.map(|variable| self.secret(env, variable, attribute)).transpose()
    }

    fn variable(&self, variable: &str, attribute: &'static str, state: &str) -> Error {
        let (channel, variable) = (self.name.clone(), variable.to_owned());
        Error::Variable { channel, variable, attribute, state: state.to_owned() }
    }

    /// Such errors show scheme, host and port at most.
    fn no_url(&self, variable: &str, error: &Error) -> Error {
        self.variable(variable, "url_env", &format!("of no use: {error}"))
    }

    fn wrong(&self, problem: String) -> Error {
        Error::Spec { channel: self.name.clone(), problem }
    }
}

fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
