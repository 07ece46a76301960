//! Resource metrics: samples made of the runs of replicas, of what their image says that it uses, and of the requests
//! that they really answered. All times are wall milliseconds.
//!
//! A sample stands for the step that begins at its `ts`. It exists only where something ran in that step, and holds
//! what was used on average while it ran; the network's samples are sums of bytes.

use std::collections::{BTreeMap, HashMap, VecDeque, hash_map::DefaultHasher};
use std::hash::{Hash as _, Hasher as _};

use super::traffic::{Span, Traffic};
use crate::clock::Clock;
use crate::runtime::Usage;
use crate::settings::{Gap, Settings};

/// How long metrics are kept.
const KEPT: u64 = 30 * 24 * 3600 * 1000;
/// Bytes of a GB as the platform's measurements count it.
const GB: f64 = 1e9;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// vCPUs.
    Cpu,
    /// vCPUs.
    CpuLimit,
    /// All others are GB.
    Memory,
    MemoryLimit,
    Received,
    Sent,
    /// Of volumes.
    Disk,
    /// Of the replicas themselves.
    OwnDisk,
    Backup,
}

/// Which samples a reader gets to see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight {
    /// The newest moment that has been measured.
    pub(crate) until: u64,
    /// Whether that is some time ago.
    pub(crate) lags: bool,
    /// The oldest moment that is still kept.
    pub(crate) since: u64,
    gap: Option<Gap>,
    probability: f64,
}

impl Sight {
    pub(crate) fn of(settings: &Settings, clock: &Clock) -> Self {
        let lag = settings.metrics_lag.get();
        let lag = clock.real(lag).unwrap_or(lag);
        let now = clock.stamp();
        Self {
            lags: !lag.is_zero(),
            until: now.saturating_sub(u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
            since: now.saturating_sub(KEPT),
            gap: settings.metrics_gap,
            probability: settings.metrics_gap_probability,
        }
    }

    /// Whether the sample of a series that begins at `at` exists. The answer is the same at every look.
    pub(crate) fn sample(&self, series: &impl std::hash::Hash, at: u64) -> bool {
        if self.gap.is_some_and(|gap| gap.holds(at)) {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        (series, at).hash(&mut hasher);
        let top = u32::try_from(hasher.finish() >> 32).unwrap_or(u32::MAX);
        f64::from(top) / (f64::from(u32::MAX) + 1.0) >= self.probability
    }
}

/// Where something ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) project: Option<String>,
    pub(crate) environment: Option<String>,
    pub(crate) service: Option<String>,
    pub(crate) deployment: Option<String>,
    pub(crate) instance: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) volume: Option<String>,
    pub(crate) volume_instance: Option<String>,
}

/// What requests added up to in one step.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    requests: u64,
    received: u64,
    sent: u64,
}

#[derive(Debug, Clone)]
enum What {
    Replica { usage: Usage, cpu_limit: f64, memory_limit: f64, load: BTreeMap<u64, Load> },
    Volume,
    Backup,
}

/// Something that uses resources from one moment to another.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) place: Place,
    from: u64,
    to: u64,
    what: What,
}

impl Source {
    /// A volume, in which nothing is ever written.
    pub(crate) fn volume(place: Place, from: u64, to: Option<u64>) -> Self {
        Self { place, from, to: to.unwrap_or(u64::MAX), what: What::Volume }
    }

    /// The backup of one.
    pub(crate) fn backup(place: Place, from: u64, to: Option<u64>) -> Self {
        Self { place, from, to: to.unwrap_or(u64::MAX), what: What::Backup }
    }

    fn measured(&self, measure: Measure) -> bool {
        match self.what {
            What::Replica { .. } => !matches!(measure, Measure::Disk | Measure::Backup),
            What::Volume => measure == Measure::Disk,
            What::Backup => measure == Measure::Backup,
        }
    }

    /// What is used at every moment, requests or not.
    fn level(&self, measure: Measure) -> f64 {
        let What::Replica { usage, cpu_limit, memory_limit, .. } = &self.what else { return 0.0 };
        match measure {
            Measure::Cpu => usage.cpu,
            Measure::CpuLimit => *cpu_limit,
            Measure::Memory => float(usage.memory) / GB,
            Measure::MemoryLimit => memory_limit / GB,
            Measure::OwnDisk => float(usage.disk) / GB,
            Measure::Received | Measure::Sent | Measure::Disk | Measure::Backup => 0.0,
        }
    }

    /// What the requests of the steps from `from` up to `to` used: vCPU milliseconds, or GB.
    fn added(&self, measure: Measure, from: u64, to: u64) -> f64 {
        let What::Replica { usage, load, .. } = &self.what else { return 0.0 };
        let each = |load: &Load| match measure {
            Measure::Cpu => float(load.requests) * usage.cpu_per_request.as_secs_f64() * 1000.0,
            Measure::Received => float(load.received) / GB,
            Measure::Sent => float(load.sent) / GB,
            _ => 0.0,
        };
        load.range(from..to).map(|(_, load)| each(load)).sum()
    }
}

