//! The facts of a rollout.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spectra_types::{DeploymentId, Digest, ErrorCode, ExitCode, PinnedImage};

use crate::ports::Effect;
use crate::spec::Place;

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Looking at what runs, waiting for deployments of others to settle.
    Preflight,
    /// Asking for approvals and freeze windows.
    Gate,
    /// A migration runs.
    Migrating,
    /// A hook runs.
    Hook,
    /// The sibling service is made.
    Canary,
    /// The image is set and a deployment of it is being started.
    Starting,
    /// The platform is bringing the deployment up.
    Deploying,
    /// The platform says it is up; the digest and the replicas are checked.
    Verifying,
    /// Probed until healthy.
    Probing,
    /// Waiting for a time or a person, and watched.
    Pausing,
    /// Measured.
    Analysing,
    /// Healthy, and watched.
    Baking,
    /// What was needed on the way only is removed.
    Cleaning,
    /// The candidate runs, observed healthy.
    Complete,
    /// The snapshot is being brought back.
    RollingBack,
    /// The snapshot serves again.
    RolledBack,
    /// The snapshot could not be brought back.
    RollbackFailed,
    /// Given up before anything was changed.
    Refused,
    /// Somebody else's deployment took the service over.
    Superseded,
    /// Another process holds the lease; this one acts no more.
    Fenced,
}

impl Phase {
    /// The word used in state, diagnostics and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Gate => "gate",
            Self::Migrating => "migrating",
            Self::Hook => "hook",
            Self::Canary => "canary",
            Self::Starting => "starting",
            Self::Deploying => "deploying",
            Self::Verifying => "verifying",
            Self::Probing => "probing",
            Self::Pausing => "pausing",
            Self::Analysing => "analysing",
            Self::Baking => "baking",
            Self::Cleaning => "cleaning",
            Self::Complete => "complete",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::RollbackFailed => "rollback_failed",
            Self::Refused => "refused",
            Self::Superseded => "superseded",
            Self::Fenced => "fenced",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a service runs and is set to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The deployment that serves.
    pub running: Option<Running>,
    /// A deployment that is on its way and has no verdict yet.
    pub in_flight: Option<DeploymentId>,
    /// The image setting of the service, as text: a foreign one may be a tag.
    pub setting: Option<String>,
    /// The command that runs before a deployment takes over.
    #[serde(default)]
    pub pre_deploy: Option<String>,
}

impl Observation {
    /// The digest that serves.
    #[must_use]
    pub fn running_digest(&self) -> Option<&Digest> {
        self.running.as_ref()?.digest.as_ref()
    }

    /// What to return to if a rollout that starts here fails.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            running: self.running.clone(),
            setting: self.setting.clone(),
            pre_deploy: self.pre_deploy.clone(),
        }
    }
}

/// A deployment that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The platform's id of it.
    pub deployment: DeploymentId,
    /// The image reference it was made from.
    pub image: Option<String>,
    /// The digest that runs; `None` when the platform does not say.
    pub digest: Option<Digest>,
    /// Every replica answers that it is running.
    pub all_replicas_running: bool,
}

/// What was there before, and is brought back on failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The deployment that served; `None` before the first one.
    pub running: Option<Running>,
    /// The image setting.
    pub setting: Option<String>,
    /// The command that runs before a deployment takes over.
    #[serde(default)]
    pub pre_deploy: Option<String>,
}

impl Snapshot {
    /// The digest that served.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.running.as_ref()?.digest.as_ref()
    }
}

/// The platform's word on one deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeploymentState {
    /// Not decided yet. The text is the platform's own status, so that a change of it counts as progress.
    Pending(String),
    /// Up and serving.
    Active,
    /// Up, asleep until the next request.
    Sleeping,
    /// A person has to approve it on the platform.
    NeedsApproval,
    /// It did not come up, or went down: the platform's status and reason.
    Failed {
        /// The platform's own status.
        status: String,
        /// What the platform says about it.
        reason: String,
    },
    /// The platform did not deploy it at all.
    Skipped,
    /// Gone because a newer deployment took over.
    Superseded {
        /// The newer one.
        by: DeploymentId,
    },
    /// Gone without a newer one: cancelled or removed by somebody.
    Removed,
}

