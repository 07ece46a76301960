//! The log of a deployment, line by line as it is written.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use serde::de::DeserializeOwned;
use serde_json::Value;
use spectra_types::DeploymentId;
use tokio::sync::mpsc::{self, Receiver};

use crate::client::Client;
use crate::deployment::LogLine;
use crate::gql::{FollowBuildLogs, FollowDeploymentLogs, follow_build_logs, follow_deployment_logs};
use crate::subscribe::{Listener, Subscription, Told};

/// How many lines are told again at the begin, and after every interruption.
const LOOK_BACK: u32 = 500;
/// How many lines are remembered, so that none is told twice. More than are ever told again.
const REMEMBERED: usize = 5_000;
/// How many batches may wait for a reader before the subscription has to begin anew.
const WAITING: usize = 1_024;

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// Of the build or image pull.
    Build,
    /// What the deployment printed.
    Deploy,
}

/// Lines of a log, see [`Client::stream_logs`].
#[derive(Debug)]
pub struct LogStream {
    batches: Receiver<Vec<LogLine>>,
    waiting: VecDeque<LogLine>,
    seen: Seen,
    /// Kept: dropping it completes the subscription.
    _subscription: Option<Subscription>,
}

/// Lines that were told, by time. Two that agree in time and content are the same line.
#[derive(Debug, Default)]
struct Seen {
    lines: BTreeMap<String, Vec<String>>,
    count: usize,
}

impl Seen {
    /// It is new, and from now on it is not.
    fn note(&mut self, line: &LogLine) -> bool {
        let same_time = self.lines.entry(line.timestamp.clone()).or_default();
        if same_time.contains(&line.message) {
            return false;
        }
        same_time.push(line.message.clone());
        self.count += 1;
        while self.count > REMEMBERED {
            let Some((_, oldest)) = self.lines.pop_first() else { break };
            self.count -= oldest.len();
        }
        true
    }
}

/// Hands the lines of each answer on; an answer of another shape has none.
fn listener<D: DeserializeOwned>(
    deliver: impl Fn(Vec<LogLine>) -> Told + Send + Sync + 'static,
    lines: impl Fn(D) -> Vec<LogLine> + Send + Sync + 'static,
) -> Listener {
    Box::new(move |data: Value| {
        serde_json::from_value::<D>(data).map_or(Told::Fine, |data| deliver(lines(data)))
    })
}

const fn log_line(timestamp: String, severity: Option<String>, message: String) -> LogLine {
    LogLine { timestamp, severity, message }
}

impl Client {
    /// The log of a deployment: its last 500 lines, then every line as it is written, none twice. Costs no request
    /// beyond the one that opens the client's WebSocket.
    ///
    /// Best effort, like all logs: an interruption is made up for by the last 500 lines again, so that only what
    /// was written beyond them meanwhile is missing. The end of the deployment does not end the stream; drop it. It
    /// ends at once where there are no subscriptions, as behind a proxy: read [`deployment_log_tail`] there.
    ///
    /// [`deployment_log_tail`]: Self::deployment_log_tail
    #[must_use]
    pub fn stream_logs(&self, deployment: &DeploymentId, kind: LogKind) -> LogStream {
        let (sender, batches) = mpsc::channel(WAITING);
        let deliver = move |lines: Vec<LogLine>| match sender.try_send(lines) {
            // A reader that is gone has its subscription completed anyway.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Told::Fine,
            Err(mpsc::error::TrySendError::Full(_)) => Told::Overrun,
        };
        let (id, limit) = (deployment.to_string(), Some(i64::from(LOOK_BACK)));
        let subscription = match kind {
            LogKind::Deploy => {
                let listener = listener(deliver, |data: follow_deployment_logs::ResponseData| {
                    let lines = data.deployment_logs.into_iter();
                    lines.map(|line| log_line(line.timestamp, line.severity, line.message)).collect()
                });
                let variables = follow_deployment_logs::Variables { id, limit };
                self.subscribe::<FollowDeploymentLogs>(variables, listener)
            }
            LogKind::Build => {
                let listener = listener(deliver, |data: follow_build_logs::ResponseData| {
                    let lines = data.build_logs.into_iter();
                    lines.map(|line| log_line(line.timestamp, line.severity, line.message)).collect()
                });
                let variables = follow_build_logs::Variables { id, limit };
                self.subscribe::<FollowBuildLogs>(variables, listener)
            }
        };
        LogStream { batches, waiting: VecDeque::new(), seen: Seen::default(), _subscription: subscription }
    }
}

impl Stream for LogStream {
    type Item = LogLine;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<LogLine>> {
        loop {
            while let Some(line) = self.waiting.pop_front() {
                if self.seen.note(&line) {
                    return Poll::Ready(Some(line));
                }
            }
            match ready!(self.batches.poll_recv(context)) {
                Some(lines) => self.waiting.extend(lines),
                None => return Poll::Ready(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(timestamp: &str, message: &str) -> LogLine {
        LogLine { timestamp: timestamp.to_owned(), severity: None, message: message.to_owned() }
    }

    #[test]
    fn q46_a_line_is_the_same_by_time_and_content() {
        let mut seen = Seen::default();
        assert!(seen.note(&line("2026-08-01T10:00:00.000000001Z", "a")));
        assert!(!seen.note(&line("2026-08-01T10:00:00.000000001Z", "a")));
        assert!(seen.note(&line("2026-08-01T10:00:00.000000001Z", "b")));
        assert!(seen.note(&line("2026-08-01T10:00:00.000000002Z", "a")));
    }

    #[test]
    fn only_so_many_lines_are_remembered() {
        let mut seen = Seen::default();
        for number in 0..REMEMBERED + 10 {
            assert!(seen.note(&line(&format!("{number:06}"), "x")));
        }
        assert_eq!(seen.count, REMEMBERED);
        assert_eq!(seen.lines.len(), REMEMBERED);
        assert!(!seen.note(&line("000010", "x")), "the oldest that is remembered");
    }
}
