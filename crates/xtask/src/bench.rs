//! `cargo xtask bench`: figures that the README may quote, each from a measurement made here.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Context;
use crate::error::Error;
use crate::handshake;
use crate::peer;
use crate::terraform::{self, Binary, Choice, Terraform};
use crate::workspace;

/// What starting one provider costs; medians, because a loaded machine has long tails.
struct Figures {
    handshake: Option<Duration>,
    schema: Option<Duration>,
    peak_rss_kib: Option<u64>,
    schema_bytes: Option<usize>,
    through_terraform: Option<Duration>,
    size: u64,
}

/// Provider start until the schema is answered, beside the same of a provider written in Go.
pub(crate) async fn startup(
    context: &Context,
    runs: u32,
    provider: Option<&Path>,
    choice: Choice,
) -> Result<(), Error> {
    let report = context.report;
    let ours = match provider {
        Some(path) => std::path::absolute(path).map_err(Error::file("resolve", path))?,
        None => workspace::released_provider(context).await?,
    };
    let peer = peer::build(context).await?;
    let binary = terraform::find(context, choice).await?;
    let temporary = tempfile::Builder::new()
        .prefix("spectra-bench-")
        .tempdir()
        .map_err(Error::file("create", std::env::temp_dir()))?;
    report.step(&format!(
        "start each provider {runs} times, by hand without TLS and by Terraform {} with mutual TLS",
        binary.version
    ));
    let spectra = Subject { path: ours, source: "spectra/spectra", program: "terraform-provider-spectra" };
    let mut columns = vec![("spectra", figures(context, runs, &spectra, &binary, temporary.path()).await?)];
    if let Some(path) = peer {
        let go = Subject { path, source: "example/corner", program: "terraform-provider-corner" };
        columns.push(("peer in Go", figures(context, runs, &go, &binary, temporary.path()).await?));
    }
    let directory = temporary.path().join("version");
    std::fs::create_dir_all(&directory).map_err(Error::file("create", &directory))?;
    let terraform = Terraform::with_provider(context, binary, spectra.source, temporary.path(), &directory)?;
    let alone = timed(&terraform, runs, &["version", "-json"]).await?;

    report.note(&format!(
        "medians of {runs} runs; the peer has one small resource, {} has everything",
        spectra.program
    ));
    let row = |name: &str, unit: &str, values: Vec<String>| {
        let values: Vec<_> = values.iter().map(|value| format!("{value:>12}")).collect();
        report.plain(format!("startup: {name:<34}{} {unit}", values.concat()).trim_end());
    };
    row("", "", columns.iter().map(|(name, _)| (*name).to_owned()).collect());
    let line = |name: &str, unit: &str, value: fn(&Figures) -> String| {
        row(name, unit, columns.iter().map(|(_, figures)| value(figures)).collect());
    };
    line("handshake line", "ms", |figures| millis(figures.handshake));
    line("schema answered", "ms", |figures| millis(figures.schema));
    line("peak resident size", "KiB", |figures| figures.peak_rss_kib.unwrap_or(0).to_string());
    line("terraform providers schema, mTLS", "ms", |figures| millis(figures.through_terraform));
    line("schema on the wire", "bytes", |figures| figures.schema_bytes.unwrap_or(0).to_string());
    line("provider binary", "bytes", |figures| figures.size.to_string());
    row("terraform version, no provider", "ms", vec![millis(alone)]);
    Ok(())
}

/// A provider to be measured.
struct Subject {
    path: PathBuf,
    /// Its source address.
    source: &'static str,
    /// The name that Terraform looks for.
    program: &'static str,
}

async fn figures(
    context: &Context,
    runs: u32,
    subject: &Subject,
    binary: &Binary,
    root: &Path,
) -> Result<Figures, Error> {
    // The first start reads the file from disk; it is not what the four starts of an apply cost.
    handshake::once(&subject.path).await?;
    let mut starts = Vec::new();
    for _ in 0..runs {
        starts.push(handshake::once(&subject.path).await?);
    }
    let plugins = root.join(format!("plugins-{}", subject.program));
    let directory = root.join(format!("configuration-{}", subject.program));
    for folder in [&plugins, &directory] {
        std::fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    }
    let link = plugins.join(subject.program);
    std::os::unix::fs::symlink(&subject.path, &link).map_err(Error::file("link", &link))?;
    let main = directory.join("main.tf");
    let name = subject.source.rsplit('/').next().unwrap_or(subject.source);
    let required = format!(
        "terraform {{\n  required_providers {{\n    {name} = {{ source = {:?} }}\n  }}\n}}\n",
        subject.source
    );
    std::fs::write(&main, required).map_err(Error::file("write", &main))?;
    let terraform = Terraform::with_provider(context, binary.clone(), subject.source, &plugins, &directory)?;
    let through = timed(&terraform, runs, &["providers", "schema", "-json", "-no-color"]).await?;
    Ok(Figures {
        handshake: median(starts.iter().map(|start| start.handshake).collect()),
        schema: median(starts.iter().map(|start| start.schema).collect()),
        peak_rss_kib: median(starts.iter().map(|start| start.peak_rss_kib).collect()),
        schema_bytes: median(starts.iter().map(|start| start.schema_bytes).collect()),
        through_terraform: through,
        size: subject.path.metadata().map_err(Error::file("read", &subject.path))?.len(),
    })
}

/// Median time of one command of Terraform, from its start to its end.
async fn timed(terraform: &Terraform<'_>, runs: u32, arguments: &[&str]) -> Result<Option<Duration>, Error> {
    let mut times = Vec::new();
    for _ in 0..runs {
        let begun = Instant::now();
        terraform.run(arguments).await?.success()?;
        times.push(begun.elapsed());
    }
    Ok(median(times))
}

fn millis(duration: Option<Duration>) -> String {
    format!("{:.1}", duration.unwrap_or_default().as_secs_f64() * 1000.0)
}

/// The lower median; nothing for an empty list.
pub(crate) fn median<T: Ord + Copy>(mut values: Vec<T>) -> Option<T> {
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_does_not_depend_on_the_order() {
        assert_eq!(median(vec![9, 1, 5]), Some(5));
        assert_eq!(median(vec![4, 1, 3, 2]), Some(2));
        assert_eq!(median(Vec::<u8>::new()), None);
    }
}