/// Whether a measurement speaks for or against the candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As expected.
    Healthy,
    /// Not as expected, or no answer.
    Unhealthy,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        })
    }
}

/// One probe's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measurement {
    /// What was asked: `GET http://…/healthz`.
    pub subject: String,
    /// What came back, in words: `HTTP 503 in 12 ms: "database down"`.
    pub answer: String,
    /// The judgement.
    pub verdict: Verdict,
}

/// Why a rollout did not end with the candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Where it was when it failed.
    pub phase: Phase,
    /// The step it was at, in words; `None` outside of steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What happened.
    pub reason: FailureReason,
    /// The last probe before the failure.
    pub last_measurement: Option<Measurement>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FailureReason {
    /// A call to the platform failed.
    Target {
        /// What was attempted and why it failed.
        message: String,
        /// What it may have left behind.
        effect: Effect,
    },
    /// The platform gave up on the deployment.
    Deployment {
        /// The platform's own status.
        status: String,
        /// What the platform says about it.
        reason: String,
    },
    /// The deployment waits for a person on the platform.
    NeedsApproval,
    /// The platform did not deploy.
    Skipped,
    /// The deployment was cancelled or removed by somebody.
    Removed,
    /// Somebody else deployed meanwhile.
    Superseded {
        /// Their deployment.
        by: DeploymentId,
    },
    /// The platform says it is up, but something else runs.
    WrongDigest {
        /// What runs.
        running: Option<Digest>,
    },
    /// The replicas did not all come up.
    ReplicasNotRunning,
    /// Too many probes in a row were not as expected.
    Unhealthy {
        /// How many.
        failures: u32,
    },
    /// Nothing moved for too long.
    ProgressDeadline {
        /// The deadline.
        deadline: Duration,
        /// Where the platform stood.
        status: String,
    },
    /// The whole took too long.
    Timeout {
        /// The limit.
        timeout: Duration,
    },
    /// It fell asleep before it was seen running, and no probe is there to wake it.
    Sleeping,
    /// Stopped by the user.
    Cancelled,
    /// Somebody aborted it from elsewhere.
    Aborted {
        /// Who.
        by: String,
        /// Why, in their words.
        reason: String,
    },
    /// The process that ran it ended in the middle.
    Interrupted,
    /// A rollout of the same run that depends on this one failed.
    Group {
        /// The one that failed.
        rollout: String,
    },
    /// A migration failed.
    Migration {
        /// Its name.
        name: String,
        /// What happened.
        message: String,
    },
    /// A hook failed.
    Hook {
        /// Its name.
        name: String,
        /// What happened.
        message: String,
    },
    /// A metric was not as expected too often.
    Analysis {
        /// The metric.
        metric: String,
        /// The measurement that decided, with query and number.
        message: String,
    },
    /// Measurements decided nothing.
    Inconclusive {
        /// The metric.
        metric: String,
        /// What was missing.
        message: String,
    },
    /// The approval that it needs is not there, was denied, or did not come in time.
    Approval {
        /// What is missing, and how it is given.
        message: String,
    },
    /// A freeze window holds.
    Frozen {
        /// Which, until when, and why.
        message: String,
    },
    /// There is no way back beyond this migration.
    Irreversible {
        /// Its name.
        name: String,
    },
    /// The journal could not be written, and nothing is done that is not written down first.
    Journal {
        /// Why.
        message: String,
    },
    /// Another process took the lease.
    LeaseLost {
        /// Who holds it now, as far as known.
        message: String,
    },
}