/// The runs of replicas with the requests that they answered in each step.
pub(crate) fn replicas(traffic: &Traffic, step: u64, spans: Vec<(Place, Span)>) -> Vec<Source> {
    let mut runs: HashMap<(String, u32), Vec<usize>> = HashMap::new();
    let mut loads: Vec<BTreeMap<u64, Load>> = vec![BTreeMap::new(); spans.len()];
    for (at, (_, span)) in spans.iter().enumerate() {
        runs.entry((span.deployment.clone(), span.replica)).or_default().push(at);
    }
    traffic.each_request(|seen| {
        let record = &seen.record;
        let Some(replica) = record.replica else { return };
        let Some(runs) = runs.get(&(record.deployment_id.to_string(), replica)) else { return };
        // Runs are in the order in which they began: the answering one is the last that had.
        let run = runs.iter().rev().find(|run| spans[**run].1.from <= seen.at).unwrap_or(&runs[0]);
        let load = loads[*run].entry(seen.at - seen.at % step).or_default();
        load.requests += 1;
        load.received += record.received;
        load.sent += record.sent;
    });
    spans
        .into_iter()
        .zip(loads)
        .map(|((place, span), load)| Source {
            place,
            from: span.from,
            to: span.to.unwrap_or(u64::MAX),
            what: What::Replica {
                usage: span.usage,
                cpu_limit: span.cpu_limit,
                memory_limit: span.memory_limit,
                load,
            },
        })
        .collect()
}

/// Which samples are asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Between two samples.
    pub(crate) step: u64,
    /// Over how many steps, the sample's own and those before, a sample is averaged; at least 1.
    pub(crate) averaged: u64,
    pub(crate) sight: Sight,
}

impl Frame {
    /// The samples of sources taken together, oldest first, as the begin of the step and the value. Stops after
    /// `most`, which the caller has to notice.
    pub(crate) fn samples(&self, measure: Measure, sources: &[Source], most: usize) -> Vec<(u64, f64)> {
        let mut coming: VecDeque<_> = sources.iter().filter(|source| source.measured(measure)).collect();
        coming.make_contiguous().sort_by_key(|source| source.from);
        let Some(first) = coming.front() else { return Vec::new() };
        let series = (measure as u8, first.place.clone());
        let step = self.step;
        let aligned = |at: u64| at - at % step;
        let end = self.to.min(self.sight.until);
        let mut at = aligned(self.from.max(self.sight.since));
        let mut near: Vec<&Source> = Vec::new();
        let mut samples = Vec::new();
        while samples.len() < most {
            near.retain(|source| source.to >= self.begin(at));
            if near.is_empty() {
                // Nothing ran for a while: on to the next run.
                let Some(next) = coming.front() else { break };
                at = at.max(aligned(next.from));
            }
            if at > end {
                break;
            }
            while let Some(source) = coming.pop_front_if(|source| source.from < at + step) {
                near.push(source);
            }
            if self.sight.sample(&series, at)
                && let Some(value) = self.sample(measure, &near, at)
            {
                samples.push((at, value));
            }
            at += step;
        }
        samples
    }

    /// Where the time begins that the sample at `at` is averaged over.
    fn begin(&self, at: u64) -> u64 {
        (at + self.step).saturating_sub(self.step.saturating_mul(self.averaged))
    }

    fn sample(&self, measure: Measure, sources: &[&Source], at: u64) -> Option<f64> {
        let end = (at + self.step).min(self.sight.until.saturating_add(1));
        let begin = self.begin(at);
        // What began in the millisecond in which it ended ran too.
        let alive = |source: &Source| source.from < end && source.to >= at;
        if !sources.iter().any(|source| alive(source)) {
            return None;
        }
        let added: f64 = sources.iter().map(|source| source.added(measure, begin, at + self.step)).sum();
        if matches!(measure, Measure::Received | Measure::Sent) {
            return Some(added / float(self.averaged));
        }
        let mut runs = Vec::new();
        let mut used = 0.0;
        for source in sources {
            let (from, to) = (source.from.max(begin), source.to.min(end - 1) + 1);
            if from < to {
                used += source.level(measure) * float(to - from);
                runs.push((from, to));
            }
        }
        let time = union(runs);
        (time > 0).then(|| (used + added) / float(time))
    }
}

/// How long at least one of the runs went on.
fn union(mut runs: Vec<(u64, u64)>) -> u64 {
    runs.sort_unstable();
    let mut reached = 0;
    let mut total = 0;
    for (from, to) in runs {
        total += to.saturating_sub(from.max(reached));
        reached = reached.max(to);
    }
    total
}

