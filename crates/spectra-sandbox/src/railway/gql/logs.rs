//! Logs: what replicas wrote, and what really went over the edge.

use std::sync::Arc;

use async_graphql::SimpleObject;

use super::Request;
use super::scalars::{parse_time, rfc3339};
use crate::railway::filter::{Fields, Filter, Kind, Row, Value};
use crate::railway::refusal::Refusal;
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

/// What a filter of deployment and environment logs can ask for.
pub(crate) const LINE_FIELDS: Fields = &[
    ("level", Kind::Text),
    ("service", Kind::Text),
    ("deployment", Kind::Text),
    ("deploymentInstance", Kind::Text),
    ("replica", Kind::Text),
    ("snapshot", Kind::Text),
];

/// One line and whose it is.
pub(crate) struct Written<'a> {
    pub(crate) row: &'a Deployment,
    pub(crate) line: &'a Line,
}

impl Written<'_> {
    fn instance(&self) -> Option<&str> {
        let replica = self.row.replicas.iter().find(|replica| replica.number == self.line.replica);
        replica.map(|replica| replica.id.as_str())
    }
}

impl Row for Written<'_> {
    fn contains(&self, text: &str) -> bool {
        self.line.message.contains(text)
    }

    fn field(&self, name: &str) -> Option<Value<'_>> {
        match name {
            "level" => Some(Value::Text(severity(self.line))),
            "service" => Some(Value::Text(&self.row.service_id)),
            "deployment" => Some(Value::Text(&self.row.id)),
            "deploymentInstance" | "replica" => self.instance().map(Value::Text),
            // Only lines of builds are found by their snapshot, and nothing is built here.
            _ => None,
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
) -> Result<Vec<Log>, Refusal> {
    let filter = Filter::parse(filter, LINE_FIELDS)?;
    let mut lines = request.core.traffic.lines(&row.id);
    lines.retain(|line| {
        from.is_none_or(|from| line.at >= from)
            && to.is_none_or(|to| line.at <= to)
            && filter.passes(&Written { row, line })
    });
    let keep = usize::try_from(limit.unwrap_or(100)).unwrap_or(100).saturating_add(1);
    let skip = lines.len().saturating_sub(keep);
    Ok(lines.into_iter().skip(skip).map(|line| log(row, line)).collect())
}

/// The lines of all deployments of an environment that the window and the filter let through, oldest first.
pub(crate) fn environment_logs(
    request: &Request,
    environment: &str,
    window: &Window,
) -> Result<Vec<Log>, Refusal> {
    let filter = Filter::parse(window.filter.as_deref(), LINE_FIELDS)?;
    let world = request.world();
    let mut lines: Vec<(Arc<Deployment>, Line)> = Vec::new();
    for row in world.deployments.iter().filter(|row| row.environment_id == environment) {
        let mut own = request.core.traffic.lines(&row.id);
        own.retain(|line| filter.passes(&Written { row, line }));
        lines.extend(own.into_iter().map(|line| (Arc::clone(row), line)));
    }
    // Stable, so that lines of one deployment stay in the order in which they were written.
    lines.sort_by_key(|(_, line)| line.at);
    let lines = window.cut(lines, |(_, line)| line.at)?;
    Ok(lines.into_iter().map(|(row, line)| log(&row, line)).collect())
}

