//! One case a rule: the path and the message that a user gets.

use std::time::Duration;

use spectra_rollout::spec::{
    Ability, ApprovalRule, Approver, Canary, Comparison, HttpRatio, Metric, MetricKind, Migration,
    MigrationPart, OnInconclusive, OnNoData, Pause, Percentile, Runner, Step, check, schedule,
};
use spectra_rollout::{HealthPolicy, RolloutRequest};

use crate::support::requests::{
    analysis, approval, canary, carried, command, contract, expand, hook, metric, migration, pause, request,
    seconds, wave,
};

const ALL: [Ability; 3] = [Ability::Sibling, Ability::PreDeploy, Ability::DeploymentMetrics];

fn problems(request: &RolloutRequest, abilities: &[Ability]) -> Vec<String> {
    check(request, abilities)
        .into_iter()
        .map(|problem| format!("{}: {}", problem.path, problem.message))
        .collect()
}

#[track_caller]
fn finds(request: &RolloutRequest, expected: &[&str]) {
    assert_eq!(problems(request, &ALL), expected);
}

/// What is found with these steps.
#[track_caller]
fn steps(steps: Vec<Step>, expected: &[&str]) {
    finds(&request(steps), expected);
}

/// What is found with this metric in an analysis of two minutes.
#[track_caller]
fn measured(metric: Metric, expected: &[&str]) {
    finds(&request(vec![Step::Swap, analysis(120, vec![metric])]), expected);
}

fn approved(rule: ApprovalRule) -> RolloutRequest {
    RolloutRequest { approval: Some(rule), ..request(vec![Step::Swap]) }
}

fn rule() -> ApprovalRule {
    ApprovalRule {
        required: 1,
        before_start: true,
        approvers: Vec::new(),
        github_environment: Some("p".to_owned()),
    }
}

#[test]
fn a_request_of_every_step_can_be_begun() {
    let everything = RolloutRequest {
        approval: Some(rule()),
        on_inconclusive: OnInconclusive::Hold(seconds(60)),
        metrics: vec![metric("errors")],
        ..request(vec![
            expand("m1"),
            carried("m2"),
            hook("h1"),
            canary(10),
            analysis(10, vec![metric("own")]),
            Step::Swap,
            pause(5),
            approval(60),
            wave(&["worker"], 5),
            contract("m3"),
        ])
    };
    finds(&everything, &[]);
    finds(&request(Vec::new()), &[]);
}

#[test]
fn the_order_of_steps() {
    steps(
        vec![contract("m1"), Step::Swap],
        &[
            "steps[1]: it stands after `steps[0]`, a `contract` migration; those run after the bake, so they stand last",
        ],
    );
    steps(
        vec![Step::Swap, expand("m1")],
        &["steps[1]: an `expand` migration runs before traffic, but `steps[0]` moves it"],
    );
    steps(vec![Step::Swap, canary(5)], &["steps[1]: a canary comes before traffic is moved by `steps[0]`"]);
    steps(
        vec![canary(5), canary(5), Step::Swap],
        &["steps[1]: there is one canary in a rollout; lengthen the first one"],
    );
    steps(
        vec![analysis(10, vec![metric("errors")]), Step::Swap],
        &["steps[0]: nothing of the candidate runs yet: put it after a `canary` or a `swap`"],
    );
    steps(
        vec![Step::Swap, Step::Swap],
        &["steps[1]: the service has the candidate already by an earlier step"],
    );
    steps(
        vec![Step::Swap, wave(&["worker", "web"], 0)],
        &["steps[1].services: service `web` has the candidate already by an earlier step"],
    );
    steps(
        vec![wave(&["worker"], 0)],
        &[
            "steps: no step brings the candidate to the rollout's own service: add a `swap`, or put the service into a wave",
        ],
    );
    steps(vec![Step::Swap, wave(&[], 0)], &["steps[1].services: a wave needs services"]);
}

#[test]
fn names() {
    steps(
        vec![hook("h1"), hook("h1"), Step::Swap],
        &["steps[1].name: `h1` is the name of two hooks of this rollout"],
    );
    steps(vec![expand(" "), Step::Swap], &["steps[0].name: a migration needs a name"]);
    finds(
        &RolloutRequest {
            metrics: vec![metric("errors")],
            ..request(vec![Step::Swap, analysis(10, vec![metric("errors")])])
        },
        &["metrics[0].name: `errors` is the name of two metrics of this rollout"],
    );
}