impl FailureReason {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::new(match self {
            Self::Target { .. } => "SPX-401",
            Self::Deployment { .. } => "SPX-402",
            Self::NeedsApproval => "SPX-403",
            Self::Skipped => "SPX-404",
            Self::Removed => "SPX-405",
            Self::Superseded { .. } => "SPX-406",
            Self::WrongDigest { .. } => "SPX-407",
            Self::ReplicasNotRunning => "SPX-408",
            Self::Unhealthy { .. } => "SPX-409",
            Self::ProgressDeadline { .. } => "SPX-410",
            Self::Timeout { .. } => "SPX-411",
            Self::Sleeping => "SPX-412",
            Self::Cancelled => "SPX-413",
            Self::Aborted { .. } => "SPX-414",
            Self::Interrupted => "SPX-415",
            Self::Group { .. } => "SPX-426",
            Self::Migration { .. } => "SPX-416",
            Self::Hook { .. } => "SPX-417",
            Self::Analysis { .. } => "SPX-418",
            Self::Inconclusive { .. } => "SPX-419",
            Self::Approval { .. } => "SPX-421",
            Self::Frozen { .. } => "SPX-422",
            Self::Irreversible { .. } => "SPX-423",
            Self::Journal { .. } => "SPX-424",
            Self::LeaseLost { .. } => "SPX-425",
        })
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deployment { status, reason } if reason.is_empty() => {
                write!(f, "the platform ended the deployment as `{status}` and gave no reason")
            }
            Self::Deployment { status, reason } => {
                write!(f, "the platform ended the deployment as `{status}`: {reason}")
            }
            Self::NeedsApproval => {
                f.write_str("the platform holds the deployment until a person approves it there")
            }
            Self::Skipped => f.write_str("the platform skipped the deployment"),
            Self::Removed => f.write_str("the deployment was cancelled or removed by somebody else"),
            Self::Superseded { by } => {
                write!(f, "deployment `{by}`, started by somebody else, took the service over")
            }
            Self::WrongDigest { running: Some(digest) } => {
                write!(f, "the platform reports success, but `{digest}` is what runs")
            }
            Self::WrongDigest { running: None } => {
                f.write_str("the platform reports success, but not which digest runs")
            }
            Self::ReplicasNotRunning => f.write_str("not every replica came up"),
            Self::Unhealthy { failures } => write!(f, "{failures} probes in a row were not as expected"),
            Self::ProgressDeadline { deadline, status } => {
                write!(f, "the deployment stayed at `{status}` for {deadline:?}, the progress deadline")
            }
            Self::Timeout { timeout } => write!(f, "it was not done within {timeout:?}, the timeout"),
            Self::Sleeping => f.write_str(
                "the deployment fell asleep before it was seen running, and there is no probe to wake it",
            ),
            Self::Cancelled => f.write_str("it was stopped by the user"),
            Self::Aborted { by, reason } if reason.is_empty() => write!(f, "it was aborted by {by}"),
            Self::Aborted { by, reason } => write!(f, "it was aborted by {by}: {reason}"),
            Self::Interrupted => f.write_str("the process that ran it ended in the middle"),
            Self::Group { rollout } => {
                write!(f, "rollout `{rollout}`, which depends on it, failed and took it back")
            }
            Self::Migration { name, message } => write!(f, "migration `{name}` failed: {message}"),
            Self::Hook { name, message } => write!(f, "hook `{name}` failed: {message}"),
            Self::Analysis { metric, message } => write!(f, "metric `{metric}` failed: {message}"),
            Self::Inconclusive { metric, message } => {
                write!(f, "metric `{metric}` decided nothing: {message}")
            }
            Self::Target { message, .. } | Self::Approval { message } | Self::Frozen { message } => {
                f.write_str(message)
            }
            Self::Irreversible { name } => {
                write!(f, "there is no way back beyond the irreversible migration `{name}`")
            }
            Self::Journal { message } => write!(f, "the journal could not be written: {message}"),
            Self::LeaseLost { message } => write!(f, "the lease was lost: {message}"),
        }
    }
}