/// One line as the API shows it.
pub(crate) fn log(row: &Deployment, line: Line) -> Log {
    let severity = severity(&line);
    let instance = Written { row, line: &line }.instance().map(str::to_owned);
    Log {
        attributes: vec![LogAttribute { key: "level".to_owned(), value: severity.to_owned() }],
        severity: Some(severity.to_owned()),
        tags: Some(LogTags {
            deployment_id: Some(row.id.clone()),
            deployment_instance_id: instance,
            environment_id: Some(row.environment_id.clone()),
            project_id: Some(row.project_id.clone()),
            service_id: Some(row.service_id.clone()),
            snapshot_id: Some(row.snapshot_id.clone()),
        }),
        timestamp: rfc3339(line.at),
        message: line.message,
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
    rx_bytes: i32,
    src_ip: String,
    timestamp: String,
    total_duration: i32,
    tx_bytes: i32,
    upstream_address: String,
    upstream_errors: String,
    upstream_proto: String,
    upstream_rq_duration: i32,
}

/// How many rows a window holds that says no number.
const ROWS: usize = 500;

/// An anchored window over the rows of a log.
///
/// With an anchor it holds the newest `before_limit` rows up to it, none older than `before`, and the oldest
/// `after_limit` rows behind it, none newer than `after`. Without one it holds what lies up to `before` and from
/// `after` on: the newest rows, or the oldest where `after_limit` alone is given.
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

impl Window {
    /// The rows inside, of rows that are sorted by the time which `at` reads.
    pub(crate) fn cut<T>(&self, mut rows: Vec<T>, at: impl Fn(&T) -> u64) -> Result<Vec<T>, Refusal> {
        let time = |name: &str, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => parse_time(text)
                .map(Some)
                .ok_or_else(|| Refusal::input(format!("Invalid {name} `{text}`: it must be RFC 3339"))),
        };
        let count = |name: &str, limit: Option<i32>| match limit.map(usize::try_from) {
            None => Ok(None),
            Some(Ok(limit)) => Ok(Some(limit)),
            Some(Err(_)) => Err(Refusal::input(format!("Invalid {name}: use at least 0"))),
        };
        let (before, after) = (time("beforeDate", &self.before)?, time("afterDate", &self.after)?);
        let before_limit = count("beforeLimit", self.before_limit)?;
        let after_limit = count("afterLimit", self.after_limit)?;
        let limit = count("limit", self.limit)?;
        if let Some(anchor) = time("anchorDate", &self.anchor)? {
            let split = rows.partition_point(|row| at(row) <= anchor);
            let mut behind = rows.split_off(split);
            rows.retain(|row| before.is_none_or(|before| at(row) >= before));
            let most = before_limit.or(limit).unwrap_or(if after_limit.is_some() { 0 } else { ROWS });
            rows.drain(..rows.len().saturating_sub(most));
            behind.retain(|row| after.is_none_or(|after| at(row) <= after));
            behind.truncate(after_limit.unwrap_or(if after.is_some() { ROWS } else { 0 }));
            rows.append(&mut behind);
            return Ok(rows);
        }
        rows.retain(|row| {
            before.is_none_or(|before| at(row) <= before) && after.is_none_or(|after| at(row) >= after)
        });
        match (limit.or(before_limit), after_limit) {
            (None, Some(most)) => rows.truncate(most),
            (most, _) => drop(rows.drain(..rows.len().saturating_sub(most.unwrap_or(ROWS)))),
        }
        Ok(rows)
    }
}

/// What a filter of HTTP logs can ask for.
const HTTP_FIELDS: Fields = &[
    ("httpStatus", Kind::Number),
    ("responseTime", Kind::Number),
    ("totalDuration", Kind::Number),
    ("upstreamRqDuration", Kind::Number),
    ("rxBytes", Kind::Number),
    ("txBytes", Kind::Number),
    ("method", Kind::Text),
    ("path", Kind::Text),
    ("host", Kind::Text),
    ("clientUa", Kind::Text),
    ("upstreamErrors", Kind::Text),
    ("deploymentInstance", Kind::Text),
];

/// One request and whose it is.
struct Asked<'a> {
    row: &'a Deployment,
    seen: &'a Seen,
}

impl Row for Asked<'_> {
    fn contains(&self, text: &str) -> bool {
        let record = &self.seen.record;
        [&record.method, &record.path, &record.host, &record.agent].iter().any(|part| part.contains(text))
            || record.upstream_error.as_ref().is_some_and(|error| error.contains(text))
    }

    fn field(&self, name: &str) -> Option<Value<'_>> {
        let record = &self.seen.record;
        Some(match name {
            "httpStatus" => Value::Number(u64::from(record.status)),
            "responseTime" | "totalDuration" | "upstreamRqDuration" => {
                Value::Number(u64::try_from(record.duration.as_millis()).unwrap_or(u64::MAX))
            }
            "rxBytes" => Value::Number(record.received),
            "txBytes" => Value::Number(record.sent),
            "method" => Value::Text(&record.method),
            "path" => Value::Text(&record.path),
            "host" => Value::Text(&record.host),
            "clientUa" => Value::Text(&record.agent),
            "upstreamErrors" => Value::Text(record.upstream_error.as_deref()?),
            "deploymentInstance" => Value::Text(instance(self.row, self.seen)?),
            _ => return None,
        })
    }
}

/// Id of the replica that was asked.
fn instance<'a>(row: &'a Deployment, seen: &Seen) -> Option<&'a str> {
    let number = seen.record.replica?;
    row.replicas.iter().find(|replica| replica.number == number).map(|replica| replica.id.as_str())
}

