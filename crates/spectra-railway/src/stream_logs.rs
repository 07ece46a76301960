//! The log of a deployment, line by line as it is written.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash as _, Hasher as _};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use spectra_types::DeploymentId;
use tokio::sync::mpsc::{self, Receiver};

use crate::client::Client;
use crate::company::Seat;
use crate::deployment_log::LogLine;
use crate::error::Result;
use crate::gql::{FollowBuildLogs, FollowDeploymentLogs, follow_build_logs, follow_deployment_logs};
use crate::subscribe::{Listener, Subscription, Told};

/// How many lines are told again at the begin, and after every interruption.
const LOOK_BACK: u32 = 500;
/// How many lines are remembered, so that none is told twice. More than are ever told again.
const REMEMBERED: usize = 1_000;
/// How many batches may wait for a reader before the subscription has to begin anew.
const WAITING: usize = 256;
/// How many looks at a deployment one look at a log is worth, where there are no subscriptions.
const LOOKS: u32 = 5;

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
    client: Client,
    deployment: DeploymentId,
    kind: LogKind,
    batches: Receiver<Vec<LogLine>>,
    waiting: VecDeque<LogLine>,
    seen: Seen,
    /// Why the last look at the log failed, until one succeeds.
    trouble: Option<String>,
    /// Kept: dropping it completes the subscription.
    subscription: Option<Subscription>,
    _seat: Seat,
}

/// Lines that were told, by time. Two that agree in time and content are the same line.
#[derive(Debug, Default)]
struct Seen {
    /// What each line said, as a number: the lines themselves may be long.
    lines: BTreeMap<String, Vec<u64>>,
    count: usize,
}

impl Seen {
    /// It is new, and from now on it is not.
    fn note(&mut self, line: &LogLine) -> bool {
        let mut hasher = DefaultHasher::new();
        line.message.hash(&mut hasher);
        let said = hasher.finish();
        let same_time = self.lines.entry(line.timestamp.clone()).or_default();
        if same_time.contains(&said) {
            return false;
        }
        same_time.push(said);
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
    /// While there is no subscription (behind a proxy there never is one), the end of the log is read again and again, as
    /// seldom as the budget asks for: all streams of a client together read one log in the time of five looks at a
    /// deployment, and none once less than a quarter of the hourly budget is left.
    ///
    /// Best effort, like all logs: an interruption is made up for by the last 500 lines again, so that only what
    /// was written beyond them meanwhile is missing. There is no end and no failure: the end of the deployment does not end
    /// the stream; drop it.
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
        LogStream {
            client: self.clone(),
            deployment: deployment.clone(),
            kind,
            batches,
            waiting: VecDeque::new(),
            seen: Seen::default(),
            trouble: None,
            subscription,
            _seat: self.read_a_log(),
        }
    }
}

/// What a stream has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogNews {
    /// A line.
    Line(LogLine),
    /// The log cannot be read at the moment, for this reason; said once, until it could be read again.
    Trouble(String),
}

impl LogStream {
    /// The next line, as soon as there is one. May be abandoned; nothing is lost then, but the pause before the next look
    /// begins anew where there are no subscriptions.
    pub async fn next(&mut self) -> LogNews {
        let client = self.client.clone();
        loop {
            while let Some(line) = self.waiting.pop_front() {
                if self.seen.note(&line) {
                    return LogNews::Line(line);
                }
            }
            tokio::select! {
                // What has been told wins over a look.
                biased;
                Some(lines) = self.batches.recv() => {
                    self.trouble = None;
                    self.waiting.extend(lines);
                }
                () = client.sleep(client.log_pause()) => {
                    if !self.is_told() && client.may_spare() {
                        match self.look().await {
                            Ok(lines) => {
                                self.trouble = None;
                                self.waiting.extend(lines);
                            }
                            Err(error) => {
                                if self.trouble.replace(error.to_string()).is_none() {
                                    return LogNews::Trouble(error.to_string());
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Whether new lines come by themselves at the moment.
    fn is_told(&self) -> bool {
        self.subscription.as_ref().is_some_and(Subscription::is_live)
    }

    async fn look(&self) -> Result<Vec<LogLine>> {
        match self.kind {
            LogKind::Build => self.client.build_log_tail(&self.deployment, LOOK_BACK).await,
            LogKind::Deploy => self.client.deployment_log_tail(&self.deployment, LOOK_BACK).await,
        }
    }
}

impl Client {
    /// The pause between two looks at a log: all streams together make one in the time of some looks at a deployment.
    fn log_pause(&self) -> Duration {
        let streams = u32::try_from(self.logs_read()).unwrap_or(u32::MAX).max(1);
        self.watch_interval().saturating_mul(LOOKS).saturating_mul(streams)
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
