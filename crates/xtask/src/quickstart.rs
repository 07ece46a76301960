//! `cargo xtask quickstart`: the main job of the product, from nothing to nothing, with each promise
//! checked on the way.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::Error;
use crate::http;
use crate::image::{self, Image};
use crate::process::{Finished, Job};
use crate::sandbox::Sandbox;
use crate::terraform::{self, Binary, Terraform};
use crate::workspace::{self, Programs};
use crate::{Context, Tools};

/// Given to the service through a write-only attribute; no byte on disk may contain it.
const SESSION_KEY: &str = "quickstart-canary-5b1f7c0e93";
/// What the good and the bad image answer.
const GOOD_BODY: &str = "hello from the quickstart";
/// Where the provider keeps its journal by itself, in the folder of the configuration.
const JOURNAL: &str = ".spectra/journal.db";

/// Runs the whole story; every temporary file is gone afterwards.
pub(crate) async fn run(context: &Context, tools: &Tools) -> Result<(), Error> {
    let programs = workspace::programs(context, tools.bin_dir.as_deref()).await?;
    let service = match tools.bin_dir.as_ref().map(|directory| directory.join("quickstart-app")) {
        Some(path) if path.is_file() => path,
        _ => workspace::example_service(context).await?,
    };
    let binary = terraform::find(context, tools.terraform).await?;
    story(context, &programs, &service, binary).await
}

/// The story itself, with programs that are already there.
pub(crate) async fn story(
    context: &Context,
    programs: &Programs,
    service: &Path,
    binary: Binary,
) -> Result<(), Error> {
    let report = context.report;
    let temporary = tempfile::Builder::new()
        .prefix("spectra-quickstart-")
        .tempdir()
        .map_err(Error::file("create", std::env::temp_dir()))?;
    let root = temporary.path();

    report.step("start the sandbox: Railway's API, an image registry and running services on loopback");
    let sandbox = Sandbox::start(context, programs, &root.join("sandbox")).await?;
    report.ok(&format!("{} (process {})", sandbox.endpoint, sandbox.pid()));

    report.step("build two images without a Docker daemon and push them to the sandbox's registry");
    let good = image(context, programs, &sandbox, service, root, "good").await?;
    let bad = image(context, programs, &sandbox, service, root, "bad").await?;
    report.ok(&format!("good {}", good.pinned));
    report.ok(&format!("bad  {}", bad.pinned));

    let directory = root.join("configuration");
    copy_configuration(&context.workspace.root.join("examples").join("quickstart"), &directory)?;
    let plugins = link_provider(&programs.provider, root)?;
    let mut terraform = Terraform::new(context, binary, &plugins, &directory)?;
    for (name, value) in sandbox.environment() {
        terraform = terraform.env(name, value);
    }
    terraform.set_variable("image", &good.pinned);
    terraform.set_variable("session_key", SESSION_KEY);

    report.step("terraform apply: a project, two environments, a service, a domain and a rollout");
    let applied = terraform.run(&["apply", "-auto-approve", "-no-color"]).await?.success()?;
    report.quote(tail(&applied.stdout));
    let url = output(&terraform, "url").await?;

    report.step("terraform plan: nothing left to do");
    empty_plan(&terraform, "a plan straight after an apply is empty").await?;
    report.ok("the plan is empty");

    report.step(&format!("ask the service: GET {url}"));
    serves(&url, GOOD_BODY).await?;
    report.ok(&format!("200 {GOOD_BODY}"));

    report.step("terraform apply again: nothing may change on the platform");
    let before = sandbox.last_sequence().await?;
    terraform.run(&["apply", "-auto-approve", "-no-color"]).await?.success()?;
    let changes: Vec<_> =
        sandbox.journal(before).await?.into_iter().filter(crate::sandbox::Entry::is_mutation).collect();
    promise(changes.is_empty(), "a second apply makes no mutation", || format!("{changes:?}"))?;
    report.ok("no mutation in the sandbox's request journal");

    report.step("roll out the bad image: its health check answers 503, so this apply must fail");
    terraform.set_variable("image", &bad.pinned);
    let refused = terraform.run(&["apply", "-auto-approve", "-no-color"]).await?;
    promise(!refused.status.success(), "an apply of an unhealthy image fails", || refused.stdout.clone())?;
    report.quote(&refused.stderr);
    report.ok(&format!("terraform ended with {}", refused.status));
    refusal(&refused, &good, &bad)?;

    report.step("look at what really runs");
    serves(&url, GOOD_BODY).await?;
    let running = output_of_state(&terraform).await?;
    promise(running == good.digest, "state names the digest that serves", || running.clone())?;
    report.ok(&format!("the service still answers; running_digest = {running}"));

    report.step("terraform plan: the change that did not happen is planned again");
    let plan = terraform.run(&["plan", "-no-color", "-detailed-exitcode", "-lock=false"]).await?;
    promise(plan.status.code() == Some(2), "a failed rollout is planned again", || plan.stdout.clone())?;
    report.ok("the plan shows the rollout of the bad image");

    report.step("railway-deployer rollout history: what was rolled out, and how it ended");
    report.quote(&history(context, programs, &sandbox, &terraform, &directory).await?);

    report.step("railway-deployer audit log: the journal that both applies were written down in");
    let journal = directory.join(JOURNAL);
    promise(journal.is_file(), "the journal is in the folder of the configuration", || {
        format!("there is no `{}`", journal.display())
    })?;
    let trail = audit(context, programs, &directory, &["log", "--limit", "1000"]).await?;
    report.quote(&trail);
    for (what, needle) in [
        ("the image that failed", bad.digest.as_str()),
        ("that it went back", "rollout.going_back"),
        ("how it ended", "rollout.finished"),
    ] {
        promise(trail.contains(needle), "the audit trail tells what happened", || {
            format!("{what} (`{needle}`) is missing")
        })?;
    }
    let verified = audit(context, programs, &directory, &["verify"]).await?;
    report.ok(verified.trim());

    report.step("terraform destroy");
    terraform.run(&["destroy", "-auto-approve", "-no-color"]).await?.success()?;
    let left: Vec<_> = sandbox.objects().await?.into_iter().filter(|(_, count)| *count > 0).collect();
    promise(left.is_empty(), "destroy leaves no object on the platform", || format!("{left:?}"))?;
    report.ok("the sandbox holds no object");

    report.step("search every byte that this run wrote for the secret it was given");
    let hits = search(root, SESSION_KEY.as_bytes())?;
    promise(hits.is_empty(), "a write-only secret is in no file, the journal included", || {
        format!("{hits:?}")
    })?;
    report.ok("not found");

    let violations = sandbox.violations().await?;
    promise(violations.is_empty(), "no client breaks a rule of the registry", || format!("{violations:?}"))?;

    report.step("stop the sandbox and remove the temporary files");
    sandbox.stop(context).await;
    temporary.close().map_err(Error::file("remove", "the temporary directory"))?;
    report.ok("done");
    Ok(())
}

