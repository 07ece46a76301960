//! What is written down of a rollout.

use serde::{Deserialize, Serialize};
use spectra_types::DeploymentId;

use crate::model::{Failure, Measurement, Outcome, Phase, Snapshot};
use crate::ports::{Effect, Sampled, SiblingOrder, Wish};
use crate::spec::{Place, RolloutRequest};

/// One line of the record. What changes something is written before it is done ([`Entry::Intent`]) and after
/// ([`Entry::Done`], [`Entry::Failed`]), so that whoever finds the record knows what may have happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// It began.
    Begun {
        /// What was asked for.
        request: Box<RolloutRequest>,
    },
    /// Another process goes on with it.
    Resumed {
        /// What it found undone.
        open: Vec<Action>,
    },
    /// What is brought back there on failure.
    Baseline {
        /// Where.
        place: Place,
        /// What runs there.
        snapshot: Snapshot,
    },
    /// The candidate ran already and is judged as it is.
    Adopted {
        /// The deployment.
        deployment: DeploymentId,
    },
    /// Where it stands.
    Stage {
        /// The phase.
        phase: Phase,
        /// The step, in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<String>,
    },
    /// Something is about to be changed.
    Intent {
        /// What.
        action: Action,
    },
    /// It was changed.
    Done {
        /// What.
        action: Action,
        /// What came of it.
        made: Made,
    },
    /// It failed.
    Failed {
        /// What.
        action: Action,
        /// Why.
        message: String,
        /// What it may have left.
        effect: Effect,
    },
    /// The snapshot serves there again, or what was there is somebody else's now.
    Returned {
        /// Where.
        place: Place,
        /// The deployment that serves.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deployment: Option<DeploymentId>,
        /// Somebody else's deployment, because of which nothing was brought back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left_to: Option<DeploymentId>,
    },
    /// A probe answered.
    Measured {
        /// Where.
        place: Place,
        /// What.
        measurement: Measurement,
    },
    /// A metric was measured.
    Sampled {
        /// Its name.
        metric: String,
        /// Where.
        place: Place,
        /// The query and what came of it.
        sampled: Sampled,
        /// How it was judged: `good`, `bad`, `error`, `no_data`; a shadow's word decides nothing.
        verdict: String,
    },
    /// It is approved.
    Approved {
        /// By whom.
        by: Vec<String>,
    },
    /// A freeze window holds and was overridden.
    FreezeOverridden {
        /// Which.
        window: String,
        /// Why.
        reason: String,
    },
    /// Somebody asked for something, and it was heard.
    Heard {
        /// What.
        wish: Wish,
    },
    /// From here on there is no way back.
    PointOfNoReturn {
        /// The migration.
        migration: String,
    },
    /// It goes back.
    GoingBack {
        /// Why.
        failure: Failure,
    },
    /// A call failed that decides nothing.
    Trouble {
        /// What and why.
        message: String,
    },
    /// People were told.
    Told {
        /// What of, and what became of it: one line a channel.
        event: String,
        /// One line a channel.
        results: Vec<String>,
    },
    /// Something stays that should not.
    Leftover {
        /// What, and what to do about it.
        message: String,
    },
    /// It is over.
    Finished {
        /// How.
        outcome: Outcome,
    },
}

/// Something that changes the outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// The candidate is deployed. Undone by a restore that is followed to its end.
    Deploy {
        /// Where.
        place: Place,
    },
    /// The snapshot is brought back.
    Restore {
        /// Where.
        place: Place,
    },
    /// The sibling is made. Undone by removing it.
    CreateSibling {
        /// Which.
        order: SiblingOrder,
    },
    /// The sibling is removed.
    RemoveSibling {
        /// Which.
        order: SiblingOrder,
    },
    /// A migration is applied.
    Migrate {
        /// The number of the step.
        step: usize,
        /// Its name.
        name: String,
    },
    /// A migration is taken back.
    Revert {
        /// The number of the step.
        step: usize,
        /// Its name.
        name: String,
    },
    /// A hook is run.
    Hook {
        /// The number of the step.
        step: usize,
        /// Its name.
        name: String,
    },
    /// A hook is undone.
    UndoHook {
        /// The number of the step.
        step: usize,
        /// Its name.
        name: String,
    },
}

/// What came of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "made", rename_all = "snake_case")]
pub enum Made {
    /// A deployment was started.
    Deployment {
        /// Its id.
        id: DeploymentId,
    },
    /// Nothing had to be started.
    Nothing,
    /// A sibling is there.
    Sibling {
        /// Where.
        place: Place,
    },
    /// A program ran.
    Output {
        /// The tail of what it printed.
        tail: String,
    },
}

impl Entry {
    /// The kind of [`Entry::Begun`], by which rollouts are found.
    pub const BEGUN: &'static str = "rollout.begun";

