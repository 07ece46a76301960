//! A place where messages go, with what it wants to hear.

use tokio_util::sync::CancellationToken;

use crate::email::Email;
use crate::error::Error;
use crate::message::{Message, Severity};
use crate::pagerduty::PagerDuty;
use crate::pattern::Pattern;
use crate::retry::Delivery;
use crate::slack::Slack;
use crate::template::Template;
use crate::webhook::Webhook;

/// By what means.
#[derive(Debug)]
pub(crate) enum Transport {
    /// An incoming webhook of Slack.
    Slack(Slack),
    /// The message as JSON, signed.
    Webhook(Webhook),
    /// SMTP.
    Email(Email),
    /// PagerDuty's Events API v2.
    PagerDuty(PagerDuty),
}

/// A place where messages go.
#[derive(Debug)]
pub struct Channel {
    pub(crate) name: String,
    pub(crate) events: Vec<Pattern>,
    pub(crate) min_severity: Severity,
    pub(crate) template: Template,
    pub(crate) transport: Transport,
}

impl Channel {
    /// The name that its owner gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Scheme, host and port of where it sends to.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        match &self.transport {
            Transport::Slack(slack) => slack.endpoint(),
            Transport::Webhook(webhook) => webhook.endpoint(),
            Transport::Email(email) => email.endpoint(),
            Transport::PagerDuty(pagerduty) => pagerduty.endpoint(),
        }
    }

    /// Whether the message is for this channel: one of its events, and severe enough. PagerDuty also takes every success,
    /// for that is what ends an alert; one that was never triggered is not missed there.
    #[must_use]
    pub fn wants(&self, message: &Message) -> bool {
        if message.severity == Severity::Success && matches!(self.transport, Transport::PagerDuty(_)) {
            return true;
        }
        message.severity >= self.min_severity
            && self.events.iter().any(|pattern| pattern.matches(message.event.as_str()))
    }

    /// Sends the message, wanted or not, until it is accepted, refused, or tried often enough, without the secrets that
    /// this process knows. `told` and `cancel` are those of [`Webhook::send`].
    pub async fn send(
        &self,
        message: &Message,
        cancel: &CancellationToken,
        told: impl FnMut(&str),
    ) -> Result<Delivery, Error> {
        let (message, template) = (message.redacted(), &self.template);
        match &self.transport {
            Transport::Slack(slack) => slack.send(&message, template, cancel, told).await,
            Transport::Webhook(webhook) => {
                webhook.send(&Webhook::body(&message, template), cancel, told).await
            }
            Transport::Email(email) => email.send(&message, template, cancel, told).await,
            Transport::PagerDuty(pagerduty) => pagerduty.send(&message, template, cancel, told).await,
        }
    }
}