#[test]
fn migrations_and_programs() {
    let one = |change: &dyn Fn(&mut Migration)| {
        let mut one = migration("m1", MigrationPart::Expand);
        change(&mut one);
        vec![Step::Migrate(one), Step::Swap]
    };
    steps(
        one(&|one| one.down = None),
        &[
            "steps[0].down: a migration needs `down`, or `irreversible = true` to acknowledge that there is no way back",
        ],
    );
    steps(
        one(&|one| one.irreversible = true),
        &["steps[0].irreversible: it has a `down`, so it is not irreversible"],
    );
    steps(one(&|one| one.up.command.clear()), &["steps[0].up.command: there is no program to run"]);
    steps(one(&|one| one.down = Some(command(" "))), &["steps[0].down.command: there is no program to run"]);
    steps(one(&|one| one.up.timeout = Duration::ZERO), &["steps[0].up.timeout: it has no time to run"]);
    let carried_contract =
        Step::Migrate(Migration { runner: Runner::PreDeploy, ..migration("m1", MigrationPart::Contract) });
    steps(
        vec![Step::Swap, carried_contract],
        &["steps[1].runner: a pre-deploy command runs before traffic, so it is no `contract`: use `local`"],
    );
    assert_eq!(
        problems(&request(vec![carried("m1"), Step::Swap]), &[]),
        ["steps[0].runner: the target has no pre-deploy commands: use `local`"]
    );
    let mut undone = hook("h1");
    if let Step::Hook(hook) = &mut undone {
        hook.run.command.clear();
        hook.undo = Some(command(""));
    }
    steps(
        vec![undone, Step::Swap],
        &[
            "steps[0].run.command: there is no program to run",
            "steps[0].undo.command: there is no program to run",
        ],
    );
}

#[test]
fn canaries_analyses_and_pauses() {
    assert_eq!(
        problems(&request(vec![canary(5), Step::Swap]), &[]),
        ["steps[0]: the target cannot run a sibling of a service"]
    );
    let without = Canary { replicas: Some(0), duration: seconds(5), ..Canary::default() };
    steps(
        vec![Step::Canary(without), Step::Swap],
        &["steps[0].replicas: a canary without replicas shows nothing"],
    );
    finds(
        &RolloutRequest { health: None, ..request(vec![canary(5), Step::Swap]) },
        &["steps[0]: nothing is asked of the canary: give the rollout `health`, or the canary `metrics`"],
    );
    let measured = Canary { metrics: vec![metric("own")], ..Canary::default() };
    steps(
        vec![Step::Canary(measured), Step::Swap],
        &[
            "steps[0].metrics[0].count: it is first measured after 10s, when the canary of 0ns is over: give `count`, or \
           the canary more time",
        ],
    );
    steps(
        vec![Step::Swap, analysis(10, Vec::new())],
        &["steps[1].metrics: an analysis without a metric decides nothing"],
    );
    steps(
        vec![Step::Swap, analysis(9, vec![metric("own")])],
        &[
            "steps[1].metrics[0].count: it is first measured after 10s, when the analysis of 9s is over: give `count`, or \
           the analysis more time",
        ],
    );
    steps(vec![Step::Swap, pause(0)], &["steps[1]: it lasts no time"]);
    steps(
        vec![Step::Swap, approval(9)],
        &["steps[1]: it waits for an approval, but `approval` does not say whose"],
    );
}

