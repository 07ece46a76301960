//! The way forward: gates, steps, bake.

use std::time::Duration;

use spectra_types::{DeploymentId, PinnedImage};

use super::command::{Command, Event};
use super::release::{Next, Release};
use super::waiting::Wait;
use super::{At, CALL_ATTEMPTS, Machine};
use crate::entry::{Action, Entry, Made};
use crate::model::{FailureReason, Observation, Outcome};
use crate::ports::{Approval, SiblingOrder};
use crate::spec::{Adopt, CommandSpec, Migration, MigrationPart, Pause, Place, Runner, Step};

impl Machine {
    pub(super) fn forward(&mut self, now: Duration, event: Event) -> Command {
        match self.at.clone() {
            At::Preflight => match self.releases[0].on(now, event) {
                Next::Looked(observation) => self.looked(now, &observation),
                next => self.follow(now, 0, 0, next),
            },
            At::Adopted => match self.releases[0].on(now, event) {
                Next::Up => self.bake(now),
                next => self.follow(now, 0, 0, next),
            },
            At::Freeze(step) => self.frozen(now, step, event),
            At::Approval => self.approval(now, event),
            At::Running(step) => match event {
                Event::Ran(_) => self.next_step(now, step + 1),
                Event::Stopped { .. } => self.fail(now, FailureReason::Cancelled),
                Event::CallFailed { message, .. } => {
                    let reason = match &self.steps[step] {
                        Step::Hook(hook) => FailureReason::Hook { name: hook.name.clone(), message },
                        other => FailureReason::Migration { name: name_of(other), message },
                    };
                    self.fail(now, reason)
                }
                _ => self.start_step(now, step),
            },
            At::Sibling(step) => match event {
                Event::Sibling(place) => {
                    let release = self.release_at(&place);
                    self.at = At::Releasing { step, release };
                    // What was just made runs nothing, so there is nothing to look at.
                    let command = self.releases[release].deploy(now, Observation::default());
                    self.act(command)
                }
                Event::CallFailed { message, effect } => {
                    self.fail(now, FailureReason::Target { message, effect })
                }
                _ => self.start_step(now, step),
            },
            At::Releasing { step, release } => {
                let next = self.releases[release].on(now, event);
                self.follow(now, step, release, next)
            }
            At::Waiting => self.waiting(now, event),
            At::Cleaning(step) => self.cleaning(now, step, event),
            // Both are decided elsewhere.
            At::Back(_) | At::Over => Command::AskFreeze,
        }
    }

    fn follow(&mut self, now: Duration, step: usize, release: usize, next: Next) -> Command {
        match next {
            Next::Do(command) => command,
            Next::Looked(observation) => self.deploy(now, release, *observation),
            Next::Up => self.is_up(now, step, release),
            Next::Failed(reason) => self.fail(now, reason),
            // These end the way back alone.
            Next::Back(_) | Next::BackFailed(_) => Command::Observe(self.releases[release].place.clone()),
        }
    }

    /// Adopts what runs if it is the candidate already; begins otherwise.
    fn looked(&mut self, now: Duration, observation: &Observation) -> Command {
        self.first_look = Some(observation.clone());
        if self.request.adopt == Adopt::IfRunning
            && runs(observation, &self.request.candidate)
            && let Some(running) = &observation.running
        {
            let id = running.deployment.clone();
            self.record(Entry::Adopted { deployment: id.clone() });
            self.at = At::Adopted;
            return self.releases[0].adopt(now, id, observation.snapshot());
        }
        if observation.running.is_none() {
            // There is nothing to compare it with, and there will not be.
            for message in self.background.iter_mut().filter_map(super::waiting::Judging::stand_alone) {
                self.entries.push(Entry::Trouble { message });
            }
        }
        self.looked_at = now;
        self.at = At::Freeze(0);
        Command::AskFreeze
    }

