//! Whole deliveries against the sandbox, in one process. Each test is named after what is promised.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![expect(clippy::large_futures, reason = "a whole delivery is one, and a test's stack has room for it")]

mod analysis;
mod bake;
mod crash;
mod crowd;
mod dead;
mod group;
mod leases;
mod logs;
mod migrations;
mod open;
mod pre_deploy;
mod rollback;
mod signatures;
mod wave;
mod world;
