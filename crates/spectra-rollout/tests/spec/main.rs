//! What can be asked for: what is wrong with it, what it will do, how it is written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod check;
mod hash;
mod written;
