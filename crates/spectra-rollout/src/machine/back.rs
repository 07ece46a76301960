//! The way back: the ledger, read from its end.

use std::time::Duration;

use spectra_types::DeploymentId;

use super::command::{Command, Event};
use super::forward::is_contract;
use super::release::Next;
use super::{At, BackAt, Machine};
use crate::entry::{Action, Entry, Made};
use crate::model::{Failure, FailureReason, Observation, Outcome};
use crate::spec::{Migration, Runner, Step};

impl Machine {
    /// It does not go on. Goes back, if there is anything to go back from.
    pub(super) fn fail(&mut self, now: Duration, reason: FailureReason) -> Command {
        let failure = self.failed_by(reason);
        if let Some(migration) = self.ledger.no_return() {
            let rollback = FailureReason::Irreversible { name: migration.to_owned() };
            return Command::Finish(Box::new(Outcome::RollbackFailed { failure, rollback }));
        }
        if let FailureReason::Superseded { by } = &failure.reason {
            // Why it goes back is written first. Without that, whoever takes it up would find a service that is back as it
            // was, and take what somebody else's version runs on from under it.
            if self.ledger.open().next().is_some() {
                self.record(Entry::GoingBack { failure: failure.clone() });
            }
            // What runs there now is somebody else's.
            let place = match &self.at {
                At::Releasing { release, .. } => self.releases[*release].place.clone(),
                At::Waiting => self.asked_place(),
                _ => self.request.place.clone(),
            };
            let left_to = Some(by.clone());
            self.record(Entry::Returned { place, deployment: None, left_to });
        }
        self.go_back(now, failure)
    }

    fn go_back(&mut self, now: Duration, failure: Failure) -> Command {
        if self.ledger.open().next().is_none() {
            let outcome = if matches!(failure.reason, FailureReason::Superseded { .. }) {
                Outcome::Superseded { failure }
            } else if self.ledger.changed() {
                Outcome::RolledBack { failure, deployment: self.served_before() }
            } else {
                Outcome::Refused { failure }
            };
            return Command::Finish(Box::new(outcome));
        }
        if self.ledger.failure() != Some(&failure) {
            self.record(Entry::GoingBack { failure: failure.clone() });
        }
        self.failure = Some(failure);
        self.wait = None;
        self.undo_next(now)
    }

    /// What another process began and did not end.
    pub(super) fn take_up_again(&mut self, now: Duration) -> Command {
        let open = self.ledger.open().map(|taken| taken.action.clone()).collect();
        self.record(Entry::Resumed { open });
        if let Some(failure) = self.failure.take() {
            self.record(Entry::GoingBack { failure: failure.clone() });
            if let Some(migration) = self.ledger.no_return() {
                let rollback = FailureReason::Irreversible { name: migration.to_owned() };
                return Command::Finish(Box::new(Outcome::RollbackFailed { failure, rollback }));
            }
            return self.go_back(now, failure);
        }
        if self.ledger.no_return().is_some() {
            // There is only forward. A migration is run again, as after a crash.
            self.baked = true;
            let undone = |step: usize, name: &str| {
                !self.ledger.is_done(&Action::Migrate { step, name: name.to_owned() })
            };
            let next = self.steps.iter().enumerate().find_map(|(step, one)| match one {
                Step::Migrate(migration) if is_contract(one) => undone(step, &migration.name).then_some(step),
                _ => None,
            });
            let next = next.unwrap_or(self.steps.len());
            return self.clean(next).unwrap_or_else(|| self.next_step(now, next));
        }
        let failure =
            self.ledger.failure().cloned().unwrap_or_else(|| self.failed_by(FailureReason::Interrupted));
        self.go_back(now, failure)
    }

