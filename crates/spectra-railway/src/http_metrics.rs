//! How a service answers: counts by status, and how long it took. Old and new deployments are mixed.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::Timestamp;

use crate::client::Client;
use crate::deployment::InstanceRef;
use crate::error::Result;
use crate::gql::{HttpDurations, HttpStatusCounts as CountsQuery, http_durations, http_status_counts};
use crate::window::{parts, step_seconds};

/// Requests by status. A step of which Railway says nothing has no sample; that is not a sample of 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpStatusCounts {
    /// By HTTP status.
    pub by_status: BTreeMap<u16, Vec<CountSample>>,
}

/// Requests in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountSample {
    /// When the step began.
    pub at: Timestamp,
    /// How many.
    pub requests: u64,
}

impl HttpStatusCounts {
    /// All requests; `None` if Railway told of none at all, as it does when nobody asked and when it lags.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.with_status(0..=u16::MAX)
    }

    /// Requests that were answered with such a status, as `500..=599`; `None` if Railway told of no requests at all.
    #[must_use]
    pub fn with_status(&self, statuses: RangeInclusive<u16>) -> Option<u64> {
        self.newest()?;
        let within = self.by_status.iter().filter(|(status, _)| statuses.contains(status));
        Some(within.flat_map(|(_, samples)| samples).map(|sample| sample.requests).sum())
    }

    /// When the newest step that has a sample began: how far Railway has come.
    #[must_use]
    pub fn newest(&self) -> Option<Timestamp> {
        self.by_status.values().flatten().map(|sample| sample.at).max()
    }
}

/// How long requests of one step took, from the edge's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationSample {
    /// When the step began.
    pub at: Timestamp,
    /// Half of them took at most this.
    pub p50: Duration,
    /// Nine of ten.
    pub p90: Duration,
    /// 95 of a hundred.
    pub p95: Duration,
    /// 99 of a hundred.
    pub p99: Duration,
}

impl Client {
    /// Requests of a service by status between two moments, in steps of whole seconds.
    ///
    /// One request for each 1 000 steps, at most 20; a window with more steps is [`ErrorKind::BadInput`].
    ///
    /// [`ErrorKind::BadInput`]: crate::ErrorKind::BadInput
    pub async fn http_status_counts(
        &self,
        instance: &InstanceRef,
        from: Timestamp,
        to: Timestamp,
        step: Duration,
    ) -> Result<HttpStatusCounts> {
        let attempt = || format!("read the requests of service `{}` by status", instance.service);
        let mut counts = HttpStatusCounts::default();
        for part in parts::<CountsQuery>(from, to, step).map_err(|error| error.attempting(attempt))? {
            let variables = http_status_counts::Variables {
                service: instance.service.to_string(),
                environment: instance.environment.to_string(),
                from: part.from.to_string(),
                to: part.to.to_string(),
                step: Some(step_seconds(step)),
            };
            let data =
                self.query::<CountsQuery>(variables).await.map_err(|error| error.attempting(attempt))?;
            for series in data.http_metrics_grouped_by_status {
                let status = u16::try_from(series.status_code).unwrap_or(0);
                let samples = series.samples.into_iter().filter_map(|sample| {
                    Some(CountSample { at: part.sample(sample.ts)?, requests: whole(sample.value) })
                });
                counts.by_status.entry(status).or_default().extend(samples);
            }
        }
        counts.by_status.retain(|_, samples| !samples.is_empty());
        for samples in counts.by_status.values_mut() {
            samples.sort_by_key(|sample| sample.at);
        }
        Ok(counts)
    }

    /// How long requests of a service took between two moments, in steps of whole seconds, oldest first. A step without
    /// requests has no sample.
    ///
    /// One request for each 1 000 steps, at most 20; a window with more steps is [`ErrorKind::BadInput`].
    ///
    /// [`ErrorKind::BadInput`]: crate::ErrorKind::BadInput
    pub async fn http_durations(
        &self,
        instance: &InstanceRef,
        from: Timestamp,
        to: Timestamp,
        step: Duration,
    ) -> Result<Vec<DurationSample>> {
        let attempt = || format!("read how long requests of service `{}` took", instance.service);
        let mut durations = Vec::new();
        for part in parts::<HttpDurations>(from, to, step).map_err(|error| error.attempting(attempt))? {
            let variables = http_durations::Variables {
                service: instance.service.to_string(),
                environment: instance.environment.to_string(),
                from: part.from.to_string(),
                to: part.to.to_string(),
                step: Some(step_seconds(step)),
            };
            let data =
                self.query::<HttpDurations>(variables).await.map_err(|error| error.attempting(attempt))?;
            durations.extend(data.http_duration_metrics.samples.into_iter().filter_map(|sample| {
                Some(DurationSample {
                    at: part.sample(sample.ts)?,
                    p50: milliseconds(sample.p50),
                    p90: milliseconds(sample.p90),
                    p95: milliseconds(sample.p95),
                    p99: milliseconds(sample.p99),
                })
            }));
        }
        durations.sort_by_key(|sample| sample.at);
        Ok(durations)
    }
}

/// A count that the API writes as a float.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is no count becomes the nearest one"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

fn milliseconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value / 1_000.0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_told_is_not_zero() {
        let mut counts = HttpStatusCounts::default();
        assert_eq!((counts.total(), counts.with_status(500..=599)), (None, None));
        let at = Timestamp::UNIX_EPOCH;
        counts.by_status.insert(200, vec![CountSample { at, requests: 3 }]);
        assert_eq!((counts.total(), counts.with_status(500..=599)), (Some(3), Some(0)));
        assert_eq!(counts.newest(), Some(at));
    }
}
