//! Ctrl-C and requests to end, while a rollout runs.
//!
//! The first one stops the rollout, which goes back inside its abort timeout. A second one, or the end of the time that the
//! caller leaves, ends the process at once. Whatever is open then is in the journal, and nothing more has to be done for that:
//! every step was written down before it was taken.

use std::future::Future;
use std::time::Duration;

use clap::Args;
use spectra_types::HumanDuration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// GitHub Actions asks to end by SIGINT, by SIGTERM after 7.5 s, and kills 2.5 s later. This leaves time for a last line.
const GITHUB_ACTIONS: Duration = Duration::from_secs(7);

/// How long going back may take after a signal.
#[derive(Debug, Clone, Args)]
pub(super) struct Handover {
    /// Time to go back after a signal, then the process ends and leaves the rest to the journal [default: 7s in GitHub
    /// Actions, else the abort timeout]
    #[arg(long, value_name = "DURATION", env = "SPECTRA_HANDOVER_AFTER")]
    handover_after: Option<HumanDuration>,
}

impl Handover {
    /// The time, if it is limited.
    fn after(&self) -> Option<Duration> {
        let github = || std::env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true");
        self.handover_after.map(HumanDuration::get).or_else(|| github().then_some(GITHUB_ACTIONS))
    }
}

/// Runs `work`. At the first signal, `cancel` is tripped and `told` is called with the time that is left, where it is limited; `left` makes the failure of a process that ends
/// before its work has.
pub(super) async fn unwinding<T>(
    handover: &Handover,
    cancel: &CancellationToken,
    told: impl Fn(Option<Duration>),
    left: impl Fn() -> Failure,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    let failed = |source| Failure::io("listen for signals", source);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    tokio::pin!(work);
    tokio::select! {
        biased;
        () = either(&mut interrupt, &mut terminate) => {}
        ended = &mut work => return Ok(ended),
    }
    cancel.cancel();
    let after = handover.after();
    told(after);
    let late = async {
        match after {
            Some(after) => tokio::time::sleep(after).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = either(&mut interrupt, &mut terminate) => Err(left()),
        ended = &mut work => Ok(ended),
        () = late => Err(left()),
    }
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