    /// The kind of the record, as the journal and its readers name it: `rollout.intent`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Begun { .. } => Self::BEGUN,
            Self::Resumed { .. } => "rollout.resumed",
            Self::Baseline { .. } => "rollout.baseline",
            Self::Adopted { .. } => "rollout.adopted",
            Self::Stage { .. } => "rollout.stage",
            Self::Intent { .. } => "rollout.intent",
            Self::Done { .. } => "rollout.done",
            Self::Failed { .. } => "rollout.failed",
            Self::Returned { .. } => "rollout.returned",
            Self::Measured { .. } => "rollout.measured",
            Self::Sampled { .. } => "rollout.sampled",
            Self::Approved { .. } => "rollout.approved",
            Self::FreezeOverridden { .. } => "rollout.freeze_overridden",
            Self::Heard { .. } => "rollout.heard",
            Self::PointOfNoReturn { .. } => "rollout.point_of_no_return",
            Self::GoingBack { .. } => "rollout.going_back",
            Self::Trouble { .. } => "rollout.trouble",
            Self::Told { .. } => "rollout.told",
            Self::Leftover { .. } => "rollout.leftover",
            Self::Finished { .. } => "rollout.finished",
        }
    }

    /// What happened, in one line for people.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::Begun { request } => format!("begun: {} for {}", request.candidate, request.place),
            Self::Resumed { open } if open.is_empty() => "taken up again".to_owned(),
            Self::Resumed { open } => {
                let open: Vec<_> = open.iter().map(Action::words).collect();
                format!("taken up again, open: {}", open.join(", "))
            }
            Self::Baseline { place, snapshot } => {
                let runs = snapshot.digest().map_or_else(|| "nothing known".to_owned(), ToString::to_string);
                format!("before: service `{}` runs {runs}", place.service)
            }
            Self::Adopted { deployment } => format!("deployment `{deployment}` runs the candidate already"),
            Self::Stage { phase, step: None } => format!("phase {phase}"),
            Self::Stage { phase, step: Some(step) } => format!("phase {phase} ({step})"),
            Self::Intent { action } => format!("going to {}", action.words()),
            Self::Done { action, made } => match made {
                Made::Deployment { id } => format!("done: {}, deployment `{id}`", action.words()),
                Made::Nothing => format!("done: {}", action.words()),
                Made::Sibling { place } => format!("done: {}, service `{}`", action.words(), place.service),
                Made::Output { tail } => match tail.lines().last() {
                    Some(last) => format!("done: {}: {last}", action.words()),
                    None => format!("done: {}", action.words()),
                },
            },
            Self::Failed { action, message, .. } => format!("failed to {}: {message}", action.words()),
            Self::Returned { place, left_to: Some(by), .. } => {
                format!(
                    "service `{}` is left to deployment `{by}`, which somebody else started",
                    place.service
                )
            }
            Self::Returned { place, deployment: Some(id), .. } => {
                format!("service `{}` is back, deployment `{id}` serves", place.service)
            }
            Self::Returned { place, .. } => format!("service `{}` is back", place.service),
            Self::Measured { measurement, .. } => {
                format!("{}: {} → {}", measurement.verdict, measurement.subject, measurement.answer)
            }
            Self::Sampled { metric, sampled, verdict, .. } => {
                let answer = match &sampled.answer {
                    Ok(sample) => {
                        sample.value.map_or_else(|| "no data".to_owned(), |value| value.to_string())
                    }
                    Err(error) => error.clone(),
                };
                format!("{verdict}: metric `{metric}` is {answer} ({})", sampled.query)
            }
            Self::Approved { by } => format!("approved by {}", by.join(", ")),
            Self::FreezeOverridden { window, reason } => format!("{window}; overridden: {reason}"),
            Self::Heard { wish: Wish::Abort { by, reason } } => format!("{by} asks to abort: {reason}"),
            Self::Heard { wish: Wish::Promote { by } } => format!("{by} asks to go on"),
            Self::PointOfNoReturn { migration } => format!("no way back from here: migration `{migration}`"),
            Self::GoingBack { failure } => format!("going back: {}", failure.reason),
            Self::Told { event, results } => format!("told of {event}: {}", results.join("; ")),
            Self::Trouble { message } | Self::Leftover { message } => message.clone(),
            Self::Finished { outcome } => outcome.to_string(),
        }
    }
}

impl Action {
    /// In words: `deploy the candidate to service …`.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Deploy { place } => format!("deploy the candidate to service `{}`", place.service),
            Self::Restore { place } => format!("bring back what service `{}` ran", place.service),
            Self::CreateSibling { .. } => "make the canary service".to_owned(),
            Self::RemoveSibling { .. } => "remove the canary service".to_owned(),
            Self::Migrate { name, .. } => format!("apply migration `{name}`"),
            Self::Revert { name, .. } => format!("take migration `{name}` back"),
            Self::Hook { name, .. } => format!("run hook `{name}`"),
            Self::UndoHook { name, .. } => format!("undo hook `{name}`"),
        }
    }
}