#[test]
fn metrics() {
    measured(
        Metric { interval: Duration::ZERO, ..metric("m") },
        &["steps[1].metrics[0].interval: it is measured without a pause"],
    );
    measured(
        Metric { max: None, ..metric("m") },
        &["steps[1].metrics[0]: nothing is expected of it: give `min`, `max` or `compare`"],
    );
    measured(
        Metric { max: Some(f64::NAN), ..metric("m") },
        &["steps[1].metrics[0].max: it is not a finite number"],
    );
    measured(
        Metric { min: Some(0.7), ..metric("m") },
        &["steps[1].metrics[0].min: 0.7 is above `max`, 0.5: nothing would be good"],
    );
    measured(
        Metric { count: Some(0), ..metric("m") },
        &["steps[1].metrics[0].count: no measurement decides nothing"],
    );
    measured(
        Metric { count: Some(3), failure_limit: 3, ..metric("m") },
        &["steps[1].metrics[0].failure_limit: 3 measurements cannot be bad more than 3 times"],
    );
    measured(
        Metric { consecutive_success_limit: Some(0), ..metric("m") },
        &["steps[1].metrics[0].consecutive_success_limit: no measurement decides nothing"],
    );
    measured(
        Metric { shadow: true, on_no_data: OnNoData::Fail, ..metric("m") },
        &["steps[1].metrics[0].on_no_data: a shadow decides nothing, so nothing counts for it"],
    );
    let prometheus = |address: &str, query: &str| MetricKind::Prometheus {
        address: address.to_owned(),
        query: query.to_owned(),
        stable_query: None,
        token_env: None,
    };
    measured(
        Metric { source: prometheus("prometheus:9090", " "), ..metric("m") },
        &[
            "steps[1].metrics[0].source.address: `prometheus:9090` is no http or https URL",
            "steps[1].metrics[0].source.query: it asks nothing",
        ],
    );
    measured(
        Metric { source: MetricKind::Command { run: Box::new(command("")) }, ..metric("m") },
        &["steps[1].metrics[0].source.run.command: there is no program to run"],
    );
    let probe = Metric { source: MetricKind::Probe, ..metric("m") };
    finds(
        &RolloutRequest { health: None, ..request(vec![Step::Swap, analysis(60, vec![probe])]) },
        &["steps[1].metrics[0].source: the rollout has no `health` to probe with"],
    );
    finds(
        &RolloutRequest {
            bake: seconds(9),
            metrics: vec![metric("m")],
            ..request(vec![Step::Swap, pause(60)])
        },
        &[
            "metrics[0].count: it is first measured after 10s, when the bake of 9s is over: give `count`, or the bake more \
           time",
        ],
    );
}

#[test]
fn comparisons() {
    let compared = |source, max_ratio, max_increase| Metric {
        source,
        max: None,
        compare: Some(Comparison { max_ratio, max_increase }),
        ..metric("m")
    };
    let logs = MetricKind::HttpLogStatus { ratio: HttpRatio::Error };
    measured(compared(logs.clone(), Some(1.2), None), &[]);
    measured(
        compared(logs.clone(), None, None),
        &["steps[1].metrics[0].compare: it allows nothing: give `max_ratio` or `max_increase`"],
    );
    measured(
        compared(logs.clone(), Some(f64::NAN), Some(-0.1)),
        &[
            "steps[1].metrics[0].compare.max_ratio: it is no finite number from 0 on",
            "steps[1].metrics[0].compare.max_increase: it is no finite number from 0 on",
        ],
    );
    measured(
        compared(MetricKind::HttpDuration { percentile: Percentile::P95 }, Some(1.2), None),
        &[
            "steps[1].metrics[0].compare: these metrics mix the deployments of a service: use `http_log_status` or \
           `http_log_duration`",
        ],
    );
    measured(
        compared(metric("m").source, Some(1.2), None),
        &["steps[1].metrics[0].compare: give `stable_query`, which asks the same of stable"],
    );
    measured(
        compared(MetricKind::Probe, Some(1.2), None),
        &["steps[1].metrics[0].compare: this source knows nothing of stable"],
    );
    let request = request(vec![Step::Swap, analysis(60, vec![compared(logs, Some(1.2), None)])]);
    assert_eq!(problems(&request, &[]), ["steps[1].metrics[0].compare: this source knows nothing of stable"]);
}

#[test]
fn probes() {
    let health = |health| RolloutRequest { health: Some(health), ..request(vec![Step::Swap]) };
    finds(
        &health(HealthPolicy { success_threshold: 0, failure_threshold: 0, ..HealthPolicy::default() }),
        &[
            "health.success_threshold: no probe decides nothing: give at least 1",
            "health.failure_threshold: no probe decides nothing: give at least 1",
        ],
    );
    finds(
        &health(HealthPolicy {
            interval: Duration::ZERO,
            timeout: Duration::ZERO,
            ..HealthPolicy::default()
        }),
        &["health.interval: it is probed without a pause", "health.timeout: it has no time to answer"],
    );
    finds(
        &health(HealthPolicy { expected_status: 42, path: "healthz".to_owned(), ..HealthPolicy::default() }),
        &[
            "health.expected_status: 42 is no status that HTTP knows",
            "health.path: `healthz` does not begin with `/`",
        ],
    );
}

