//! Time inside the sandbox.
//!
//! Durations that Railway documents (a 30 s cooldown, a 300 s health check) are slept through
//! [`Clock::sleep`], which runs `time_scale` times faster than the wall, or only when a test advances it. What
//! clients read as `createdAt` is [`Clock::stamp`]: wall time, so that they can compare it with their own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
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

/// Where a clock was; what the next start goes on from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stand {
    /// Sandbox time.
    pub(crate) tick: Tick,
    /// What clients were shown as the time, and how much of it was advances; milliseconds.
    pub(crate) stamp: u64,
    pub(crate) advanced: u64,
}

/// Most that one call moves the time on: ten years of 366 days.
pub(crate) const LONGEST: Duration = Duration::from_hours(10 * 366 * 24);

/// Most that all advances together move the time on, so that no moment is too far off to be written as a date.
const FARTHEST: Duration = Duration::from_hours(1_000 * 366 * 24);

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

    /// A clock that goes on from where another one was. A manual clock stands where it stood; any other has gone on
    /// meanwhile, at the pace of the wall.
    pub(crate) fn resumed(pace: Pace, stand: Stand) -> Self {
        let clock = Self::new(pace, stand.tick);
        {
            let mut state = clock.lock();
            state.advanced = Duration::from_millis(stand.advanced);
            state.stopped = wall().max(stand.stamp.saturating_sub(stand.advanced));
        }
        clock
    }

    /// Where the clock is.
    pub(crate) fn stand(&self) -> Stand {
        let advanced = u64::try_from(self.lock().advanced.as_millis()).unwrap_or(u64::MAX);
        Stand { tick: self.now(), stamp: self.stamp(), advanced }
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

    /// Moves time on by `duration`, at most ten years, and wakes whoever that makes due.
    pub fn advance(&self, duration: Duration) {
        {
            let mut state = self.lock();
            let duration = duration.min(LONGEST).min(FARTHEST.saturating_sub(state.advanced));
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
    async fn a_clock_goes_on_from_where_it_was_also_in_what_it_shows() {
        let clock = Clock::new(Pace::Manual, 0);
        clock.advance(Duration::from_hours(48));
        let stand = clock.stand();
        for pace in [Pace::Manual, Pace::Scaled(1.0)] {
            let again = Clock::resumed(pace, stand).stand();
            assert!(again.tick >= stand.tick && again.stamp >= stand.stamp, "{again:?} {stand:?}");
            assert_eq!(again.advanced, stand.advanced);
        }
    }

    #[tokio::test]
    async fn an_advance_without_measure_is_cut_and_no_sum_of_them_overflows() {
        let clock = Clock::new(Pace::Manual, 0);
        let before = clock.now();
        clock.advance(Duration::MAX);
        assert_eq!(u128::from(clock.now() - before), LONGEST.as_millis());
        for _ in 0..1_000 {
            clock.advance(Duration::MAX);
        }
        assert!(u128::from(clock.now() - before) <= FARTHEST.as_millis());
        assert!(clock.stamp() < u64::MAX / 2);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_restart_never_goes_back() {
        let far = wall() + 86_400_000;
        assert!(Clock::new(Pace::Scaled(20.0), far).now() >= far);
    }
}
