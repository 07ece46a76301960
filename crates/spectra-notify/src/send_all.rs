//! One message to every channel that wants it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde::{Serialize, Serializer};
use spectra_types::{Redactor, error_chain};
use tokio_util::sync::CancellationToken;

use crate::channel::Channel;
use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::message::Message;
use crate::retry::Delivery;

/// When the sending of a message has to be over.
#[derive(Clone, Debug)]
pub struct Deadline {
    after: Duration,
    clock: Arc<dyn Clock>,
}

impl Deadline {
    /// So long after the beginning, by this clock.
    #[must_use]
    pub const fn new(after: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { after, clock }
    }
}

impl From<Duration> for Deadline {
    fn from(after: Duration) -> Self {
        Self::new(after, Arc::new(SystemClock))
    }
}

/// What became of a message at one channel.
#[derive(Debug)]
pub enum Outcome {
    /// It was accepted.
    Delivered(Delivery),
    /// The channel does not want such messages.
    NotWanted,
    /// It was not accepted, as far as is known.
    Failed(Error),
}

/// What became of a message at the channel of this name. As JSON:
/// `{"channel":…,"outcome":"delivered","id":…,"status":…,"attempts":…}`, or `"not_wanted"`, or
/// `"failed","code":…,"error":…`.
#[derive(Debug)]
pub struct Sent {
    /// The channel's name.
    pub channel: String,
    /// How it ended.
    pub outcome: Outcome,
}

#[derive(Serialize)]
struct Record<'r> {
    channel: &'r str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Serialize for Sent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut record = Record {
            channel: &self.channel,
            outcome: "not_wanted",
            id: None,
            status: None,
            attempts: None,
            code: None,
            error: None,
        };
        match &self.outcome {
            Outcome::Delivered(delivery) => {
                record.outcome = "delivered";
                record.id = Some(&delivery.id);
                record.status = Some(delivery.status);
                record.attempts = Some(delivery.attempts);
            }
            Outcome::NotWanted => {}
            Outcome::Failed(error) => {
                record.outcome = "failed";
                record.code = Some(error.code().as_str());
                record.error = Some(Redactor::global().redact(&error_chain(error)).into_owned());
            }
        }
        record.serialize(serializer)
    }
}

/// Sends the message to all channels that want it, at the same time, and says for each, in their order, what became of
/// it. A channel that fails is an outcome and hinders no other.
///
/// When `cancel` trips, attempts under way are awaited and no others made. At the deadline they are not waited for any
/// longer either; the message may then still arrive.
pub async fn send_all(
    channels: &[Channel],
    message: &Message,
    cancel: &CancellationToken,
    deadline: impl Into<Deadline>,
) -> Vec<Sent> {
    let deadline = deadline.into();
    join_all(channels.iter().map(|channel| send_one(channel, message, cancel, &deadline))).await
}

async fn send_one(
    channel: &Channel,
    message: &Message,
    cancel: &CancellationToken,
    deadline: &Deadline,
) -> Sent {
    let sent = |outcome| Sent { channel: channel.name().to_owned(), outcome };
    if !channel.wants(message) {
        return sent(Outcome::NotWanted);
    }
    let mut last = "no attempt had failed before".to_owned();
    let result = tokio::select! {
        biased;
        result = channel.send(message, cancel, |line| line.clone_into(&mut last)) => Some(result),
        () = deadline.clock.sleep(deadline.after) => None,
    };
    sent(match result {
        Some(Ok(delivery)) => Outcome::Delivered(delivery),
        Some(Err(error)) => Outcome::Failed(error),
        None => {
            let endpoint = channel.endpoint().to_owned();
            Outcome::Failed(Error::Overdue { endpoint, after: deadline.after, last })
        }
    })
}
