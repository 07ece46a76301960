//! When the process ends: Terraform says so, or is gone.

use std::future::pending;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{ServeError, StopToken};

/// Why the server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// `GRPCController.Shutdown`.
    Shutdown,
    /// The launching process is gone: what runs still may finish, within bounds.
    ParentGone,
    /// There is no connection for long.
    ClientGone,
    /// A signal that ends this mode.
    Signal,
    /// The embedding program asked for it.
    Embedder,
}

impl Exit {
    /// Whether calls may still run that nobody has asked to stop.
    pub(crate) const fn is_unannounced(self) -> bool {
        matches!(self, Self::ParentGone | Self::ClientGone)
    }
}

/// Everything that can end the server.
pub(crate) struct Watch {
    pub(crate) shutdown: mpsc::Receiver<()>,
    /// `None` under reattach: connections come and go, and nobody sends `Shutdown`.
    pub(crate) launched: Option<Launched>,
    pub(crate) signals: Option<Signals>,
    pub(crate) embedder: CancellationToken,
}

/// What only a launched process watches.
pub(crate) struct Launched {
    pub(crate) parent: Option<Parent>,
    pub(crate) poll: Duration,
    /// How many connections there are.
    pub(crate) open: watch::Receiver<usize>,
    pub(crate) grace: Duration,
}

impl Watch {
    pub(crate) async fn exit(mut self, stop: &StopToken) -> Exit {
        let launched = self.launched.is_some();
        let (parent, client) = match self.launched {
            Some(Launched { parent, poll, open, grace }) => {
                (parent.map(|parent| (parent, poll)), Some((open, grace)))
            }
            None => (None, None),
        };
        let parent_gone = async {
            match parent {
                Some((parent, poll)) => parent.gone(poll).await,
                None => pending().await,
            }
        };
        let client_gone = async {
            match client {
                Some((open, grace)) => client_gone(open, grace).await,
                None => pending().await,
            }
        };
        let shutdown = async {
            // Under reattach the request is answered, and the server stays for the next run.
            while self.shutdown.recv().await.is_some() {
                if launched {
                    return;
                }
            }
            pending::<()>().await;
        };
        let signal = async {
            match self.signals {
                Some(signals) => signals.exit(stop).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = shutdown => Exit::Shutdown,
            () = parent_gone => Exit::ParentGone,
            () = client_gone => Exit::ClientGone,
            () = signal => Exit::Signal,
            () = self.embedder.cancelled() => Exit::Embedder,
        }
    }
}

/// Returns when there is no connection for the whole of `grace`: none any more, or none ever. A launcher connects
/// as soon as it has read the handshake; one that was killed before that left us no parent to watch.
async fn client_gone(mut open: watch::Receiver<usize>, grace: Duration) {
    loop {
        if open.wait_for(|open| *open == 0).await.is_err() {
            return pending().await;
        }
        let back = open.wait_for(|open| *open > 0);
        if tokio::time::timeout(grace, back).await.is_err() {
            return;
        }
    }
}

/// The process that started this one.
///
/// Polled: nothing tells a process that its parent is gone, and the kernel's own signal for it follows the thread
/// that started us, not the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parent(#[cfg(unix)] Option<rustix::process::Pid>);

impl Parent {
    #[cfg(unix)]
    #[expect(clippy::unnecessary_wraps, reason = "other systems have no parent to watch")]
    pub(crate) fn current() -> Option<Self> {
        Some(Self(rustix::process::getppid()))
    }

    #[cfg(not(unix))]
    pub(crate) fn current() -> Option<Self> {
        None
    }

    #[cfg(unix)]
    async fn gone(self, poll: Duration) {
        let mut ticks = tokio::time::interval(poll);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while rustix::process::getppid() == self.0 {
            ticks.tick().await;
        }
    }

    #[cfg(not(unix))]
    async fn gone(self, _poll: Duration) {
        pending().await
    }
}

/// Which signals end the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignalMode {
    /// Ctrl-C reaches the whole process group; Terraform decides what it means and tells us. Other requests to
    /// end are heeded when no call runs.
    Launched,
    /// A program of its own.
    Standalone,
}

/// Handlers in place of the default actions, from the moment of installation on.
#[cfg(unix)]
pub(crate) struct Signals {
    mode: SignalMode,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    pub(crate) fn install(mode: SignalMode) -> Result<Self, ServeError> {
        use tokio::signal::unix::{SignalKind, signal};
        let install = |kind| signal(kind).map_err(ServeError::Signals);
        Ok(Self {
            mode,
            interrupt: install(SignalKind::interrupt())?,
            terminate: install(SignalKind::terminate())?,
            hangup: install(SignalKind::hangup())?,
        })
    }

    async fn exit(mut self, stop: &StopToken) {
        loop {
            let interrupt = tokio::select! {
                _ = self.interrupt.recv() => true,
                _ = self.terminate.recv() => false,
                _ = self.hangup.recv() => false,
            };
            let running = stop.calls_in_flight();
            match (self.mode, interrupt) {
                (SignalMode::Standalone, _) => return,
                (SignalMode::Launched, true) => tracing::debug!("interrupt ignored: Terraform decides"),
                (SignalMode::Launched, false) if running == 0 => return,
                (SignalMode::Launched, false) => {
                    tracing::warn!(running, "asked to terminate while calls run: ignored");
                }
            }
        }
    }
}

/// Ctrl-C alone.
#[cfg(not(unix))]
pub(crate) struct Signals {
    mode: SignalMode,
}

#[cfg(not(unix))]
impl Signals {
    #[expect(clippy::unnecessary_wraps, reason = "as on Unix")]
    pub(crate) fn install(mode: SignalMode) -> Result<Self, ServeError> {
        Ok(Self { mode })
    }

    async fn exit(self, _stop: &StopToken) {
        loop {
            if tokio::signal::ctrl_c().await.is_err() {
                return pending().await;
            }
            if self.mode == SignalMode::Standalone {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_client_is_gone_only_after_a_whole_grace_without_connection() {
        let open = watch::Sender::new(1);
        let grace = Duration::from_mins(5);
        let mut gone = tokio::spawn(client_gone(open.subscribe(), grace));
        let long = Duration::from_secs(100_000);
        assert!(tokio::time::timeout(long, &mut gone).await.is_err(), "it is open");
        open.send_replace(0);
        assert!(tokio::time::timeout(grace / 2, &mut gone).await.is_err(), "the grace runs");
        open.send_replace(2);
        assert!(tokio::time::timeout(long, &mut gone).await.is_err(), "it came back");
        let closed = tokio::time::Instant::now();
        open.send_replace(0);
        gone.await.unwrap();
        assert!(closed.elapsed() >= grace);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_comes_is_gone_too() {
        let begin = tokio::time::Instant::now();
        let open = watch::Sender::new(0);
        client_gone(open.subscribe(), Duration::from_mins(5)).await;
        assert_eq!(begin.elapsed().as_secs(), 300);
    }
}
