//! What the executor acts through. Adapters implement these; a test implements them in memory.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use spectra_types::{DeploymentId, PinnedImage};
use tokio_util::sync::CancellationToken;

use crate::entry::Entry;
use crate::model::{DeploymentState, Measurement, Observation, Snapshot};
use crate::spec::{CommandSpec, Metric, Place, RolloutRequest};

/// A platform that runs services.
pub trait Target: Send + Sync {
    /// What runs now, what is on its way, and which image the service is set to.
    fn observe<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<Observation, TargetError>>;

    /// Sets the service to an image and starts one deployment of it (or takes over the one that setting it started).
    /// Returns the deployment to follow.
    fn deploy<'a>(
        &'a self,
        place: &'a Place,
        order: &'a DeployOrder,
    ) -> BoxFuture<'a, Result<DeploymentId, TargetError>>;

    /// How far a deployment has come.
    fn deployment<'a>(
        &'a self,
        place: &'a Place,
        id: &'a DeploymentId,
    ) -> BoxFuture<'a, Result<DeploymentState, TargetError>>;

    /// Brings the snapshot back: the settings always; a forward deployment only if something else serves, or if the order
    /// has commands to run before it, which have to run somewhere. `None` means that the snapshot already serves.
    fn restore<'a>(
        &'a self,
        place: &'a Place,
        order: &'a RestoreOrder,
    ) -> BoxFuture<'a, Result<Option<DeploymentId>, TargetError>>;

    /// Makes the sibling of a service, without a deployment. Called again, it finds what it made before.
    fn create_sibling<'a>(
        &'a self,
        place: &'a Place,
        order: &'a SiblingOrder,
    ) -> BoxFuture<'a, Result<Place, TargetError>>;

    /// Removes the sibling of a service by its name or its place, if there is one.
    fn remove_sibling<'a>(
        &'a self,
        place: &'a Place,
        order: &'a SiblingOrder,
    ) -> BoxFuture<'a, Result<(), TargetError>>;

    /// Waits until the deployment may have changed, at most for `at_most`. Comes back early at any time.
    fn changed<'a>(&'a self, place: &'a Place, id: &'a DeploymentId, at_most: Duration) -> BoxFuture<'a, ()>;

    /// How long to wait between two reads; adapters stretch it to stay inside a request budget.
    fn poll_interval(&self) -> Duration;
}

/// An image to deploy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeployOrder {
    /// The image.
    pub image: PinnedImage,
    /// What ran before, seen just now.
    pub baseline: Observation,
    /// The command to run before it takes over, instead of the one that is set.
    pub pre_deploy: Option<String>,
}

/// A snapshot to bring back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreOrder {
    /// What to bring back.
    pub snapshot: Snapshot,
    /// The deployment that failed; `None` when its start was never answered.
    pub failed: Option<DeploymentId>,
    /// The image that failed: only deployments of it are cancelled.
    pub candidate: PinnedImage,
    /// The command to run before the restored version takes over, instead of the one that was set.
    pub pre_deploy: Option<String>,
}

/// A sibling service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiblingOrder {
    /// Its name; the adapter's own choice when left out.
    pub name: Option<String>,
    /// Its number of replicas; as many as the service has when left out.
    pub replicas: Option<u32>,
    /// The rollout that it belongs to.
    pub rollout: String,
    /// Where it is, once it is known.
    pub place: Option<Place>,
}

/// A look at a service from outside.
pub trait Probe: Send + Sync {
    /// Asks once. A failure to ask is a measurement too.
    fn measure<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Measurement>;
}

/// Where metrics come from.
pub trait MetricSource: Send + Sync {
    /// Measures once.
    fn sample<'a>(&'a self, metric: &'a Metric, scope: &'a Scope) -> BoxFuture<'a, Sampled>;
}

/// What a measurement looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The service that is measured: the rollout's own, or its canary.
    pub place: Place,
    /// The candidate's deployment there.
    pub candidate: Option<DeploymentId>,
    /// The service that runs stable: the same one, or the canary's original.
    pub stable_place: Place,
    /// Stable's deployment, where it still serves or did in the window.
    pub stable: Option<DeploymentId>,
    /// How far the window reaches back from now.
    pub window: Duration,
}

