//! The loopback platform: a Railway-compatible API, an OCI registry, running services and fault injection in
//! one process on one port of 127.0.0.1.

pub mod clock;
pub mod contract;

// The platform half declares its modules here: pull, registry, runtime, services.
pub mod registry;
pub mod pull;
pub mod runtime;
pub mod services;
