//! A provider behind a real socket, with calls as Terraform sends them and as it never would.

#![expect(clippy::unwrap_used, reason = "a test")]

mod files;
mod provider;
mod state_stores;
mod support;
