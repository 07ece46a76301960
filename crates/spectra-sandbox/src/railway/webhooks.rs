//! The webhook sender: unsigned `POST`s to loopback addresses, tried again with exponential back-off on the
//! sandbox's clock. What came of each is written to its `Delivery`, from where a restart takes it up.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

use crate::clock::Tick;
use crate::core::{Core, Draft};
use crate::host;
use crate::railway::auth::hash;
use crate::railway::refusal::Refusal;
use crate::settings::{Settings, ticks};
use crate::store::rows::{Attempt, Delivery, DeliveryState};

/// Attempts after the first.
const RETRIES: usize = 3;
/// Failures count for this long.
const WINDOW: Tick = 6 * 3_600_000;
/// A suspended target is left alone for this long.
const SUSPENSION: Tick = 24 * 3_600_000;

static CLIENT: LazyLock<Option<reqwest::Client>> = LazyLock::new(|| {
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        // 3xx is success and is not followed.
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        // Whatever the machine's resolver says: port 0 stands for that of the URL.
        .resolve("localhost", SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .user_agent("RailwayWebhook/1.0")
        .build()
        .inspect_err(|error| tracing::error!(%error, "no HTTP client for webhooks"))
        .ok()
});

/// How one attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The target answered this status.
    Status(u16),
    /// There was no answer; the text never holds the URL.
    Failed(String),
    /// The target is not on loopback; trying again changes nothing.
    Refused,
}

impl Outcome {
    const fn success(&self) -> bool {
        matches!(self, Self::Status(200..=399))
    }

    /// The attempt as it is kept.
    pub(crate) fn attempt(&self, at: u64, tick: Tick) -> Attempt {
        let (status, error) = match self {
            Self::Status(status) if self.success() => (Some(*status), None),
            Self::Status(status) => (Some(*status), Some(format!("the target answered {status}"))),
            Self::Failed(reason) => (None, Some(reason.clone())),
            Self::Refused => (None, Some(REFUSED.to_owned())),
        };
        Attempt { at, tick, status, error }
    }
}

const REFUSED: &str = "the sandbox sends to loopback addresses alone";

fn loopback(url: &url::Url) -> bool {
    url.host_str().is_some_and(host::is_this_machine)
}

/// Sends once.
pub(crate) async fn send(settings: &Settings, url: &url::Url, body: String) -> Outcome {
    if !loopback(url) {
        return Outcome::Refused;
    }
    let Some(client) = CLIENT.as_ref() else {
        return Outcome::Failed("the sandbox has no HTTP client".to_owned());
    };
    let request = client
        .post(url.clone())
        .header("content-type", "application/json")
        .timeout(settings.webhook_timeout.get())
        .body(body);
    match request.send().await {
        Ok(answer) => Outcome::Status(answer.status().as_u16()),
        Err(error) if error.is_timeout() => {
            Outcome::Failed(format!("no answer within {}", settings.webhook_timeout))
        }
        Err(error) if error.is_connect() => Outcome::Failed("no connection to the target".to_owned()),
        Err(error) => Outcome::Failed(error.without_url().to_string()),
    }
}

/// Sees a delivery through to its end, or to the end of the sandbox.
pub(crate) fn deliver(core: &Arc<Core>, id: String) {
    let core = Arc::clone(core);
    tokio::spawn(async move {
        let shutdown = core.shutdown.clone();
        tokio::select! {
            () = run(&core, &id) => {}
            () = shutdown.cancelled() => {}
        }
    });
}

async fn run(core: &Arc<Core>, id: &str) {
    loop {
        let pending = |row: &&Arc<Delivery>| row.state == DeliveryState::Pending;
        let Some(due) = core.world().deliveries.get(id).filter(pending).map(|row| row.due_tick) else {
            return;
        };
        core.clock.sleep_until(due).await;
        let (world, settings) = (core.world(), core.settings());
        let Some(row) = world.deliveries.get(id).filter(pending) else { return };
        let channel = row.channel_id.as_deref().and_then(|channel| world.channels.get(channel));
        let Some(url) = channel.and_then(|channel| url::Url::parse(&channel.url).ok()) else {
            give_up(core, id, "the channel is gone");
            return;
        };
        let target = hash(url.as_str());
        let suspended = world.targets.get(&target).and_then(|row| row.suspended_until);
        if suspended.is_some_and(|until| core.clock.now() < until) {
            give_up(core, id, "the target is suspended");
            return;
        }
        let mut outcome = send(&settings, &url, row.body.to_string()).await;
        if outcome.success() && rand::random::<f64>() < settings.webhook_duplicate_probability {
            write(core, id, &target, &settings, &outcome, After::Again);
            outcome = send(&settings, &url, row.body.to_string()).await;
            // It has arrived once; how the second one fares changes nothing.
            write(core, id, &target, &settings, &outcome, After::Sent);
            return;
        }
        write(core, id, &target, &settings, &outcome, After::Judge);
    }
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// What its outcome says.
    Judge,
    /// The same once more, at once.
    Again,
    /// Nothing.
    Sent,
}

