//! The loopback platform: a Railway-compatible API, an OCI registry, running services and fault injection in
//! one process on one port of 127.0.0.1.
//!
//! [`Sandbox::start`] opens a state directory and serves until it is told to stop; `docs/sandbox.md` describes
//! what can be steered while it runs.

mod admin;
pub mod clock;
mod config;
mod connections;
pub mod contract;
mod core;
mod faults;
mod host;
mod journal;
pub mod pull;
mod railway;
pub mod registry;
pub mod runtime;
mod sandbox;
mod secrets;
mod server;
pub mod services;
mod settings;
mod store;

pub use config::{Config, DEFAULT_PORT, Error, RuntimeKind, SandboxInfo, Tokens};
pub use sandbox::Sandbox;
