//! What a rollout will do and how long it takes, for plans.

use std::time::Duration;

use super::metric::Metric;
use super::request::RolloutRequest;
use super::step::Step;

/// What a rollout will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The steps in order, the bake among them.
    pub steps: Vec<ScheduledStep>,
    /// How long it takes at least: the declared waits.
    pub at_least: Duration,
    /// When it has ended for certain, with the way back. Programs that are running when the timeout comes are awaited
    /// beyond it.
    pub at_most: Duration,
}

/// One step of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledStep {
    /// In words.
    pub title: String,
    /// How long it takes at least.
    pub at_least: Duration,
}

/// The schedule of a request.
#[must_use]
pub fn schedule(request: &RolloutRequest) -> Schedule {
    let mut steps: Vec<ScheduledStep> = Vec::new();
    let mut baked = false;
    for step in request.all_steps() {
        let contract =
            matches!(&step, Step::Migrate(migration) if migration.part == super::MigrationPart::Contract);
        if contract && !baked {
            steps.push(bake(request));
            baked = true;
        }
        steps.push(ScheduledStep { title: title(&step), at_least: least(&step) });
    }
    if !baked {
        steps.push(bake(request));
    }
    steps.retain(|step| step.title != "bake" || !step.at_least.is_zero());
    let at_least = sum(steps.iter().map(|step| step.at_least));
    let at_most = sum([request.timeout, way_back(request)]);
    Schedule { steps, at_least, at_most }
}

/// The longest way back: every service and the canary have the abort timeout for themselves, and programs their own.
fn way_back(request: &RolloutRequest) -> Duration {
    let services = request.places().iter().map(|_| request.abort_timeout).collect::<Vec<_>>();
    let steps = request.steps.iter().filter_map(|step| match step {
        Step::Canary(_) => Some(request.abort_timeout),
        Step::Migrate(migration) => migration.down.as_ref().map(|down| down.timeout),
        Step::Hook(hook) => hook.undo.as_ref().map(|undo| undo.timeout),
        Step::Pause(_) | Step::Analysis(_) | Step::Swap | Step::Wave(_) => None,
    });
    sum(services.into_iter().chain(steps))
}

fn sum(durations: impl IntoIterator<Item = Duration>) -> Duration {
    durations.into_iter().fold(Duration::ZERO, Duration::saturating_add)
}

fn bake(request: &RolloutRequest) -> ScheduledStep {
    let measured = request.metrics.iter().map(lasts).max().unwrap_or_default();
    ScheduledStep { title: "bake".to_owned(), at_least: request.bake.max(measured) }
}

/// How long the measurements of a metric take until they decide.
pub(crate) fn lasts(metric: &Metric) -> Duration {
    let count = metric.count.unwrap_or(0).min(metric.consecutive_success_limit.unwrap_or(u32::MAX));
    metric.initial_delay.saturating_add(metric.interval.saturating_mul(count))
}

fn title(step: &Step) -> String {
    match step {
        Step::Canary(canary) => format!("canary for {:?}", canary.duration),
        Step::Pause(super::Pause::Duration(duration)) => format!("pause for {duration:?}"),
        Step::Pause(super::Pause::Approval(deadline)) => {
            format!("wait for an approval, at most {deadline:?}")
        }
        Step::Wave(wave) => format!("wave over {} services", wave.services.len()),
        other => other.title(),
    }
}

fn least(step: &Step) -> Duration {
    let measured = |metrics: &[Metric]| metrics.iter().map(lasts).max().unwrap_or_default();
    match step {
        Step::Canary(canary) => canary.duration.max(measured(&canary.metrics)),
        Step::Pause(super::Pause::Duration(duration)) => *duration,
        Step::Analysis(analysis) => analysis.duration.max(measured(&analysis.metrics)),
        Step::Wave(wave) => wave
            .pause
            .saturating_mul(u32::try_from(wave.services.len().saturating_sub(1)).unwrap_or(u32::MAX)),
        Step::Pause(super::Pause::Approval(_)) | Step::Migrate(_) | Step::Hook(_) | Step::Swap => {
            Duration::ZERO
        }
    }
}
