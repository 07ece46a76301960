//! The crate from outside: real programs, and a Prometheus that takes what the real one takes.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]

mod fake;
mod metrics;
mod programs;
mod prometheus;
mod real;
mod support;
