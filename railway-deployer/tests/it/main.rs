//! The real binary, from arguments to exit code, standard output and standard error.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod audit;
mod disk;
mod foreign_layers;
mod forged;
mod general;
mod hostile;
mod hostile_layers;
mod image;
mod image_build;
mod image_copy;
mod image_flags;
mod image_layers;
mod image_registry;
mod image_tools;
mod interop;
mod interrupted;
#[cfg(feature = "keyless")]
mod keyless;
#[cfg(feature = "keyless")]
mod keyless_cosign;
#[cfg(not(feature = "keyless"))]
mod no_keyless;
mod output;
mod rollout;
mod rollout_start;
mod rollout_verbs;
mod sandbox;
mod sandbox_start;
mod scan;
mod scan_layers;
mod scan_places;
mod scan_tools;
mod signing;
mod support;
mod tls;
mod trivy;
mod words;
mod world;
