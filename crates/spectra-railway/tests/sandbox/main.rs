//! The client against the sandbox, in one process.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod canary;
#[path = "../common/held_clock.rs"]
mod clock;
mod follow;
mod logs;
mod metrics;
mod signals;
mod world;
