//! `cargo xtask bench plan1000`: what many small resources cost, and how much of that is the plugin framework.
//!
//! The provider is the one of the framework's own conformance tests: its resources are files, so what is measured is not
//! somebody's API. That program tells at the end of each process what the process has used. Where there is Go, the same
//! runs with a provider that was written with the framework for Go.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Context;
use crate::error::Error;
use crate::peer;
use crate::process::Finished;
use crate::terraform::{self, Binary, Choice, Terraform};
use crate::workspace::cargo;

/// Where the provider adds its lines; it reads the name of the file from this variable.
const USAGE: &str = "CORNER_USAGE";

/// What the provider's processes have used in one command of Terraform.
#[derive(Debug, Default, PartialEq, Eq)]
struct Usage {
    processes: usize,
    /// The highest resident memory of any of them.
    peak_kib: u64,
    /// On processors, all of them together.
    time: Duration,
}

/// Applies, plans and destroys `count` resources, with our framework and with its peer; prints what each command took.
pub(crate) async fn run(
    context: &Context,
    count: u32,
    provider: Option<&Path>,
    choice: Choice,
) -> Result<(), Error> {
    let provider = match provider {
        Some(path) => std::path::absolute(path).map_err(Error::file("resolve", path))?,
        None => build(context).await?,
    };
    let peer = peer::build(context).await?;
    let binary = terraform::find(context, choice).await?;
    measure(context, count, "tfplugin", &provider, binary.clone()).await?;
    if let Some(peer) = peer {
        measure(context, count, "peer in Go", &peer, binary).await?;
    }
    Ok(())
}

/// Applies, plans and destroys with one provider; a line for each.
async fn measure(
    context: &Context,
    count: u32,
    whose: &str,
    provider: &Path,
    binary: Binary,
) -> Result<(), Error> {
    let temporary = tempfile::Builder::new()
        .prefix("spectra-bench-")
        .tempdir()
        .map_err(Error::file("create", std::env::temp_dir()))?;
    let root = temporary.path();
    let [plugins, objects, directory] = ["plugins", "objects", "configuration"].map(|name| root.join(name));
    for folder in [&plugins, &objects, &directory] {
        std::fs::create_dir(folder).map_err(Error::file("create", folder))?;
    }
    let link = plugins.join("terraform-provider-corner");
    std::os::unix::fs::symlink(provider, &link).map_err(Error::file("link", &link))?;
    let main = directory.join("main.tf");
    std::fs::write(&main, configuration(count, &objects)).map_err(Error::file("write", &main))?;
    let usage = root.join("usage");
    let terraform =
        Terraform::with_provider(context, binary, "example/corner", &plugins, &directory)?.env(USAGE, &usage);

    context.report.step(&format!("{count} resources with {whose}: apply, plan, destroy"));
    let apply: &[&str] = &["apply", "-auto-approve", "-no-color"];
    let plan: &[&str] = &["plan", "-detailed-exitcode", "-no-color"];
    let destroy: &[&str] = &["destroy", "-auto-approve", "-no-color"];
    for (name, arguments) in [("apply", apply), ("empty plan", plan), ("destroy", destroy)] {
        let begun = Instant::now();
        // A plan that is not empty has another exit code.
        terraform.run(arguments).await.and_then(Finished::success)?;
        let wall = begun.elapsed();
        let used = take(&usage)?;
        context.report.plain(&format!("plan1000: {whose:<10} {}", line(name, wall, &used)));
    }
    Ok(())
}

fn configuration(count: u32, objects: &Path) -> String {
    let objects = Value::from(objects.to_string_lossy());
    format!(
        "terraform {{\n  required_providers {{\n    corner = {{ source = \"example/corner\" }}\n  }}\n}}\n\
         provider \"corner\" {{\n  folder = {objects}\n}}\n\
         resource \"corner_item\" \"many\" {{\n  count = {count}\n  name  = \"n${{count.index}}\"\n}}\n"
    )
}

/// Builds the conformance tests as they would be shipped, and says where they are.
async fn build(context: &Context) -> Result<PathBuf, Error> {
    context.report.step("build the provider of the framework's conformance tests, optimised");
    let job = cargo()
        .args(["test", "--release", "--package", "tfplugin", "--test", "corner", "--no-run"])
        .arg("--message-format=json-render-diagnostics")
        .dir(&context.workspace.root);
    let end = context.processes.run(&job).await?.success()?;
    executable(&end.stdout)
        .ok_or_else(|| Error::unexpected("cargo test --no-run", "it names no program for the test `corner`"))
}

/// The program that cargo's messages name for the test `corner`.
fn executable(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut found = messages
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == "corner");
    found.find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

/// Reads what the processes have added, and empties the file for the next command.
fn take(path: &Path) -> Result<Usage, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
    std::fs::write(path, "").map_err(Error::file("write", path))?;
    parse(&text).ok_or_else(|| Error::unexpected(path.display().to_string(), format!("{text:?} is no usage")))
}

/// Lines of `PEAK_KIB CPU_MICROSECONDS`; nothing where there are none, because then the provider was not used.
fn parse(text: &str) -> Option<Usage> {
    let mut all = Usage::default();
    for line in text.lines() {
        let (peak, time) = line.split_once(' ')?;
        all.processes += 1;
        all.peak_kib = all.peak_kib.max(peak.parse().ok()?);
        all.time += Duration::from_micros(time.parse().ok()?);
    }
    (all.processes > 0).then_some(all)
}

fn line(name: &str, wall: Duration, used: &Usage) -> String {
    let share = 100.0 * used.time.as_secs_f64() / wall.as_secs_f64().max(f64::EPSILON);
    format!(
        "{name:<10} {:>7.2} s; provider: {:>6.2} s on processors ({share:.0} % of that), {:>6} KiB at most, {} processes",
        wall.as_secs_f64(),
        used.time.as_secs_f64(),
        used.peak_kib,
        used.processes
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_added_up_and_the_highest_peak_counts() {
        let expected = Usage { processes: 3, peak_kib: 30, time: Duration::from_micros(2_000_600) };
        assert_eq!(parse("10 500\n30 100\n20 2000000\n"), Some(expected));
        assert_eq!(parse(""), None);
        assert_eq!(parse("10\n"), None);
    }

    #[test]
    fn the_program_is_the_one_that_cargo_names() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"tfplugin"},"executable":null}
not json
{"reason":"compiler-artifact","target":{"name":"corner"},"executable":"/target/deps/corner-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages), Some(PathBuf::from("/target/deps/corner-1")));
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#), None);
    }

    #[test]
    fn a_line_has_time_share_and_memory() {
        let used = Usage { processes: 2, peak_kib: 7000, time: Duration::from_millis(500) };
        assert_eq!(
            line("apply", Duration::from_secs(2), &used),
            "apply         2.00 s; provider:   0.50 s on processors (25 % of that),   7000 KiB at most, 2 processes"
        );
    }
}
