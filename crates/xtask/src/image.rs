//! Images in the sandbox's registry, built and pushed by the built command-line program.

use std::path::Path;

use serde_json::Value;

use crate::Context;
use crate::error::Error;
use crate::process::Job;
use crate::sandbox::Sandbox;
use crate::workspace::Programs;

/// An image in the sandbox's registry.
pub(crate) struct Image {
    /// Its reference by digest.
    pub(crate) pinned: String,
    pub(crate) digest: String,
}

/// An image whose only file is a program.
pub(crate) struct Plan<'a> {
    /// The repository in the registry.
    pub(crate) name: &'a str,
    /// The program, which becomes the entrypoint.
    pub(crate) service: &'a Path,
    pub(crate) environment: &'a [(&'a str, &'a str)],
    /// What the simulated runtime does, without the labels' prefix.
    pub(crate) labels: &'a [(&'a str, &'a str)],
}

/// Builds an image below `root` and pushes it.
pub(crate) async fn push(
    context: &Context,
    programs: &Programs,
    sandbox: &Sandbox,
    root: &Path,
    plan: &Plan<'_>,
) -> Result<Image, Error> {
    let folder = plan.name.replace('/', "-");
    let files = root.join(format!("image-{folder}"));
    let layout = root.join(format!("layout-{folder}"));
    std::fs::create_dir_all(&files).map_err(Error::file("create", &files))?;
    std::fs::copy(plan.service, files.join("quickstart-app")).map_err(Error::file("copy", plan.service))?;
    let mut build = Job::new(&programs.deployer)
        .args(["image", "build"])
        .arg(&files)
        .arg("--output")
        .arg(&layout)
        .args(["--entrypoint", "/quickstart-app", "--json"]);
    for (name, value) in plan.environment {
        build = build.args(["--env", &format!("{name}={value}")]);
    }
    for (name, value) in plan.labels {
        build = build.args(["--label", &format!("dev.spectra.sandbox.{name}={value}")]);
    }
    context.processes.run(&build).await?.success()?;
    let repository = format!("{}/{}", sandbox.registry, plan.name);
    let push = Job::new(&programs.deployer)
        .args(["image", "push"])
        .arg(&layout)
        .args([&format!("{repository}:1"), "--json"]);
    let pushed = context.processes.run(&push).await?.success()?;
    let answer: Value = serde_json::from_str(&pushed.stdout)
        .map_err(|error| Error::unexpected(pushed.command.clone(), error.to_string()))?;
    let digest = answer
        .get("digest")
        .and_then(Value::as_str)
        .ok_or_else(|| Error::unexpected(pushed.command.clone(), format!("no `digest` in {answer}")))?;
    Ok(Image { pinned: format!("{repository}@{digest}"), digest: digest.to_owned() })
}

/// An image for the simulated runtime, which nothing but its labels matters for.
pub(crate) async fn simulated(
    context: &Context,
    programs: &Programs,
    sandbox: &Sandbox,
    root: &Path,
    name: &str,
    labels: &[(&str, &str)],
) -> Result<Image, Error> {
    let service = root.join("placeholder-service");
    std::fs::write(&service, "served by the simulated runtime\n").map_err(Error::file("write", &service))?;
    push(context, programs, sandbox, root, &Plan { name, service: &service, environment: &[], labels }).await
}
