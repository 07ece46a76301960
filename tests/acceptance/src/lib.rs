//! What the acceptance tests stand on: the built programs, a sandbox, a Terraform working directory, images,
//! and a search for secrets. Everything here runs the real binaries as processes and looks at them from
//! outside; nothing is imported from the crates under test.
//!
//! `cargo xtask test` builds the programs first and names them in `SPECTRA_BIN_DIR`, and the Terraform to
//! use in `TERRAFORM`. Alone, `cargo test -p spectra-acceptance` takes the programs from the target
//! directory that it was built into, so `cargo build --bins` has to have run.
//!
//! A fixture panics when the machine does not play along: in a test there is nobody to hand an error to.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]

mod canary;
mod configuration;
mod http;
mod image;
mod journal;
mod matrix;
mod process;
mod programs;
mod running;
mod sandbox;
mod shop;
mod terraform;
mod watcher;

pub use canary::assert_absent;
pub use configuration::{SHOP, shop_with_rollout, shop_with_rollout_that};
pub use http::{Answer, get, post_json};
pub use image::{Image, ImageBuilder};
pub use journal::{JournalFile, JournalRecord, LeaseHolder, Names, Point, Watch, points};
pub use matrix::{Cases, hold_all};
pub use process::{Run, run};
pub use programs::{deployer, latest_terraform, provider, terraform_binary};
pub use running::{Running, signal};
pub use sandbox::{Entry, Sandbox};
pub use shop::{Shop, Version, foreign, serving};
pub use terraform::{State, Terraform};

use std::time::{Duration, Instant};

/// The longest that anything in these tests is waited for. Reached only when something is broken.
pub const LIMIT: Duration = Duration::from_mins(2);

/// Asks `ready` again and again until it gives a value; panics with `what` after [`LIMIT`].
pub fn eventually<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {} s in vain: {what}", LIMIT.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}
