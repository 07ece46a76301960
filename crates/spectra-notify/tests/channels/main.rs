//! Channels against receivers on this machine that are as strict as the real ones say they are.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod email;
mod pagerduty;
mod send_all;
mod slack;
mod smtp_server;
mod spec;
mod support;
mod webhook;