    fn frozen(&mut self, now: Duration, step: usize, event: Event) -> Command {
        match event {
            Event::Freeze(None) => self.past_freeze(now, step),
            Event::Freeze(Some(window)) => match self.request.freeze_override.clone() {
                Some(reason) => {
                    self.record(Entry::FreezeOverridden { window, reason });
                    self.past_freeze(now, step)
                }
                None => self.fail(now, FailureReason::Frozen { message: window }),
            },
            Event::CallFailed { message, .. } => {
                // Closed: what cannot be asked is not allowed.
                let message = format!("freeze windows could not be read, so nothing is begun: {message}");
                self.gate_failed(now, FailureReason::Frozen { message })
            }
            _ => Command::AskFreeze,
        }
    }

    fn past_freeze(&mut self, now: Duration, step: usize) -> Command {
        self.failed_calls = 0;
        if step == 0 && self.request.approval.as_ref().is_some_and(|rule| rule.before_start) {
            self.at = At::Approval;
            return Command::AskApproval;
        }
        self.start_step(now, step)
    }

    fn approval(&mut self, now: Duration, event: Event) -> Command {
        match event {
            Event::Approval(Approval::Given { by }) => {
                self.failed_calls = 0;
                self.record(Entry::Approved { by });
                self.start_step(now, 0)
            }
            Event::Approval(Approval::Missing { message }) => {
                self.fail(now, FailureReason::Approval { message })
            }
            Event::Approval(Approval::Denied { by }) => {
                self.fail(now, FailureReason::Approval { message: format!("{by} denied it") })
            }
            Event::CallFailed { message, .. } => {
                let message = format!("approvals could not be read, so nothing is begun: {message}");
                self.gate_failed(now, FailureReason::Approval { message })
            }
            _ => Command::AskApproval,
        }
    }

    fn gate_failed(&mut self, now: Duration, reason: FailureReason) -> Command {
        self.failed_calls += 1;
        if self.failed_calls >= CALL_ATTEMPTS {
            return self.fail(now, reason);
        }
        Command::Wait { at_most: self.poll, following: None }
    }

    /// Goes on with this step, or with the bake before the first `contract`, or ends.
    pub(super) fn next_step(&mut self, now: Duration, step: usize) -> Command {
        let contract = self.steps.get(step).is_none_or(is_contract);
        if contract && !self.baked {
            // The canary has shown what it can; nothing of it is needed any more.
            return self.clean(step).unwrap_or_else(|| self.bake(now));
        }
        match self.steps.get(step) {
            None => self.complete(now),
            // There is only forward, whatever window begins meanwhile.
            Some(_) if self.ledger.no_return().is_some() => self.start_step(now, step),
            // A wait changes nothing, so no window forbids it.
            Some(Step::Pause(_) | Step::Analysis(_)) => self.start_step(now, step),
            Some(_) => {
                self.at = At::Freeze(step);
                Command::AskFreeze
            }
        }
    }

    pub(super) fn start_step(&mut self, now: Duration, step: usize) -> Command {
        let first = self.first_look.as_ref().is_some_and(|look| look.running.is_none());
        match self.steps[step].clone() {
            // The deployment carries it.
            Step::Migrate(Migration { runner: Runner::PreDeploy, .. }) => self.next_step(now, step + 1),
            Step::Migrate(migration) => {
                if migration.part == MigrationPart::Contract && migration.irreversible {
                    self.record(Entry::PointOfNoReturn { migration: migration.name.clone() });
                }
                let name = migration.name;
                self.run(step, migration.up, format!("migrate `{name}` up"), Action::Migrate { step, name })
            }
            Step::Hook(hook) => {
                let name = hook.name;
                self.run(step, hook.run, format!("hook `{name}`"), Action::Hook { step, name })
            }
            // Where nothing serves, nobody has to be protected, and nobody would notice.
            Step::Canary(_) | Step::Pause(_) | Step::Analysis(_) if first => self.next_step(now, step + 1),
            Step::Canary(canary) => {
                self.at = At::Sibling(step);
                let order = SiblingOrder {
                    name: canary.name,
                    replicas: canary.replicas,
                    rollout: self.id.clone(),
                    place: None,
                };
                self.act(Command::CreateSibling { place: self.request.place.clone(), order })
            }
            Step::Pause(Pause::Duration(duration)) => {
                self.begin_wait(now, Wait::pause(Some(step), now, duration))
            }
            Step::Pause(Pause::Approval(deadline)) => {
                self.begin_wait(now, Wait::approval(Some(step), now, deadline, None))
            }
            Step::Analysis(analysis) => {
                self.begin_wait(now, Wait::analysis(step, now, analysis.duration, &analysis.metrics))
            }
            Step::Swap => {
                let place = self.request.place.clone();
                self.release(now, step, &place)
            }
            Step::Wave(wave) => {
                self.waved = 0;
                let place = self.request.place.sibling(wave.services[0].clone());
                self.release(now, step, &place)
            }
        }
    }

