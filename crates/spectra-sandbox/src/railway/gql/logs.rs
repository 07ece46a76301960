//! Logs and HTTP metrics, made of what really went over the edge.

use std::collections::BTreeMap;

use async_graphql::SimpleObject;

use super::Request;
use super::scalars::{parse_time, rfc3339};
use crate::railway::traffic::{Line, Seen};
use crate::store::rows::Deployment;

#[derive(SimpleObject)]
pub(crate) struct LogAttribute {
    key: String,
    value: String,
}

#[derive(SimpleObject)]
#[expect(clippy::struct_field_names, reason = "the schema's names")]
pub(crate) struct LogTags {
    deployment_id: Option<String>,
    deployment_instance_id: Option<String>,
    environment_id: Option<String>,
    project_id: Option<String>,
    service_id: Option<String>,
    snapshot_id: Option<String>,
}

#[derive(SimpleObject)]
pub(crate) struct Log {
    attributes: Vec<LogAttribute>,
    message: String,
    severity: Option<String>,
    tags: Option<LogTags>,
    timestamp: String,
}

/// `@level:LEVEL`, or a text that the message contains.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    text: String,
}

impl Filter {
    pub(crate) fn new(text: Option<&str>) -> Self {
        Self { text: text.map(|text| text.trim().trim_matches('"').to_owned()).unwrap_or_default() }
    }

    pub(crate) fn passes(&self, line: &Line) -> bool {
        match self.text.strip_prefix("@level:") {
            Some(level) => level == severity(line),
            None => line.message.contains(&self.text),
        }
    }
}

const fn severity(line: &Line) -> &'static str {
    if line.error { "error" } else { "info" }
}

/// A deployment's own lines, newest `limit + 1`, oldest first.
pub(crate) fn deployment_logs(
    request: &Request,
    row: &Deployment,
    filter: Option<&str>,
    limit: Option<i32>,
    from: Option<u64>,
    to: Option<u64>,
) -> Vec<Log> {
    let filter = Filter::new(filter);
    let mut lines = request.core.traffic.lines(&row.id);
    lines.retain(|line| {
        from.is_none_or(|from| line.at >= from) && to.is_none_or(|to| line.at <= to) && filter.passes(line)
    });
    let keep = usize::try_from(limit.unwrap_or(100)).unwrap_or(100).saturating_add(1);
    let skip = lines.len().saturating_sub(keep);
    lines.into_iter().skip(skip).map(|line| log(row, line)).collect()
}

/// One line as the API shows it.
pub(crate) fn log(row: &Deployment, line: Line) -> Log {
    let severity = severity(&line);
    let replica = row.replicas.iter().find(|replica| replica.number == line.replica);
    Log {
        attributes: vec![LogAttribute { key: "level".to_owned(), value: severity.to_owned() }],
        message: line.message,
        severity: Some(severity.to_owned()),
        tags: Some(LogTags {
            deployment_id: Some(row.id.clone()),
            deployment_instance_id: replica.map(|replica| replica.id.clone()),
            environment_id: Some(row.environment_id.clone()),
            project_id: Some(row.project_id.clone()),
            service_id: Some(row.service_id.clone()),
            snapshot_id: Some(row.snapshot_id.clone()),
        }),
        timestamp: rfc3339(line.at),
    }
}

#[derive(SimpleObject)]
pub(crate) struct HttpLog {
    client_ua: String,
    deployment_id: String,
    deployment_instance_id: String,
    downstream_proto: String,
    edge_region: String,
    host: String,
    http_status: i32,
    method: String,
    path: String,
    request_id: String,
    response_details: String,
    timestamp: String,
    total_duration: i32,
    upstream_errors: String,
    upstream_proto: String,
    upstream_rq_duration: i32,
}

/// Anchored window over one deployment's requests, oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Window {
    pub(crate) after: Option<String>,
    pub(crate) after_limit: Option<i32>,
    pub(crate) anchor: Option<String>,
    pub(crate) before: Option<String>,
    pub(crate) before_limit: Option<i32>,
    pub(crate) limit: Option<i32>,
    pub(crate) filter: Option<String>,
}

pub(crate) fn http_logs(request: &Request, row: &Deployment, window: &Window) -> Vec<HttpLog> {
    let time = |text: &Option<String>| text.as_deref().and_then(parse_time);
    let anchor = time(&window.anchor);
    let before = time(&window.before).or(anchor);
    let after = time(&window.after).or(if window.before.is_none() && window.before_limit.is_none() {
        anchor
    } else {
        None
    });
    let status = window.filter.as_deref().and_then(|filter| filter.trim().strip_prefix("@httpStatus:"));
    let status = status.and_then(|range| {
        let (low, high) = range.split_once("..").unwrap_or((range, range));
        Some(low.parse::<u16>().ok()?..=high.parse::<u16>().ok()?)
    });
    let mut seen = request.core.traffic.requests(|seen| {
        seen.record.deployment_id.as_str() == row.id
            && before.is_none_or(|before| seen.at <= before)
            && after.is_none_or(|after| seen.at >= after)
            && status.as_ref().is_none_or(|status| status.contains(&seen.record.status))
    });
    let limit = window.limit.or(window.before_limit).or(window.after_limit).unwrap_or(500);
    let keep = usize::try_from(limit).unwrap_or(500);
    if window.after_limit.is_some() {
        seen.truncate(keep);
    } else {
        seen.drain(..seen.len().saturating_sub(keep));
    }
    seen.into_iter().map(|seen| http_log(row, seen)).collect()
}

