//! What rollouts measure on Railway.
//!
//! Nothing told is not zero: where Railway has no sample and no request of the window, there is no value.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use spectra_rollout::spec::{HttpRatio, Metric, MetricKind, Percentile};
use spectra_rollout::{MetricSource, Place, Sample, Sampled, Scope};
use spectra_types::DeploymentId;
use tokio::sync::Mutex as AsyncMutex;

use crate::client::Client;
use crate::deployment::InstanceRef;
use crate::error::{Error, Result};
use crate::http_logs::{HttpRequest, HttpRequests};
use crate::http_metrics::{DurationSample, HttpStatusCounts};
use crate::resource_usage::DeploymentUsage;

/// Requests of a deployment that are judged in one window at most: the newest ones. Ten requests to Railway.
const MOST_REQUESTS: usize = 5_000;
/// How many steps a window has, roughly: what is not over yet is then a small part of it.
const STEPS: u64 = 6;
/// The longest step, in seconds; Railway's own default.
const LONGEST_STEP: u64 = 60;
/// A read serves everybody who looks at the same window within this part of it.
const SHARED_PART: u32 = 10;
/// And no longer than this.
const SHARED_AT_MOST: Duration = Duration::from_secs(5);

/// A [`MetricSource`] over Railway's HTTP metrics, HTTP logs and resource metrics.
///
/// | kind | read | value |
/// |---|---|---|
/// | `http_status` | requests of the service by status | share of the requests |
/// | `http_duration` | durations and requests of the service | percentiles of the steps, weighted by their requests |
/// | `http_log_status` | requests of the deployment, one by one | share of the requests |
/// | `http_log_duration` | the same | percentile, by nearest rank |
/// | `cpu`, `memory` | usage of the service by deployment | mean of the steps |
///
/// Steps that are not over yet are left out, for their counts still grow; a window of steps therefore ends up to one
/// step before now. Stable is read only for metrics that are compared. A read is made once for all metrics that look
/// at the same window of the same object at about the same time.
pub struct RailwayMetrics {
    client: Client,
    counts: Shared<Place, HttpStatusCounts>,
    durations: Shared<Place, Vec<DurationSample>>,
    logs: Shared<DeploymentId, HttpRequests>,
    usage: Shared<Place, Usage>,
}

type Usage = std::collections::BTreeMap<DeploymentId, DeploymentUsage>;

