//! How a service gets from one image to another, and back.
//!
//! A rollout is a pure [machine](Machine): state × event → state, [turn](Turn). Time is passed in, nothing in it performs I/O,
//! so every path can be driven by a test. The [executor](run) carries the turns out over the traits in `ports`: the
//! [`Target`] that deploys, the [`Probe`] and the [`MetricSource`] that measure, the [`Diary`] that remembers.
//!
//! Invariants:
//! - What changes something is written down before it is done. Whoever finds the [entries](Entry) can bring the
//!   environment back: the [`Ledger`] of a running rollout and that of a dead one are the same fold.
//! - Success is reported only after the platform said the candidate's digest is what runs, on every replica, and
//!   every probe and metric of the bake time was judged.
//! - A failure after anything was changed is followed by the way back, and the outcome says whether that worked. There
//!   is no third ending. A `contract` that has no way back, or whose way back failed, keeps the candidate: the version
//!   before may not run on the schema.
//! - Whoever lost the lease changes nothing more, and does not end the record: that is for the one who holds it.
//! - An unreadable control plane is not a verdict on the candidate; only the two clocks end the wait.

mod clock;
mod entry;
mod executor;
mod freeze;
mod judge;
mod ledger;
mod machine;
mod model;
mod policy;
mod ports;
mod reach;
pub mod spec;

pub use crate::clock::{Clock, TokioClock};
pub use crate::entry::{Action, Entry, Made};
pub use crate::executor::{Ports, recover, run, take_back};
pub use crate::freeze::{Day, FreezeSchedule, FreezeWindow, Frozen, UnknownTimeZone};
pub use crate::judge::{Judge, Mark, Standing};
pub use crate::ledger::{Ledger, Taken};
pub use crate::machine::{Command, Event, Machine, Turn};
pub use crate::model::{
    DeploymentState, Failure, FailureReason, Measurement, Observation, Outcome, Phase, Report, Running,
    Snapshot, Verdict,
};
pub use crate::policy::{DeploymentPolicy, Violation, govern, passed_over};
pub use crate::ports::{
    Approval, DeployOrder, Diary, DiaryError, Effect, Gates, MetricSource, News, Notifier, Probe,
    RestoreOrder, RunContext, RunError, Runner, Sample, Sampled, Scope, SiblingOrder, Target, TargetError,
    Wish,
};
pub use crate::reach::Reach;
pub use crate::spec::{Adopt, HealthPolicy, Place, RolloutRequest};
