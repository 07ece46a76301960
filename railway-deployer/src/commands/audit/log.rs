//! `audit log`.

use clap::Args;
use jiff::Timestamp;
use serde_json::json;
use spectra_delivery::line_of;
use spectra_journal::Query;
use spectra_types::{ExitCode, HumanDuration};

use super::Filter;
use crate::commands::rollout::open_existing;
use crate::{failure::Failure, lines::Lines, printer::Printer};

/// Arguments of `audit log`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    filter: Filter,
    /// Only records since this time, or of this long: `2026-08-01T00:00:00Z`, `24h`
    #[arg(long, value_name = "TIME", env = "SPECTRA_SINCE", value_parser = since)]
    since: Option<Timestamp>,
    /// How many, the newest
    #[arg(long, env = "SPECTRA_LIMIT", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
}

fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(duration) = text.parse::<HumanDuration>() {
        let begin = Timestamp::now().checked_sub(duration.get());
        return begin.map_err(|_| "that is before all time".to_owned());
    }
    text.parse()
        .map_err(|_| "expected a time such as `2026-08-01T00:00:00Z`, or a duration such as `24h`".to_owned())
}

pub(super) async fn run(arguments: &Arguments, journal: &str, printer: Printer) -> Result<ExitCode, Failure> {
    let journal = open_existing(journal).await?;
    let query = Query { limit: Some(arguments.limit), newest_first: true, ..arguments.filter.query() };
    let mut records = journal.records(&query).await?;
    records.retain(|record| arguments.since.is_none_or(|since| record.at >= since));
    records.reverse();
    let mut text = Lines::default();
    for record in &records {
        let at = record.at.strftime("%Y-%m-%dT%H:%M:%SZ");
        let rollout = record.rollout.as_ref().map(|rollout| format!("  {rollout}")).unwrap_or_default();
        text.push(&format!("{:>6}  {at}  {}  {}{rollout}", record.seq, record.kind, record.subject));
        text.push(&format!("        {}", line_of(record)));
    }
    if records.is_empty() {
        text.push("no records");
    }
    printer.data("audit.log", &json!({ "records": records }), text)?;
    Ok(ExitCode::Done)
}