impl RailwayMetrics {
    /// A source that reads through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            counts: Shared::default(),
            durations: Shared::default(),
            logs: Shared::default(),
            usage: Shared::default(),
        }
    }

    async fn status(&self, ratio: HttpRatio, scope: &Scope) -> (String, Result<Sample>) {
        let planned = Window::of_steps(self.client.wall(), scope.window);
        let share = share_words(ratio);
        let words =
            |window: &Window| format!("httpMetricsGroupedByStatus of {} {window}: {share}", scope.place);
        match self.read_counts(&scope.place, scope.window).await {
            Ok((window, counts)) => {
                let counts = over(&counts, &window);
                let total = counts.total();
                let value = match (counts.with_status(statuses(ratio)), total) {
                    (Some(part), Some(total)) if total > 0 => Some(quotient(part, total)),
                    _ => None,
                };
                (words(&window), Ok(Sample { value, samples: total, stable: None }))
            }
            Err(error) => (words(&planned), Err(error)),
        }
    }

    async fn duration(&self, percentile: Percentile, scope: &Scope) -> (String, Result<Sample>) {
        let planned = Window::of_steps(self.client.wall(), scope.window);
        let words = |window: &Window| {
            format!(
                "httpDurationMetrics of {} {window}: {} in ms, weighted by the counts of \
                 httpMetricsGroupedByStatus",
                scope.place,
                percentile_words(percentile)
            )
        };
        let counts = self.read_counts(&scope.place, scope.window);
        let read = futures::future::try_join(counts, self.read_durations(&scope.place, scope.window));
        match read.await {
            Ok(((of_counts, counts), (window, durations))) => {
                let counts = over(&counts, &of_counts);
                let value = weighted(percentile, &durations, &counts, &window);
                (words(&window), Ok(Sample { value, samples: counts.total(), stable: None }))
            }
            Err(error) => (words(&planned), Err(error)),
        }
    }

    async fn of_logs(
        &self,
        what: &str,
        compared: bool,
        scope: &Scope,
        number: impl Fn(&[HttpRequest]) -> Option<f64>,
    ) -> (String, Result<Sample>) {
        let Some(candidate) = &scope.candidate else {
            return (format!("httpLogs: {what}; the candidate has no deployment yet"), Ok(Sample::default()));
        };
        let stable = scope.stable.as_ref().filter(|_| compared);
        let compared =
            stable.map_or_else(String::new, |stable| format!(", compared with deployment `{stable}`"));
        let words = |window: &Window, cut: &str| {
            format!("httpLogs of deployment `{candidate}` {window}{cut}: {what}{compared}")
        };
        let read = async {
            let log = self.read_log(candidate, scope.window).await?;
            let stable = match stable {
                Some(stable) => Some(self.read_log(stable, scope.window).await?),
                None => None,
            };
            Ok((log, stable))
        };
        match read.await {
            Ok((log, stable)) => {
                let sample = Sample {
                    value: number(&log.1.requests),
                    samples: Some(count(&log.1.requests)),
                    stable: stable.and_then(|stable| number(&stable.1.requests)),
                };
                let cut = log.1.cut.map_or_else(String::new, |cut| {
                    format!(" (only the newest {}, after {cut})", log.1.requests.len())
                });
                (words(&log.0, &cut), Ok(sample))
            }
            Err(error) => (words(&Window::up_to(self.client.wall(), scope.window), ""), Err(error)),
        }
    }

    async fn resources(&self, kind: Resource, compared: bool, scope: &Scope) -> (String, Result<Sample>) {
        let planned = Window::of_steps(self.client.wall(), scope.window);
        let stable = scope.stable.as_ref().filter(|_| compared);
        let words = |window: &Window| {
            let deployment = scope.candidate.as_ref().map_or("none yet", |id| id.as_str());
            let compared = stable.map_or_else(String::new, |stable| {
                format!(", compared with deployment `{stable}` of {}", scope.stable_place)
            });
            format!(
                "metrics ({}) of {} {window}: mean of deployment `{deployment}` in {}{compared}",
                kind.measurement(),
                scope.place,
                kind.unit()
            )
        };
        let Some(candidate) = &scope.candidate else { return (words(&planned), Ok(Sample::default())) };
        let read = async {
            let (window, usage) = self.read_usage(&scope.place, scope.window).await?;
            // The same read where both are of one service.
            let of_stable = match stable {
                Some(stable) => {
                    let (window, usage) = self.read_usage(&scope.stable_place, scope.window).await?;
                    usage.get(stable).and_then(|usage| mean(&kind.values(usage, &window)))
                }
                None => None,
            };
            let values = usage.get(candidate).map(|usage| kind.values(usage, &window)).unwrap_or_default();
            let sample = Sample { value: mean(&values), samples: Some(count(&values)), stable: of_stable };
            Ok((window, sample))
        };
        match read.await {
            Ok((window, sample)) => (words(&window), Ok(sample)),
            Err(error) => (words(&planned), Err(error)),
        }
    }

    async fn read_counts(&self, place: &Place, window: Duration) -> Result<Answer<HttpStatusCounts>> {
        let read = async {
            let asked = Window::of_steps(self.client.wall(), window);
            let at = InstanceRef::from(place);
            let counts = self.client.http_status_counts(&at, asked.from, asked.to, asked.step).await?;
            Ok((asked, Arc::new(counts)))
        };
        self.counts.get(place.clone(), window, &self.client, read).await
    }

    async fn read_durations(&self, place: &Place, window: Duration) -> Result<Answer<Vec<DurationSample>>> {
        let read = async {
            let asked = Window::of_steps(self.client.wall(), window);
            let at = InstanceRef::from(place);
            let durations = self.client.http_durations(&at, asked.from, asked.to, asked.step).await?;
            Ok((asked, Arc::new(durations)))
        };
        self.durations.get(place.clone(), window, &self.client, read).await
    }

    async fn read_log(&self, id: &DeploymentId, window: Duration) -> Result<Answer<HttpRequests>> {
        let read = async {
            let asked = Window::up_to(self.client.wall(), window);
            let log = self.client.http_logs(id, asked.from, asked.to, MOST_REQUESTS).await?;
            Ok((asked, Arc::new(log)))
        };
        self.logs.get(id.clone(), window, &self.client, read).await
    }

    async fn read_usage(&self, place: &Place, window: Duration) -> Result<Answer<Usage>> {
        let read = async {
            let asked = Window::of_steps(self.client.wall(), window);
            let at = InstanceRef::from(place);
            let usage = self.client.resource_usage(&at, asked.from, asked.to, asked.step).await?;
            Ok((asked, Arc::new(usage)))
        };
        self.usage.get(place.clone(), window, &self.client, read).await
    }
}