#[expect(clippy::cast_precision_loss, reason = "figures of a graph")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sight(until: u64) -> Sight {
        Sight { until, lags: false, since: 0, gap: None, probability: 0.0 }
    }

    fn replica(from: u64, to: u64, load: &[(u64, u64)]) -> Source {
        let load = load
            .iter()
            .map(|(at, requests)| (*at, Load { requests: *requests, received: 100, sent: 1_000 }))
            .collect();
        let usage = Usage {
            cpu: 0.5,
            cpu_per_request: Duration::from_millis(100),
            memory: 2_000_000_000,
            disk: 0,
            traffic: 0.0,
        };
        let what = What::Replica { usage, cpu_limit: 8.0, memory_limit: 16e9, load };
        Source { place: Place::default(), from, to, what }
    }

    fn frame(until: u64) -> Frame {
        Frame { from: 0, to: u64::MAX, step: 1_000, averaged: 1, sight: sight(until) }
    }

    #[track_caller]
    fn same(found: &[(u64, f64)], wanted: &[(u64, f64)]) {
        assert_eq!(found.len(), wanted.len(), "{found:?}");
        for (found, wanted) in found.iter().zip(wanted) {
            assert!(found.0 == wanted.0 && (found.1 - wanted.1).abs() < 1e-9, "{found:?} {wanted:?}");
        }
    }

    #[test]
    fn samples_exist_for_the_time_it_ran() {
        let one = replica(1_500, 3_499, &[(2_000, 5)]);
        let sources = [one];
        let cpu = frame(100_000).samples(Measure::Cpu, &sources, 100);
        // The processor time of five requests in a second is half a vCPU.
        same(&cpu, &[(1_000, 0.5), (2_000, 1.0), (3_000, 0.5)]);
        let memory = frame(100_000).samples(Measure::Memory, &sources, 100);
        same(&memory, &[(1_000, 2.0), (2_000, 2.0), (3_000, 2.0)]);
        let sent = frame(100_000).samples(Measure::Sent, &sources, 100);
        same(&sent, &[(1_000, 0.0), (2_000, 1e-6), (3_000, 0.0)]);
        assert!(frame(100_000).samples(Measure::Disk, &sources, 100).is_empty());
        assert_eq!(frame(100_000).samples(Measure::Memory, &sources, 2).len(), 2);
    }

    #[test]
    fn one_after_the_other_is_one_and_side_by_side_is_two() {
        let after = [replica(0, 499, &[]), replica(500, 999, &[])];
        same(&frame(999).samples(Measure::MemoryLimit, &after, 9), &[(0, 16.0)]);
        let beside = [replica(0, 999, &[]), replica(0, 999, &[])];
        same(&frame(999).samples(Measure::MemoryLimit, &beside, 9), &[(0, 32.0)]);
    }

    #[test]
    fn a_lag_hides_the_newest_and_a_gap_what_is_in_it() {
        let sources = [replica(0, u64::MAX, &[])];
        assert_eq!(frame(2_999).samples(Measure::Cpu, &sources, 99).len(), 3);
        let mut gapped = frame(4_999);
        gapped.sight.gap = Some(Gap {
            from: jiff::Timestamp::from_millisecond(1_000).unwrap(),
            to: jiff::Timestamp::from_millisecond(3_000).unwrap(),
        });
        let kept: Vec<_> = gapped.samples(Measure::Cpu, &sources, 99).iter().map(|(at, _)| *at).collect();
        assert_eq!(kept, [0, 3_000, 4_000]);
        let mut torn = frame(999_999);
        torn.sight.probability = 0.3;
        let kept = torn.samples(Measure::Cpu, &sources, 9_999);
        assert!((600..800).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept, torn.samples(Measure::Cpu, &sources, 9_999), "a second look sees the same");
        torn.sight.probability = 1.0;
        assert!(torn.samples(Measure::Cpu, &sources, 9_999).is_empty());
    }

    #[test]
    fn long_ago_and_now_have_nothing_between_them() {
        let month = 30 * 24 * 3_600_000;
        let sources = [replica(month, month + 500, &[]), replica(0, 500, &[])];
        same(&frame(2 * month).samples(Measure::Cpu, &sources, 9), &[(0, 0.5), (month, 0.5)]);
        let late = Frame { from: 1_000, ..frame(2 * month) };
        same(&late.samples(Measure::Cpu, &sources, 9), &[(month, 0.5)]);
        let early = Frame { to: month - 1, ..frame(2 * month) };
        same(&early.samples(Measure::Cpu, &sources, 9), &[(0, 0.5)]);
    }

    #[test]
    fn averages_look_back_over_several_steps() {
        let sources = [replica(0, 2_999, &[(0, 10)])];
        let mut smooth = frame(2_999);
        smooth.averaged = 2;
        // The first step has nothing before it.
        same(&smooth.samples(Measure::Cpu, &sources, 9), &[(0, 1.5), (1_000, 1.0), (2_000, 0.5)]);
    }
}
