//! `cargo xtask bench`: figures that the README may quote, each from a measurement made here.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Context;
use crate::error::Error;
use crate::handshake;
use crate::quickstart;
use crate::terraform::{self, Choice, Terraform};
use crate::workspace;

/// Provider start until the schema is answered; medians, because a loaded machine has long tails.
pub(crate) async fn startup(
    context: &Context,
    runs: u32,
    provider: Option<&Path>,
    choice: Choice,
) -> Result<(), Error> {
    let report = context.report;
    let provider = match provider {
        Some(path) => std::path::absolute(path).map_err(Error::file("resolve", path))?,
        None => workspace::released_provider(context).await?,
    };
    let binary = terraform::find(context, choice).await?;
    report.step(&format!("start the provider {runs} times as Terraform does, without TLS"));
    // The first start reads the file from disk; it is not what the four starts of an apply cost.
    handshake::once(&provider).await?;
    let mut starts = Vec::new();
    for _ in 0..runs {
        starts.push(handshake::once(&provider).await?);
    }
    report.step(&format!("let Terraform {} do the same {runs} times, with mutual TLS", binary.version));
    let temporary = tempfile::Builder::new()
        .prefix("spectra-bench-")
        .tempdir()
        .map_err(Error::file("create", std::env::temp_dir()))?;
    let directory = temporary.path().join("configuration");
    quickstart::minimal_configuration(&directory)?;
    let plugins = quickstart::link_provider(&provider, temporary.path())?;
    let terraform = Terraform::new(context, binary, &plugins, &directory)?;
    let whole = timed(&terraform, runs, &["providers", "schema", "-json", "-no-color"]).await?;
    let alone = timed(&terraform, runs, &["version", "-json"]).await?;

    let size = provider.metadata().map_err(Error::file("read", &provider))?.len();
    let handshakes = starts.iter().map(|start| start.handshake).collect();
    let schemas = starts.iter().map(|start| start.schema).collect();
    let memory = median(starts.iter().map(|start| start.peak_rss_kib).collect());
    let answer = median(starts.iter().map(|start| start.schema_bytes).collect());
    let line = |name: &str, value: String, unit: &str| {
        report.plain(&format!("startup: {name:<34} {value:>10} {unit}"));
    };
    report.note(&format!("medians of {runs} runs of {}", provider.display()));
    line("handshake line", millis(median(handshakes)), "ms");
    line("schema answered", millis(median(schemas)), "ms");
    line("peak resident size", memory.unwrap_or(0).to_string(), "KiB");
    line("terraform providers schema, mTLS", millis(whole), "ms");
    line("terraform version, no provider", millis(alone), "ms");
    line("schema on the wire", answer.unwrap_or(0).to_string(), "bytes");
    line("provider binary", size.to_string(), "bytes");
    Ok(())
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
fn median<T: Ord + Copy>(mut values: Vec<T>) -> Option<T> {
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
