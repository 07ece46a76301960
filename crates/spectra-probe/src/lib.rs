//! Measurements and programs that belong to no platform.
//!
//! - [`HttpProbe`] asks one URL the way a service's users do; which URL belongs to which place is the composer's to know.
//! - [`Prometheus`] and [`ProgramMetrics`] are sources of metrics. Each answers for its own kind of metric only.
//! - [`Programs`] runs hooks and migrations, without a shell, in process groups of their own.
//!
//! Invariants:
//! - What is shown of an answer or of a program's output went through the process's redactor first.
//! - A redirect is never followed: neither a probe nor a token may end up somewhere that nobody named.
//! - A program's whole group is ended before its result is given, also when nobody waits for the result any more. Where
//!   that is impossible, since it runs as another user, the result says that it goes on.
//! - A program is not ended when this process is killed with SIGKILL, for nobody is left to do it. A migration may thus go
//!   on behind the back of the recovery that comes next, and `up` and `down` must bear being run again, also while an
//!   earlier run of theirs has not ended: migration tools take a lock in the database for that.

mod client;
mod command;
mod environment;
mod http;
mod output;
mod process;
mod prometheus;
mod promql;
mod runner;

pub use crate::command::ProgramMetrics;
pub use crate::environment::{ServiceVariables, Value, Variables};
pub use crate::http::{HttpProbe, ProbeError, is_localhost, service_url};
pub use crate::prometheus::Prometheus;
pub use crate::runner::Programs;