impl MetricSource for RailwayMetrics {
    fn sample<'a>(&'a self, metric: &'a Metric, scope: &'a Scope) -> BoxFuture<'a, Sampled> {
        Box::pin(async move {
            let compared = metric.compare.is_some();
            let (query, answer) = match &metric.source {
                MetricKind::HttpStatus { ratio } => self.status(*ratio, scope).await,
                MetricKind::HttpDuration { percentile } => self.duration(*percentile, scope).await,
                MetricKind::HttpLogStatus { ratio } => {
                    let (ratio, what) = (*ratio, share_words(*ratio));
                    self.of_logs(what, compared, scope, move |requests| share(requests, ratio)).await
                }
                MetricKind::HttpLogDuration { percentile } => {
                    let what = format!("{} of totalDuration in ms", percentile_words(*percentile));
                    let percentile = *percentile;
                    self.of_logs(&what, compared, scope, move |requests| ranked(requests, percentile)).await
                }
                MetricKind::Cpu => self.resources(Resource::Cpu, compared, scope).await,
                MetricKind::Memory => self.resources(Resource::Memory, compared, scope).await,
                MetricKind::Probe | MetricKind::Prometheus { .. } | MetricKind::Command { .. } => {
                    let answer = Err(format!("metric `{}` is not measured by Railway", metric.name));
                    return Sampled { query: String::new(), answer };
                }
            };
            Sampled { query, answer: answer.map_err(|error| in_words(&error)) }
        })
    }
}

fn in_words(error: &Error) -> String {
    let words = spectra_types::error_chain(error);
    match error.hint() {
        Some(hint) => format!("{words}; {hint}"),
        None => words,
    }
}

/// A window as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    from: Timestamp,
    to: Timestamp,
    /// Zero where the window has none.
    step: Duration,
}

impl Window {
    /// The window that ends with the last step that is over, and has whole steps for all of `length`.
    fn of_steps(wall: Duration, length: Duration) -> Self {
        let step = (length.as_secs() / STEPS).clamp(1, LONGEST_STEP);
        let to = wall.as_secs() / step * step;
        // As many as begin within the length, so that a length of half seconds is not cut short.
        let steps = length.as_nanos().div_ceil(u128::from(step) * 1_000_000_000);
        let steps = u64::try_from(steps).unwrap_or(u64::MAX).max(1);
        let from = to.saturating_sub(steps.saturating_mul(step));
        Self { from: second(from), to: second(to), step: Duration::from_secs(step) }
    }

    /// The window that ends now, to the millisecond, as logs have their times.
    fn up_to(wall: Duration, length: Duration) -> Self {
        let millis = |at: Duration| {
            let millis = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
            Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
        };
        Self { from: millis(wall.saturating_sub(length)), to: millis(wall), step: Duration::ZERO }
    }

    /// Whether a step that began then lies in it and is over.
    fn has(&self, at: Timestamp) -> bool {
        let step = SignedDuration::try_from(self.step).unwrap_or(SignedDuration::MAX);
        at >= self.from && at.checked_add(step).is_ok_and(|end| end <= self.to)
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "from {} to {}", self.from, self.to)?;
        match self.step.as_secs() {
            0 => Ok(()),
            seconds => write!(f, " in steps of {seconds} s"),
        }
    }
}

fn second(seconds: u64) -> Timestamp {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::MAX)
}

#[derive(Clone, Copy, Debug)]
enum Resource {
    Cpu,
    Memory,
}

