//! The facts of a rollout.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use spectra_types::{DeploymentId, Digest, ErrorCode, PinnedImage};

use crate::target::Effect;

/// What is asked for: this service runs this image.
#[derive(Clone, Debug)]
pub struct RolloutRequest {
    /// The image to run.
    pub candidate: PinnedImage,
    /// Whether a service that runs the candidate already is adopted as it is, or deployed anew (changed variables
    /// take effect with a new deployment only).
    pub adopt: Adopt,
    /// How probes are judged; `None` trusts the platform's own health check alone.
    pub health: Option<HealthPolicy>,
    /// How long the candidate is watched once it serves.
    pub bake: Duration,
    /// The longest time without any progress of the deployment.
    pub progress_deadline: Duration,
    /// The longest time for everything up to the end of the bake.
    pub timeout: Duration,
    /// The longest time for bringing the snapshot back.
    pub abort_timeout: Duration,
}

/// What to do about a service that runs the candidate already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adopt {
    /// Take the running deployment for the candidate's, and judge it.
    IfRunning,
    /// Deploy anew.
    Never,
}

/// How probes are judged.
#[derive(Clone, Debug)]
pub struct HealthPolicy {
    /// Time between two probes.
    pub interval: Duration,
    /// Consecutive healthy answers that make the candidate healthy; at least 1.
    pub success_threshold: u32,
    /// Consecutive unhealthy answers that make it unhealthy; at least 1.
    pub failure_threshold: u32,
}

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Looking at what runs, waiting for deployments of others to settle.
    Preflight,
    /// The image is set and a deployment of it is being started.
    Starting,
    /// The platform is bringing the deployment up.
    Deploying,
    /// The platform says it is up; the digest and the replicas are checked.
    Verifying,
    /// Probed until healthy.
    Probing,
    /// Healthy, and watched.
    Baking,
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
}

impl Phase {
    /// The word used in state, diagnostics and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Starting => "starting",
            Self::Deploying => "deploying",
            Self::Verifying => "verifying",
            Self::Probing => "probing",
            Self::Baking => "baking",
            Self::Complete => "complete",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::RollbackFailed => "rollback_failed",
            Self::Refused => "refused",
            Self::Superseded => "superseded",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a service runs and is set to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// The deployment that serves.
    pub running: Option<Running>,
    /// A deployment that is on its way and has no verdict yet.
    pub in_flight: Option<DeploymentId>,
    /// The image setting of the service, as text: a foreign one may be a tag.
    pub setting: Option<String>,
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
        Snapshot { running: self.running.clone(), setting: self.setting.clone() }
    }
}

/// A deployment that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The deployment that served; `None` before the first one.
    pub running: Option<Running>,
    /// The image setting.
    pub setting: Option<String>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As expected.
    Healthy,
    /// Not as expected, or no answer.
    Unhealthy,
}

/// One probe's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Measurement {
    /// What was asked: `GET http://…/healthz`.
    pub subject: String,
    /// What came back, in words: `HTTP 503 in 12 ms: "database down"`.
    pub answer: String,
    /// The judgement.
    pub verdict: Verdict,
}

/// Why a rollout did not end with the candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where it was when it failed.
    pub phase: Phase,
    /// What happened.
    pub reason: FailureReason,
    /// The last probe before the failure.
    pub last_measurement: Option<Measurement>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        })
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target { message, .. } => f.write_str(message),
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
        }
    }
}

/// How a rollout ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The candidate runs, observed healthy.
    Complete {
        /// The deployment that serves it.
        deployment: DeploymentId,
    },
    /// Given up before anything was changed.
    Refused(Failure),
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
    /// Somebody else's deployment took over; nothing was brought back, since that would undo theirs.
    Superseded(Failure),
}

/// What a rollout did, and what really holds now.
#[derive(Clone, Debug)]
pub struct Report {
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
    /// Every probe, in order.
    pub measurements: Vec<Measurement>,
    /// What happened when, for people: time since the start and a line of text.
    pub timeline: Vec<(Duration, String)>,
}