fn promise(holds: bool, promise: &'static str, found: impl FnOnce() -> String) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::Promise { promise, found: found() }) }
}

/// The example service as an image. The labels tell the simulated runtime what the process would do; a container engine
/// runs the process itself.
async fn image(
    context: &Context,
    programs: &Programs,
    sandbox: &Sandbox,
    service: &Path,
    root: &Path,
    kind: &str,
) -> Result<Image, Error> {
    let health = if kind == "good" { "200" } else { "503" };
    let plan = image::Plan {
        name: &format!("quickstart/{kind}"),
        service,
        environment: &[("QUICKSTART_HEALTH_STATUS", health)],
        labels: &[("health-status", health), ("health-path", "/healthz"), ("body", GOOD_BODY)],
    };
    image::push(context, programs, sandbox, root, &plan).await
}

/// A healthy image for callers that need one and do not care what it runs; returns its pinned reference.
pub(crate) async fn labelled_image(
    context: &Context,
    programs: &Programs,
    sandbox: &Sandbox,
    root: &Path,
) -> Result<String, Error> {
    let labels = [("health-path", "/healthz"), ("body", GOOD_BODY)];
    Ok(image::simulated(context, programs, sandbox, root, "quickstart/good", &labels).await?.pinned)
}

/// The example's own files, without what an earlier run by hand left beside them.
fn copy_configuration(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(to).map_err(Error::file("create", to))?;
    for entry in std::fs::read_dir(from).map_err(Error::file("read", from))? {
        let path = entry.map_err(Error::file("read", from))?.path();
        if path.extension().is_some_and(|extension| extension == "tf")
            && let Some(name) = path.file_name()
        {
            std::fs::copy(&path, to.join(name)).map_err(Error::file("copy", &path))?;
        }
    }
    Ok(())
}

/// A configuration that requires the provider and uses nothing of it.
pub(crate) fn minimal_configuration(directory: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(directory).map_err(Error::file("create", directory))?;
    let main = directory.join("main.tf");
    let text = "terraform {\n  required_providers {\n    spectra = {\n      source = \"spectra/spectra\"\n    }\n  }\n}\n";
    std::fs::write(&main, text).map_err(Error::file("write", &main))
}