/// What a source said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    /// The query as it was asked.
    pub query: String,
    /// What came of it; an `Err` is a source that could not be asked.
    pub answer: Result<Sample, String>,
}

/// One measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The number; `None` when there is no data.
    pub value: Option<f64>,
    /// How many samples it is made of, where the source says.
    pub samples: Option<u64>,
    /// The number of stable in the same window.
    pub stable: Option<f64>,
}

/// Runs programs.
pub trait Runner: Send + Sync {
    /// Runs one to its end and gives the tail of what it printed. When `cancel` trips, it is told to end and is awaited.
    fn run<'a>(
        &'a self,
        place: &'a Place,
        command: &'a CommandSpec,
        context: &'a RunContext,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<String, RunError>>;
}

/// A program did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunError {
    /// What happened, with the tail of what it printed.
    pub message: String,
    /// Whether it ran at all.
    pub effect: Effect,
}

/// What a program is told of the rollout, as environment variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunContext {
    /// The rollout.
    pub rollout: String,
    /// The candidate.
    pub candidate: PinnedImage,
    /// What it is run for: `migrate up`, `hook undo`.
    pub purpose: String,
}

/// Who may stop a rollout before it changes something.
pub trait Gates: Send + Sync {
    /// The freeze window that holds now, in words; `None` when none does. An override is the caller's to judge.
    fn frozen<'a>(&'a self, request: &'a RolloutRequest) -> BoxFuture<'a, Result<Option<String>, String>>;

    /// How far the approval has come.
    fn approval<'a>(&'a self, request: &'a RolloutRequest) -> BoxFuture<'a, Result<Approval, String>>;
}

/// How far an approval has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "approval", rename_all = "snake_case")]
pub enum Approval {
    /// Given by these.
    Given {
        /// Who, and how.
        by: Vec<String>,
    },
    /// Not enough yet.
    Missing {
        /// What is missing and how it is given.
        message: String,
    },
    /// Somebody said no.
    Denied {
        /// Who.
        by: String,
    },
}

/// Tells people.
pub trait Notifier: Send + Sync {
    /// Tells them; what becomes of it is recorded by the notifier, and fails nothing.
    fn tell<'a>(&'a self, news: &'a News) -> BoxFuture<'a, Vec<String>>;
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// What happened: `rollout.rolled_back`.
    pub event: &'static str,
    /// The rollout.
    pub rollout: String,
    /// The service.
    pub place: Place,
    /// The candidate.
    pub candidate: PinnedImage,
    /// In one sentence.
    pub summary: String,
}

/// The written record of a rollout.
pub trait Diary: Send + Sync {
    /// Writes down; done means durable.
    fn write<'a>(&'a self, entry: &'a Entry) -> BoxFuture<'a, Result<(), DiaryError>>;

    /// Whether this process surely still holds the lease of every service that it acts on. Asked right before it acts.
    fn may_act(&self) -> bool;

    /// What others asked for since the last look.
    fn requests(&self) -> BoxFuture<'_, Vec<Wish>>;
}

/// Nothing could be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiaryError {
    /// Another process holds the lease.
    Fenced(String),
    /// The store cannot be written.
    Unavailable(String),
}

/// What somebody asks of a running rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "wish", rename_all = "snake_case")]
pub enum Wish {
    /// Go back.
    Abort {
        /// Who asks.
        by: String,
        /// Why.
        reason: String,
    },
    /// End the wait that it is in.
    Promote {
        /// Who asks.
        by: String,
    },
}

/// What a failed call may have left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing was changed, for certain.
    None,
    /// Something was or may have been changed.
    Possible,
}

/// A call to the target failed.
#[derive(Debug)]
pub struct TargetError {
    /// What was attempted on which object, and why it failed.
    pub message: String,
    /// What may have been left behind.
    pub effect: Effect,
    /// The adapter's own error.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl TargetError {
    /// A failure that changed nothing.
    pub fn unchanged(message: impl Into<String>) -> Self {
        Self { message: message.into(), effect: Effect::None, source: None }
    }

    /// A failure after which things may have changed.
    pub fn possibly_changed(message: impl Into<String>) -> Self {
        Self { message: message.into(), effect: Effect::Possible, source: None }
    }

    /// The same failure, with the adapter's own error.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for TargetError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
