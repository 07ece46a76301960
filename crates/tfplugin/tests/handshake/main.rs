//! The plugin process as its launcher sees it: handshake, TLS, side services, and every way it ends.

#![expect(clippy::unwrap_used, reason = "tests end by panicking, their helpers too")]

mod certificate;
mod lifecycle;
#[cfg(unix)]
mod process;
mod serving;
mod support;
mod tls;
