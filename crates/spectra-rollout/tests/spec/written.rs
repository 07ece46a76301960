//! Requests and records as text, by way of `serde_json::Value` as all of them are read.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::option;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use spectra_rollout::spec::{
    Analysis, ApprovalRule, Approver, Canary, CommandSpec, Comparison, Hook, HttpRatio, Metric, MetricKind,
    Migration, MigrationPart, OnInconclusive, OnNoData, Pause, Percentile, Runner, Step, Wave,
};
use spectra_rollout::{
    Action, Adopt, Approval, Effect, Entry, Failure, FailureReason, HealthPolicy, Made, Measurement,
    Observation, Outcome, Phase, Place, RolloutRequest, Running, Sample, Sampled, SiblingOrder, Verdict,
    Wish,
};

use crate::support::place;
use crate::support::world::{digest, image};

fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn again<T: Serialize + DeserializeOwned>(value: &T) -> T {
    let text = serde_json::to_string(value).unwrap();
    read(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-z]{1,8}", 1 => any::<String>()]
}

fn durations() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        (0_u64..1_000_000).prop_map(Duration::from_millis),
        (0_u64..10_000_000).prop_map(Duration::from_secs),
        any::<u64>().prop_map(Duration::from_nanos),
    ]
}

fn numbers() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(0.01), Just(1e300), Just(-3.5), -1e6..1e6_f64]
}

fn commands() -> impl Strategy<Value = CommandSpec> {
    (
        proptest::collection::vec(words(), 0..4),
        proptest::collection::btree_map(words(), words(), 0..3),
        any::<bool>(),
        option::of(words()),
        durations(),
    )
        .prop_map(
            |(command, environment, service_variables, directory, timeout): (_, BTreeMap<_, _>, _, _, _)| {
                CommandSpec { command, environment, service_variables, directory, timeout }
            },
        )
}

fn sources() -> impl Strategy<Value = MetricKind> {
    let ratio = prop_oneof![Just(HttpRatio::Success), Just(HttpRatio::ServerError), Just(HttpRatio::Error)];
    let percentile = prop_oneof![
        Just(Percentile::P50),
        Just(Percentile::P90),
        Just(Percentile::P95),
        Just(Percentile::P99)
    ];
    prop_oneof![
        Just(MetricKind::Probe),
        Just(MetricKind::Cpu),
        Just(MetricKind::Memory),
        ratio.clone().prop_map(|ratio| MetricKind::HttpStatus { ratio }),
        ratio.prop_map(|ratio| MetricKind::HttpLogStatus { ratio }),
        percentile.clone().prop_map(|percentile| MetricKind::HttpDuration { percentile }),
        percentile.prop_map(|percentile| MetricKind::HttpLogDuration { percentile }),
        (words(), words(), option::of(words()), option::of(words())).prop_map(
            |(address, query, stable_query, token_env)| MetricKind::Prometheus {
                address,
                query,
                stable_query,
                token_env
            }
        ),
        commands().prop_map(|run| MetricKind::Command { run: Box::new(run) }),
    ]
}

fn metrics() -> impl Strategy<Value = Metric> {
    let compare = (option::of(numbers()), option::of(numbers()))
        .prop_map(|(max_ratio, max_increase)| Comparison { max_ratio, max_increase });
    let on_no_data = prop_oneof![Just(OnNoData::Inconclusive), Just(OnNoData::Fail), Just(OnNoData::Pass)];
    (
        (words(), sources(), durations(), option::of(any::<u32>()), durations()),
        (option::of(numbers()), option::of(numbers()), option::of(compare)),
        (any::<u32>(), any::<u32>(), option::of(any::<u32>()), any::<u64>(), on_no_data, any::<bool>()),
    )
        .prop_map(|((name, source, interval, count, initial_delay), (min, max, compare), rest)| {
            let (
                failure_limit,
                consecutive_error_limit,
                consecutive_success_limit,
                min_samples,
                on_no_data,
                shadow,
            ) = rest;
            Metric {
                name,
                source,
                interval,
                count,
                initial_delay,
                min,
                max,
                compare,
                failure_limit,
                consecutive_error_limit,
                consecutive_success_limit,
                min_samples,
                on_no_data,
                shadow,
            }
        })
}

