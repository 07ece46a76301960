//! crane, which has no package: built from its source where there is Go.

use std::path::PathBuf;

use crate::Context;
use crate::error::Error;
use crate::process::{Finished, Job, on_path};
use crate::pypi;

/// What the goals were set against.
const VERSION: &str = "v0.22.1";

/// Builds crane into a folder of this version under `target/tools`, which takes a minute or less. Does nothing when it is there. Without
/// Go there is none.
pub(super) async fn build(context: &Context) -> Result<Option<PathBuf>, Error> {
    let folder = pypi::tools(context).join(format!("crane-{VERSION}"));
    let program = folder.join("crane");
    if program.is_file() {
        return Ok(Some(program));
    }
    if on_path("go").is_none() {
        return Ok(None);
    }
    context.report.step(&format!("build crane {VERSION} into {}", folder.display()));
    let job = Job::new("go")
        .args(["install", "-trimpath", "-ldflags=-s -w"])
        .arg(format!("github.com/google/go-containerregistry/cmd/crane@{VERSION}"))
        .env("GOBIN", &folder)
        .env("CGO_ENABLED", "0")
        // Another version of Go is not fetched behind the user's back.
        .env("GOTOOLCHAIN", "local");
    match context.processes.run(&job).await.and_then(Finished::success) {
        Ok(_) => Ok(Some(program)),
        Err(error @ Error::Closing(_)) => Err(error),
        Err(error) => {
            context.report.note(&format!("crane could not be built: {error}"));
            Ok(None)
        }
    }
}
