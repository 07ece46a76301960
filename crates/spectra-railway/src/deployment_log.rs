//! What a deployment went through, and what it printed.

use jiff::Timestamp;
use serde_json::Value;
use spectra_types::DeploymentId;

use crate::client::Client;
use crate::deployment::timestamp;
use crate::error::Result;
use crate::gql::{
    BuildLogs, DeploymentEvents, DeploymentLogs, build_logs, deployment_events, deployment_logs,
};

/// What a deployment went through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentEvent {
    /// Such as `HEALTHCHECK`.
    pub step: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// How it failed.
    pub error: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// More about it.
    pub detail: Option<String>,
    /// Which try it was, of how many.
    pub attempt: Option<(u32, Option<u32>)>,
    /// Left out.
    pub skipped: bool,
}

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// RFC 3339, with nanoseconds.
    pub timestamp: String,
    /// Such as `error`.
    pub severity: Option<String>,
    /// The text.
    pub message: String,
}

impl Client {
    /// What a deployment went through, in order.
    pub async fn deployment_events(&self, deployment: &DeploymentId) -> Result<Vec<DeploymentEvent>> {
        let variables = deployment_events::Variables { id: deployment.to_string() };
        let data = self
            .query::<DeploymentEvents>(variables)
            .await
            .map_err(|error| error.attempting(|| format!("read the events of deployment `{deployment}`")))?;
        let mut events = Vec::new();
        for edge in data.deployment_events.edges {
            let node = edge.node;
            let count = |number: i64| u32::try_from(number).unwrap_or(0);
            let payload = node.payload;
            let attempt = payload.as_ref().and_then(|payload| {
                payload.attempt.map(|attempt| (count(attempt), payload.max_attempts.map(count)))
            });
            let (error, reason, detail, skipped) = payload.map_or((None, None, None, false), |payload| {
                (payload.error, payload.reason, payload.detail, payload.skipped.unwrap_or(false))
            });
            events.push(DeploymentEvent {
                step: step_text(&node.step),
                created_at: timestamp::<DeploymentEvents>(&node.created_at)?,
                completed_at: node.completed_at.as_deref().map(timestamp::<DeploymentEvents>).transpose()?,
                error,
                reason,
                detail,
                attempt,
                skipped,
            });
        }
        events.sort_by_key(|event| event.created_at);
        Ok(events)
    }

    /// The last `limit` lines of what a deployment printed. Best effort: the absence of lines proves nothing.
    pub async fn deployment_log_tail(&self, deployment: &DeploymentId, limit: u32) -> Result<Vec<LogLine>> {
        let variables =
            deployment_logs::Variables { id: deployment.to_string(), limit: Some(i64::from(limit)) };
        let data = self.query::<DeploymentLogs>(variables).await?;
        let lines = data.deployment_logs.into_iter().map(|line| LogLine {
            timestamp: line.timestamp,
            severity: line.severity,
            message: line.message,
        });
        Ok(tail(lines.collect(), limit))
    }

    /// The last `limit` lines of a deployment's build or image pull.
    pub async fn build_log_tail(&self, deployment: &DeploymentId, limit: u32) -> Result<Vec<LogLine>> {
        let variables = build_logs::Variables { id: deployment.to_string(), limit: Some(i64::from(limit)) };
        let data = self.query::<BuildLogs>(variables).await?;
        let lines = data.build_logs.into_iter().map(|line| LogLine {
            timestamp: line.timestamp,
            severity: line.severity,
            message: line.message,
        });
        Ok(tail(lines.collect(), limit))
    }
}

fn step_text(step: &impl serde::Serialize) -> String {
    match serde_json::to_value(step) {
        Ok(Value::String(text)) => text,
        _ => "UNKNOWN".to_owned(),
    }
}

/// Log queries return up to one line more than asked for.
fn tail(mut lines: Vec<LogLine>, limit: u32) -> Vec<LogLine> {
    lines.sort_by(|a, b| a.timestamp.cmp(&b.timestamp));
    let surplus = lines.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
    lines.drain(..surplus);
    lines
}
