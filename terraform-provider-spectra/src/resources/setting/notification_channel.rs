//! `spectra_notification_channel`: where news of rollouts go.

use spectra_delivery::settings::NotificationChannel;
use spectra_notify::{ChannelSpec, EmailTarget, MailTls, Severity, Target, Template};
use spectra_types::{EnvironmentId, ProjectId};
use tfplugin::{Attr, Diagnostics, Model, Text, TfEnum};

use super::{SettingModel, given, reach, reached};

/// A channel that hears of rollouts: when one begins, is complete, was rolled back, needs an approval.
///
/// The channel is kept in the journal, without any secret: attributes ending in `_env` name environment variables, which are
/// read where the rollout runs. A variable that is missing there fails the channel and not the rollout, and is recorded.
#[derive(Clone, Debug, Default, Model)]
#[tf(exactly_one_of("slack", "webhook", "email", "pagerduty"))]
pub(crate) struct NotificationChannelModel {
    /// The same as the name.
    #[tf(computed, stable)]
    pub(crate) id: Attr<String>,
    /// What it is called, unique among the journal's channels.
    #[tf(required, force_new, identity, validate(length(1..=128)))]
    pub(crate) name: Attr<String>,
    /// Only of this project. Without it and without `environment_id` it hears of everything.
    #[tf(optional, conflicts_with("environment_id"))]
    pub(crate) project_id: Attr<Text<ProjectId>>,
    /// Only of this environment.
    #[tf(optional)]
    pub(crate) environment_id: Attr<Text<EnvironmentId>>,
    /// The events that it wants, in which `*` stands for any text: `rollout.rolled_back`, `rollout.*`. All when left out.
    #[tf(optional, validate(length(1..=64)))]
    pub(crate) events: Attr<Vec<String>>,
    /// The least severity that it wants. `success` when left out, which is everything but `info`; for PagerDuty `critical`.
    #[tf(optional)]
    pub(crate) min_severity: Attr<SeverityName>,
    /// Its own words.
    #[tf(optional)]
    pub(crate) template: Attr<TemplateModel>,
    /// An incoming webhook of Slack.
    #[tf(optional)]
    pub(crate) slack: Attr<SlackModel>,
    /// A URL that takes the message as signed JSON.
    #[tf(optional)]
    pub(crate) webhook: Attr<WebhookModel>,
    /// Mail.
    #[tf(optional)]
    pub(crate) email: Attr<EmailModel>,
    /// PagerDuty's Events API v2.
    #[tf(optional)]
    pub(crate) pagerduty: Attr<PagerDutyModel>,
}

/// A channel's own words, with `{{title}}`, `{{summary}}`, `{{event}}`, `{{severity}}`, `{{key}}`, `{{time}}`, `{{fields}}`,
/// `{{links}}`, `{{field.NAME}}` and `{{link.NAME}}` in them. Fields are `rollout`, `image`, `project`, `environment` and
/// `service`; the link is `run`.
#[derive(Clone, Debug, Model)]
pub(crate) struct TemplateModel {
    /// Instead of the title.
    #[tf(optional)]
    pub(crate) title: Attr<String>,
    /// Instead of the summary.
    #[tf(optional)]
    pub(crate) text: Attr<String>,
}

/// An incoming webhook of Slack.
#[derive(Clone, Debug, Model)]
pub(crate) struct SlackModel {
    /// The variable that holds the webhook's URL.
    #[tf(required)]
    pub(crate) url_env: Attr<String>,
}

/// A URL that takes the message as signed JSON.
#[derive(Clone, Debug, Model)]
pub(crate) struct WebhookModel {
    /// The variable that holds the URL.
    #[tf(required)]
    pub(crate) url_env: Attr<String>,
    /// The variable that holds the secret to sign with.
    #[tf(optional)]
    pub(crate) secret_env: Attr<String>,
}

/// Mail.
#[derive(Clone, Debug, Model)]
pub(crate) struct EmailModel {
    /// The server.
    #[tf(required)]
    pub(crate) host: Attr<String>,
    /// Its port; what is usual for `tls` when left out.
    #[tf(optional, validate(range(1..=65535)))]
    pub(crate) port: Attr<i64>,
    /// How the connection is protected.
    #[tf(optional, default = "starttls")]
    pub(crate) tls: Attr<TlsName>,
    /// The sender.
    #[tf(required)]
    pub(crate) from: Attr<String>,
    /// The recipients.
    #[tf(required, validate(length(1..=64)))]
    pub(crate) to: Attr<Vec<String>>,
    /// The variable that holds the user name; goes with `password_env`.
    #[tf(optional)]
    pub(crate) username_env: Attr<String>,
    /// The variable that holds the password.
    #[tf(optional)]
    pub(crate) password_env: Attr<String>,
    /// A file of certificates in PEM that are trusted beside the system's own, where the rollout runs.
    #[tf(optional)]
    pub(crate) ca_file: Attr<String>,
}

/// PagerDuty's Events API v2.
#[derive(Clone, Debug, Model)]
pub(crate) struct PagerDutyModel {
    /// The variable that holds the integration key.
    #[tf(required)]
    pub(crate) routing_key_env: Attr<String>,
    /// Where events go; PagerDuty's own when left out.
    #[tf(optional, validate(with = crate::validators::http_url))]
    pub(crate) endpoint: Attr<String>,
    /// What alerts say they are from; `spectra` when left out.
    #[tf(optional)]
    pub(crate) source: Attr<String>,
}

/// How much something matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TfEnum)]
pub(crate) enum SeverityName {
    /// Good to know.
    Info,
    /// Something is done, or well again.
    Success,
    /// Somebody should look.
    Warning,
    /// Somebody must look now.
    Critical,
}

