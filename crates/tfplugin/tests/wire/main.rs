//! A provider behind a real socket, with calls as Terraform sends them and as it never would.

#![expect(clippy::unwrap_used, reason = "a test")]

mod calls;
mod cancellation;
mod files;
mod logs;
mod malformed;
mod panics;
mod plans;
mod provider;
mod sizes;
mod state_stores;
mod support;