    fn run(&mut self, step: usize, command: CommandSpec, purpose: String, action: Action) -> Command {
        self.at = At::Running(step);
        self.intent = Some(action);
        Command::Run { place: self.request.place.clone(), command: Box::new(command), purpose }
    }

    /// Begins with a service: looks at it first, unless that was done a moment ago.
    pub(super) fn release(&mut self, now: Duration, step: usize, place: &Place) -> Command {
        let release = self.release_at(place);
        self.at = At::Releasing { step, release };
        if *place == self.request.place
            && now.saturating_sub(self.looked_at) < self.poll
            && let Some(look) = self.first_look.clone()
        {
            return self.deploy(now, release, look);
        }
        self.releases[release].look(now)
    }

    fn deploy(&mut self, now: Duration, release: usize, observation: Observation) -> Command {
        let place = self.releases[release].place.clone();
        if place == self.request.place {
            if let Some(by) = self.changed_since_the_first_look(&observation) {
                return self.fail(now, FailureReason::Superseded { by });
            }
            let (up, down) = self.pre_deploy(&observation);
            self.releases[release] = Release::new(place.clone(), &self.terms).with_pre_deploy(up, down);
            for action in self.carried() {
                self.record(Entry::Intent { action });
            }
        } else if self.request.adopt == Adopt::IfRunning
            && runs(&observation, &self.request.candidate)
            && let Some(running) = &observation.running
        {
            let id = running.deployment.clone();
            return self.releases[release].adopt(now, id, observation.snapshot());
        }
        self.record(Entry::Baseline { place, snapshot: observation.snapshot() });
        let command = self.releases[release].deploy(now, observation);
        self.act(command)
    }

    /// The deployment of somebody who brought another image out while this rollout was at its earlier steps.
    fn changed_since_the_first_look(&self, now: &Observation) -> Option<DeploymentId> {
        let before = self.first_look.as_ref()?.running.as_ref()?;
        let running = now.running.as_ref()?;
        let same = running.deployment == before.deployment
            || (running.digest.is_some() && running.digest == before.digest);
        (!same).then(|| running.deployment.clone())
    }

    /// The migrations that the deployment carries.
    pub(super) fn carried(&self) -> Vec<Action> {
        let carried = |(step, one): (usize, &Step)| match one {
            Step::Migrate(Migration { runner: Runner::PreDeploy, name, .. }) => {
                Some(Action::Migrate { step, name: name.clone() })
            }
            _ => None,
        };
        self.steps.iter().enumerate().filter_map(carried).collect()
    }

    /// The commands that run before the candidate takes over, and before what is brought back does.
    pub(super) fn pre_deploy(&self, before: &Observation) -> (Option<String>, Option<String>) {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for step in &self.steps {
            if let Step::Migrate(migration) = step
                && migration.runner == Runner::PreDeploy
            {
                up.push(shell(&migration.up));
                down.extend(migration.down.as_ref().map(shell));
            }
        }
        if up.is_empty() {
            return (None, None);
        }
        up.extend(before.pre_deploy.iter().cloned());
        down.reverse();
        (Some(up.join(" && ")), (!down.is_empty()).then(|| down.join(" && ")))
    }