fn write(core: &Arc<Core>, id: &str, target: &str, settings: &Settings, outcome: &Outcome, after: After) {
    let done = core.mutate(|draft| {
        let attempt = outcome.attempt(draft.stamp, draft.tick);
        if !outcome.success() && *outcome != Outcome::Refused {
            failed(draft, target, settings);
        }
        let tick = draft.tick;
        let Some(row) = draft.world.deliveries.get_mut(id) else { return Ok(()) };
        if let Some(reason) = &attempt.error {
            tracing::warn!(delivery = id, target = row.url, reason, "a webhook was not delivered");
        }
        row.times.updated_at = attempt.at;
        row.attempts.push(attempt);
        row.state = match after {
            After::Sent => DeliveryState::Sent,
            After::Again => DeliveryState::Pending,
            After::Judge if outcome.success() => DeliveryState::Sent,
            After::Judge if *outcome == Outcome::Refused || row.attempts.len() > RETRIES => {
                DeliveryState::Failed
            }
            After::Judge => {
                let doubled = 1_u64 << (row.attempts.len() - 1).min(16);
                row.due_tick = tick.saturating_add(ticks(settings.webhook_backoff).saturating_mul(doubled));
                DeliveryState::Pending
            }
        };
        Ok(())
    });
    log(id, done);
}

/// Counts a failure of a target, and suspends it when there are too many.
fn failed(draft: &mut Draft, target: &str, settings: &Settings) {
    let tick = draft.tick;
    let mut row = draft.world.targets.get(target).map(|row| (**row).clone()).unwrap_or_default();
    row.failures.retain(|at| at.saturating_add(WINDOW) > tick);
    row.failures.push(tick);
    let limit = settings.webhook_failure_limit.and_then(|limit| usize::try_from(limit).ok());
    if limit.is_some_and(|limit| row.failures.len() >= limit) {
        row.failures.clear();
        row.suspended_until = Some(tick.saturating_add(SUSPENSION));
        tracing::warn!(target, "a webhook target is suspended for 24 h");
    }
    draft.world.targets.insert(target, row);
}

fn give_up(core: &Arc<Core>, id: &str, reason: &str) {
    let done = core.mutate(|draft| {
        let (at, tick) = (draft.stamp, draft.tick);
        if let Some(row) = draft.world.deliveries.get_mut(id) {
            tracing::warn!(delivery = id, target = row.url, reason, "a webhook was not delivered");
            row.attempts.push(Attempt { at, tick, status: None, error: Some(reason.to_owned()) });
            row.state = DeliveryState::Failed;
            row.times.updated_at = at;
        }
        Ok(())
    });
    log(id, done);
}

fn log(id: &str, done: Result<(), Refusal>) {
    if let Err(refusal) = done {
        tracing::error!(delivery = id, message = %refusal.message, "the outcome of a delivery was not written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_counts_as_such() {
        for (text, local) in [
            ("http://127.0.0.1:9/x", true),
            ("http://127.8.9.10/x", true),
            ("http://[::1]:9/x", true),
            ("http://localhost/x", true),
            ("http://example.com/x", false),
            ("http://10.0.0.1/x", false),
            ("http://localhost.example.com/x", false),
            ("http://127.0.0.1.example.com/x", false),
        ] {
            assert_eq!(loopback(&url::Url::parse(text).unwrap()), local, "{text}");
        }
    }

    #[test]
    fn two_and_three_hundreds_are_success() {
        for (status, good) in
            [(199, false), (200, true), (302, true), (399, true), (400, false), (500, false)]
        {
            assert_eq!(Outcome::Status(status).success(), good, "{status}");
        }
    }
}
