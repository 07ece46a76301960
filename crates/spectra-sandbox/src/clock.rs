//! Time inside the sandbox.
//!
//! Durations that Railway documents (a 30 s cooldown, a 300 s health check) are slept through
//! [`Clock::sleep`], which runs `time_scale` times faster than the wall, or only when a test advances it. What
//! clients read as `createdAt` is [`Clock::stamp`]: wall time, so that they can compare it with their own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::Instant;

/// How fast sandbox time runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Sandbox seconds per real second; at least 0.001.
    Scaled(f64),
    /// Time stands still but for [`Clock::advance`].
    Manual,
}

/// A moment in sandbox time: milliseconds since the Unix epoch plus everything that the pace has added.
/// Meaningful only against other ticks of the same state directory.
pub type Tick = u64;

/// A handle on the sandbox's time; clones share it.
#[derive(Debug, Clone)]
pub struct Clock {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    origin: Instant,
    base: Tick,
    pace: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    pace: Pace,
    /// Sandbox milliseconds gained before `since`.
    gained: f64,
    since: Instant,
    advanced: Duration,
    /// Wall time at which a manual clock stopped.
    stopped: u64,
}

impl Clock {
    /// A clock that starts at wall time, or at `at_least` where that is later (a restart must not go back).
    #[must_use]
    pub fn new(pace: Pace, at_least: Tick) -> Self {
        let now = Instant::now();
        let base = wall().max(at_least);
        Self {
            shared: Arc::new(Shared {
                origin: now,
                base,
                pace: Mutex::new(State {
                    pace,
                    gained: 0.0,
                    since: now,
                    advanced: Duration::ZERO,
                    stopped: base,
                }),
                changed: watch::Sender::new(0),
            }),
        }
    }

    /// Sandbox time now.
    #[must_use]
    pub fn now(&self) -> Tick {
        let state = self.lock();
        self.shared.base.saturating_add(millis(state.gained + state.running()))
    }

    /// Wall time now in milliseconds since the Unix epoch, moved on by manual advances: what clients are shown.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        let state = self.lock();
        let moved = u64::try_from(state.advanced.as_millis()).unwrap_or(u64::MAX);
        match state.pace {
            Pace::Scaled(_) => wall().saturating_add(moved),
            Pace::Manual => state.stopped.saturating_add(moved),
        }
    }

    /// Waits for `duration` of sandbox time. Advancing and changing the pace are noticed at once.
    pub async fn sleep(&self, duration: Duration) {
        let until = self.now().saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        self.sleep_until(until).await;
    }

    /// Waits until sandbox time has reached `tick`.
    pub async fn sleep_until(&self, tick: Tick) {
        let mut changed = self.shared.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let now = self.now();
            if now >= tick {
                return;
            }
            let left = Duration::from_millis(tick - now);
            if let Some(real) = self.real(left) {
                // One extra millisecond: rounding down would wake a hair early and spin.
                let real = real + Duration::from_millis(1);
                tokio::select! {
                    () = tokio::time::sleep(real) => {}
                    result = changed.changed() => if result.is_err() { return },
                }
            } else if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// How long `duration` of sandbox time takes on the wall; `None` while the clock is manual.
    #[must_use]
    pub fn real(&self, duration: Duration) -> Option<Duration> {
        match self.lock().pace {
            Pace::Scaled(scale) => Some(Duration::from_secs_f64((duration.as_secs_f64() / scale).min(1e9))),
            Pace::Manual => None,
        }
    }

    /// Moves time on by `duration` and wakes whoever that makes due.
    pub fn advance(&self, duration: Duration) {
        {
            let mut state = self.lock();
            state.gained += duration.as_secs_f64() * 1000.0;
            state.advanced += duration;
        }
        self.shared.changed.send_modify(|generation| *generation += 1);
    }

    /// Changes the pace from now on.
    pub fn set_pace(&self, pace: Pace) {
        {
            let mut state = self.lock();
            state.gained += state.running();
            state.since = Instant::now();
            if pace == Pace::Manual && state.pace != Pace::Manual {
                state.stopped = wall();
            }
            state.pace = match pace {
                Pace::Scaled(scale) => Pace::Scaled(scale.max(0.001)),
                Pace::Manual => Pace::Manual,
            };
        }
        self.shared.changed.send_modify(|generation| *generation += 1);
    }

    /// The pace now.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.lock().pace
    }

    /// Real time since the clock was made.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.shared.origin.elapsed()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is plain numbers; a panic elsewhere cannot leave it half written.
        self.shared.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn running(&self) -> f64 {
        match self.pace {
            Pace::Scaled(scale) => self.since.elapsed().as_secs_f64() * 1000.0 * scale,
            Pace::Manual => 0.0,
        }
    }
}

fn wall() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sums of non-negative durations; `as` saturates"
)]
fn millis(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn manual_time_stands_still_until_advanced() {
        let clock = Clock::new(Pace::Manual, 0);
        let before = clock.now();
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_secs(30)).await }
        });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(29));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        sleeper.await.unwrap();
        assert_eq!(clock.now(), before + 30_000);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn stopping_the_clock_does_not_take_it_back_to_its_start() {
        let clock = Clock::new(Pace::Scaled(20.0), 0);
        while wall() <= clock.shared.base {
            tokio::task::yield_now().await;
        }
        let before = clock.stamp();
        clock.set_pace(Pace::Manual);
        let stopped = clock.stamp();
        assert!(stopped >= before);
        clock.set_pace(Pace::Manual);
        assert_eq!(clock.stamp(), stopped);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.stamp(), stopped + 1_000);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_restart_never_goes_back() {
        let far = wall() + 86_400_000;
        assert!(Clock::new(Pace::Scaled(20.0), far).now() >= far);
    }
}
