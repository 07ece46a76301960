//! Names of rollouts.

use rand::Rng as _;

/// A new id: when it began, and a random part. Ids sort by time.
#[must_use]
pub fn rollout_id() -> String {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    format!("ro-{now}-{:08x}", rand::rng().random::<u32>())
}
