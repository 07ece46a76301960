//! What somebody asks of a rollout that another process runs.

use spectra_journal::{Draft, Journal, Record};
use spectra_rollout::{Place, Wish};

use crate::error::Error;
use crate::kinds;

/// Writes a wish down. The process that runs the rollout hears it within a few seconds.
pub async fn ask(journal: &Journal, place: &Place, rollout: &str, wish: &Wish) -> Result<Record, Error> {
    let kind = match wish {
        Wish::Abort { .. } => kinds::ABORT,
        Wish::Promote { .. } => kinds::PROMOTE,
    };
    let draft = Draft {
        subject: place.subject(),
        rollout: Some(rollout.to_owned()),
        kind: kind.to_owned(),
        // A value of plain data: writing it cannot fail.
        body: serde_json::to_value(wish).unwrap_or_default(),
    };
    Ok(journal.append(draft).await?)
}