fn http_log(row: &Deployment, seen: Seen) -> HttpLog {
    let Seen { at, record } = seen;
    let millis = i32::try_from(record.duration.as_millis()).unwrap_or(i32::MAX);
    let replica = record.replica.and_then(|number| row.replicas.iter().find(|row| row.number == number));
    HttpLog {
        client_ua: String::new(),
        deployment_id: row.id.clone(),
        deployment_instance_id: replica.map(|replica| replica.id.clone()).unwrap_or_default(),
        downstream_proto: "HTTP/1.1".to_owned(),
        edge_region: "sandbox".to_owned(),
        host: record.host,
        http_status: i32::from(record.status),
        method: record.method,
        path: record.path,
        request_id: format!("{at:x}-{}", &row.id[..8]),
        response_details: String::new(),
        timestamp: rfc3339(at),
        total_duration: millis,
        upstream_errors: record.upstream_error.unwrap_or_default(),
        upstream_proto: "HTTP/1.1".to_owned(),
        upstream_rq_duration: millis,
    }
}

#[derive(SimpleObject)]
pub(crate) struct HttpMetricsSample {
    ts: i32,
    value: f64,
}

#[derive(SimpleObject)]
pub(crate) struct HttpMetricsResult {
    samples: Vec<HttpMetricsSample>,
}

#[derive(SimpleObject)]
pub(crate) struct HttpMetricsByStatusResult {
    samples: Vec<HttpMetricsSample>,
    status_code: i32,
}

#[derive(SimpleObject)]
pub(crate) struct HttpDurationMetricsSample {
    p50: f64,
    p90: f64,
    p95: f64,
    p99: f64,
    ts: i32,
}

#[derive(SimpleObject)]
pub(crate) struct HttpDurationMetricsResult {
    samples: Vec<HttpDurationMetricsSample>,
}

/// A service-level series: old and new deployments mixed, as on the platform.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) environment: String,
    pub(crate) service: String,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) step: Option<i32>,
    pub(crate) method: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) status: Option<i32>,
}

impl Series {
    /// Requests by step (seconds since the epoch, aligned to the step).
    fn buckets(&self, request: &Request) -> BTreeMap<i32, Vec<Seen>> {
        let deployments: Vec<_> = request
            .world()
            .deployments_of(&self.environment, &self.service)
            .into_iter()
            .map(|row| row.id.clone())
            .collect();
        let step = u64::try_from(self.step.unwrap_or(60).max(1)).unwrap_or(60);
        let seen = request.core.traffic.requests(|seen| {
            deployments.iter().any(|id| id == seen.record.deployment_id.as_str())
                && (self.from..=self.to).contains(&seen.at)
                && self.method.as_ref().is_none_or(|method| method.eq_ignore_ascii_case(&seen.record.method))
                && self.path.as_ref().is_none_or(|path| *path == seen.record.path)
                && self.status.is_none_or(|status| status == i32::from(seen.record.status))
        });
        let mut buckets: BTreeMap<i32, Vec<Seen>> = BTreeMap::new();
        for seen in seen {
            let second = seen.at / 1000 / step * step;
            buckets.entry(i32::try_from(second).unwrap_or(i32::MAX)).or_default().push(seen);
        }
        buckets
    }

    pub(crate) fn counts(&self, request: &Request) -> HttpMetricsResult {
        HttpMetricsResult {
            samples: samples(self.buckets(request).iter().map(|(ts, seen)| (*ts, seen.len()))),
        }
    }

    pub(crate) fn by_status(&self, request: &Request) -> Vec<HttpMetricsByStatusResult> {
        let mut all: BTreeMap<u16, BTreeMap<i32, usize>> = BTreeMap::new();
        for (ts, seen) in self.buckets(request) {
            for seen in seen {
                *all.entry(seen.record.status).or_default().entry(ts).or_default() += 1;
            }
        }
        all.into_iter()
            .map(|(status, counts)| HttpMetricsByStatusResult {
                samples: samples(counts.into_iter()),
                status_code: i32::from(status),
            })
            .collect()
    }

    pub(crate) fn durations(&self, request: &Request) -> HttpDurationMetricsResult {
        let samples = self
            .buckets(request)
            .into_iter()
            .map(|(ts, seen)| {
                let mut millis: Vec<f64> =
                    seen.iter().map(|seen| seen.record.duration.as_secs_f64() * 1000.0).collect();
                millis.sort_by(f64::total_cmp);
                let at = |percent: usize| millis[(millis.len() * percent / 100).min(millis.len() - 1)];
                HttpDurationMetricsSample { p50: at(50), p90: at(90), p95: at(95), p99: at(99), ts }
            })
            .collect();
        HttpDurationMetricsResult { samples }
    }
}

fn samples(counts: impl Iterator<Item = (i32, usize)>) -> Vec<HttpMetricsSample> {
    counts
        .map(|(ts, count)| HttpMetricsSample {
            ts,
            value: f64::from(u32::try_from(count).unwrap_or(u32::MAX)),
        })
        .collect()
}
