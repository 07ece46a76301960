//! Ends a rollout that is open, wherever its process is.

use spectra_rollout::{Outcome, Place, Report, Wish};
use tokio_util::sync::CancellationToken;

use crate::dead::free_what_the_dead_have;
use crate::deliver::Delivery;
use crate::error::Error;
use crate::follow::Following;
use crate::leases::is_acted_on;
use crate::standing::{Standing, standing};
use crate::wish::ask;

/// What came of an abort.
#[derive(Debug)]
pub enum Aborted {
    /// No rollout was open.
    NothingOpen,
    /// A rollout is open, and it is not the one that was named; nothing was asked of it.
    Another {
        /// The one that is open.
        open: String,
    },
    /// The process that runs it was asked, and it ended.
    Ended {
        /// The rollout.
        rollout: String,
        /// How.
        outcome: Box<Outcome>,
    },
    /// Its process was gone, and this one brought it to an end.
    Recovered(Box<Report>),
    /// The process that runs it was asked; it was not waited for until the end.
    Asked {
        /// The rollout.
        rollout: String,
    },
}

impl Delivery<'_> {
    /// Ends the open rollout of a service; only `id`, if that is given. If its process lives, it is asked, and the end is waited
    /// for until `cancel` trips. If it is gone or let its lease run out, the environment is brought back from here.
    pub async fn abort(
        &self,
        place: &Place,
        id: Option<&str>,
        by: &str,
        reason: &str,
        cancel: &CancellationToken,
    ) -> Result<Aborted, Error> {
        let (rollout, own) = match standing(self.journal, &place.subject()).await? {
            Standing::None | Standing::Ended { .. } => {
                free_what_the_dead_have(self.journal, &self.holder).await?;
                return Ok(Aborted::NothingOpen);
            }
            Standing::Unresolved { rollout, outcome } => {
                return Err(Error::Unresolved {
                    subject: place.subject(),
                    rollout,
                    reason: outcome.to_string(),
                });
            }
            Standing::Open { rollout, .. } if id.is_some_and(|id| id != rollout) => {
                return Ok(Aborted::Another { open: rollout });
            }
            Standing::Open { rollout, request, .. } => (rollout, request.place),
        };
        let wish = Wish::Abort { by: by.to_owned(), reason: reason.to_owned() };
        // Written in any case: the record shows who asked, also when nobody is there to hear it.
        let asked = ask(self.journal, &own, &rollout, &wish).await?;
        let result = self.see_it_end(&own, &rollout, asked.seq, cancel).await;
        result.map_err(|error| error.after_wish(&rollout))
    }

    /// Waits until a rollout that was asked to go back has ended, and ends it from here if its process is gone.
    async fn see_it_end(
        &self,
        own: &Place,
        rollout: &str,
        asked: u64,
        cancel: &CancellationToken,
    ) -> Result<Aborted, Error> {
        let rollout = rollout.to_owned();
        let mut following = Following::after(self.journal, rollout.clone(), asked);
        loop {
            if let Some(outcome) = following.outcome().await? {
                return Ok(Aborted::Ended { rollout, outcome: Box::new(outcome) });
            }
            if !is_acted_on(self.journal, own).await? {
                match self.recover(own, cancel).await {
                    Ok(Some(report)) => return Ok(Aborted::Recovered(Box::new(report))),
                    // Its end was written between the two looks, or somebody else takes care of it.
                    Ok(None) | Err(Error::LeaseHeld { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            tokio::select! {
                () = cancel.cancelled() => return Ok(Aborted::Asked { rollout }),
                () = following.pause() => {}
            }
        }
    }
}
