//! The client against a registry that breaks on purpose and notices every breach of the protocol.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod auth;
mod below;
mod build;
mod cache;
mod companions;
mod credentials;
mod documents;
mod engine;
mod fake;
mod hostile;
mod layout;
mod layout_writes;
mod mounts;
mod push;
mod read;
mod referrers;
mod remote;
mod resume;
mod saved;
mod spool;
