//! Tells people and machines what happened.
//!
//! A notification is delivered at least once: what may have arrived is sent again under the same delivery id, and the
//! receiver drops what it has seen. Where it goes is often a secret itself, so nothing here shows more of a URL than
//! scheme, host and port.

mod clock;
mod signature;
mod webhook;

pub use crate::clock::{Clock, SystemClock};
pub use crate::signature::{Signature, sign};
pub use crate::webhook::{Delivery, Error, Options, Retry, Webhook};
