//! Tells people.

use std::time::Duration;

use futures::future::{BoxFuture, join};
use spectra_journal::Journal;
use spectra_notify::{Channel, Message, Outcome, Sent, Severity, send_all};
use spectra_rollout::{News, Notifier};
use spectra_types::error_chain;
use tokio_util::sync::CancellationToken;

use crate::gates::{Env, process_env};
use crate::settings::{NotificationChannel, Settings};

/// The longest that telling may take; it goes on beside the rollout, and is waited for at its end.
const AT_MOST: Duration = Duration::from_secs(30);

/// The channels that the journal's settings name for a place, and those that a caller opened.
pub(crate) struct Channels<'a> {
    pub(crate) journal: &'a Journal,
    pub(crate) given: &'a [Channel],
    /// The page of the CI run.
    pub(crate) run_url: Option<String>,
    pub(crate) env: Env,
}

impl<'a> Channels<'a> {
    /// With the secrets from the process's environment.
    pub(crate) fn of(journal: &'a Journal, given: &'a [Channel], run_url: Option<String>) -> Self {
        Self { journal, given, run_url, env: process_env }
    }

    /// Those of the settings, and a line for each that could not be opened.
    async fn set(&self, news: &News) -> (Vec<Channel>, Vec<String>) {
        let found = Settings::of(self.journal).at::<NotificationChannel>(&news.place).await;
        let specs = match found {
            Ok(specs) => specs,
            Err(error) => {
                return (Vec::new(), vec![format!("channels could not be read: {}", error_chain(&error))]);
            }
        };
        let (mut channels, mut failed) = (Vec::new(), Vec::new());
        for NotificationChannel { channel: spec, .. } in specs {
            match spec.open(&self.env) {
                Ok(channel) => channels.push(channel),
                Err(error) => failed.push(format!("{}: failed: {}", spec.name, error_chain(&error))),
            }
        }
        (channels, failed)
    }
}

impl Notifier for Channels<'_> {
    fn tell<'a>(&'a self, news: &'a News) -> BoxFuture<'a, Vec<String>> {
        Box::pin(async move {
            let message = message(news, self.run_url.as_deref());
            let (channels, mut lines) = self.set(news).await;
            let never = CancellationToken::new();
            let (given, set) = join(
                send_all(self.given, &message, &never, AT_MOST),
                send_all(&channels, &message, &never, AT_MOST),
            )
            .await;
            lines.extend(given.iter().chain(&set).filter_map(line));
            lines
        })
    }
}

/// What became of it at one channel; `None` where it was not wanted.
fn line(sent: &Sent) -> Option<String> {
    match &sent.outcome {
        Outcome::Delivered(delivery) => {
            Some(format!("{}: delivered in {} attempt(s)", sent.channel, delivery.attempts))
        }
        Outcome::NotWanted => None,
        Outcome::Failed(error) => Some(format!("{}: failed: {}", sent.channel, error_chain(error))),
    }
}

fn message(news: &News, run_url: Option<&str>) -> Message {
    let severity = match news.event {
        "rollout.completed" => Severity::Success,
        "rollout.rollback_failed" => Severity::Critical,
        "rollout.started" | "rollout.approval_needed" => Severity::Info,
        _ => Severity::Warning,
    };
    let title = format!("{}: {}", news.event, news.place);
    let message =
        Message::new(news.event.into(), severity, news.rollout.clone(), title, jiff::Timestamp::now())
            .with_summary(news.summary.clone())
            .with_field("rollout", news.rollout.clone())
            .with_field("image", news.candidate.to_string())
            .with_field("project", news.place.project.to_string())
            .with_field("environment", news.place.environment.to_string())
            .with_field("service", news.place.service.to_string());
    match run_url {
        Some(url) => message.with_link("run", url),
        None => message,
    }
}

#[cfg(test)]
#[path = "news_tests.rs"]
mod tests;
