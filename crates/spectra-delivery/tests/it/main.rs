//! Whole deliveries against the sandbox, in one process. Each test is named after what is promised.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![expect(clippy::large_futures, reason = "a whole delivery is one, and a test's stack has room for it")]

mod analysis;
mod bake;
mod crash;
mod crowd;
mod group;
mod leases;
mod migrations;
mod pre_deploy;
mod signatures;
mod wave;
mod world;
