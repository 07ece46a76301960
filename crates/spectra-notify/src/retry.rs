//! Again, after a while: the loop that every channel sends through.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, SystemClock};
use crate::error::Error;

/// How often and after how long a message is sent again.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Attempts altogether, at least one.
    pub attempts: u32,
    /// The wait after the first failure; doubles each time, with jitter.
    pub base: Duration,
    /// The longest wait, also where the receiver asks for more.
    pub cap: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 5, base: Duration::from_secs(1), cap: Duration::from_secs(30) }
    }
}

impl Retry {
    fn wait(&self, attempt: u32, asked: Option<Duration>) -> Duration {
        match asked {
            Some(asked) => asked.min(self.cap),
            None => self
                .base
                .saturating_mul(2_u32.saturating_pow(attempt - 1))
                .min(self.cap)
                .mul_f64(rand::rng().random_range(0.5..=1.0)),
        }
    }
}

/// How messages are sent.
#[derive(Clone, Debug)]
pub struct Options {
    /// The longest time for one attempt.
    pub timeout: Duration,
    /// When to try again.
    pub retry: Retry,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), retry: Retry::default(), clock: Arc::new(SystemClock) }
    }
}

/// A message that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The id that it was sent under.
    pub id: String,
    /// The receiver's status: of HTTP, or of SMTP.
    pub status: u16,
    /// How many attempts it took.
    pub attempts: u32,
}

/// How one attempt ended.
pub(crate) enum Attempt {
    /// With this status.
    Accepted(u16),
    /// For good.
    Refused(Error),
    /// In a way that may be over soon.
    Again {
        why: String,
        /// The wait that the receiver asked for.
        asked: Option<Duration>,
    },
}

/// An id that no other delivery has.
pub(crate) fn new_id() -> String {
    format!("{:032x}", rand::rng().random::<u128>())
}

/// Makes attempts until one is accepted or refused, or until there were enough. `told` hears of every failed attempt that
/// is followed by another. When `cancel` trips, an attempt under way is awaited, so that it is known what became of it,
/// and no other is made; where it has tripped before, there is none at all.
pub(crate) async fn deliver<F: Future<Output = Attempt>>(
    endpoint: &str,
    id: String,
    options: &Options,
    cancel: &CancellationToken,
    mut told: impl FnMut(&str),
    attempt: impl Fn() -> F,
) -> Result<Delivery, Error> {
    let endpoint = endpoint.to_owned();
    let mut attempts = 0;
    if cancel.is_cancelled() {
        return Err(Error::Stopped { endpoint, attempts, last: "none was made".to_owned() });
    }
    loop {
        attempts += 1;
        let (last, asked) = match attempt().await {
            Attempt::Accepted(status) => return Ok(Delivery { id, status, attempts }),
            Attempt::Refused(error) => return Err(error),
            Attempt::Again { why, asked } => (why, asked),
        };
        if attempts >= options.retry.attempts {
            return Err(Error::GaveUp { endpoint, attempts, last });
        }
        let wait = options.retry.wait(attempts, asked);
        told(&format!("attempt {attempts} failed: {last}; trying again in {} ms", wait.as_millis()));
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Error::Stopped { endpoint, attempts, last }),
            () = options.clock.sleep(wait) => {}
        }
    }
}
