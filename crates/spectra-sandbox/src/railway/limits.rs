//! Budgets: requests per hour and per second of the plan, and the edge's rule about URLs without a query string.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Tick};
use crate::settings::Settings;

const HOUR: Tick = 3_600_000;
const SECOND: Tick = 1_000;
/// Requests a second without a query string before the edge blocks.
const EDGE_LIMIT: usize = 10;
/// How long the edge blocks, in sandbox time.
const EDGE_BLOCK: Tick = 60_000;

/// Counters per credential.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    windows: HashMap<String, Window>,
    bare: VecDeque<Tick>,
    blocked_until: Tick,
}

#[derive(Debug, Default)]
struct Window {
    started: Tick,
    used: u32,
    recent: VecDeque<Tick>,
}

/// What the headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
    /// Real time until the window ends.
    pub(crate) reset_in: Duration,
    /// Set when this request is over the budget: real time to wait.
    pub(crate) retry_after: Option<Duration>,
}

impl Limits {
    /// Takes what is left of the hour's budget of `credential`; a plan without a budget has nothing to take.
    pub(crate) fn exhaust(&self, credential: &str, settings: &Settings, clock: &Clock) {
        let Some(limit) = settings.requests_per_hour.or(settings.plan.budget().0) else { return };
        let now = clock.now();
        let mut inner = self.lock();
        let window = inner.windows.entry(credential.to_owned()).or_default();
        if now >= window.started.saturating_add(HOUR) {
            window.started = now;
        }
        window.used = limit;
    }

    /// Counts one request of `credential`; `None` where the plan has no budget.
    pub(crate) fn spend(&self, credential: &str, settings: &Settings, clock: &Clock) -> Option<Budget> {
        if !settings.rate_limit {
            return None;
        }
        let (hour, second) = settings.plan.budget();
        let limit = settings.requests_per_hour.or(hour)?;
        let second = settings.requests_per_second.or(second);
        let now = clock.now();
        let mut inner = self.lock();
        let window = inner.windows.entry(credential.to_owned()).or_default();
        if now >= window.started.saturating_add(HOUR) {
            window.started = now;
            window.used = 0;
        }
        while window.recent.front().is_some_and(|tick| *tick + SECOND <= now) {
            window.recent.pop_front();
        }
        let real = |ticks: Tick| {
            let duration = Duration::from_millis(ticks);
            clock.real(duration).unwrap_or(duration)
        };
        let reset_in = real(window.started.saturating_add(HOUR).saturating_sub(now));
        let over_second = second.is_some_and(|second| window.recent.len() >= second as usize);
        let retry_after = if window.used >= limit {
            Some(reset_in)
        } else if over_second {
            Some(real(window.recent.front().map_or(SECOND, |first| first + SECOND - now)))
        } else {
            window.used += 1;
            if second.is_some() {
                window.recent.push_back(now);
            }
            None
        };
        Some(Budget { limit, remaining: limit.saturating_sub(window.used), reset_in, retry_after })
    }

    /// Whether the edge lets a URL without a query string through.
    pub(crate) fn bare_url(&self, settings: &Settings, clock: &Clock) -> bool {
        if !settings.query_string_rule {
            return true;
        }
        let now = clock.now();
        let mut inner = self.lock();
        if now < inner.blocked_until {
            return false;
        }
        while inner.bare.front().is_some_and(|tick| *tick + SECOND <= now) {
            inner.bare.pop_front();
        }
        inner.bare.push_back(now);
        if inner.bare.len() > EDGE_LIMIT {
            inner.blocked_until = now + EDGE_BLOCK;
            return false;
        }
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Plain counters; nothing can be left half written.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
