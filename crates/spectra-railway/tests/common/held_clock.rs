//! Time that passes only when the test says so.

use std::sync::Mutex;
use std::time::Duration;

use futures::future::BoxFuture;
use spectra_railway::Clock;
use tokio::sync::oneshot;

/// A client on this clock does nothing by itself that takes time: whatever happens without an advance was told.
#[derive(Debug, Default)]
pub(crate) struct HeldClock {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    now: Duration,
    sleepers: Vec<(Duration, oneshot::Sender<()>)>,
}

impl HeldClock {
    pub(crate) fn advance(&self, duration: Duration) {
        let mut state = self.state.lock().unwrap();
        state.now += duration;
        let now = state.now;
        for (_, wake) in state.sleepers.extract_if(.., |(due, _)| *due <= now) {
            // Who does not listen any more has been woken otherwise.
            let _ = wake.send(());
        }
    }

    /// Somebody sleeps for exactly this long from now.
    pub(crate) fn has_sleeper(&self, duration: Duration) -> bool {
        let state = self.state.lock().unwrap();
        state.sleepers.iter().any(|(due, wake)| *due == state.now + duration && !wake.is_closed())
    }
}

impl Clock for HeldClock {
    fn now(&self) -> Duration {
        self.state.lock().unwrap().now
    }

    fn wall(&self) -> Duration {
        Duration::from_secs(1_700_000_000) + self.now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        let (wake, woken) = oneshot::channel();
        let mut state = self.state.lock().unwrap();
        let due = state.now + duration;
        if duration.is_zero() {
            let _ = wake.send(());
        } else {
            state.sleepers.push((due, wake));
        }
        Box::pin(async {
            // The clock outlives its sleepers.
            let _ = woken.await;
        })
    }
}