/// One deployment's requests that the window and the filter let through, oldest first.
pub(crate) fn http_logs(
    request: &Request,
    row: &Deployment,
    window: &Window,
) -> Result<Vec<HttpLog>, Refusal> {
    let filter = http_filter(window.filter.as_deref())?;
    let (seen, _) = http_logs_from(request, row, &filter, 0);
    Ok(window.cut(seen, |seen| seen.at)?.into_iter().map(|seen| http_log(row, seen)).collect())
}

/// A filter of requests.
pub(crate) fn http_filter(text: Option<&str>) -> Result<Filter, Refusal> {
    Filter::parse(text, HTTP_FIELDS)
}

/// One deployment's requests from number `from` on that the filter lets through, oldest first, and the number of the next one.
pub(crate) fn http_logs_from(
    request: &Request,
    row: &Deployment,
    filter: &Filter,
    from: u64,
) -> (Vec<Seen>, u64) {
    let (mut seen, next) = request.core.traffic.requests_from(from, |seen| {
        seen.record.deployment_id.as_str() == row.id && filter.passes(&Asked { row, seen })
    });
    // A clock that was moved on is back at the wall's time after a restart.
    seen.sort_by_key(|seen| seen.at);
    (seen, next)
}

pub(crate) fn http_log(row: &Deployment, seen: Seen) -> HttpLog {
    let instance = instance(row, &seen).unwrap_or_default().to_owned();
    let Seen { at, record } = seen;
    let millis = i32::try_from(record.duration.as_millis()).unwrap_or(i32::MAX);
    let bytes = |count: u64| i32::try_from(count).unwrap_or(i32::MAX);
    HttpLog {
        client_ua: record.agent,
        deployment_id: row.id.clone(),
        deployment_instance_id: instance,
        downstream_proto: "HTTP/1.1".to_owned(),
        edge_region: "sandbox".to_owned(),
        host: record.host,
        http_status: i32::from(record.status),
        method: record.method,
        path: record.path,
        request_id: format!("{at:x}-{}", &row.id[..8]),
        response_details: String::new(),
        rx_bytes: bytes(record.received),
        // Nobody else reaches the sandbox.
        src_ip: "127.0.0.1".to_owned(),
        timestamp: rfc3339(at),
        total_duration: millis,
        tx_bytes: bytes(record.sent),
        // Which port a replica had is not kept.
        upstream_address: String::new(),
        upstream_errors: record.upstream_error.unwrap_or_default(),
        upstream_proto: "HTTP/1.1".to_owned(),
        upstream_rq_duration: millis,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(window: &Window) -> Vec<u64> {
        window.cut((0..10).map(|second| second * 1000).collect(), |at| *at).unwrap()
    }

    #[allow(clippy::unnecessary_wraps, reason = "as a window takes it")]
    fn at(second: u64) -> Option<String> {
        Some(rfc3339(second * 1000))
    }

    #[test]
    fn an_anchor_has_rows_on_both_sides() {
        let anchor = at(4);
        let window = Window { anchor: anchor.clone(), ..Window::default() };
        assert_eq!(cut(&window), [0, 1000, 2000, 3000, 4000]);
        let window = Window { before_limit: Some(2), after_limit: Some(1), ..window };
        assert_eq!(cut(&window), [3000, 4000, 5000]);
        let window = Window { before: at(4), after: at(7), after_limit: None, ..window };
        assert_eq!(cut(&window), [4000, 5000, 6000, 7000]);
        let window = Window { anchor, after_limit: Some(2), ..Window::default() };
        assert_eq!(cut(&window), [5000, 6000]);
    }

    #[test]
    fn without_an_anchor_the_dates_bound_it() {
        let window = Window { before: at(5), before_limit: Some(2), ..Window::default() };
        assert_eq!(cut(&window), [4000, 5000]);
        let window = Window { after: at(5), after_limit: Some(2), ..Window::default() };
        assert_eq!(cut(&window), [5000, 6000]);
        let window = Window { after: at(5), before: at(7), ..Window::default() };
        assert_eq!(cut(&window), [5000, 6000, 7000]);
        assert_eq!(cut(&Window { limit: Some(1), ..Window::default() }), [9000]);
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for window in [
            Window { anchor: Some("yesterday".to_owned()), ..Window::default() },
            Window { before_limit: Some(-1), ..Window::default() },
        ] {
            assert!(window.cut(vec![0_u64], |at| *at).is_err());
        }
    }
}
