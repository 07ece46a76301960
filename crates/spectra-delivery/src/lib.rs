//! One rollout from a request to an outcome, for both programs.
//!
//! The engine (`spectra-rollout`) knows neither Railway nor a journal; the adapters do not know each other. Here they are put
//! together, once: the leases are taken, what an earlier process left open is brought to an end, the rollout runs, and
//! everything is written down. The provider and the command line differ in what comes before (a configuration, flags) and
//! after (diagnostics, an exit code).

mod abort;
mod account;
pub mod approval;
mod dead;
mod deliver;
mod diary;
mod error;
mod follow;
mod gates;
mod group;
mod id;
mod leases;
mod logs;
mod metrics;
mod news;
mod postmortem;
mod probes;
mod programs;
mod promote;
mod rollback;
pub mod settings;
mod signatures;
mod standing;
mod unlock;
mod unobserved;
mod wish;

pub use crate::abort::Aborted;
pub use crate::account::{ACCOUNT_VERSION, Account, Applied, Before, Measured, MigrationState, Moment};
pub use crate::dead::{free_what_the_dead_have, tidy_leases};
pub use crate::deliver::{ABILITIES, Delivered, Delivery, Heard, Listener, Waiting};
pub use crate::error::Error;
pub use crate::follow::Following;
pub use crate::gates::{freezes, governed};
pub use crate::id::rollout_id;
pub use crate::leases::{DEFAULT_TTL, is_acted_on};
pub use crate::logs::{DeploymentLogs, LogListener, Logged};
pub use crate::postmortem::Written;
pub use crate::probes::http_probe;
pub use crate::promote::{Promoted, promote};
pub use crate::rollback::RolledBackTo;
pub use crate::signatures::{Signatures, gathered, signed};
pub use crate::standing::{Standing, entries, history, line_of, request_of, standing, standing_of};
pub use crate::unlock::{Unlocked, unlock};
pub use crate::unobserved::{Admitted, admitted};
pub use crate::wish::ask;

/// The kinds of the records that are written here, beside those of `spectra_rollout::Entry`.
pub mod kinds {
    /// A service takes part in a rollout that is written down under another service's subject.
    pub const JOINED: &str = "rollout.joined";
    /// Who signed an image, as the policies of its place want it: of a rollout, or one that is deployed without.
    pub const SIGNATURES: &str = "signature.accepted";
    /// Somebody asks a running rollout to go back.
    pub const ABORT: &str = "wish.abort";
    /// Somebody asks a running rollout to end its wait.
    pub const PROMOTE: &str = "wish.promote";
    /// Somebody asks for the version before; the rollout that brings it follows.
    pub const ROLLBACK: &str = "wish.rollback";
    /// A rollout whose way back failed was looked at, and others may begin again.
    pub const CLEARED: &str = "rollout.cleared";
    /// A setting is what it says from now on.
    pub const SETTING_PUT: &str = "setting.put";
    /// A setting is no more.
    pub const SETTING_REMOVED: &str = "setting.removed";
    /// Somebody approves a digest by a plan.
    pub const APPROVAL_GIVEN: &str = "approval.given";
    /// Somebody refuses one.
    pub const APPROVAL_DENIED: &str = "approval.denied";
}
