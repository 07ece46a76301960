//! What the machine says and hears.

use std::time::Duration;

use spectra_types::DeploymentId;

use crate::entry::{Action, Entry};
use crate::model::{DeploymentState, Measurement, Observation, Outcome};
use crate::ports::{Approval, DeployOrder, Effect, RestoreOrder, Sampled, Scope, SiblingOrder};
use crate::spec::{CommandSpec, Metric, Place};

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The rollout begins.
    Begin,
    /// Answer to [`Command::Observe`].
    Observed(Observation),
    /// Answer to [`Command::Deploy`].
    Started(DeploymentId),
    /// Answer to [`Command::ReadDeployment`].
    Deployment(DeploymentState),
    /// Answer to [`Command::Probe`].
    Measured(Measurement),
    /// Answer to [`Command::Sample`].
    Sampled(Sampled),
    /// Answer to [`Command::Restore`].
    Restored(Option<DeploymentId>),
    /// Answer to [`Command::CreateSibling`].
    Sibling(Place),
    /// Answer to [`Command::RemoveSibling`].
    SiblingRemoved,
    /// Answer to [`Command::Run`]: the tail of what the program printed.
    Ran(String),
    /// Answer to [`Command::AskFreeze`].
    Freeze(Option<String>),
    /// Answer to [`Command::AskApproval`].
    Approval(Approval),
    /// A command failed.
    CallFailed {
        /// What was attempted and why it failed.
        message: String,
        /// What it may have left behind.
        effect: Effect,
    },
    /// The user stopped the rollout while a program ran, and it did not come to its end.
    Stopped {
        /// What happened.
        message: String,
        /// What it may have left behind.
        effect: Effect,
    },
    /// The end of a [`Command::Wait`].
    Woken,
    /// The user stops the rollout. The command that was given last is not carried out.
    Cancelled,
    /// Somebody asks for it to be aborted. The command that was given last is not carried out.
    Aborted {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// Somebody asks to end the wait. The command that was given last is not carried out.
    Promoted {
        /// Who.
        by: String,
    },
    /// The intent could not be written down, so the command was not carried out.
    Unwritten(String),
    /// Another process holds the lease. The command that was given last is not carried out.
    Fenced(String),
}

/// What to do next. There is always exactly one thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Read what runs.
    Observe(Place),
    /// Deploy the candidate.
    Deploy {
        /// Where.
        place: Place,
        /// What.
        order: Box<DeployOrder>,
    },
    /// Read one deployment.
    ReadDeployment {
        /// Where.
        place: Place,
        /// Which.
        id: DeploymentId,
    },
    /// Bring the snapshot back.
    Restore {
        /// Where.
        place: Place,
        /// What.
        order: Box<RestoreOrder>,
    },
    /// Probe once.
    Probe(Place),
    /// Measure once.
    Sample {
        /// What.
        metric: Box<Metric>,
        /// Of what.
        scope: Box<Scope>,
    },
    /// Make the sibling service.
    CreateSibling {
        /// Of which service.
        place: Place,
        /// How.
        order: SiblingOrder,
    },
    /// Remove the sibling service.
    RemoveSibling {
        /// Of which service.
        place: Place,
        /// Which.
        order: SiblingOrder,
    },
    /// Run a program.
    Run {
        /// For which service.
        place: Place,
        /// The program.
        command: Box<CommandSpec>,
        /// What it is run for.
        purpose: String,
    },
    /// Ask whether a freeze window holds.
    AskFreeze,
    /// Ask how far the approval has come.
    AskApproval,
    /// Do nothing for a while.
    Wait {
        /// How long at most.
        at_most: Duration,
        /// A deployment whose changes end the wait.
        following: Option<(Place, DeploymentId)>,
    },
    /// It is over.
    Finish(Box<Outcome>),
}

/// One turn of the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// What is written down now.
    pub entries: Vec<Entry>,
    /// What is written down right before the command is carried out, if it changes something.
    pub intent: Option<Action>,
    /// What is done then.
    pub command: Command,
}
