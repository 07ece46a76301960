//! The client against a Railway that answers as it is told.

#![expect(clippy::unwrap_used, clippy::unchecked_time_subtraction, reason = "a test that cannot go on fails")]
#![expect(clippy::needless_pass_by_value, reason = "replies read better with the literal inside the call")]

#[path = "../common/held_clock.rs"]
mod clock;
mod creation;
mod fake;
mod guard;
mod http_logs;
mod identity;
mod instances;
mod metrics;
mod patches;
mod proxy;
mod reads;
mod replies;
mod sockets;
mod subscriptions;
mod target;
mod tls;