    /// Undoes what was done last and is not undone yet.
    fn undo_next(&mut self, now: Duration) -> Command {
        loop {
            let next = self
                .ledger
                .open()
                .find(|taken| !self.given_up.contains(&taken.action))
                .map(|taken| (taken.action.clone(), taken.deployment.clone()));
            let Some((action, deployment)) = next else { return self.back_is_over() };
            self.going_back_since = now;
            match &action {
                Action::Deploy { place } if self.request.places().contains(place) => {
                    let release = self.release_at(place);
                    self.at = At::Back(BackAt::Release(release));
                    let snapshot = self.ledger.snapshot(place).cloned().unwrap_or_default();
                    if *place == self.request.place {
                        let before =
                            Observation { pre_deploy: snapshot.pre_deploy.clone(), ..Observation::default() };
                        let applied = self.carried().iter().any(|one| self.is_open(one));
                        let (up, down) = self.pre_deploy(&before);
                        let down = down.filter(|_| applied);
                        self.releases[release] =
                            super::Release::new(place.clone(), &self.terms).with_pre_deploy(up, down);
                    }
                    let cautious = self.recovering;
                    let command = self.releases[release].back(now, snapshot, deployment, cautious);
                    return self.act(command);
                }
                Action::CreateSibling { order } => {
                    self.at = At::Back(BackAt::Sibling);
                    let order = order.clone();
                    return self.remove_sibling(order);
                }
                Action::Migrate { step, .. } | Action::Hook { step, .. } => {
                    let step = *step;
                    if let Some(command) = self.undo_program(step, &action) {
                        return command;
                    }
                    self.given_up.push(action);
                }
                // What ran in the canary goes with it; the others undo and are not undone.
                Action::Deploy { .. }
                | Action::Restore { .. }
                | Action::RemoveSibling { .. }
                | Action::Revert { .. }
                | Action::UndoHook { .. } => self.given_up.push(action),
            }
        }
    }

    fn is_open(&self, action: &Action) -> bool {
        self.ledger.open().any(|taken| taken.action == *action)
    }

    /// The program that undoes a migration or a hook; `None` when it stays as it is, which is written down.
    fn undo_program(&mut self, step: usize, action: &Action) -> Option<Command> {
        let stays = |why: &str| format!("{} stays done: {why}", action.words());
        let superseded = self
            .failure
            .as_ref()
            .is_some_and(|failure| matches!(failure.reason, FailureReason::Superseded { .. }));
        let (command, undo, purpose) = match self.steps.get(step)?.clone() {
            Step::Migrate(Migration { name, down, runner, .. }) => {
                let message = match (&down, runner) {
                    (None, _) => Some(stays("it is irreversible")),
                    // It went with the deployment that was brought back, or that could not be.
                    (Some(_), Runner::PreDeploy) => Some(stays("no deployment ran its way back")),
                    _ if superseded => Some(stays("somebody else's version runs on it now")),
                    // A hook says nothing of the schema.
                    _ if self
                        .back_failures
                        .iter()
                        .any(|(kept, _)| !matches!(kept, Some(Action::Hook { .. }))) =>
                    {
                        Some(stays("a version or a migration that needs it could not be taken back"))
                    }
                    _ => None,
                };
                if let Some(message) = message {
                    self.record(Entry::Leftover { message });
                    return None;
                }
                (down?, Action::Revert { step, name: name.clone() }, format!("migrate `{name}` down"))
            }
            Step::Hook(hook) => {
                let purpose = format!("hook `{}` undo", hook.name);
                (hook.undo?, Action::UndoHook { step, name: hook.name }, purpose)
            }
            _ => return None,
        };
        self.at = At::Back(BackAt::Running(action.clone()));
        self.intent = Some(undo);
        Some(Command::Run { place: self.request.place.clone(), command: Box::new(command), purpose })
    }

    pub(super) fn step_back(&mut self, now: Duration, at: &BackAt, event: Event) -> Command {
        match at {
            BackAt::Release(release) => match self.releases[*release].on(now, event) {
                Next::Back(deployment) => self.is_back(now, *release, deployment),
                Next::BackFailed(reason) => self.is_not_back(now, *release, reason),
                Next::Do(command) => self.act(command),
                // These belong to the way forward.
                Next::Looked(_) | Next::Up | Next::Failed(_) => {
                    Command::Observe(self.releases[*release].place.clone())
                }
            },
            BackAt::Sibling => match event {
                Event::SiblingRemoved => self.undo_next(now),
                Event::CallFailed { message, effect } => {
                    if now.saturating_sub(self.going_back_since) < self.request.abort_timeout {
                        return Command::Wait { at_most: self.poll, following: None };
                    }
                    self.could_not_undo(now, FailureReason::Target { message, effect })
                }
                _ => match self.ledger.sibling().cloned() {
                    Some(order) => self.remove_sibling(order),
                    None => self.undo_next(now),
                },
            },
            BackAt::Running(action) => match event {
                Event::CallFailed { message, .. } => {
                    let reason = match action {
                        Action::Hook { name, .. } => FailureReason::Hook { name: name.clone(), message },
                        Action::Migrate { name, .. } => {
                            FailureReason::Migration { name: name.clone(), message }
                        }
                        _ => FailureReason::Interrupted,
                    };
                    self.could_not_undo(now, reason)
                }
                // It ran, or is run again because it was not.
                _ => self.undo_next(now),
            },
        }
    }

