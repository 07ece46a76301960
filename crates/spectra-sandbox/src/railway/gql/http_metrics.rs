//! HTTP metrics, made of what really went over the edge.

use std::collections::{BTreeMap, HashSet};

use async_graphql::SimpleObject;

use super::Request;
use crate::railway::metrics::Sight;
use crate::railway::refusal::Refusal;
use crate::railway::traffic::Seen;

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
    fn buckets(&self, request: &Request) -> Result<BTreeMap<i32, Vec<Seen>>, Refusal> {
        let deployments = request.world().deployments_of(&self.environment, &self.service);
        let deployments: HashSet<&str> = deployments.iter().map(|row| row.id.as_str()).collect();
        let Ok(step @ 1..) = self.step.map_or(Ok(60), u64::try_from) else {
            return Err(Refusal::input("Invalid stepSeconds: use at least 1"));
        };
        let sight = Sight::of(&request.settings, &request.core.clock);
        // Requests that were stamped by a clock that was moved on before the last start are there all the same.
        let to = if sight.lags { self.to.min(sight.until) } else { self.to };
        let from = self.from.max(sight.since);
        let series = ("http", &self.environment, &self.service);
        let seen = request.core.traffic.requests(|seen| {
            deployments.contains(seen.record.deployment_id.as_str())
                && (from..=to).contains(&seen.at)
                && self.method.as_ref().is_none_or(|method| method.eq_ignore_ascii_case(&seen.record.method))
                && self.path.as_ref().is_none_or(|path| *path == seen.record.path)
                && self.status.is_none_or(|status| status == i32::from(seen.record.status))
        });
        let mut buckets: BTreeMap<i32, Vec<Seen>> = BTreeMap::new();
        for seen in seen {
            let second = seen.at / 1000 / step * step;
            if sight.sample(&series, second * 1000) {
                buckets.entry(i32::try_from(second).unwrap_or(i32::MAX)).or_default().push(seen);
            }
        }
        Ok(buckets)
    }

    pub(crate) fn counts(&self, request: &Request) -> Result<HttpMetricsResult, Refusal> {
        let buckets = self.buckets(request)?;
        request.spend_points(buckets.len())?;
        Ok(HttpMetricsResult { samples: samples(buckets.iter().map(|(ts, seen)| (*ts, seen.len()))) })
    }

    pub(crate) fn by_status(&self, request: &Request) -> Result<Vec<HttpMetricsByStatusResult>, Refusal> {
        let mut all: BTreeMap<u16, BTreeMap<i32, usize>> = BTreeMap::new();
        for (ts, seen) in self.buckets(request)? {
            for seen in seen {
                *all.entry(seen.record.status).or_default().entry(ts).or_default() += 1;
            }
        }
        request.spend_points(all.values().map(BTreeMap::len).sum())?;
        Ok(all
            .into_iter()
            .map(|(status, counts)| HttpMetricsByStatusResult {
                samples: samples(counts.into_iter()),
                status_code: i32::from(status),
            })
            .collect())
    }

    pub(crate) fn durations(&self, request: &Request) -> Result<HttpDurationMetricsResult, Refusal> {
        let buckets = self.buckets(request)?;
        // A sample has four percentiles.
        request.spend_points(buckets.len() * 4)?;
        let samples = buckets
            .into_iter()
            .map(|(ts, seen)| {
                let mut millis: Vec<f64> =
                    seen.iter().map(|seen| seen.record.duration.as_secs_f64() * 1000.0).collect();
                millis.sort_by(f64::total_cmp);
                let at = |percent: usize| millis[(millis.len() * percent / 100).min(millis.len() - 1)];
                HttpDurationMetricsSample { p50: at(50), p90: at(90), p95: at(95), p99: at(99), ts }
            })
            .collect();
        Ok(HttpDurationMetricsResult { samples })
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
