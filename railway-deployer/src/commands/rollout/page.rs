//! The account of a rollout as one HTML page: no scripts, nothing from elsewhere, light and dark.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use spectra_delivery::{Account, Measured};
use spectra_rollout::Outcome;
use spectra_types::HumanDuration;

/// The size of a plot, in its own units.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 140.0;
/// Room for the labels.
const LEFT: f64 = 96.0;
const BOTTOM: f64 = 20.0;

const STYLE: &str = "
:root { color-scheme: light dark; --text: #1b1f24; --soft: #59636e; --line: #d1d9e0; --back: #ffffff; --card: #f6f8fa;
  --good: #1a7f37; --bad: #cf222e; --open: #9a6700; --stable: #8250df; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --soft: #9198a1; --line: #3d444d; --back: #0d1117;
  --card: #151b23; --good: #3fb950; --bad: #f85149; --open: #d29922; --stable: #ab7df8; } }
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1rem; font: 15px/1.5 system-ui, sans-serif; color: var(--text);
  background: var(--back); }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.outcome { padding: .6rem .9rem; border-left: .3rem solid; background: var(--card); }
.good { color: var(--good); } .bad { color: var(--bad); } .open { color: var(--open); }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0;
  border-bottom: 1px solid var(--line); } td { overflow-wrap: anywhere; } th { color: var(--soft); font-weight: 500;
  white-space: nowrap; }
h1, h3, p { overflow-wrap: anywhere; } h3 { font-size: 1rem; }
td.time { white-space: nowrap; color: var(--soft); } code, pre { font: 13px/1.5 ui-monospace, monospace; }
pre { background: var(--card); padding: .6rem; overflow-x: auto; }
svg { width: 100%; height: auto; } svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
.axis { stroke: var(--line); } .value { fill: none; stroke: currentColor; stroke-width: 1.5; } .stable { fill: none;
  stroke: var(--stable); stroke-dasharray: 4 3; } .dot-good { fill: var(--good); } .dot-bad { fill: var(--bad); }
.dot-none { fill: var(--soft); }
@media (max-width: 40rem) { svg text { font-size: 18px; } svg circle { r: 5px; } .timeline tr { display: block; padding: .35rem 0;
  border-bottom: 1px solid var(--line); } .timeline td { display: inline-block; border: 0; padding: 0 .6rem 0 0; }
  .timeline td:last-child { display: block; } }
";

/// The page.
pub(super) fn html(account: &Account) -> String {
    // Writing to a String cannot fail.
    let mut page = String::new();
    let title = escape(&format!("Rollout {}", account.rollout));
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<h1>{title}</h1>\n"
    );
    let (class, words) = match &account.outcome {
        None => ("open", "It is open.".to_owned()),
        Some(outcome @ Outcome::Complete { .. }) => ("good", outcome.to_string()),
        Some(outcome) => ("bad", outcome.to_string()),
    };
    let _ = writeln!(page, "<p class=\"outcome {class}\">{}</p>", escape(&words));
    facts(&mut page, account);
    plots(&mut page, account);
    timeline(&mut page, account);
    let _ = writeln!(
        page,
        "<p>Made from the journal up to record {} with the hash <code>{}</code>.</p>\n</body>\n</html>",
        account.last_record.0, account.last_record.1
    );
    page
}

fn facts(page: &mut String, account: &Account) {
    let before = account.previous_digest().map_or_else(|| "nothing known".to_owned(), ToString::to_string);
    let mut rows = vec![
        ("project", account.place.project.to_string()),
        ("environment", account.place.environment.to_string()),
        ("service", account.place.service.to_string()),
        ("candidate", account.image.to_string()),
        ("before", before),
        ("began", account.begun_at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()),
        ("took", HumanDuration::new(to_millis(account.lasted())).to_string()),
        ("run by", account.holders.join("; then ")),
    ];
    if let Some(failure) = &account.failure {
        rows.push((
            "failed",
            format!("{} [{}], in phase {}", failure.reason, failure.reason.code(), failure.phase),
        ));
    }
    if !account.approvals.is_empty() {
        rows.push(("approved by", account.approvals.join(", ")));
    }
    rows.extend(account.overrides.iter().map(|words| ("freeze overridden", words.clone())));
    rows.extend(account.leftovers.iter().map(|words| ("left over", words.clone())));
    page.push_str("<table>\n");
    for (name, value) in rows {
        let _ = writeln!(page, "<tr><th>{name}</th><td>{}</td></tr>", escape(&value));
    }
    page.push_str("</table>\n");
}

fn timeline(page: &mut String, account: &Account) {
    page.push_str("<h2>Timeline</h2>\n<table class=\"timeline\">\n");
    for moment in &account.timeline {
        let _ = writeln!(
            page,
            "<tr><td class=\"time\">{}</td><td class=\"time\">{}</td><td>{}</td></tr>",
            moment.at.strftime("%H:%M:%S%.3f"),
            escape(&moment.kind),
            escape(&moment.line)
        );
    }
    page.push_str("</table>\n");
}