fn steps() -> impl Strategy<Value = Step> {
    let metrics = || proptest::collection::vec(metrics(), 0..2);
    let part = prop_oneof![Just(MigrationPart::Expand), Just(MigrationPart::Contract)];
    let runner = prop_oneof![Just(Runner::Local), Just(Runner::PreDeploy)];
    prop_oneof![
        Just(Step::Swap),
        durations().prop_map(|duration| Step::Pause(Pause::Duration(duration))),
        durations().prop_map(|duration| Step::Pause(Pause::Approval(duration))),
        (durations(), metrics())
            .prop_map(|(duration, metrics)| Step::Analysis(Analysis { duration, metrics })),
        (option::of(words()), option::of(any::<u32>()), durations(), metrics()).prop_map(
            |(name, replicas, duration, metrics)| Step::Canary(Canary { name, replicas, duration, metrics })
        ),
        (proptest::collection::vec("[a-z]{1,5}", 0..3), durations()).prop_map(|(services, pause)| {
            Step::Wave(Wave { services: services.iter().map(|name| name.parse().unwrap()).collect(), pause })
        }),
        (words(), commands(), option::of(commands())).prop_map(|(name, run, undo)| Step::Hook(Hook {
            name,
            run,
            undo
        })),
        (words(), part, runner, commands(), option::of(commands()), any::<bool>()).prop_map(
            |(name, part, runner, up, down, irreversible)| {
                Step::Migrate(Migration { name, part, runner, up, down, irreversible })
            }
        ),
    ]
}

fn requests() -> impl Strategy<Value = RolloutRequest> {
    let health = (words(), option::of(words()), any::<u16>(), durations(), any::<u32>()).prop_map(
        |(path, url, expected_status, interval, threshold)| HealthPolicy {
            path,
            url,
            expected_status,
            interval,
            timeout: interval,
            success_threshold: threshold,
            failure_threshold: threshold,
        },
    );
    let rule = (any::<u32>(), any::<bool>(), words(), option::of(words())).prop_map(
        |(required, before_start, name, github_environment)| ApprovalRule {
            required,
            before_start,
            approvers: vec![Approver { public_key: name.clone(), name }],
            github_environment,
        },
    );
    let on_inconclusive = prop_oneof![
        Just(OnInconclusive::Abort),
        Just(OnInconclusive::Proceed),
        durations().prop_map(OnInconclusive::Hold)
    ];
    (
        (
            option::of(health),
            proptest::collection::vec(steps(), 0..4),
            proptest::collection::vec(metrics(), 0..2),
        ),
        (on_inconclusive, option::of(rule), any::<bool>(), option::of(words()), option::of(words())),
        (durations(), durations(), durations(), durations()),
    )
        .prop_map(
            |(
                (health, steps, metrics),
                (on_inconclusive, approval, adopt, freeze_override, group),
                clocks,
            )| {
                let (bake, progress_deadline, timeout, abort_timeout) = clocks;
                RolloutRequest {
                    adopt: if adopt { Adopt::IfRunning } else { Adopt::Never },
                    health,
                    steps,
                    metrics,
                    on_inconclusive,
                    approval,
                    bake,
                    progress_deadline,
                    timeout,
                    abort_timeout,
                    freeze_override,
                    group,
                    ..RolloutRequest::new(place("web"), image('b'))
                }
            },
        )
}

fn failures() -> impl Strategy<Value = Failure> {
    let reason = (words(), durations(), 0_u32..9).prop_flat_map(|(word, time, count)| {
        let (name, message) = (word.clone(), word.clone());
        prop_oneof![
            Just(FailureReason::Target { message: word.clone(), effect: Effect::Possible }),
            Just(FailureReason::Deployment { status: word.clone(), reason: word.clone() }),
            Just(FailureReason::NeedsApproval),
            Just(FailureReason::Skipped),
            Just(FailureReason::Removed),
            Just(FailureReason::Superseded { by: "d-1".parse().unwrap() }),
            Just(FailureReason::WrongDigest { running: Some(digest('f')) }),
            Just(FailureReason::WrongDigest { running: None }),
            Just(FailureReason::ReplicasNotRunning),
            Just(FailureReason::Unhealthy { failures: count }),
            Just(FailureReason::ProgressDeadline { deadline: time, status: word.clone() }),
            Just(FailureReason::Timeout { timeout: time }),
            Just(FailureReason::Sleeping),
            Just(FailureReason::Cancelled),
            Just(FailureReason::Aborted { by: name.clone(), reason: message.clone() }),
            Just(FailureReason::Interrupted),
            Just(FailureReason::Migration { name: name.clone(), message: message.clone() }),
            Just(FailureReason::Hook { name: name.clone(), message: message.clone() }),
            Just(FailureReason::Analysis { metric: name.clone(), message: message.clone() }),
            Just(FailureReason::Inconclusive { metric: name.clone(), message: message.clone() }),
            Just(FailureReason::Approval { message: message.clone() }),
            Just(FailureReason::Frozen { message: message.clone() }),
            Just(FailureReason::Irreversible { name }),
            Just(FailureReason::Journal { message: message.clone() }),
            Just(FailureReason::LeaseLost { message }),
        ]
    });
    let measurement = (words(), words(), any::<bool>()).prop_map(|(subject, answer, good)| Measurement {
        subject,
        answer,
        verdict: if good { Verdict::Healthy } else { Verdict::Unhealthy },
    });
    (reason, option::of(words()), option::of(measurement)).prop_map(|(reason, step, last_measurement)| {
        Failure { phase: Phase::Baking, step, reason, last_measurement }
    })
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    let id = || "d-1".parse::<spectra_types::DeploymentId>().unwrap();
    failures().prop_flat_map(move |failure| {
        prop_oneof![
            Just(Outcome::Complete { deployment: id() }),
            Just(Outcome::Refused { failure: failure.clone() }),
            Just(Outcome::RolledBack { failure: failure.clone(), deployment: Some(id()) }),
            Just(Outcome::RollbackFailed { rollback: failure.reason.clone(), failure: failure.clone() }),
            Just(Outcome::Superseded { failure: failure.clone() }),
            Just(Outcome::Fenced { failure }),
        ]
    })
}