    fn is_up(&mut self, now: Duration, step: usize, release: usize) -> Command {
        if self.releases[release].place == self.request.place {
            for action in self.carried() {
                let made = Made::Output { tail: String::new() };
                self.record(Entry::Done { action, made });
            }
        }
        match self.steps[step].clone() {
            Step::Canary(canary) => {
                self.begin_wait(now, Wait::canary(step, now, canary.duration, &canary.metrics))
            }
            Step::Wave(wave) => {
                self.waved += 1;
                if self.waved < wave.services.len() {
                    self.begin_wait(now, Wait::wave(step, now, wave.pause))
                } else {
                    self.next_step(now, step + 1)
                }
            }
            _ => self.next_step(now, step + 1),
        }
    }

    pub(super) fn bake(&mut self, now: Duration) -> Command {
        self.begin_wait(now, Wait::bake(now, self.request.bake))
    }

    /// Removes the sibling before this step, if there is one.
    pub(super) fn clean(&mut self, step: usize) -> Option<Command> {
        let order = self.ledger.sibling().filter(|_| !self.sibling_stays)?.clone();
        self.at = At::Cleaning(step);
        self.failed_calls = 0;
        // What becomes of it is of no interest from here on, whether it can be removed or not.
        self.releases.retain(|release| Some(&release.place) != order.place.as_ref());
        Some(self.remove_sibling(order))
    }

    pub(super) fn remove_sibling(&mut self, order: SiblingOrder) -> Command {
        self.act(Command::RemoveSibling { place: self.request.place.clone(), order })
    }

    fn cleaning(&mut self, now: Duration, step: usize, event: Event) -> Command {
        match event {
            Event::SiblingRemoved => self.next_step(now, step),
            Event::CallFailed { message, .. } => {
                self.failed_calls += 1;
                if self.failed_calls < CALL_ATTEMPTS {
                    return Command::Wait { at_most: self.poll, following: None };
                }
                // The candidate is healthy; a sibling too many is no reason to take it away again.
                self.record(Entry::Leftover {
                    message: format!(
                        "the canary service could not be removed; the next rollout tries again: {message}"
                    ),
                });
                self.sibling_stays = true;
                self.next_step(now, step)
            }
            _ => match self.ledger.sibling().cloned() {
                Some(order) => self.remove_sibling(order),
                None => self.next_step(now, step),
            },
        }
    }

    pub(super) fn complete(&mut self, now: Duration) -> Command {
        if self.recovering {
            // What the process before this one saw is not known: what it deployed is looked at before it is reported.
            let deployed = |place: Place| {
                let id = self.ledger.deployment(&place)?.clone();
                Some(Release::risen(place, &self.terms, now, id))
            };
            self.releases = self.request.places().into_iter().filter_map(deployed).collect();
            if self.deployment().is_none() {
                return self.fail(now, FailureReason::Interrupted);
            }
        } else if !self.steps.last().is_some_and(is_contract) {
            return self.completed();
        }
        self.begin_wait(now, Wait::last_look(now))
    }

    pub(super) fn completed(&self) -> Command {
        match self.deployment().cloned() {
            Some(deployment) => Command::Finish(Box::new(Outcome::Complete { deployment })),
            // Only an observed candidate gets here; look again rather than claim.
            None => Command::Observe(self.request.place.clone()),
        }
    }
}

/// Whether this image runs and is set. The same image may be written in other words: with a tag beside the digest, or
/// without the registry.
fn runs(observation: &Observation, candidate: &PinnedImage) -> bool {
    let set: Option<PinnedImage> = observation.setting.as_deref().and_then(|text| text.parse().ok());
    observation.running_digest() == Some(candidate.digest()) && set.as_ref() == Some(candidate)
}

pub(super) fn is_contract(step: &Step) -> bool {
    matches!(step, Step::Migrate(migration) if migration.part == MigrationPart::Contract)
}

fn name_of(step: &Step) -> String {
    match step {
        Step::Migrate(migration) => migration.name.clone(),
        other => other.kind().to_owned(),
    }
}

/// A program and its arguments as one line of a shell.
fn shell(command: &CommandSpec) -> String {
    let quote = |word: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    command.command.iter().map(quote).collect::<Vec<_>>().join(" ")
}
