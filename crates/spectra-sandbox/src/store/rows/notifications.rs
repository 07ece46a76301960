//! Who is told, and what came of telling.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Severity, Times};
use crate::clock::Tick;

/// Who is told what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NotificationRule {
    pub(crate) id: String,
    pub(crate) project_id: Option<String>,
    pub(crate) event_types: Vec<String>,
    /// Empty: all.
    pub(crate) severities: Vec<Severity>,
    pub(crate) ephemeral_environments: Option<bool>,
    /// Ids of its channels.
    pub(crate) channels: Vec<String>,
    pub(crate) times: Times,
}

/// Where notifications go. The URL may hold a secret, so the row is kept with the secrets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Channel {
    pub(crate) id: String,
    pub(crate) url: String,
    pub(crate) times: Times,
}

/// A notification on its way to a channel, or at its end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) sequence: u64,
    /// `None`: a test.
    pub(crate) rule_id: Option<String>,
    pub(crate) channel_id: Option<String>,
    pub(crate) event_type: String,
    pub(crate) project_id: Option<String>,
    pub(crate) environment_id: Option<String>,
    /// The target without what may be secret.
    pub(crate) url: String,
    pub(crate) body: Value,
    pub(crate) state: DeliveryState,
    pub(crate) attempts: Vec<Attempt>,
    /// When the next attempt is made.
    pub(crate) due_tick: Tick,
    pub(crate) times: Times,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum DeliveryState {
    Failed,
    Pending,
    Sent,
}

/// One try to deliver.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) at: u64,
    pub(crate) tick: Tick,
    /// HTTP status, if there was an answer.
    pub(crate) status: Option<u16>,
    pub(crate) error: Option<String>,
}

/// How a webhook target has done lately; its key is the hash of the URL.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct WebhookTarget {
    pub(crate) failures: Vec<Tick>,
    pub(crate) suspended_until: Option<Tick>,
}
