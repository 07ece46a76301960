//! What the machine's commands are carried out on.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use spectra_types::{DeploymentId, PinnedImage};

use crate::model::{DeploymentState, Measurement, Observation, Snapshot};

/// One service in one environment of a platform.
pub trait Target: Send + Sync {
    /// What runs now, what is on its way, and which image the service is set to.
    fn observe(&self) -> impl Future<Output = Result<Observation, TargetError>> + Send;

    /// Sets the service to `candidate` and starts one deployment of it (or adopts the one that setting it started).
    /// Returns the deployment to follow.
    fn deploy(
        &self,
        candidate: &PinnedImage,
        baseline: &Observation,
    ) -> impl Future<Output = Result<DeploymentId, TargetError>> + Send;

    /// How far a deployment has come.
    fn deployment(
        &self,
        id: &DeploymentId,
    ) -> impl Future<Output = Result<DeploymentState, TargetError>> + Send;

    /// Brings the snapshot back: the image setting always; a forward deployment only if something else serves.
    /// `None` means that the snapshot already serves.
    fn restore(
        &self,
        snapshot: &Snapshot,
        failed: Option<&DeploymentId>,
    ) -> impl Future<Output = Result<Option<DeploymentId>, TargetError>> + Send;

    /// How long to wait between two reads; adapters stretch it to stay inside a request budget.
    fn poll_interval(&self) -> Duration;
}

/// A look at the service from outside.
pub trait Probe: Send + Sync {
    /// Asks once. A failure to ask is a measurement too.
    fn measure(&self) -> impl Future<Output = Measurement> + Send;
}

/// What a failed call may have left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
