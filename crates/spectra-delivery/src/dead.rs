//! Leases that nobody gives back any more.

use spectra_journal::{Acquisition, Held, Holder, Journal};
use spectra_types::error_chain;

use crate::error::Error;
use crate::leases::DEFAULT_TTL;
use crate::standing::{Standing, standing};

/// Frees leases that are left over: their time is over or their process is gone, and no rollout of theirs is open. They died
/// before they began, or after they had ended. A lease with an open rollout is left to whoever brings that to an end.
///
/// Nothing is changed but the leases, so commands that only read may do it. Returns those that were freed.
pub async fn free_what_the_dead_have(journal: &Journal, by: &Holder) -> Result<Vec<Held>, Error> {
    let mut freed = Vec::new();
    for held in journal.leases().await? {
        let dead = held.expired || held.holder.is_gone();
        if !dead || matches!(standing(journal, &held.subject).await?, Standing::Open { .. }) {
            continue;
        }
        // Taken only if it is still so: whoever took it in between has it.
        if let Acquisition::Acquired(lease) = journal.acquire(&held.subject, by.clone(), DEFAULT_TTL).await? {
            lease.release().await?;
            freed.push(held);
        }
    }
    Ok(freed)
}

/// The same for a command that is about something else, which does not fail for it.
pub async fn tidy_leases(journal: &Journal, by: &Holder) {
    match free_what_the_dead_have(journal, by).await {
        Ok(freed) => {
            for held in freed {
                tracing::info!(subject = held.subject, holder = %held.holder, "freed the lease of a process that is gone");
            }
        }
        Err(error) => {
            tracing::warn!(
                error = error_chain(&error),
                "leases of processes that are gone could not be freed"
            );
        }
    }
}