    fn is_back(&mut self, now: Duration, release: usize, deployment: Option<DeploymentId>) -> Command {
        let place = self.releases[release].place.clone();
        if place == self.request.place {
            self.back_deployment.clone_from(&deployment);
            if self.releases[release].ran_down() {
                for action in
                    self.carried().into_iter().filter(|action| self.is_open(action)).collect::<Vec<_>>()
                {
                    if let Action::Migrate { step, name } = action {
                        let made = Made::Output { tail: String::new() };
                        self.record(Entry::Done { action: Action::Revert { step, name }, made });
                    }
                }
            }
        }
        self.record(Entry::Returned { place, deployment, left_to: None });
        self.undo_next(now)
    }

    fn is_not_back(&mut self, now: Duration, release: usize, reason: FailureReason) -> Command {
        let place = self.releases[release].place.clone();
        if let FailureReason::Superseded { by } = &reason
            && self.recovering
        {
            // Found so when it was taken up again: somebody has put it in order in the meantime.
            // In this order, as when it is noticed on the way there.
            let left_to = Some(by.clone());
            if let Some(failure) = &mut self.failure {
                failure.reason = reason;
                let failure = failure.clone();
                self.record(Entry::GoingBack { failure });
            }
            self.record(Entry::Returned { place, deployment: None, left_to });
            return self.undo_next(now);
        }
        let no_verdict = matches!(reason, FailureReason::Timeout { .. } | FailureReason::Target { .. });
        if let Some(id) = self.releases[release].restorer.clone().filter(|_| no_verdict) {
            let message = format!(
                "deployment `{id}`, which brings back what service `{}` ran, had no verdict when the time for that was over: \
                 it may still take over",
                place.service
            );
            self.record(Entry::Leftover { message });
        }
        self.could_not_undo(now, reason)
    }

    /// Nothing more is tried with it; what stands before it is undone all the same, unless it is a `contract`: that has to be
    /// taken back before the version from before it can serve.
    fn could_not_undo(&mut self, now: Duration, reason: FailureReason) -> Command {
        let action = match &self.at {
            At::Back(BackAt::Release(release)) => {
                Some(Action::Deploy { place: self.releases[*release].place.clone() })
            }
            At::Back(BackAt::Sibling) => {
                self.ledger.sibling().cloned().map(|order| Action::CreateSibling { order })
            }
            At::Back(BackAt::Running(action)) => Some(action.clone()),
            _ => None,
        };
        let contract = match &action {
            Some(Action::Migrate { step, name }) if is_contract(&self.steps[*step]) => Some(name.clone()),
            _ => None,
        };
        self.given_up.extend(action.clone());
        self.back_failures.push((action, reason));
        if let Some(name) = contract {
            // What ran before may not run on what it left; the candidate does.
            self.record(Entry::Leftover {
                message: format!(
                    "the candidate and all that was done for it stay: the `contract` migration `{name}` could not be taken \
                     back, and the version before may not run on what it left; put the schema in order, then roll out \
                     again"
                ),
            });
            return self.back_is_over();
        }
        self.undo_next(now)
    }

    fn back_is_over(&mut self) -> Command {
        let failure = self.failure.take().unwrap_or_else(|| self.failed_by(FailureReason::Interrupted));
        let outcome = match self.back_failures.first().cloned() {
            Some((_, rollback)) => Outcome::RollbackFailed { failure, rollback },
            None if matches!(failure.reason, FailureReason::Superseded { .. }) => {
                Outcome::Superseded { failure }
            }
            None => {
                let deployment = self.back_deployment.clone().or_else(|| self.served_before());
                Outcome::RolledBack { failure, deployment }
            }
        };
        Command::Finish(Box::new(outcome))
    }

    fn served_before(&self) -> Option<DeploymentId> {
        self.snapshot().running.map(|running| running.deployment)
    }
}
