//! `cargo xtask test`: every check of the repository, in one command; offline, once the tools are installed.

use std::time::Instant;

use crate::error::Error;
use crate::process::{Job, Output};
use crate::sandbox::Sandbox;
use crate::terraform::{self, Binary, Terraform};
use crate::workspace::{self, Programs, cargo};
use crate::{Context, Tools, docs, fuzz, others, quickstart};

/// The steps in their order. What a person can fix fastest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Format,
    Lints,
    Others,
    Tests,
    TerraformFormat,
    Modules,
    Examples,
    Docs,
    Framework,
    Kills,
    Fuzz,
    FuzzTargets,
}

/// How much to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What every change must pass.
    Default,
    /// Also what takes longer.
    Slow,
}

const STEPS: [Step; 12] = [
    Step::Format,
    Step::TerraformFormat,
    Step::Lints,
    Step::Others,
    Step::Tests,
    Step::Modules,
    Step::Examples,
    Step::Docs,
    Step::Framework,
    Step::Kills,
    Step::Fuzz,
    Step::FuzzTargets,
];

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Format => "fmt: every Rust file is formatted",
            Self::Lints => "clippy: no warning in any target",
            Self::Others => "tools: PostgreSQL, and the programs of others that images are tried on",
            Self::Tests => "tests: units, integration, documentation, acceptance with real Terraform",
            Self::TerraformFormat => "terraform fmt: modules and examples are formatted",
            Self::Modules => "modules: validate, and terraform test against the sandbox",
            Self::Examples => {
                "examples: images are built; the quickstart is planned, applied, refused, destroyed"
            }
            Self::Kills => {
                "kills: at every place of a rollout's record, with every command that may come next"
            }
            Self::Fuzz => "fuzz: damaged bytes on the codecs, for a minute",
            Self::FuzzTargets => "fuzz targets: they compile, which needs a C++ compiler for libFuzzer",
            Self::Docs => "docs: the registry pages are what the schema says",
            Self::Framework => {
                "framework alone: it builds without the rest, and its documentation without a warning"
            }
        }
    }

    const fn depth(self) -> Depth {
        match self {
            Self::Kills | Self::Fuzz | Self::FuzzTargets => Depth::Slow,
            _ => Depth::Default,
        }
    }
}

/// How many tests the runners reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    ignored: u64,
}

/// Runs every step, also after one failed, and ends with the counts.
pub(crate) async fn run(
    context: &Context,
    tools: &Tools,
    only: &[String],
    depth: Depth,
) -> Result<(), Error> {
    let report = context.report;
    let begun = Instant::now();
    let programs = workspace::programs(context, tools.bin_dir.as_deref()).await?;
    let binary = terraform::find(context, tools.terraform).await?;
    let mut failed = Vec::new();
    let mut counts = None;
    let mut total = 0;
    for step in STEPS {
        if step.depth() == Depth::Slow && depth == Depth::Default {
            continue;
        }
        if !only.is_empty() && !only.iter().any(|text| step.name().contains(text.as_str())) {
            continue;
        }
        total += 1;
        report.step(step.name());
        let started = Instant::now();
        let result = match step {
            Step::Format => format(context).await,
            Step::Lints => lints(context).await,
            Step::Others => others::ensure(context).await,
            Step::Tests => tests(context, &programs, &binary).await.and_then(|(found, result)| {
                counts = Some(found);
                result
            }),
            Step::TerraformFormat => terraform_format(context, &binary).await,
            Step::Modules => modules(context, &programs, &binary).await,
            Step::Examples => examples(context, &programs, &binary).await,
            Step::Kills => kills(context, &programs, &binary).await,
            Step::Fuzz => fuzz::run(context, fuzz::SECONDS, None).await,
            Step::FuzzTargets => fuzz_targets(context).await,
            Step::Docs => docs::check(context, &programs, &binary).await,
            Step::Framework => framework(context).await,
        };
        let seconds = started.elapsed().as_secs();
        match result {
            Ok(()) => report.ok(&format!("{} ({seconds} s)", step.name())),
            Err(error) => {
                report.failure(&format!("{} ({seconds} s): {error}", step.name()));
                failed.push(step.name());
            }
        }
    }
    report.plain(&format!(
        "steps: {} of {total} passed in {} s",
        total - failed.len(),
        begun.elapsed().as_secs()
    ));
    // Only what the test runners themselves counted is printed as a count of tests.
    if let Some(counts) = counts {
        let ignored =
            if counts.ignored == 0 { String::new() } else { format!(", {} skipped", counts.ignored) };
        report.plain(&format!("tests: {} passed, {} failed{ignored}", counts.passed, counts.failed));
        // Such a test counts as passed.
        let missing = others::missing(context);
        if !missing.is_empty() {
            report.plain(&format!("not tried, since missing here: {}", missing.join(", ")));
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Error::Steps { failed: failed.len(), total, names: failed.join("; ") })
    }
}

