//! What is said at a first signal: what becomes of what was begun.

use std::time::Duration;

use spectra_rollout::{Action, Entry, Ledger, Phase, Place};
use spectra_types::HumanDuration;

/// A rollout that was begun and has not ended, by what was heard of it.
pub(super) struct Open {
    pub(super) rollout: String,
    pub(super) place: Place,
    ledger: Ledger,
    /// Another process began it: what that one did was not heard.
    taken_up: bool,
    /// It is on its way back.
    returning: bool,
}

impl Open {
    pub(super) fn new(rollout: &str, place: &Place) -> Self {
        Self {
            rollout: rollout.to_owned(),
            place: place.clone(),
            ledger: Ledger::default(),
            taken_up: false,
            returning: false,
        }
    }

    /// Takes one entry in.
    pub(super) fn hear(&mut self, entry: &Entry) {
        self.ledger.apply(entry);
        match entry {
            Entry::Resumed { .. } => (self.taken_up, self.returning) = (true, true),
            Entry::GoingBack { .. } | Entry::Stage { phase: Phase::RollingBack, .. } => self.returning = true,
            // What is taken up goes back, unless there is no way back: then it goes on.
            Entry::Stage { .. } => self.returning = false,
            _ => {}
        }
    }

    /// What a stop makes of it.
    fn fate(&self) -> Fate {
        if self.returning {
            return Fate::Returns;
        }
        if let Some(migration) = self.ledger.no_return() {
            return Fate::Stays(format!("the migration `{migration}` was begun"));
        }
        if self.taken_up {
            return Fate::Stays("a migration was begun".to_owned());
        }
        if self.ledger.open().next().is_none() {
            return Fate::Untouched;
        }
        let ran_before = |place| self.ledger.snapshot(place).is_some_and(|before| before.running.is_some());
        let ours = |place| self.ledger.request().is_some_and(|request| request.places().contains(place));
        let replaced = self.ledger.open().any(
            |taken| matches!(&taken.action, Action::Deploy { place } if ours(place) && ran_before(place)),
        );
        if replaced { Fate::BroughtBack } else { Fate::Undone }
    }
}

/// What a stop makes of a rollout.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing was changed yet.
    Untouched,
    /// Something was done, and nothing that ran was replaced.
    Undone,
    /// What ran before is brought back.
    BroughtBack,
    /// It goes back already.
    Returns,
    /// There is no way back, for this reason.
    Stays(String),
}

impl Fate {
    fn words(&self) -> String {
        match self {
            Self::Untouched => "nothing was changed yet".to_owned(),
            Self::Undone => "what was done so far is undone where that can be".to_owned(),
            Self::BroughtBack => "what ran before is brought back".to_owned(),
            Self::Returns => "it is on its way back already, and goes on with that".to_owned(),
            Self::Stays(why) => format!("{why}, and unless that changed nothing there is no way back"),
        }
    }
}

/// What happens now, and what ends it.
pub(super) fn words(open: &[Open], after: Option<Duration>) -> String {
    let end = match after {
        Some(after) => {
            format!("{} from now, or a second signal, ends the process", HumanDuration::new(after))
        }
        None => "a second signal ends the process at once".to_owned(),
    };
    let fates: Vec<_> = open.iter().map(|one| (&one.place.service, one.fate())).collect();
    let fate = match fates.as_slice() {
        [] => return format!("stopping: nothing is open here that would have to be brought back; {end}"),
        [(_, fate), rest @ ..] if rest.iter().all(|(_, other)| other == fate) => fate.words(),
        several => {
            let each: Vec<_> =
                several.iter().map(|(service, fate)| format!("of `{service}`, {}", fate.words())).collect();
            each.join("; ")
        }
    };
    format!("stopping: {fate}; {end}, and the journal keeps what is open")
}

#[cfg(test)]
mod tests {
    use spectra_rollout::{Failure, FailureReason, Made, Observation, RolloutRequest, Running};

    use super::*;

    fn place(service: &str) -> Place {
        Place {
            project: "p-1".parse().unwrap(),
            environment: "e-1".parse().unwrap(),
            service: service.parse().unwrap(),
        }
    }

    fn open(service: &str, entries: &[Entry]) -> Open {
        let mut open = Open::new("r-1", &place(service));
        let image = format!("ghcr.io/acme/shop@sha256:{}", "a".repeat(64)).parse().unwrap();
        let request = Box::new(RolloutRequest::new(place(service), image));
        for entry in [&[Entry::Begun { request }], entries].concat() {
            open.hear(&entry);
        }
        open
    }

    fn stage(phase: Phase) -> Entry {
        Entry::Stage { phase, step: None }
    }