impl Resource {
    const fn measurement(self) -> &'static str {
        match self {
            Self::Cpu => "CPU_USAGE",
            Self::Memory => "MEMORY_USAGE_GB",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Cpu => "cores",
            Self::Memory => "bytes",
        }
    }

    fn values(self, usage: &DeploymentUsage, window: &Window) -> Vec<f64> {
        match self {
            Self::Cpu => {
                let samples = usage.cpu.iter().filter(|sample| window.has(sample.at));
                samples.map(|sample| sample.vcpus).collect()
            }
            Self::Memory => {
                let samples = usage.memory.iter().filter(|sample| window.has(sample.at));
                samples.map(|sample| sample.gigabytes * 1e9).collect()
            }
        }
    }
}

/// What was told of steps that are over.
fn over(counts: &HttpStatusCounts, window: &Window) -> HttpStatusCounts {
    let mut counts = counts.clone();
    counts.by_status.retain(|_, samples| {
        samples.retain(|sample| window.has(sample.at));
        !samples.is_empty()
    });
    counts
}

const fn statuses(ratio: HttpRatio) -> RangeInclusive<u16> {
    match ratio {
        HttpRatio::Success => 100..=499,
        HttpRatio::ServerError => 500..=u16::MAX,
        HttpRatio::Error => 400..=u16::MAX,
    }
}

const fn share_words(ratio: HttpRatio) -> &'static str {
    match ratio {
        HttpRatio::Success => "share of statuses below 500",
        HttpRatio::ServerError => "share of statuses from 500 on",
        HttpRatio::Error => "share of statuses from 400 on",
    }
}

const fn percentile_words(percentile: Percentile) -> &'static str {
    match percentile {
        Percentile::P50 => "p50",
        Percentile::P90 => "p90",
        Percentile::P95 => "p95",
        Percentile::P99 => "p99",
    }
}

const fn percent(percentile: Percentile) -> usize {
    match percentile {
        Percentile::P50 => 50,
        Percentile::P90 => 90,
        Percentile::P95 => 95,
        Percentile::P99 => 99,
    }
}

fn share(requests: &[HttpRequest], ratio: HttpRatio) -> Option<f64> {
    let statuses = statuses(ratio);
    let part = requests.iter().filter(|request| statuses.contains(&request.status));
    (!requests.is_empty()).then(|| quotient(part.map(|_| 1).sum(), count(requests)))
}

/// The nearest rank: the least duration that so many percent of the requests did not exceed.
fn ranked(requests: &[HttpRequest], percentile: Percentile) -> Option<f64> {
    let mut durations: Vec<Duration> = requests.iter().map(|request| request.duration).collect();
    durations.sort_unstable();
    let rank = (durations.len() * percent(percentile)).div_ceil(100);
    Some(durations.get(rank.checked_sub(1)?)?.as_secs_f64() * 1_000.0)
}

/// Percentiles of steps do not add up to one of the window. Weighted by requests, their mean lies between the best step
/// and the worst, as the window's own does, and a step of three requests does not speak for a thousand.
fn weighted(
    percentile: Percentile,
    durations: &[DurationSample],
    counts: &HttpStatusCounts,
    window: &Window,
) -> Option<f64> {
    let mut requests: HashMap<Timestamp, u64> = HashMap::new();
    for sample in counts.by_status.values().flatten() {
        *requests.entry(sample.at).or_default() += sample.requests;
    }
    let (mut sum, mut weight) = (0.0, 0.0);
    for sample in durations.iter().filter(|sample| window.has(sample.at)) {
        let of_step = match percentile {
            Percentile::P50 => sample.p50,
            Percentile::P90 => sample.p90,
            Percentile::P95 => sample.p95,
            Percentile::P99 => sample.p99,
        };
        // A step that took a time had a request, also where its count is missing.
        let count = number(requests.get(&sample.at).copied().unwrap_or(1).max(1));
        sum += of_step.as_secs_f64() * 1_000.0 * count;
        weight += count;
    }
    (weight > 0.0).then(|| sum / weight)
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / number(count(values)))
}

fn quotient(part: u64, whole: u64) -> f64 {
    number(part) / number(whole)
}

