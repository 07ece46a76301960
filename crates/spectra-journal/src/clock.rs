//! The two clocks of a journal: what time it is, and how much time went by.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::watch;

/// Wall time for records of a SQLite journal, and elapsed time for what a lease knows about itself.
///
/// A PostgreSQL journal takes its wall time from the server, because the clocks of runners differ.
pub trait Clock: Send + Sync + 'static {
    /// What time it is.
    fn now(&self) -> Timestamp;

    /// Time since some moment of the past. It never goes back, and it goes on while the process is stopped.
    fn elapsed(&self) -> Duration;

    /// Ends after `duration` of [`Clock::elapsed`].
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's clocks.
///
/// On Linux elapsed time is `CLOCK_BOOTTIME`, which also goes on while the machine is suspended. Elsewhere it
/// is what [`std::time::Instant`] gives, which may stand still meanwhile: a lease is then believed for longer
/// than it holds, and the fencing number alone protects the journal.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    #[cfg(target_os = "linux")]
    fn elapsed(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // Neither part of a time since boot is negative.
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    }

    #[cfg(not(target_os = "linux"))]
    fn elapsed(&self) -> Duration {
        static BEGIN: std::sync::LazyLock<std::time::Instant> =
            std::sync::LazyLock::new(std::time::Instant::now);
        BEGIN.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that stands still until it is told to go on; for tests.
#[derive(Debug)]
pub struct ManualClock {
    start: Timestamp,
    elapsed: watch::Sender<Duration>,
    /// When each sleeper wakes.
    wakes: Arc<Mutex<Vec<Duration>>>,
}

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self { start, elapsed: watch::Sender::new(Duration::ZERO), wakes: Arc::default() }
    }

    /// Moves both clocks on, and wakes who slept until then.
    pub fn advance(&self, duration: Duration) {
        self.elapsed.send_modify(|elapsed| *elapsed += duration);
    }

    /// The moments, as [`Clock::elapsed`] counts, for which somebody waits.
    #[must_use]
    pub fn wakes(&self) -> Vec<Duration> {
        self.wakes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        // A test that leaves the range of `Timestamp` sees the clock stop at its start.
        self.start.checked_add(self.elapsed()).unwrap_or(self.start)
    }

    fn elapsed(&self) -> Duration {
        *self.elapsed.borrow()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut elapsed = self.elapsed.subscribe();
        let until = *elapsed.borrow() + duration;
        let sleeper = Sleeper::new(Arc::clone(&self.wakes), until);
        Box::pin(async move {
            // The clock is gone with its journal, and so is the reason to wake anybody.
            if elapsed.wait_for(|elapsed| *elapsed >= until).await.is_err() {
                std::future::pending::<()>().await;
            }
            drop(sleeper);
        })
    }
}

/// Stands in the list for as long as somebody sleeps.
struct Sleeper(Arc<Mutex<Vec<Duration>>>, Duration);

impl Sleeper {
    fn new(wakes: Arc<Mutex<Vec<Duration>>>, until: Duration) -> Self {
        wakes.lock().unwrap_or_else(PoisonError::into_inner).push(until);
        Self(wakes, until)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let mut wakes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = wakes.iter().position(|wake| *wake == self.1) {
            wakes.swap_remove(index);
        }
    }
}