    /// What runs at the service, or that nothing does.
    fn baseline(service: &str, runs: bool) -> Entry {
        let running = Running {
            deployment: "d-1".parse().unwrap(),
            image: None,
            digest: None,
            all_replicas_running: true,
        };
        let seen = Observation { running: runs.then_some(running), ..Observation::default() };
        Entry::Baseline { place: place(service), snapshot: seen.snapshot() }
    }

    fn deploy(service: &str) -> Action {
        Action::Deploy { place: place(service) }
    }

    fn migrate() -> Action {
        Action::Migrate { step: 0, name: "drop-column".to_owned() }
    }

    fn begun(action: Action) -> Entry {
        Entry::Intent { action }
    }

    #[test]
    fn what_ran_before_was_brought_back_where_nothing_was_begun() {
        let failure = Failure {
            phase: Phase::Baking,
            step: None,
            reason: FailureReason::Cancelled,
            last_measurement: None,
        };
        let made = Made::Deployment { id: "d-2".parse().unwrap() };
        let deployed = |runs| [baseline("s-1", runs), begun(deploy("s-1")), stage(Phase::Deploying)].to_vec();
        let contract = Entry::PointOfNoReturn { migration: "drop-column".to_owned() };
        let failed = Entry::Failed {
            action: deploy("s-1"),
            message: "no".to_owned(),
            effect: spectra_rollout::Effect::None,
        };
        let returned = Entry::Returned { place: place("s-1"), deployment: None, left_to: None };
        let states: Vec<(&str, Vec<Entry>)> = vec![
            ("begun", vec![stage(Phase::Preflight)]),
            ("waits for an approval", vec![stage(Phase::Preflight), stage(Phase::Gate)]),
            ("a hook runs", vec![begun(Action::Hook { step: 0, name: "warm".to_owned() })]),
            ("deploys", deployed(true)),
            ("deployed", [deployed(true), vec![Entry::Done { action: deploy("s-1"), made }]].concat()),
            ("the first one deploys", deployed(false)),
            ("was refused by the platform", [deployed(true), vec![failed]].concat()),
            ("a canary deploys", vec![baseline("s-9", true), begun(deploy("s-9"))]),
            ("goes back", [deployed(true), vec![Entry::GoingBack { failure }]].concat()),
            ("is back", [deployed(true), vec![stage(Phase::RollingBack), returned]].concat()),
            ("announces a contract", [deployed(true), vec![contract.clone()]].concat()),
            ("contracts", [deployed(true), vec![contract, begun(migrate())]].concat()),
            ("is taken up", vec![Entry::Resumed { open: vec![deploy("s-1")] }]),
            (
                "is taken up beyond the point of no return",
                vec![Entry::Resumed { open: vec![migrate()] }, stage(Phase::Migrating)],
            ),
        ];
        insta::assert_snapshot!(words(&[], None), @"stopping: nothing is open here that would have to be brought back; a second signal ends the process at once");
        let end = "; a second signal ends the process at once, and the journal keeps what is open";
        let said = |(state, entries): &(&str, Vec<Entry>)| {
            let words = words(&[open("s-1", entries)], None);
            format!("{state}: {}", words.strip_suffix(end).unwrap())
        };
        insta::assert_snapshot!(states.iter().map(said).collect::<Vec<_>>().join("\n"), @"
        begun: stopping: nothing was changed yet
        waits for an approval: stopping: nothing was changed yet
        a hook runs: stopping: what was done so far is undone where that can be
        deploys: stopping: what ran before is brought back
        deployed: stopping: what ran before is brought back
        the first one deploys: stopping: what was done so far is undone where that can be
        was refused by the platform: stopping: nothing was changed yet
        a canary deploys: stopping: what was done so far is undone where that can be
        goes back: stopping: it is on its way back already, and goes on with that
        is back: stopping: it is on its way back already, and goes on with that
        announces a contract: stopping: what ran before is brought back
        contracts: stopping: the migration `drop-column` was begun, and unless that changed nothing there is no way back
        is taken up: stopping: it is on its way back already, and goes on with that
        is taken up beyond the point of no return: stopping: a migration was begun, and unless that changed nothing there is no way back
        ");
    }

    #[test]
    fn several_are_told_apart_where_they_differ() {
        let waits = |service| open(service, &[stage(Phase::Gate)]);
        let runs = open("s-2", &[baseline("s-2", true), begun(deploy("s-2"))]);
        let after = Some(Duration::from_secs(7));
        insta::assert_snapshot!(words(&[waits("s-1"), waits("s-3")], after), @"stopping: nothing was changed yet; 7s from now, or a second signal, ends the process, and the journal keeps what is open");
        insta::assert_snapshot!(words(&[waits("s-1"), runs], after), @"stopping: of `s-1`, nothing was changed yet; of `s-2`, what ran before is brought back; 7s from now, or a second signal, ends the process, and the journal keeps what is open");
    }
}
