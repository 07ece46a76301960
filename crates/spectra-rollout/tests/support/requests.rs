//! Requests, and what carries them out in a world.

use std::time::Duration;

use spectra_rollout::spec::{
    Analysis, Canary, CommandSpec, Hook, Metric, MetricKind, Migration, MigrationPart, OnNoData, Pause,
    Runner, Step, Wave,
};
use spectra_rollout::{HealthPolicy, Ledger, Ports, Report, RolloutRequest, TokioClock, recover, run};
use tokio_util::sync::CancellationToken;

use super::world::{World, image};
use super::{Diary, place};

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(crate) fn command(line: &str) -> CommandSpec {
    CommandSpec {
        command: line.split(' ').map(str::to_owned).collect(),
        environment: std::collections::BTreeMap::new(),
        service_variables: true,
        directory: None,
        timeout: seconds(60),
    }
}

pub(crate) fn migration(name: &str, part: MigrationPart) -> Migration {
    Migration {
        name: name.to_owned(),
        part,
        runner: Runner::Local,
        up: command(&format!("migrate up {name}")),
        down: Some(command(&format!("migrate down {name}"))),
        irreversible: false,
    }
}

pub(crate) fn expand(name: &str) -> Step {
    Step::Migrate(migration(name, MigrationPart::Expand))
}

pub(crate) fn contract(name: &str) -> Step {
    Step::Migrate(migration(name, MigrationPart::Contract))
}

pub(crate) fn carried(name: &str) -> Step {
    Step::Migrate(Migration { runner: Runner::PreDeploy, ..migration(name, MigrationPart::Expand) })
}

pub(crate) fn final_contract(name: &str) -> Step {
    Step::Migrate(Migration { down: None, irreversible: true, ..migration(name, MigrationPart::Contract) })
}

pub(crate) fn hook(name: &str) -> Step {
    Step::Hook(Hook {
        name: name.to_owned(),
        run: command(&format!("hook run {name}")),
        undo: Some(command(&format!("hook undo {name}"))),
    })
}

pub(crate) fn pause(count: u64) -> Step {
    Step::Pause(Pause::Duration(seconds(count)))
}

pub(crate) fn approval(count: u64) -> Step {
    Step::Pause(Pause::Approval(seconds(count)))
}

pub(crate) fn canary(count: u64) -> Step {
    Step::Canary(Canary { duration: seconds(count), ..Canary::default() })
}

pub(crate) fn wave(services: &[&str], count: u64) -> Step {
    let services = services.iter().map(|service| service.parse().unwrap()).collect();
    Step::Wave(Wave { services, pause: seconds(count) })
}

/// A metric that is bad above a half, measured every ten seconds.
pub(crate) fn metric(name: &str) -> Metric {
    Metric {
        name: name.to_owned(),
        source: MetricKind::Prometheus {
            address: "http://prometheus".to_owned(),
            query: "rate(errors)".to_owned(),
            stable_query: None,
            token_env: None,
        },
        interval: seconds(10),
        count: None,
        initial_delay: Duration::ZERO,
        min: None,
        max: Some(0.5),
        compare: None,
        failure_limit: 0,
        consecutive_error_limit: 4,
        consecutive_success_limit: None,
        min_samples: 0,
        on_no_data: OnNoData::Inconclusive,
        shadow: false,
    }
}

pub(crate) fn analysis(count: u64, metrics: Vec<Metric>) -> Step {
    Step::Analysis(Analysis { duration: seconds(count), metrics })
}

/// A probed rollout of image `b` by these steps, with a bake of twenty seconds.
pub(crate) fn request(steps: Vec<Step>) -> RolloutRequest {
    RolloutRequest {
        health: Some(HealthPolicy::default()),
        steps,
        bake: seconds(20),
        progress_deadline: seconds(60),
        timeout: Duration::from_mins(10),
        abort_timeout: seconds(60),
        ..RolloutRequest::new(place("web"), image('b'))
    }
}

pub(crate) fn ports<'a>(world: &'a World, diary: &'a Diary, clock: &'a TokioClock) -> Ports<'a> {
    Ports {
        target: world,
        probe: world,
        metrics: world,
        runner: world,
        gates: world,
        notifier: world,
        diary,
        clock,
    }
}

fn stop_of(world: &World) -> CancellationToken {
    world.cancel_at.as_ref().map(|(_, token)| token.clone()).unwrap_or_default()
}

/// Carries a request out; `None` when the process died in the middle.
pub(crate) async fn roll(world: &World, diary: &Diary, request: RolloutRequest) -> Option<Report> {
    let clock = TokioClock::start();
    let cancel = stop_of(world);
    tokio::select! {
        biased;
        () = diary.crashed.cancelled() => None,
        report = run("ro-1", request, ports(world, diary, &clock), &cancel) => Some(report),
    }
}

/// What a next process found.
pub(crate) enum Found {
    /// It died as well.
    Died,
    /// There was nothing to do.
    Nothing,
    /// It brought the rollout to an end.
    Ended(Box<Report>),
}

/// Takes a rollout up that a process before did not end.
pub(crate) async fn take_up(world: &World, diary: &Diary) -> Found {
    let clock = TokioClock::start();
    // Whoever stopped the process before may stop this one as well.
    let cancel = stop_of(world);
    let ledger = Ledger::of(&diary.entries());
    tokio::select! {
        biased;
        () = diary.crashed.cancelled() => Found::Died,
        report = recover("ro-1", ledger, ports(world, diary, &clock), &cancel) => {
            report.map_or(Found::Nothing, |report| Found::Ended(Box::new(report)))
        }
    }
}

pub(crate) async fn taken_up(world: &World, diary: &Diary) -> Report {
    match take_up(world, diary).await {
        Found::Ended(report) => *report,
        Found::Died | Found::Nothing => panic!("nothing was taken up"),
    }
}
