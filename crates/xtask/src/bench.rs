//! `cargo xtask bench`: figures that the README may quote, each from a measurement made here.

use std::time::Duration;

use crate::Context;
use crate::error::Error;
use crate::handshake;
use crate::workspace::{self, Profile};

/// Provider start until the schema is answered; medians, because a loaded machine has long tails.
pub(crate) async fn startup(context: &Context, runs: u32) -> Result<(), Error> {
    let report = context.report;
    let programs = workspace::programs(context, None, Profile::Release).await?;
    report.step(&format!("start the release provider {runs} times as Terraform does, without TLS"));
    // The first start reads the file from disk; it is not what the four starts of an apply cost.
    handshake::once(&programs.provider).await?;
    let mut starts = Vec::new();
    for _ in 0..runs {
        starts.push(handshake::once(&programs.provider).await?);
    }
    let size = programs.provider.metadata().map_err(Error::file("read", &programs.provider))?.len();
    let handshakes = starts.iter().map(|start| start.handshake).collect();
    let schemas = starts.iter().map(|start| start.schema).collect();
    let memory = median(starts.iter().map(|start| start.peak_rss_kib).collect());
    let answer = median(starts.iter().map(|start| start.schema_bytes).collect());
    report.plain(&format!(
        "startup: handshake line      {:>9} ms (median of {runs})",
        millis(median(handshakes))
    ));
    report
        .plain(&format!("startup: schema answered     {:>9} ms (median of {runs})", millis(median(schemas))));
    report.plain(&format!("startup: peak resident size  {:>9} KiB (median of {runs})", memory.unwrap_or(0)));
    report.plain(&format!("startup: schema on the wire  {:>9} bytes", answer.unwrap_or(0)));
    report.plain(&format!("startup: release binary      {size:>9} bytes"));
    Ok(())
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