/// How the connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TfEnum)]
pub(crate) enum TlsName {
    /// Encrypted before anything is said.
    #[tf(name = "starttls")]
    StartTls,
    /// Encrypted from the first byte.
    Implicit,
    /// Not at all: for a server on this machine alone.
    None,
}

const SEVERITIES: [(SeverityName, Severity); 4] = [
    (SeverityName::Info, Severity::Info),
    (SeverityName::Success, Severity::Success),
    (SeverityName::Warning, Severity::Warning),
    (SeverityName::Critical, Severity::Critical),
];

impl SettingModel for NotificationChannelModel {
    type Value = NotificationChannel;

    const TYPE: &'static str = "spectra_notification_channel";
    const WORDS: &'static str = "notification channel";

    fn name(&self) -> &Attr<String> {
        &self.name
    }

    fn with_id(self) -> Self {
        Self { id: self.name.clone(), ..self }
    }

    fn value(&self) -> Result<NotificationChannel, Diagnostics> {
        let mut channel = ChannelSpec::new(self.name.clone().require("name")?, self.target()?);
        if let Some(events) = given(&self.events, "events")? {
            channel.events = events;
        }
        let severity = given(&self.min_severity, "min_severity")?;
        channel.min_severity = severity
            .and_then(|name| SEVERITIES.iter().find(|(of, _)| *of == name).map(|(_, severity)| *severity));
        if let Some(template) = given(&self.template, "template")? {
            channel.template = Template {
                title: given(&template.title, "template.title")?,
                text: given(&template.text, "template.text")?,
            };
        }
        Ok(NotificationChannel { reach: reach(&self.project_id, &self.environment_id)?, channel })
    }

    fn of(value: NotificationChannel) -> Self {
        let (project_id, environment_id) = reached(&value.reach);
        let ChannelSpec { name, target, events, min_severity, template } = value.channel;
        let severity = min_severity
            .and_then(|severity| SEVERITIES.iter().find(|(_, of)| *of == severity).map(|(name, _)| *name));
        let own = template != Template::default();
        let model = Self {
            name: name.into(),
            project_id,
            environment_id,
            events: if events == ["*"] { Attr::Null } else { events.into() },
            min_severity: severity.into(),
            template: own
                .then(|| TemplateModel { title: template.title.into(), text: template.text.into() })
                .into(),
            ..Self::default()
        };
        model.to(target).with_id()
    }

    fn named(name: String) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

impl NotificationChannelModel {
    fn target(&self) -> Result<Target, Diagnostics> {
        if let Some(slack) = given(&self.slack, "slack")? {
            return Ok(Target::Slack { url_env: slack.url_env.require("slack.url_env")? });
        }
        if let Some(webhook) = given(&self.webhook, "webhook")? {
            return Ok(Target::Webhook {
                url_env: webhook.url_env.require("webhook.url_env")?,
                secret_env: given(&webhook.secret_env, "webhook.secret_env")?,
            });
        }
        if let Some(email) = given(&self.email, "email")? {
            return mail(email).map(Target::Email);
        }
        let pagerduty = self.pagerduty.clone().require("pagerduty")?;
        Ok(Target::PagerDuty {
            routing_key_env: pagerduty.routing_key_env.require("pagerduty.routing_key_env")?,
            endpoint: given(&pagerduty.endpoint, "pagerduty.endpoint")?,
            source: given(&pagerduty.source, "pagerduty.source")?,
        })
    }

    fn to(self, target: Target) -> Self {
        match target {
            Target::Slack { url_env } => {
                Self { slack: SlackModel { url_env: url_env.into() }.into(), ..self }
            }
            Target::Webhook { url_env, secret_env } => {
                let webhook = WebhookModel { url_env: url_env.into(), secret_env: secret_env.into() };
                Self { webhook: webhook.into(), ..self }
            }
            Target::Email(target) => Self { email: of_mail(target).into(), ..self },
            Target::PagerDuty { routing_key_env, endpoint, source } => {
                let pagerduty = PagerDutyModel {
                    routing_key_env: routing_key_env.into(),
                    endpoint: endpoint.into(),
                    source: source.into(),
                };
                Self { pagerduty: pagerduty.into(), ..self }
            }
            // One of a later version: the plan shows that it is not what is configured.
            _ => self,
        }
    }
}

fn mail(email: EmailModel) -> Result<EmailTarget, Diagnostics> {
    let port = given(&email.port, "email.port")?;
    Ok(EmailTarget {
        host: email.host.require("email.host")?,
        // The schema's range is that of ports.
        port: port.and_then(|port| u16::try_from(port).ok()),
        tls: match given(&email.tls, "email.tls")? {
            None | Some(TlsName::StartTls) => MailTls::StartTls,
            Some(TlsName::Implicit) => MailTls::Implicit,
            Some(TlsName::None) => MailTls::None,
        },
        from: email.from.require("email.from")?,
        to: email.to.require("email.to")?,
        username_env: given(&email.username_env, "email.username_env")?,
        password_env: given(&email.password_env, "email.password_env")?,
        ca_file: given(&email.ca_file, "email.ca_file")?,
    })
}

fn of_mail(target: EmailTarget) -> EmailModel {
    EmailModel {
        host: target.host.into(),
        port: target.port.map(i64::from).into(),
        tls: match target.tls {
            MailTls::StartTls => TlsName::StartTls,
            MailTls::Implicit => TlsName::Implicit,
            MailTls::None => TlsName::None,
        }
        .into(),
        from: target.from.into(),
        to: target.to.into(),
        username_env: target.username_env.into(),
        password_env: target.password_env.into(),
        ca_file: target.ca_file.into(),
    }
}