fn count<T>(all: &[T]) -> u64 {
    u64::try_from(all.len()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "nobody counts 2⁵³ requests in a window")]
const fn number(count: u64) -> f64 {
    count as f64
}

/// Reads that several metrics share: one is on its way at a time for each key, and its answer serves for a moment.
/// An error serves nobody but who asked. Keys stay; one rollout has a handful of them.
struct Shared<K, V> {
    /// By object and length of the window.
    slots: Mutex<HashMap<(K, Duration), Slot<V>>>,
}

/// When it was asked for, and the answer.
type Slot<V> = Arc<AsyncMutex<Option<(Duration, Answer<V>)>>>;

/// What was read, and of which window.
type Answer<V> = (Window, Arc<V>);

impl<K, V> Default for Shared<K, V> {
    fn default() -> Self {
        Self { slots: Mutex::default() }
    }
}

impl<K: Eq + Hash, V> Shared<K, V> {
    async fn get(
        &self,
        object: K,
        window: Duration,
        client: &Client,
        read: impl Future<Output = Result<Answer<V>>>,
    ) -> Result<Answer<V>> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry((object, window)).or_default())
        };
        let mut slot = slot.lock().await;
        let fresh = (window / SHARED_PART).min(SHARED_AT_MOST);
        let asked = client.now();
        if let Some((at, (window, value))) = slot.as_ref()
            && asked.saturating_sub(*at) <= fresh
        {
            return Ok((*window, Arc::clone(value)));
        }
        // What is out of date must not outlive a failure.
        *slot = None;
        let (window, value) = read.await?;
        *slot = Some((asked, (window, Arc::clone(&value))));
        Ok((window, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(of: &[(u16, u64)]) -> Vec<HttpRequest> {
        let request = |(status, millis): &(u16, u64)| HttpRequest {
            at: Timestamp::UNIX_EPOCH,
            status: *status,
            duration: Duration::from_millis(*millis),
            method: "GET".to_owned(),
            path: "/".to_owned(),
            replica: None,
            upstream_error: None,
        };
        of.iter().map(request).collect()
    }

    #[test]
    fn a_percentile_is_the_nearest_rank_and_nothing_has_none() {
        let all: Vec<_> = (1..=20).rev().map(|millis| (200, millis)).collect();
        let all = requests(&all);
        assert_eq!(ranked(&all, Percentile::P50), Some(10.0));
        assert_eq!(ranked(&all, Percentile::P95), Some(19.0));
        assert_eq!(ranked(&all, Percentile::P99), Some(20.0));
        assert_eq!(ranked(&all[..1], Percentile::P50), Some(20.0));
        assert_eq!(ranked(&[], Percentile::P50), None);
        assert_eq!(share(&[], HttpRatio::Success), None);
    }

    #[test]
    fn shares_are_of_the_statuses_that_they_name() {
        let all = requests(&[(200, 1), (302, 1), (404, 1), (500, 1)]);
        assert_eq!(share(&all, HttpRatio::Success), Some(0.75));
        assert_eq!(share(&all, HttpRatio::ServerError), Some(0.25));
        assert_eq!(share(&all, HttpRatio::Error), Some(0.5));
    }

    #[test]
    fn a_window_ends_with_the_last_step_that_is_over() {
        let of = |wall: u64, length: Duration| {
            let window = Window::of_steps(Duration::from_millis(wall), length);
            (window.from.as_second(), window.to.as_second(), window.step.as_secs())
        };
        assert_eq!(of(1_009_999, Duration::from_mins(1)), (940, 1_000, 10));
        assert_eq!(of(1_010_000, Duration::from_mins(1)), (950, 1_010, 10));
        assert_eq!(of(100_500, Duration::from_millis(1_500)), (98, 100, 1));
        assert_eq!(of(100_500, Duration::from_millis(1)), (99, 100, 1));
        assert_eq!(of(86_400_000, Duration::from_hours(1)), (82_800, 86_400, 60));
        let window = Window::of_steps(Duration::from_secs(1_005), Duration::from_mins(1));
        let has = |at: i64| window.has(Timestamp::from_second(at).unwrap());
        assert!(has(940) && has(990));
        assert!(!has(939) && !has(991) && !has(1_000), "not over, or before it");
    }
}
