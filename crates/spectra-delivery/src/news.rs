//! Tells people.

use std::time::Duration;

use futures::future::BoxFuture;
use spectra_notify::{Channel, Message, Outcome, Severity, send_all};
use spectra_rollout::{News, Notifier};
use spectra_types::error_chain;
use tokio_util::sync::CancellationToken;

/// The longest that telling may take; it goes on beside the rollout, and is waited for at its end.
const AT_MOST: Duration = Duration::from_secs(30);

/// Channels that were opened.
pub(crate) struct Channels<'a> {
    pub(crate) channels: &'a [Channel],
}

impl Notifier for Channels<'_> {
    fn tell<'a>(&'a self, news: &'a News) -> BoxFuture<'a, Vec<String>> {
        Box::pin(async move {
            let message = message(news);
            let sent = send_all(self.channels, &message, &CancellationToken::new(), AT_MOST).await;
            let line = |one: &spectra_notify::Sent| match &one.outcome {
                Outcome::Delivered(delivery) => {
                    Some(format!("{}: delivered in {} attempt(s)", one.channel, delivery.attempts))
                }
                Outcome::NotWanted => None,
                Outcome::Failed(error) => Some(format!("{}: failed: {}", one.channel, error_chain(error))),
            };
            sent.iter().filter_map(line).collect()
        })
    }
}

fn message(news: &News) -> Message {
    let severity = match news.event {
        "rollout.completed" => Severity::Success,
        "rollout.rollback_failed" => Severity::Critical,
        "rollout.started" | "rollout.approval_needed" => Severity::Info,
        _ => Severity::Warning,
    };
    let title = format!("{}: {}", news.event, news.place);
    Message::new(news.event.into(), severity, news.rollout.clone(), title, jiff::Timestamp::now())
        .with_summary(news.summary.clone())
        .with_field("rollout", news.rollout.clone())
        .with_field("image", news.candidate.to_string())
        .with_field("environment", news.place.environment.to_string())
        .with_field("service", news.place.service.to_string())
}
