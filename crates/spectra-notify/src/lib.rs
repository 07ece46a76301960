//! Tells people and machines what happened: Slack, signed webhooks, e-mail, PagerDuty.
//!
//! A [`Message`] says what happened, once. A [`ChannelSpec`] says where messages go and holds no secret; opened, it is a
//! [`Channel`]. [`send_all`] sends one message to many channels, and what fails there is an [`Outcome`].
//!
//! A notification is delivered at least once: what may have arrived is sent again under the same delivery id, and the
//! receiver drops what it has seen. Where it goes is often a secret itself, so nothing here shows more of a URL than
//! scheme, host and port.

mod channel;
mod clock;
mod email;
mod error;
mod http;
mod message;
mod pagerduty;
mod pattern;
mod retry;
mod send_all;
mod signature;
mod slack;
mod spec;
mod spec_record;
mod template;
mod text;
mod webhook;

pub use crate::channel::Channel;
pub use crate::clock::{Clock, SystemClock};
pub use crate::email::MailTls;
pub use crate::error::Error;
pub use crate::message::{Event, Field, Link, Message, Severity};
pub use crate::pagerduty::ENDPOINT as PAGERDUTY_ENDPOINT;
pub use crate::retry::{Delivery, Options, Retry};
pub use crate::send_all::{Deadline, Outcome, Sent, send_all};
pub use crate::signature::{Signature, sign};
pub use crate::spec::{ChannelSpec, EmailTarget, Environment, Target};
pub use crate::template::Template;
pub use crate::webhook::Webhook;