/// A directory that holds the provider and nothing else, as `dev_overrides` wants it.
pub(crate) fn link_provider(provider: &Path, root: &Path) -> Result<PathBuf, Error> {
    let plugins = root.join("plugins");
    std::fs::create_dir_all(&plugins).map_err(Error::file("create", &plugins))?;
    let link = plugins.join("terraform-provider-spectra");
    std::os::unix::fs::symlink(provider, &link).map_err(Error::file("link", &link))?;
    Ok(plugins)
}

async fn empty_plan(terraform: &Terraform<'_>, name: &'static str) -> Result<(), Error> {
    let plan = terraform.run(&["plan", "-no-color", "-detailed-exitcode"]).await?;
    match plan.status.code() {
        Some(0) => Ok(()),
        Some(2) => Err(Error::Promise { promise: name, found: plan.stdout }),
        _ => Err(plan.failure()),
    }
}

async fn output(terraform: &Terraform<'_>, name: &str) -> Result<String, Error> {
    let end = terraform.run(&["output", "-raw", "-no-color", name]).await?.success()?;
    Ok(end.stdout.trim().to_owned())
}

async fn serves(url: &str, body: &str) -> Result<(), Error> {
    let answer = http::get(url).await?;
    promise(answer.status == 200 && answer.body.trim() == body, "the service answers", || {
        format!("status {}, body `{}`", answer.status, answer.body)
    })
}

/// `running_digest` of the rollout in the state, not in the outputs: those keep what the last successful
/// apply wrote.
async fn output_of_state(terraform: &Terraform<'_>) -> Result<String, Error> {
    let state = terraform.show().await?;
    attribute(&state, "spectra_rollout.web", "running_digest")
}

fn attribute(state: &Value, address: &str, name: &str) -> Result<String, Error> {
    let resources = state.pointer("/values/root_module/resources").and_then(Value::as_array);
    resources
        .into_iter()
        .flatten()
        .find(|resource| resource.get("address").and_then(Value::as_str) == Some(address))
        .and_then(|resource| resource.get("values")?.get(name)?.as_str().map(ToOwned::to_owned))
        .ok_or_else(|| {
            Error::unexpected("terraform show -json", format!("no `{address}.{name}` in the state"))
        })
}

/// The diagnostic has to let the reader act: what failed, what was asked, what runs now.
fn refusal(end: &Finished, good: &Image, bad: &Image) -> Result<(), Error> {
    // Terraform wraps lines and draws a border; compare without both.
    let text: String = end.stderr.chars().filter(|c| !c.is_whitespace() && *c != '│').collect();
    for (what, needle) in [
        ("the probe's answer", "503"),
        ("the failed digest", &bad.digest),
        ("the restored digest", &good.digest),
    ] {
        promise(text.contains(needle), "the diagnostic names the probe's answer and both digests", || {
            format!("{what} (`{needle}`) is missing")
        })?;
    }
    Ok(())
}

async fn history(
    context: &Context,
    programs: &Programs,
    sandbox: &Sandbox,
    terraform: &Terraform<'_>,
    directory: &Path,
) -> Result<String, Error> {
    let state = terraform.show().await?;
    let mut job = Job::new(&programs.deployer).args(["rollout", "history"]).dir(directory);
    for (flag, name) in
        [("--project", "project_id"), ("--environment", "environment_id"), ("--service", "service_id")]
    {
        job = job.arg(flag).arg(attribute(&state, "spectra_rollout.web", name)?);
    }
    for (name, value) in sandbox.environment() {
        job = job.env(name, value);
    }
    Ok(context.processes.run(&job).await?.success()?.stdout)
}

/// A command of `railway-deployer audit` on the journal of the configuration's folder; it has to succeed.
async fn audit(
    context: &Context,
    programs: &Programs,
    directory: &Path,
    arguments: &[&str],
) -> Result<String, Error> {
    let job = Job::new(&programs.deployer).arg("audit").args(arguments).dir(directory);
    Ok(context.processes.run(&job).await?.success()?.stdout)
}

/// Every file below `root` that contains `needle`; the sandbox's own database is where the platform keeps
/// the service's variables and is left out.
fn search(root: &Path, needle: &[u8]) -> Result<Vec<PathBuf>, Error> {
    let mut hits = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).map_err(Error::file("read", &directory))? {
            let entry = entry.map_err(Error::file("read", &directory))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(Error::file("read", &path))?;
            let database =
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("sandbox.db"));
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() && !database {
                let bytes = std::fs::read(&path).map_err(Error::file("read", &path))?;
                if bytes.windows(needle.len()).any(|window| window == needle) {
                    hits.push(path);
                }
            }
        }
    }
    Ok(hits)
}

/// The end of an apply: what was done and the outputs.
fn tail(text: &str) -> &str {
    text.find("Apply complete!").map_or(text, |start| text.get(start..).unwrap_or(text))
}
