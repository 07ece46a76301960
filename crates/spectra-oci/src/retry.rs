//! When to try again, and when to give up.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// How often and after how long a failed call is repeated.
///
/// Only calls that may be repeated safely are: reads, and uploads, which are addressed by digest.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Attempts altogether, at least one.
    pub attempts: u32,
    /// Wait after the first failure; doubles each time, with jitter.
    pub base: Duration,
    /// Longest wait of our own choice.
    pub cap: Duration,
    /// Longest wait that a registry may ask for by `Retry-After`; if it asks for more, the call fails.
    pub longest_retry_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(20),
            longest_retry_after: Duration::from_mins(2),
        }
    }
}

impl RetryPolicy {
    /// How long to wait after failed attempt number `attempt` (from 1), or `None` to give up.
    pub(crate) fn wait(&self, attempt: u32, asked: Option<Duration>) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        match asked {
            Some(asked) if asked > self.longest_retry_after => None,
            Some(asked) => Some(asked),
            None => {
                let full = self.base.saturating_mul(2_u32.saturating_pow(attempt - 1)).min(self.cap);
                // Between half and the whole, so that parallel uploads do not return in step.
                let jitter = u32::try_from(RandomState::new().hash_one(attempt) % 512).unwrap_or_default();
                Some(full / 2 + full * jitter / 1024)
            }
        }
    }
}

/// Whether an answer with this status may be different next time.
pub(crate) const fn is_retryable(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504 | 522)
}

/// What the registry asks for in `Retry-After`: seconds or a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let wait = until.duration_since(jiff::Timestamp::now());
    Some(Duration::try_from(wait).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let policy = RetryPolicy::default();
        let first = policy.wait(1, None).unwrap();
        assert!(first >= policy.base / 2 && first <= policy.base);
        assert!(policy.wait(4, None).unwrap() >= Duration::from_secs(2));
        assert_eq!(policy.wait(5, None), None);
    }

    #[test]
    fn retry_after_is_honoured_within_limits() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.wait(1, Some(Duration::from_secs(7))), Some(Duration::from_secs(7)));
        assert_eq!(policy.wait(1, Some(Duration::from_hours(1))), None);
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "3".parse().unwrap());
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(3)));
        headers.insert(RETRY_AFTER, "Wed, 21 Oct 2015 07:28:00 GMT".parse().unwrap());
        assert_eq!(retry_after(&headers), Some(Duration::ZERO));
    }
}