fn plots(page: &mut String, account: &Account) {
    let mut metrics: BTreeMap<(&str, &str), Vec<&Measured>> = BTreeMap::new();
    for measured in &account.measurements {
        let key = (measured.metric.as_deref().unwrap_or(""), measured.place.service.as_str());
        metrics.entry(key).or_default().push(measured);
    }
    if metrics.is_empty() {
        return;
    }
    let end =
        account.ended_at.or_else(|| account.timeline.last().map(|last| last.at)).unwrap_or(account.begun_at);
    page.push_str("<h2>Measurements</h2>\n");
    for ((metric, service), measured) in metrics {
        let name = if metric.is_empty() { "probe" } else { metric };
        let bad = measured.iter().filter(|one| one.good == Some(false)).count();
        let _ = writeln!(
            page,
            "<h3>{} of <code>{}</code></h3>\n<p><code>{}</code>: {} measurements, {bad} not as expected</p>",
            escape(name),
            escape(service),
            escape(&measured.last().map(|one| one.query.clone()).unwrap_or_default()),
            measured.len()
        );
        plot(page, &measured, account.begun_at, end);
    }
}

/// Numbers as a line, verdicts as dots; where there are no numbers, dots alone: up for good, down for bad.
fn plot(page: &mut String, measured: &[&Measured], begin: Timestamp, end: Timestamp) {
    let numbers =
        || measured.iter().flat_map(|one| [one.value, one.stable]).flatten().filter(|n| n.is_finite());
    let numeric = numbers().next().is_some();
    let (low, high) = if numeric {
        let low = numbers().fold(f64::INFINITY, f64::min).min(0.0);
        let high = numbers().fold(f64::NEG_INFINITY, f64::max);
        (low, if high > low { high } else { low + 1.0 })
    } else {
        (-0.25, 1.25)
    };
    let span = end.duration_since(begin).as_secs_f64().max(0.001);
    let x = |at: Timestamp| {
        let part = (at.duration_since(begin).as_secs_f64() / span).clamp(0.0, 1.0);
        LEFT + part * (WIDTH - LEFT - 10.0)
    };
    let y = |value: f64| 10.0 + (1.0 - (value - low) / (high - low)) * (HEIGHT - BOTTOM - 10.0);
    let _ = writeln!(
        page,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n<line class=\"axis\" x1=\"{LEFT}\" y1=\"{base}\" x2=\"{WIDTH}\" \
         y2=\"{base}\"/>\n<text x=\"{LEFT}\" y=\"{HEIGHT}\" dy=\"-4\">0s</text>\n<text x=\"{WIDTH}\" y=\"{HEIGHT}\" dy=\"-4\" \
         text-anchor=\"end\">{span:.1}s</text>",
        base = HEIGHT - BOTTOM
    );
    let labels = if numeric {
        vec![(high, number(high)), (low, number(low))]
    } else {
        vec![(1.0, "healthy".to_owned()), (0.0, "unhealthy".to_owned())]
    };
    for (value, label) in labels {
        let _ = writeln!(
            page,
            "<text x=\"{}\" y=\"{:.1}\" dy=\"4\" text-anchor=\"end\">{label}</text>",
            LEFT - 6.0,
            y(value)
        );
    }
    if numeric {
        line(page, "value", measured.iter().map(|one| one.value.map(|value| (x(one.at), y(value)))));
        line(page, "stable", measured.iter().map(|one| one.stable.map(|value| (x(one.at), y(value)))));
    }
    for one in measured {
        let (class, level) = match one.good {
            Some(true) => ("dot-good", 1.0),
            Some(false) => ("dot-bad", 0.0),
            None => ("dot-none", 0.5),
        };
        let value = if numeric { one.value.filter(|value| value.is_finite()).unwrap_or(low) } else { level };
        let _ = writeln!(
            page,
            "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"><title>{} {}: {}</title></circle>",
            x(one.at),
            y(value),
            one.at.strftime("%H:%M:%S"),
            escape(&one.verdict),
            escape(&one.answer)
        );
    }
    page.push_str("</svg>\n");
}

/// A line through points; a gap where there is none.
fn line(page: &mut String, class: &str, points: impl Iterator<Item = Option<(f64, f64)>>) {
    let mut path = String::new();
    let mut pen = 'M';
    for point in points {
        match point.filter(|(_, y)| y.is_finite()) {
            Some((x, y)) => {
                let _ = write!(path, "{pen}{x:.1} {y:.1} ");
                pen = 'L';
            }
            None => pen = 'M',
        }
    }
    if !path.is_empty() {
        let _ = writeln!(page, "<path class=\"{class}\" d=\"{}\"/>", path.trim_end());
    }
}

/// Whole milliseconds: nobody reads more.
fn to_millis(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// A number that fits beside an axis.
fn number(value: f64) -> String {
    if value != 0.0 && (value.abs() < 0.01 || value.abs() >= 1e6) {
        format!("{value:.1e}")
    } else {
        let text = format!("{value:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// Text of others: it is shown, not read as HTML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}
