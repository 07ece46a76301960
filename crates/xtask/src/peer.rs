//! The peer that figures are put beside: a provider written with the framework for Go, `peer/main.go`.

use std::path::PathBuf;

use crate::Context;
use crate::error::Error;
use crate::process::{Finished, Job};

/// Builds the peer as it would be shipped. Without Go there is none, and the figures stand alone; that is said.
pub(crate) async fn build(context: &Context) -> Result<Option<PathBuf>, Error> {
    let source = context.workspace.root.join("crates/xtask/peer");
    let program = context.workspace.target.join("tools").join("terraform-provider-peer");
    context.report.step("build the peer, a provider written with the framework for Go");
    let job = Job::new("go")
        .args(["build", "-trimpath", "-ldflags=-s -w", "-o"])
        .arg(&program)
        .arg(".")
        .dir(&source)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly")
        // Another version of Go is not fetched behind the user's back.
        .env("GOTOOLCHAIN", "local");
    match context.processes.run(&job).await.and_then(Finished::success) {
        Ok(_) => Ok(Some(program)),
        Err(error) => {
            context.report.note(&format!("the peer is left out, since it could not be built: {error}"));
            Ok(None)
        }
    }
}