async fn format(context: &Context) -> Result<(), Error> {
    let job =
        cargo().args(["fmt", "--all", "--check", "--", "--files-with-diff"]).dir(&context.workspace.root);
    context.processes.run(&job).await?.success().map(drop)
}

async fn lints(context: &Context) -> Result<(), Error> {
    let job = cargo()
        .args(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"])
        .dir(&context.workspace.root)
        .output(Output::Tee);
    let end = context.processes.run(&job).await?;
    if end.status.success() {
        Ok(())
    } else {
        Err(Error::Failed { command: end.command, status: end.status.to_string(), output: String::new() })
    }
}

/// Documents the plugin framework and nothing else: what only compiles beside the other crates of the
/// workspace, because they turn on a feature that it needs, fails here.
async fn framework(context: &Context) -> Result<(), Error> {
    let job = cargo()
        .args(["doc", "--package", "tfplugin", "--package", "tfplugin-macros", "--no-deps"])
        .dir(&context.workspace.root)
        .env("RUSTDOCFLAGS", "--deny warnings");
    context.processes.run(&job).await?.success().map(drop)
}

/// The targets are a workspace of their own, which nothing else here compiles.
async fn fuzz_targets(context: &Context) -> Result<(), Error> {
    let job = cargo()
        .args(["check", "--manifest-path", "crates/tfplugin/fuzz/Cargo.toml"])
        .dir(&context.workspace.root)
        .env("CARGO_TARGET_DIR", context.workspace.root.join("target/fuzz"));
    context.processes.run(&job).await?.success().map(drop)
}

/// Runs all of cargo's tests, documentation tests included. The counts are worth having also when some
/// test failed, so they come beside the result.
async fn tests(
    context: &Context,
    programs: &Programs,
    binary: &Binary,
) -> Result<(Counts, Result<(), Error>), Error> {
    let latest = terraform::latest(context, binary).await?;
    let mut job = cargo()
        .args(["test", "--workspace", "--no-fail-fast"])
        .dir(&context.workspace.root)
        .env("REQUIRE_TERRAFORM", "1")
        .env("TERRAFORM", &binary.path)
        .env("TERRAFORM_LATEST", &latest.path)
        .env("SPECTRA_BIN_DIR", &programs.directory)
        .output(Output::Tee);
    for (name, value) in others::environment(context) {
        job = job.env(name, value);
    }
    let end = context.processes.run(&job).await?;
    let counts = count(&end.stdout);
    let result = if end.status.success() {
        Ok(())
    } else {
        // The output was shown as it came.
        Err(Error::Failed { command: end.command, status: end.status.to_string(), output: String::new() })
    };
    Ok((counts, result))
}

/// Kills real programs at every place; the tests of the default suite take one place of each sort.
async fn kills(context: &Context, programs: &Programs, binary: &Binary) -> Result<(), Error> {
    let job = cargo()
        .args(["test", "--package", "spectra-acceptance", "--test", "kill_cli", "--test", "kill_provider"])
        .args(["--", "--ignored", "--nocapture"])
        .dir(&context.workspace.root)
        .env("REQUIRE_TERRAFORM", "1")
        .env("TERRAFORM", &binary.path)
        .env("SPECTRA_BIN_DIR", &programs.directory)
        .output(Output::Tee);
    let end = context.processes.run(&job).await?;
    if end.status.success() {
        Ok(())
    } else {
        // The output was shown as it came.
        Err(Error::Failed { command: end.command, status: end.status.to_string(), output: String::new() })
    }
}

/// Adds up the closing lines of cargo's test runners.
pub(crate) fn count(text: &str) -> Counts {
    let mut counts = Counts::default();
    for line in text.lines() {
        let Some((_, rest)) = line.split_once("test result: ") else { continue };
        for part in rest.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(number)), Some(word)) = (words.next().map(str::parse::<u64>), words.next()) else {
                continue;
            };
            match word {
                "passed" => counts.passed += number,
                "failed" => counts.failed += number,
                "ignored" => counts.ignored += number,
                _ => {}
            }
        }
    }
    counts
}