#[test]
fn clocks() {
    let one = |change: &dyn Fn(&mut RolloutRequest)| {
        let mut one = request(vec![Step::Swap]);
        change(&mut one);
        one
    };
    finds(&one(&|one| one.timeout = Duration::ZERO), &["timeout: it leaves no time"]);
    finds(&one(&|one| one.abort_timeout = Duration::ZERO), &["abort_timeout: it leaves no time"]);
    finds(&one(&|one| one.progress_deadline = Duration::ZERO), &["progress_deadline: it leaves no time"]);
    finds(&one(&|one| one.abort_timeout = Duration::MAX), &["abort_timeout: it lasts more than a year"]);
    let long = |steps| RolloutRequest { timeout: seconds(100), approval: Some(rule()), ..request(steps) };
    finds(
        &long(vec![canary(30), Step::Swap, pause(30), approval(20)]),
        &[
            "timeout: the declared waits and the bake take 100s already, and the timeout, which includes them, is 100s: \
           raise it",
        ],
    );
    // A count lasts as long as its measurements.
    let counted = Metric { count: Some(9), ..metric("m") };
    finds(
        &long(vec![Step::Swap, analysis(0, vec![counted])]),
        &[
            "timeout: the declared waits and the bake take 110s already, and the timeout, which includes them, is 100s: \
           raise it",
        ],
    );
    // No sum of durations is too great to be told so.
    let endless = Step::Pause(Pause::Duration(Duration::MAX));
    assert_eq!(problems(&long(vec![Step::Swap, endless.clone(), endless]), &ALL).len(), 1);
}

#[test]
fn approvals_freezes_and_holds() {
    finds(
        &approved(ApprovalRule { required: 0, ..rule() }),
        &["approval.required: an approval by nobody is none; leave `approval` out"],
    );
    let ada = Approver { name: "ada".to_owned(), public_key: String::new() };
    finds(
        &approved(ApprovalRule { required: 2, approvers: vec![ada], github_environment: None, ..rule() }),
        &["approval.approvers: 2 have to approve, but only 1 may: name more, or `github_environment`"],
    );
    finds(
        &RolloutRequest { freeze_override: Some(" ".to_owned()), ..request(vec![Step::Swap]) },
        &["freeze_override: an override of a freeze window needs a reason"],
    );
    finds(
        &RolloutRequest {
            on_inconclusive: OnInconclusive::Hold(Duration::ZERO),
            ..request(vec![Step::Swap])
        },
        &[
            "on_inconclusive: a hold needs time",
            "on_inconclusive: a hold waits for an approval, but `approval` does not say whose",
        ],
    );
}

#[test]
fn the_schedule_says_what_comes_and_how_long_it_takes() {
    let counted = Metric { count: Some(3), initial_delay: seconds(5), ..metric("m") };
    let request = RolloutRequest {
        approval: Some(rule()),
        ..request(vec![
            expand("m1"),
            canary(10),
            wave(&["web", "worker", "mail"], 5),
            analysis(10, vec![counted]),
            pause(7),
            approval(60),
            hook("h1"),
            contract("m2"),
        ])
    };
    let schedule = schedule(&request);
    let steps: Vec<_> =
        schedule.steps.iter().map(|step| (step.title.as_str(), step.at_least.as_secs())).collect();
    assert_eq!(
        steps,
        [
            ("migrate `m1`", 0),
            ("canary for 10s", 10),
            ("wave over 3 services", 10),
            ("analysis", 35),
            ("pause for 7s", 7),
            ("wait for an approval, at most 60s", 0),
            ("hook `h1`", 0),
            ("bake", 20),
            ("migrate `m2`", 0),
        ]
    );
    assert_eq!(schedule.at_least, seconds(82));
    // Ten minutes, a minute for each of three services and the canary, and one for each of three programs.
    assert_eq!(schedule.at_most, seconds(600 + 4 * 60 + 3 * 60));
}

#[test]
fn a_schedule_without_steps_is_a_swap_and_the_bake_if_there_is_one() {
    let titles = |request: &RolloutRequest| -> Vec<String> {
        schedule(request).steps.into_iter().map(|step| step.title).collect()
    };
    assert_eq!(titles(&request(Vec::new())), ["swap", "bake"]);
    assert_eq!(titles(&RolloutRequest { bake: Duration::ZERO, ..request(Vec::new()) }), ["swap"]);
}
