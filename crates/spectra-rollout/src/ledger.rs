//! What was done and is not undone yet: the fold of the entries of one rollout.
//!
//! The machine keeps it while it runs, and a later process makes the same one from the journal. That is what makes an
//! interrupted rollout recoverable: both go back by the same list.

use spectra_types::DeploymentId;

use crate::entry::{Action, Entry, Made};
use crate::model::{Failure, Outcome, Snapshot};
use crate::ports::{Effect, SiblingOrder};
use crate::spec::{Place, RolloutRequest, Runner, Step};

/// What was done by a rollout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    request: Option<Box<RolloutRequest>>,
    baselines: Vec<(Place, Snapshot)>,
    taken: Vec<Taken>,
    no_return: Option<String>,
    failure: Option<Failure>,
    outcome: Option<Outcome>,
}

/// An action that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What.
    pub action: Action,
    /// Whether its outcome is known.
    pub answered: bool,
    /// The deployment that it started.
    pub deployment: Option<DeploymentId>,
    /// Nothing of it is left.
    pub undone: bool,
    /// It was begun more than once: what becomes of the last attempt says nothing of those before.
    pub again: bool,
}

impl Ledger {
    /// The ledger of these entries.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut ledger = Self::default();
        for entry in entries {
            ledger.apply(entry);
        }
        ledger
    }

    /// What was asked for.
    #[must_use]
    pub fn request(&self) -> Option<&RolloutRequest> {
        self.request.as_deref()
    }

    /// How it ended; `None` while it is open.
    #[must_use]
    pub const fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Why it goes back, if it does.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// The migration beyond which there is no way back, once it was begun. Announced alone, it changed nothing yet.
    #[must_use]
    pub fn no_return(&self) -> Option<&str> {
        self.no_return.as_deref().filter(|migration| {
            self.open().any(
                |taken| matches!(&taken.action, Action::Migrate { name, .. } if name.as_str() == *migration),
            )
        })
    }

    /// What was there before.
    #[must_use]
    pub fn snapshot(&self, place: &Place) -> Option<&Snapshot> {
        self.baselines.iter().find(|(at, _)| at == place).map(|(_, snapshot)| snapshot)
    }

    /// The candidate's deployment there, where its start was answered.
    #[must_use]
    pub fn deployment(&self, place: &Place) -> Option<&DeploymentId> {
        self.taken.iter().rev().find_map(|taken| match &taken.action {
            Action::Deploy { place: at } if at == place => taken.deployment.as_ref(),
            _ => None,
        })
    }

    /// Whether anything was or may have been changed.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.taken.iter().any(|taken| self.was_begun(taken))
    }

    /// What is to be undone, the last first.
    pub fn open(&self) -> impl Iterator<Item = &Taken> {
        self.taken.iter().rev().filter(|taken| !taken.undone && self.was_begun(taken))
    }

    /// Whether an intent may have been acted on: a migration that a deployment carries is not applied before there is one.
    fn was_begun(&self, taken: &Taken) -> bool {
        let Action::Migrate { step, .. } = &taken.action else { return true };
        let Some(request) = &self.request else { return true };
        let carried = request.all_steps().get(*step).is_some_and(
            |step| matches!(step, Step::Migrate(migration) if migration.runner == Runner::PreDeploy),
        );
        let deployed =
            |taken: &Taken| matches!(&taken.action, Action::Deploy { place } if *place == request.place);
        !carried || self.taken.iter().any(deployed)
    }

    /// The sibling, as far as it is known, while it has not been removed.
    #[must_use]
    pub fn sibling(&self) -> Option<&SiblingOrder> {
        self.open().find_map(|taken| match &taken.action {
            Action::CreateSibling { order } => Some(order),
            _ => None,
        })
    }

    /// Whether a migration or hook was done for certain.
    pub(crate) fn is_done(&self, action: &Action) -> bool {
        self.taken.iter().any(|taken| taken.action == *action && taken.answered && !taken.undone)
    }

    /// Takes an intent back that never came to be acted on.
    pub(crate) fn retract(&mut self, action: &Action) {
        if let Some(last) = self.taken.last()
            && last.action == *action
            && !last.answered
            && !last.again
        {
            self.taken.pop();
        }
    }

    /// Takes one entry in.
    pub fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Begun { request } => self.request = Some(request.clone()),
            Entry::Baseline { place, snapshot } => {
                // Once something was deployed there, what is seen is the rollout's own doing.
                let deployed = self
                    .taken
                    .iter()
                    .any(|taken| matches!(&taken.action, Action::Deploy { place: at } if at == place));
                if !deployed {
                    self.baselines.retain(|(at, _)| at != place);
                    self.baselines.push((place.clone(), snapshot.clone()));
                }
            }
            Entry::Intent { action } => self.intend(action),
            Entry::Done { action, made } => self.done(action, made),
            Entry::Failed { action, effect: Effect::None, .. } => self.retract_answered(action),
            Entry::Returned { place, .. } => {
                for taken in &mut self.taken {
                    if matches!(&taken.action, Action::Deploy { place: at } if at == place) {
                        taken.undone = true;
                    }
                }
            }
            Entry::PointOfNoReturn { migration } => self.no_return = Some(migration.clone()),
            Entry::GoingBack { failure } => self.failure = Some(failure.clone()),
            // A process that lost the lease ended itself, not the rollout.
            Entry::Finished { outcome } if !matches!(outcome, Outcome::Fenced { .. }) => {
                self.outcome = Some(outcome.clone());
            }
            // One that was complete is taken back: it is open again until that has ended.
            Entry::Resumed { .. } => self.outcome = None,
            Entry::Adopted { .. }
            | Entry::Stage { .. }
            | Entry::Failed { .. }
            | Entry::Measured { .. }
            | Entry::Sampled { .. }
            | Entry::Approved { .. }
            | Entry::FreezeOverridden { .. }
            | Entry::Heard { .. }
            | Entry::Trouble { .. }
            | Entry::Told { .. }
            | Entry::Leftover { .. }
            | Entry::Finished { .. } => {}
        }
    }

    fn intend(&mut self, action: &Action) {
        if matches!(
            action,
            Action::Deploy { .. }
                | Action::CreateSibling { .. }
                | Action::Migrate { .. }
                | Action::Hook { .. }
        ) {
            // Begun again, it is the same action.
            if let Some(taken) = self.taken.iter_mut().find(|taken| taken.action == *action && !taken.undone)
            {
                taken.answered = false;
                taken.again = true;
                return;
            }
            self.taken.push(Taken {
                action: action.clone(),
                answered: false,
                deployment: None,
                undone: false,
                again: false,
            });
        }
    }

    fn done(&mut self, action: &Action, made: &Made) {
        match action {
            Action::RemoveSibling { .. } => {
                for taken in &mut self.taken {
                    if matches!(taken.action, Action::CreateSibling { .. }) {
                        taken.undone = true;
                    }
                }
                // What ran there went with it.
                let gone: Vec<Place> = self
                    .taken
                    .iter()
                    .filter_map(|taken| match &taken.action {
                        Action::CreateSibling { order } => order.place.clone(),
                        _ => None,
                    })
                    .collect();
                for taken in &mut self.taken {
                    if matches!(&taken.action, Action::Deploy { place } if gone.contains(place)) {
                        taken.undone = true;
                    }
                }
            }
            Action::Revert { step, .. } => {
                self.undo(|action| matches!(action, Action::Migrate { step: at, .. } if at == step));
            }
            Action::UndoHook { step, .. } => {
                self.undo(|action| matches!(action, Action::Hook { step: at, .. } if at == step));
            }
            Action::Restore { .. } => {}
            Action::Deploy { .. }
            | Action::CreateSibling { .. }
            | Action::Migrate { .. }
            | Action::Hook { .. } => {
                let Some(taken) =
                    self.taken.iter_mut().rev().find(|taken| taken.action == *action && !taken.undone)
                else {
                    return;
                };
                taken.answered = true;
                match made {
                    Made::Deployment { id } => taken.deployment = Some(id.clone()),
                    Made::Sibling { place } => {
                        if let Action::CreateSibling { order } = &mut taken.action {
                            order.place = Some(place.clone());
                        }
                    }
                    Made::Nothing | Made::Output { .. } => {}
                }
            }
        }
    }

    fn undo(&mut self, which: impl Fn(&Action) -> bool) {
        for taken in self.taken.iter_mut().filter(|taken| which(&taken.action)) {
            taken.undone = true;
        }
    }

    /// It failed for certain without a trace: it never was.
    fn retract_answered(&mut self, action: &Action) {
        let once = |taken: &Taken| !taken.answered && !taken.undone && !taken.again;
        if let Some(position) = self.taken.iter().rposition(|taken| taken.action == *action && once(taken)) {
            self.taken.remove(position);
        }
    }
}
