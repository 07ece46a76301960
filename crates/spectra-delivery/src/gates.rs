//! What may hold a rollout up: freeze windows, approvals and policies.

use futures::future::BoxFuture;
use jiff::Timestamp;
use spectra_github::{Run, Verdict};
use spectra_journal::Journal;
use spectra_rollout::spec::ApprovalRule;
use spectra_rollout::{Approval, FreezeWindow, Frozen, Gates, Place, RolloutRequest, Violation, govern};
use spectra_types::error_chain;

use crate::approval::{Ignored, Tally, tally};
use crate::error::Error;
use crate::settings::Settings;

/// Looks up an environment variable.
pub(crate) type Env = fn(&str) -> Option<String>;

/// The process's own environment.
pub(crate) fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Freeze windows and approvals, as the journal and GitHub have them.
pub(crate) struct JournalGates<'a> {
    pub(crate) journal: &'a Journal,
    pub(crate) env: Env,
    pub(crate) now: fn() -> Timestamp,
}

impl<'a> JournalGates<'a> {
    /// By the system's clock and the process's environment.
    pub(crate) fn of(journal: &'a Journal) -> Self {
        Self { journal, env: process_env, now: Timestamp::now }
    }

    async fn frozen_now(&self, place: &Place) -> Result<Option<String>, Error> {
        let now = (self.now)();
        let mut words = Vec::new();
        for window in Settings::of(self.journal).at::<FreezeWindow>(place).await? {
            if let Some(frozen) = window.holds_at(now)? {
                words.push(format!("{window} holds for {} until {}", window.reach, frozen.to));
            }
        }
        Ok((!words.is_empty()).then(|| words.join("; ")))
    }

    async fn approved(&self, request: &RolloutRequest) -> Result<Approval, Error> {
        let mut tally = tally(self.journal, request).await?;
        if let Some(rule) = &request.approval {
            self.reviewed(rule, &mut tally).await?;
        }
        Ok(tally.approval(request))
    }

    /// Adds GitHub's reviewers. Outside of a run there are none.
    async fn reviewed(&self, rule: &ApprovalRule, tally: &mut Tally) -> Result<(), Error> {
        let Some(environment) = &rule.github_environment else { return Ok(()) };
        let Some(run) = Run::from_env(&self.env)? else { return Ok(()) };
        let reviews = run.reviews(environment).await?;
        let name = |login: &str| format!("github:{login}");
        for (login, why) in reviews.ignored {
            tally.ignored.push((name(&login), Ignored::GitHub(why)));
        }
        let (given, denied): (Vec<_>, Vec<_>) =
            reviews.counted.into_iter().partition(|review| review.verdict == Verdict::Approved);
        for review in given {
            tally.give(&name(&review.login));
        }
        // GitHub does not say which came first. A refusal there ends the run's job, so nothing comes after it.
        for review in denied {
            tally.deny(&name(&review.login));
        }
        Ok(())
    }
}

impl Gates for JournalGates<'_> {
    fn frozen<'a>(&'a self, request: &'a RolloutRequest) -> BoxFuture<'a, Result<Option<String>, String>> {
        Box::pin(async move { self.frozen_now(&request.place).await.map_err(|error| error_chain(&error)) })
    }

    fn approval<'a>(&'a self, request: &'a RolloutRequest) -> BoxFuture<'a, Result<Approval, String>> {
        Box::pin(async move { self.approved(request).await.map_err(|error| with_hint(&error)) })
    }
}

fn with_hint(error: &Error) -> String {
    let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
    format!("{}{hint}", error_chain(error))
}

/// The request as the policies of its place want it: with their approvals in it. [`Error::Policy`] names every rule that it
/// breaks. A delivery asks this of itself; a plan may ask it before.
pub async fn governed(journal: &Journal, request: RolloutRequest) -> Result<RolloutRequest, Error> {
    let policies = Settings::of(journal).at(&request.place).await?;
    govern(&policies, request).map_err(|violations| Error::Policy { violations })
}

/// What the policies of its place ask for that the request, as a way back, does not wait for.
pub(crate) async fn passed_over(
    journal: &Journal,
    request: &RolloutRequest,
) -> Result<Vec<Violation>, Error> {
    let policies = Settings::of(journal).at(&request.place).await?;
    Ok(spectra_rollout::passed_over(&policies, request))
}

/// The times between two moments in which freeze windows hold for a place, with the windows, in order: for a plan.
pub async fn freezes(
    journal: &Journal,
    place: &Place,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<(FreezeWindow, Frozen)>, Error> {
    let mut found = Vec::new();
    for window in Settings::of(journal).at::<FreezeWindow>(place).await? {
        let hits = window.hits(from, to)?;
        found.extend(hits.into_iter().map(|hit| (window.clone(), hit)));
    }
    found.sort_by_key(|(_, hit)| hit.from);
    Ok(found)
}

#[cfg(test)]
#[path = "gates_tests.rs"]
mod tests;
