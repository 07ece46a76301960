//! Time, passed in, so that tests need not wait.

use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime};

use futures::future::BoxFuture;

/// What the client waits on and measures with.
pub trait Clock: Debug + Send + Sync {
    /// Time since the clock's own beginning; never goes back.
    fn now(&self) -> Duration;
    /// Time since the Unix epoch, for headers that carry dates.
    fn wall(&self) -> Duration;
    /// Waits.
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()>;
}

/// The real one.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn wall(&self) -> Duration {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// How often and how long the client looks for something that has to appear, vanish or change.
#[derive(Clone, Copy, Debug)]
pub struct Polling {
    /// The pause after the first look; the first look itself is immediate.
    pub first: Duration,
    /// The pause between two looks at a deployment.
    pub watch: Duration,
    /// The longest pause; pauses grow by half.
    pub longest: Duration,
    /// When a new object that still cannot be seen is given up. Tails of more than 28 s were seen.
    pub visible_within: Duration,
    /// When a setting that still reads differently, or an object whose making was not answered, is given up. Longer than the
    /// tails that were seen: what shows later than this would take over from whatever was done instead.
    pub settled_within: Duration,
    /// How long a cooldown is waited out.
    pub cooldown_within: Duration,
}

impl Polling {
    /// For Railway itself: a look a second, since looks cost from an hourly budget.
    pub const REMOTE: Self = Self {
        first: Duration::from_secs(1),
        watch: Duration::from_secs(3),
        longest: Duration::from_secs(1),
        visible_within: Duration::from_secs(90),
        settled_within: Duration::from_secs(45),
        cooldown_within: Duration::from_secs(90),
    };

    /// For a sandbox on this machine, whose times are short and whose requests are free.
    pub const LOOPBACK: Self = Self {
        first: Duration::from_millis(100),
        watch: Duration::from_millis(200),
        longest: Duration::from_secs(1),
        visible_within: Duration::from_secs(90),
        settled_within: Duration::from_secs(5),
        cooldown_within: Duration::from_secs(90),
    };

    pub(crate) fn pauses(self) -> impl Iterator<Item = Duration> {
        std::iter::successors(Some(self.first), move |pause| Some((*pause * 3 / 2).min(self.longest)))
    }
}
