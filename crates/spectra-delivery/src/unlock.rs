//! Lets others begin again.

use spectra_journal::{Draft, Held, Holder, Journal};
use spectra_rollout::{Outcome, Place};

use crate::error::Error;
use crate::kinds;
use crate::standing::{Standing, standing};

/// What was in the way.
#[derive(Debug)]
pub struct Unlocked {
    /// The lease that was freed.
    pub lease: Option<Held>,
    /// The rollout whose failed way back was looked at, and how it had ended.
    pub cleared: Option<(String, Box<Outcome>)>,
    /// The rollout that is still open: the next one brings it to an end before it begins.
    pub open: Option<String>,
}

/// Frees the lease of a service, whoever has it, and clears a rollout whose way back failed. Both are recorded with the
/// reason. Nothing is changed on the platform.
pub async fn unlock(journal: &Journal, place: &Place, by: &Holder, reason: &str) -> Result<Unlocked, Error> {
    let subject = place.subject();
    let lease = journal.unlock(&subject, by.clone(), reason).await?;
    let mut unlocked = Unlocked { lease, cleared: None, open: None };
    match standing(journal, &subject).await? {
        Standing::None | Standing::Ended { .. } => {}
        Standing::Open { rollout, .. } => unlocked.open = Some(rollout),
        Standing::Unresolved { rollout, outcome } => {
            let draft = Draft {
                subject,
                rollout: Some(rollout.clone()),
                kind: kinds::CLEARED.to_owned(),
                body: serde_json::json!({ "by": by.to_string(), "reason": reason }),
            };
            journal.append(draft).await?;
            unlocked.cleared = Some((rollout, outcome));
        }
    }
    Ok(unlocked)
}
