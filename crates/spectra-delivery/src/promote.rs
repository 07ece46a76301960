//! Ends the wait of a rollout that another process runs.

use spectra_journal::Journal;
use spectra_rollout::{Entry, Outcome, Place, Wish};

use crate::error::Error;
use crate::follow::Following;
use crate::leases::is_acted_on;
use crate::standing::{Standing, standing};
use crate::wish::ask;

/// What came of asking a rollout to go on.
#[derive(Clone, Debug, PartialEq)]
pub enum Promoted {
    /// No rollout is open, or its process is gone.
    NothingRuns,
    /// It heard the wish.
    Heard {
        /// The rollout.
        rollout: String,
    },
    /// It ended before it heard the wish.
    Ended {
        /// The rollout.
        rollout: String,
        /// How.
        outcome: Box<Outcome>,
    },
}

/// Asks the open rollout of a service (only `id`, if that is given) to end the wait that it is in, and waits until it has
/// heard. A rollout listens while it waits for something, and not on its way back. A wait for an approval or a freeze does not end
/// by it.
pub async fn promote(
    journal: &Journal,
    place: &Place,
    id: Option<&str>,
    by: &str,
) -> Result<Promoted, Error> {
    let (rollout, own) = match standing(journal, &place.subject()).await? {
        Standing::Open { rollout, request, .. } if id.is_none_or(|id| id == rollout) => {
            (rollout, request.place)
        }
        _ => return Ok(Promoted::NothingRuns),
    };
    if !is_acted_on(journal, &own).await? {
        return Ok(Promoted::NothingRuns);
    }
    let asked = ask(journal, &own, &rollout, &Wish::Promote { by: by.to_owned() }).await?;
    heard(journal, &own, &rollout, asked.seq).await.map_err(|error| error.after_wish(&rollout))
}

/// Waits until a rollout that was asked to go on has heard, or is no more.
async fn heard(journal: &Journal, own: &Place, rollout: &str, asked: u64) -> Result<Promoted, Error> {
    let rollout = rollout.to_owned();
    let mut following = Following::after(journal, rollout.clone(), asked);
    loop {
        for (_, entry) in following.read().await? {
            match entry {
                Some(Entry::Heard { wish: Wish::Promote { .. } }) => return Ok(Promoted::Heard { rollout }),
                Some(Entry::Finished { outcome }) => {
                    return Ok(Promoted::Ended { rollout, outcome: Box::new(outcome) });
                }
                _ => {}
            }
        }
        if !is_acted_on(journal, own).await? {
            return Ok(Promoted::NothingRuns);
        }
        following.pause().await;
    }
}
