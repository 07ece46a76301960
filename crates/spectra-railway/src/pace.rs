//! When the next request may go out.
//!
//! A token bucket that slows down as the hourly budget shrinks, and stands still while the server says so. One
//! client has one; processes do not know of each other, which is why the default rate stays at half of the edge's
//! limit.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use jiff::fmt::rfc2822;

use crate::config::Budget;

/// How long a block of the edge (body `error code: 1015`, no headers) is respected at least.
const EDGE_BLOCK: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(crate) struct Pacer {
    budget: Budget,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// May be negative: turns that were given away.
    tokens: f64,
    filled_at: Duration,
    per_second: f64,
    not_before: Duration,
}

impl Pacer {
    pub(crate) fn new(budget: Budget, now: Duration) -> Self {
        let state = State {
            tokens: f64::from(budget.burst.max(1)),
            filled_at: now,
            per_second: budget.per_second.max(0.01),
            not_before: Duration::ZERO,
        };
        Self { budget, state: Mutex::new(state) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Plain numbers: a panic elsewhere cannot leave them half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a turn: how long to wait for it, or, without taking one, `Err` with the wait that would be too long.
    pub(crate) fn take_turn(&self, now: Duration) -> Result<Duration, Duration> {
        let mut state = self.lock();
        let elapsed = now.saturating_sub(state.filled_at).as_secs_f64();
        let full = f64::from(self.budget.burst.max(1));
        let tokens = (state.tokens + elapsed * state.per_second).min(full);
        let turn = if tokens >= 1.0 { 0.0 } else { (1.0 - tokens) / state.per_second };
        let wait = Duration::from_secs_f64(turn).max(state.not_before.saturating_sub(now));
        if wait > self.budget.longest_wait {
            return Err(wait);
        }
        state.tokens = tokens - 1.0;
        state.filled_at = now;
        Ok(wait)
    }

    /// The time between two requests in the long run, as things stand.
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.lock().per_second)
    }

    /// Whether more than a quarter of the hourly budget is left, as far as the server has said.
    pub(crate) fn is_at_full_speed(&self) -> bool {
        self.lock().per_second >= self.budget.per_second.max(0.01)
    }

    /// Nothing goes out for this long.
    pub(crate) fn block(&self, now: Duration, pause: Duration) {
        let mut state = self.lock();
        state.not_before = state.not_before.max(now + pause);
    }

    /// Reads the budget headers. Full speed while more than a quarter is left; below, what is left is spread over
    /// the time until the reset.
    pub(crate) fn observe(&self, headers: &HeaderMap, now: Duration, wall: Duration) {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
        let Some(remaining) = number("x-ratelimit-remaining") else { return };
        let limit = number("x-ratelimit-limit").unwrap_or(0);
        let reset = number("x-ratelimit-reset")
            .map_or(Duration::from_mins(1), |at| Duration::from_secs(at).saturating_sub(wall))
            .max(Duration::from_secs(1));
        let full_speed = self.budget.per_second.max(0.01);
        let mut state = self.lock();
        // Turns so far are settled at the old rate.
        let elapsed = now.saturating_sub(state.filled_at).as_secs_f64();
        state.tokens = (state.tokens + elapsed * state.per_second).min(f64::from(self.budget.burst.max(1)));
        state.filled_at = now;
        state.per_second = if remaining.saturating_mul(4) >= limit {
            full_speed
        } else {
            // Precision is of no concern for a rate.
            #[expect(clippy::cast_precision_loss, reason = "hourly budgets are small numbers")]
            let spread = remaining as f64 / reset.as_secs_f64();
            spread.clamp(1.0 / reset.as_secs_f64(), full_speed)
        };
        if remaining == 0 {
            state.not_before = state.not_before.max(now + reset);
        }
    }
}

/// How long a throttled reply asks to wait: seconds or an HTTP date, the block of the edge, or nothing.
pub(crate) fn retry_after(headers: &HeaderMap, body: &[u8], wall: Duration) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(text) = text {
        if let Ok(seconds) = text.parse::<u64>() {
            return Some(Duration::from_secs(seconds));
        }
        if let Ok(date) = rfc2822::DateTimeParser::new().parse_timestamp(text) {
            let at = Duration::from_secs(u64::try_from(date.as_second()).unwrap_or(0));
            return Some(at.saturating_sub(wall));
        }
    }
    let body = String::from_utf8_lossy(&body[..body.len().min(512)]).to_lowercase();
    body.contains("error code: 1015").then_some(EDGE_BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pacer() -> Pacer {
        Pacer::new(Budget { per_second: 5.0, burst: 2, longest_wait: 10 * SECOND }, Duration::ZERO)
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_burst_then_the_rate() {
        let pacer = pacer();
        let waits: Vec<_> = (0..4).map(|_| pacer.take_turn(Duration::ZERO).unwrap().as_millis()).collect();
        assert_eq!(waits, [0, 0, 200, 400]);
        assert_eq!(pacer.take_turn(10 * SECOND), Ok(Duration::ZERO));
    }

    #[test]
    fn slows_down_when_the_budget_shrinks_and_recovers() {
        let pacer = pacer();
        let low = headers(&[
            ("x-ratelimit-limit", "100"),
            ("x-ratelimit-remaining", "10"),
            ("x-ratelimit-reset", "1020"),
        ]);
        assert!(pacer.is_at_full_speed());
        pacer.observe(&low, Duration::ZERO, 1000 * SECOND);
        assert!(!pacer.is_at_full_speed());
        let waits: Vec<_> = (0..4).map(|_| pacer.take_turn(Duration::ZERO).unwrap().as_secs()).collect();
        assert_eq!(waits, [0, 0, 2, 4], "10 requests spread over 20 s");
        let fine = headers(&[("x-ratelimit-limit", "100"), ("x-ratelimit-remaining", "99")]);
        pacer.observe(&fine, 10 * SECOND, 1000 * SECOND);
        assert!(pacer.is_at_full_speed());
        assert_eq!(pacer.take_turn(20 * SECOND), Ok(Duration::ZERO));
        assert_eq!(pacer.lock().per_second.to_bits(), 5.0_f64.to_bits());
    }

    #[test]
    fn an_empty_budget_waits_for_the_reset_or_gives_up() {
        let pacer = pacer();
        let soon = headers(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1007")]);
        pacer.observe(&soon, Duration::ZERO, 1000 * SECOND);
        assert_eq!(pacer.take_turn(Duration::ZERO), Ok(7 * SECOND));
        let late = headers(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "3000")]);
        pacer.observe(&late, Duration::ZERO, 1000 * SECOND);
        assert_eq!(pacer.take_turn(Duration::ZERO), Err(2000 * SECOND));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_or_the_edge() {
        let wall = 784_111_770 * SECOND;
        assert_eq!(retry_after(&headers(&[("retry-after", "7")]), b"", wall), Some(7 * SECOND));
        let date = headers(&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]);
        assert_eq!(retry_after(&date, b"", wall), Some(7 * SECOND));
        assert_eq!(retry_after(&date, b"", wall + 60 * SECOND), Some(Duration::ZERO));
        assert_eq!(retry_after(&HeaderMap::new(), b"error code: 1015", wall), Some(EDGE_BLOCK));
        assert_eq!(retry_after(&HeaderMap::new(), b"slow down", wall), None);
    }
}