fn actions() -> impl Strategy<Value = Action> {
    (any::<bool>(), 0_usize..9, words(), option::of(any::<u32>())).prop_flat_map(
        |(placed, step, name, replicas)| {
            let order = SiblingOrder {
                name: Some(name.clone()),
                replicas,
                rollout: "ro-1".to_owned(),
                place: placed.then(|| place("web-canary")),
            };
            prop_oneof![
                Just(Action::Deploy { place: place("web") }),
                Just(Action::Restore { place: place("web") }),
                Just(Action::CreateSibling { order: order.clone() }),
                Just(Action::RemoveSibling { order }),
                Just(Action::Migrate { step, name: name.clone() }),
                Just(Action::Revert { step, name: name.clone() }),
                Just(Action::Hook { step, name: name.clone() }),
                Just(Action::UndoHook { step, name }),
            ]
        },
    )
}

fn samples() -> impl Strategy<Value = Sampled> {
    let sample = (option::of(numbers()), option::of(any::<u64>()), option::of(numbers()))
        .prop_map(|(value, samples, stable)| Sample { value, samples, stable });
    let answer = prop_oneof![sample.prop_map(Ok), words().prop_map(Err)];
    (words(), answer).prop_map(|(query, answer)| Sampled { query, answer })
}

fn entries() -> impl Strategy<Value = Entry> {
    let observation = Observation {
        running: Some(Running {
            deployment: "d-1".parse().unwrap(),
            image: Some(image('a').to_string()),
            digest: Some(digest('a')),
            all_replicas_running: true,
        }),
        in_flight: None,
        setting: Some("team/app:latest".to_owned()),
        pre_deploy: Some("migrate".to_owned()),
    };
    let made = prop_oneof![
        Just(Made::Nothing),
        Just(Made::Deployment { id: "d-1".parse().unwrap() }),
        Just(Made::Sibling { place: place("web-canary") }),
        words().prop_map(|tail| Made::Output { tail }),
    ];
    prop_oneof![
        requests().prop_map(|request| Entry::Begun { request: Box::new(request) }),
        proptest::collection::vec(actions(), 0..3).prop_map(|open| Entry::Resumed { open }),
        Just(Entry::Baseline { place: place("web"), snapshot: observation.snapshot() }),
        Just(Entry::Adopted { deployment: "d-1".parse().unwrap() }),
        option::of(words()).prop_map(|step| Entry::Stage { phase: Phase::Analysing, step }),
        actions().prop_map(|action| Entry::Intent { action }),
        (actions(), made).prop_map(|(action, made)| Entry::Done { action, made }),
        (actions(), words()).prop_map(|(action, message)| Entry::Failed {
            action,
            message,
            effect: Effect::None
        }),
        Just(Entry::Returned { place: place("web"), deployment: None, left_to: None }),
        Just(Entry::Returned { place: place("web"), deployment: None, left_to: "d2".parse().ok() }),
        (words(), samples()).prop_map(|(metric, sampled)| Entry::Sampled {
            metric,
            place: place("web"),
            sampled,
            verdict: "good".to_owned()
        }),
        words().prop_map(|word| Entry::Approved { by: vec![word] }),
        words().prop_map(|reason| Entry::FreezeOverridden { window: reason.clone(), reason }),
        words().prop_map(|by| Entry::Heard { wish: Wish::Abort { reason: by.clone(), by } }),
        words().prop_map(|by| Entry::Heard { wish: Wish::Promote { by } }),
        words().prop_map(|migration| Entry::PointOfNoReturn { migration }),
        failures().prop_map(|failure| Entry::GoingBack { failure }),
        words().prop_map(|message| Entry::Trouble { message }),
        words().prop_map(|event| Entry::Told { results: vec![event.clone()], event }),
        words().prop_map(|message| Entry::Leftover { message }),
        outcomes().prop_map(|outcome| Entry::Finished { outcome }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn requests_are_read_as_they_were_written(request in requests()) {
        let read: RolloutRequest = again(&request);
        prop_assert_eq!(&read, &request);
        prop_assert_eq!(read.plan_hash(), request.plan_hash());
    }

    #[test]
    fn entries_are_read_as_they_were_written(entry in entries()) {
        prop_assert_eq!(again(&entry), entry);
    }
}

#[test]
fn approvals_are_read_as_they_were_written() {
    for approval in [
        Approval::Given { by: vec!["ada".to_owned()] },
        Approval::Missing { message: "one more".to_owned() },
        Approval::Denied { by: "bob".to_owned() },
    ] {
        assert_eq!(again(&approval), approval);
    }
}

/// A step of each kind and a source of each kind, with a field that nobody knows.
#[test]
fn unknown_fields_are_refused_everywhere() {
    let run = r#"{"command":["x"]}"#;
    let steps = [
        format!(r#"{{"step":"migrate","name":"m","part":"expand","up":{run},"surprise":1}}"#),
        format!(r#"{{"step":"hook","name":"h","run":{run},"surprise":1}}"#),
        r#"{"step":"canary","duration":"1m","surprise":1}"#.to_owned(),
        r#"{"step":"analysis","metrics":[],"surprise":1}"#.to_owned(),
        r#"{"step":"swap","surprise":1}"#.to_owned(),
        r#"{"step":"wave","services":["s"],"surprise":1}"#.to_owned(),
        r#"{"step":"pause","duration":"1m","surprise":1}"#.to_owned(),
        r#"{"step":"hook","name":"h","run":{"command":["x"],"surprise":1}}"#.to_owned(),
    ];
    for text in &steps {
        assert!(read::<Step>(text).is_err(), "{text}");
        let known = text.replace(r#","surprise":1"#, "");
        assert!(read::<Step>(&known).is_ok(), "{known}: {:?}", read::<Step>(&known));
    }
    let sources = [
        r#"{"kind":"probe","surprise":1}"#,
        r#"{"kind":"cpu","surprise":1}"#,
        r#"{"kind":"memory","surprise":1}"#,
        r#"{"kind":"http_status","surprise":1}"#,
        r#"{"kind":"http_duration","surprise":1}"#,
        r#"{"kind":"http_log_status","surprise":1}"#,
        r#"{"kind":"http_log_duration","surprise":1}"#,
        r#"{"kind":"prometheus","address":"http://p","query":"q","surprise":1}"#,
        r#"{"kind":"command","run":{"command":["x"]},"surprise":1}"#,
    ];
    for text in sources {
        let error = read::<MetricKind>(text).unwrap_err();
        assert!(error.contains("unknown field `surprise`"), "{text}: {error}");
        let known = text.replace(r#","surprise":1"#, "");
        assert!(read::<MetricKind>(&known).is_ok(), "{known}: {:?}", read::<MetricKind>(&known));
    }
    let whole = serde_json::to_string(&RolloutRequest::new(place("web"), image('b'))).unwrap();
    assert!(read::<RolloutRequest>(&whole).is_ok());
    for (known, surprise) in
        [("\"adopt\"", "\"surprise\":1,\"adopt\""), ("\"service\"", "\"surprise\":1,\"service\"")]
    {
        let text = whole.replacen(known, surprise, 1);
        assert_ne!(text, whole);
        assert!(read::<RolloutRequest>(&text).unwrap_err().contains("unknown field `surprise`"), "{text}");
    }
    for text in [r#"{"interval":"5s","surprise":1}"#, r#"{"path":"/","surprise":1}"#] {
        assert!(read::<HealthPolicy>(text).is_err(), "{text}");
    }
    assert!(read::<ApprovalRule>(r#"{"required":1,"surprise":1}"#).is_err());
    assert!(read::<Approver>(r#"{"name":"ada","public_key":"k","surprise":1}"#).is_err());
    assert!(read::<Comparison>(r#"{"max_ratio":1.5,"surprise":1}"#).is_err());
    assert!(read::<Place>(r#"{"project":"p","environment":"e","service":"s","surprise":1}"#).is_err());
}

/// What a user leaves out.
#[test]
fn defaults_are_filled_in() {
    let text = format!(
        r#"{{"place":{{"project":"p-1","environment":"e-1","service":"web"}},"candidate":"{}"}}"#,
        image('b')
    );
    let request: RolloutRequest = read(&text).unwrap();
    assert_eq!(request, RolloutRequest::new(place("web"), image('b')));
    assert_eq!(read::<HealthPolicy>("{}").unwrap(), HealthPolicy::default());
    let metric: Metric = read(r#"{"name":"m","source":{"kind":"probe"},"min":0.9}"#).unwrap();
    assert_eq!((metric.interval, metric.consecutive_error_limit), (Duration::from_mins(1), 4));
}
