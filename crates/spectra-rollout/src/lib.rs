//! How a service gets from one image to another, and back.
//!
//! A rollout is a pure [machine](Machine): state × event → state, [commands](Command). Time is passed in, nothing in
//! it performs I/O, so every path can be driven by a test. The [executor](run) carries the commands out over three
//! traits: the [`Target`] that deploys, the [`Probe`] that measures, the [`Clock`] that waits.
//!
//! Invariants:
//! - Success is reported only after the platform said the candidate's digest is what runs, on every replica, and
//!   every probe of the bake time was judged.
//! - A failure after anything was changed is followed by the restoration of the snapshot taken before, and the
//!   outcome says whether that worked. There is no third ending.
//! - An unreadable control plane is not a verdict on the candidate; only the two clocks end the wait.

mod clock;
mod executor;
mod machine;
mod model;
mod target;

pub use crate::clock::{Clock, TokioClock};
pub use crate::executor::run;
pub use crate::machine::{Command, Event, Machine};
pub use crate::model::{
    Adopt, DeploymentState, Failure, FailureReason, HealthPolicy, Measurement, Observation, Outcome, Phase,
    Report, RolloutRequest, Running, Snapshot, Verdict,
};
pub use crate::target::{Effect, Probe, Target, TargetError};