/// How a rollout ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The candidate runs, observed healthy.
    Complete {
        /// The deployment that serves it.
        deployment: DeploymentId,
    },
    /// Given up before anything was changed.
    Refused {
        /// Why.
        failure: Failure,
    },
    /// The snapshot serves again.
    RolledBack {
        /// Why.
        failure: Failure,
        /// The deployment that serves now; `None` when nothing served before.
        deployment: Option<DeploymentId>,
    },
    /// The snapshot could not be brought back.
    RollbackFailed {
        /// Why the rollout failed.
        failure: Failure,
        /// Why the way back failed.
        rollback: FailureReason,
    },
    /// Somebody else's deployment took over; nothing was brought back there, since that would undo theirs.
    Superseded {
        /// Why.
        failure: Failure,
    },
    /// The lease was lost; this process stopped where it was. Whoever has the lease then brings things in order.
    Fenced {
        /// What was going on.
        failure: Failure,
    },
}

impl Outcome {
    /// Why it did not end with the candidate; `None` when it did.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Complete { .. } => None,
            Self::Refused { failure }
            | Self::RolledBack { failure, .. }
            | Self::RollbackFailed { failure, .. }
            | Self::Superseded { failure }
            | Self::Fenced { failure } => Some(failure),
        }
    }

    /// The phase that it ended in.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match self {
            Self::Complete { .. } => Phase::Complete,
            Self::Refused { .. } => Phase::Refused,
            Self::RolledBack { .. } => Phase::RolledBack,
            Self::RollbackFailed { .. } => Phase::RollbackFailed,
            Self::Superseded { .. } => Phase::Superseded,
            Self::Fenced { .. } => Phase::Fenced,
        }
    }

    /// The exit code that says it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Complete { .. } => ExitCode::Done,
            Self::Refused { failure } => match failure.reason {
                FailureReason::Approval { .. } | FailureReason::Frozen { .. } => ExitCode::GateRefused,
                FailureReason::Cancelled => ExitCode::Interrupted,
                _ => ExitCode::Failed,
            },
            Self::RolledBack { .. } => ExitCode::RolledBack,
            Self::RollbackFailed { .. } => ExitCode::RollbackFailed,
            Self::Superseded { .. } => ExitCode::Failed,
            Self::Fenced { .. } => ExitCode::LeaseHeld,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete { deployment } => {
                write!(f, "complete: deployment `{deployment}` serves the candidate")
            }
            Self::Refused { failure } => write!(f, "refused, nothing changed: {}", failure.reason),
            Self::RolledBack { failure, .. } => write!(f, "rolled back: {}", failure.reason),
            Self::RollbackFailed { rollback, .. } => write!(f, "rollback failed: {rollback}"),
            Self::Superseded { failure } => write!(f, "superseded: {}", failure.reason),
            Self::Fenced { failure } => write!(f, "stopped: {}", failure.reason),
        }
    }
}

/// What a rollout did, and what really holds now.
#[derive(Clone, Debug)]
pub struct Report {
    /// The rollout.
    pub rollout: String,
    /// The image that it was to bring out.
    pub candidate: PinnedImage,
    /// How it ended.
    pub outcome: Outcome,
    /// Where it ended.
    pub phase: Phase,
    /// What was there before.
    pub snapshot: Snapshot,
    /// What was seen last, after the end; `None` when it could not be read.
    pub observed: Option<Observation>,
    /// The candidate's deployment, if one was started.
    pub deployment: Option<DeploymentId>,
    /// The service that it was about.
    pub place: Place,
    /// Every probe, in order.
    pub measurements: Vec<Measurement>,
    /// What stays that should not, and what to do about it.
    pub leftovers: Vec<String>,
    /// What happened when, for people: time since the start and a line of text.
    pub timeline: Vec<(Duration, String)>,
}
