//! `StopProvider`: the calls in flight are asked to finish, the process keeps serving.

use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Shared by the server and every handler.
///
/// Each call gets a token of the generation it starts in. [`stop`](Self::stop) trips that generation and begins
/// a new one, so that calls which come afterwards (closing what was opened, saving state) run undisturbed.
#[derive(Clone, Debug)]
pub struct StopToken(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    generation: Mutex<CancellationToken>,
    running: watch::Sender<usize>,
    /// Where handlers run; with the transport where nothing is set.
    handlers: OnceLock<Handle>,
}

impl Default for StopToken {
    fn default() -> Self {
        Self::new()
    }
}

impl StopToken {
    /// No call in flight, nothing stopped.
    #[must_use]
    pub fn new() -> Self {
        let generation = Mutex::new(CancellationToken::new());
        Self(Arc::new(Shared { generation, running: watch::Sender::new(0), handlers: OnceLock::new() }))
    }

    /// Trips the tokens of all calls in flight and installs a fresh one. Returns at once: whoever runs unwinds in
    /// its own time.
    pub fn stop(&self) {
        let mut generation = self.0.generation.lock().unwrap_or_else(PoisonError::into_inner);
        let stopped = std::mem::replace(&mut *generation, CancellationToken::new());
        drop(generation);
        // Outside the lock: cancelling wakes tasks, which may begin calls.
        stopped.cancel();
    }

    /// Has handlers run on `handlers` from here on, away from the transport.
    pub(super) fn run_on(&self, handlers: Handle) {
        // Set once: a token serves one server.
        let _ = self.0.handlers.set(handlers);
    }

    pub(super) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        match self.0.handlers.get() {
            Some(handlers) => handlers.spawn(task),
            None => tokio::spawn(task),
        }
    }

    /// Counts a call from here to the drop of what is returned. [`run_call`](super::run_call) does it for you.
    #[must_use]
    pub fn begin(&self) -> Call {
        let cancel = self.0.generation.lock().unwrap_or_else(PoisonError::into_inner).child_token();
        self.0.running.send_modify(|running| *running += 1);
        Call { cancel, shared: Arc::clone(&self.0) }
    }

    /// How many calls run now.
    #[must_use]
    pub fn calls_in_flight(&self) -> usize {
        *self.0.running.borrow()
    }

    /// Returns when no call runs.
    pub async fn idle(&self) {
        let mut running = self.0.running.subscribe();
        // The sender lives in `self`: waiting cannot fail.
        let _ = running.wait_for(|running| *running == 0).await;
    }
}

/// One call in flight.
#[derive(Debug)]
pub struct Call {
    cancel: CancellationToken,
    shared: Arc<Shared>,
}

impl Call {
    /// Trips when the call should finish early.
    #[must_use]
    pub fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.shared.running.send_modify(|running| *running -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_reaches_the_calls_in_flight_and_no_later_one() {
        let stop = StopToken::new();
        let (first, second) = (stop.begin(), stop.clone().begin());
        assert_eq!(stop.calls_in_flight(), 2);
        stop.stop();
        assert!(first.cancel().is_cancelled() && second.cancel().is_cancelled());
        let later = stop.begin();
        assert!(!later.cancel().is_cancelled());
        drop((first, second, later));
        stop.idle().await;
        assert_eq!(stop.calls_in_flight(), 0);
    }
}