async fn terraform_format(context: &Context, binary: &Binary) -> Result<(), Error> {
    for directory in ["modules", "examples", "docs/snippets"] {
        let job = Job::new(&binary.path)
            .args(["fmt", "-check", "-diff", "-recursive", directory])
            .dir(&context.workspace.root)
            .env("TF_CLI_CONFIG_FILE", "/dev/null")
            .env("CHECKPOINT_DISABLE", "1");
        context.processes.run(&job).await?.success()?;
    }
    Ok(())
}

/// `terraform test` for every module, each against a sandbox of its own.
async fn modules(context: &Context, programs: &Programs, binary: &Binary) -> Result<(), Error> {
    let source = context.workspace.root.join("modules");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&source).map_err(Error::file("read", &source))? {
        let entry = entry.map_err(Error::file("read", &source))?;
        if entry.path().join("main.tf").is_file() {
            names.push(entry.file_name());
        }
    }
    names.sort();
    if names.is_empty() {
        return Err(Error::unexpected(source.display().to_string(), "there is no module"));
    }
    for name in names {
        let temporary = tempfile::Builder::new()
            .prefix("spectra-module-")
            .tempdir()
            .map_err(Error::file("create", std::env::temp_dir()))?;
        let root = temporary.path();
        // A copy, because Terraform writes beside the configuration.
        let directory = root.join("module");
        copy_tree(&source.join(&name), &directory)?;
        let sandbox = Sandbox::start(context, programs, &root.join("sandbox")).await?;
        let image = quickstart::labelled_image(context, programs, &sandbox, root).await?;
        let plugins = quickstart::link_provider(&programs.provider, root)?;
        let mut terraform = Terraform::new(context, binary.clone(), &plugins, &directory)?;
        for (name, value) in sandbox.environment() {
            terraform = terraform.env(name, value);
        }
        terraform.set_variable("image", &image);
        terraform.run(&["get", "-no-color", "-test-directory=tests"]).await?.success()?;
        terraform.run(&["validate", "-no-color"]).await?.success()?;
        let end = terraform.run(&["test", "-no-color"]).await?.success()?;
        context.report.quote(&end.stdout);
        sandbox.stop(context).await;
    }
    Ok(())
}

/// Every example is applied, or built if it is an image; a directory without a step here fails.
async fn examples(context: &Context, programs: &Programs, binary: &Binary) -> Result<(), Error> {
    let source = context.workspace.root.join("examples");
    for entry in std::fs::read_dir(&source).map_err(Error::file("read", &source))? {
        let path = entry.map_err(Error::file("read", &source))?.path();
        if !path.is_dir() || path.ends_with("quickstart") {
            continue;
        }
        if !path.join("image.toml").is_file() {
            return Err(Error::unexpected(path.display().to_string(), "no step applies this example"));
        }
        let temporary =
            tempfile::tempdir().map_err(Error::file("create a directory in", std::env::temp_dir()))?;
        let build = Job::new(&programs.deployer)
            .args(["image", "build"])
            .arg(&path)
            .arg("--output")
            .arg(temporary.path().join("layout"));
        context.processes.run(&build).await?.success()?;
    }
    let service = workspace::example_service(context).await?;
    quickstart::story(context, programs, &service, binary.clone()).await
}

fn copy_tree(from: &std::path::Path, to: &std::path::Path) -> Result<(), Error> {
    std::fs::create_dir_all(to).map_err(Error::file("create", to))?;
    for entry in std::fs::read_dir(from).map_err(Error::file("read", from))? {
        let entry = entry.map_err(Error::file("read", from))?;
        let (path, name) = (entry.path(), entry.file_name());
        if name == ".terraform" {
            continue;
        }
        let target = to.join(&name);
        if path.is_dir() {
            copy_tree(&path, &target)?;
        } else {
            std::fs::copy(&path, &target).map_err(Error::file("copy", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests_of_counting {
    use super::{Counts, count};

    #[test]
    fn closing_lines_are_added_up() {
        let text = "running 2 tests\n\
                    test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s\n\
                    noise\n\
                    test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 5 filtered out; finished in 1.00s\n";
        assert_eq!(count(text), Counts { passed: 15, failed: 2, ignored: 1 });
        assert_eq!(count(""), Counts::default());
    }
}
