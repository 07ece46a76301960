//! What GitHub knows of the workflow run that a deployment is part of: who reviewed it.
//!
//! Only reads. The token goes to the API's own host alone: `https`, or this machine, and redirects are not followed.

mod error;
mod reviews;
mod run;

pub use crate::error::Error;
pub use crate::reviews::{Review, Reviews, Verdict};
pub use crate::run::Run;
