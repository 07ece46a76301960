//! What is asked for: one release, its steps, and how it is judged.
//!
//! All of it can be written as JSON or TOML and read back: a request is part of the journal, so that another process can finish
//! what this one began. JSON is read by way of `serde_json::Value`: with numbers of any precision, as the workspace has them,
//! serde cannot read a tagged enum that holds a number from text. It holds no secrets, only the names of the environment variables and service variables they are in.

mod check;
mod command;
mod health;
mod human;
mod metric;
mod migration;
mod nothing;
mod place;
mod request;
mod schedule;
mod step;

pub use self::check::{Ability, Problem, check};
pub use self::command::CommandSpec;
pub use self::health::HealthPolicy;
pub use self::metric::{Comparison, HttpRatio, Metric, MetricKind, OnNoData, Percentile};
pub use self::migration::{Migration, MigrationPart, Runner};
pub use self::place::Place;
pub use self::request::{Adopt, ApprovalRule, Approver, OnInconclusive, RolloutRequest};
pub use self::schedule::{Schedule, ScheduledStep, schedule};
pub use self::step::{Analysis, Canary, Hook, Pause, Step, Wave};
