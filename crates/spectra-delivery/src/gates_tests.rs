use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::Mutex;

use axum::Router;
use axum::extract::Request;
use serde_json::{Value, json};
use spectra_journal::{Holder, Location};
use spectra_rollout::spec::Approver;
use spectra_rollout::{DeploymentPolicy, FreezeSchedule, Reach};

use super::*;
use crate::approval::{Decision, Key, Statement, record, sign};

async fn journal() -> (Journal, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let location: Location = format!("sqlite://{}/journal.db", folder.path().display()).parse().unwrap();
    (Journal::open(&location).await.unwrap(), folder)
}

fn request() -> RolloutRequest {
    let place = Place {
        project: "p".parse().unwrap(),
        environment: "production".parse().unwrap(),
        service: "api".parse().unwrap(),
    };
    let image = format!("ghcr.io/acme/api@sha256:{}", "a".repeat(64));
    RolloutRequest::new(place, image.parse().unwrap())
}

fn nothing(_: &str) -> Option<String> {
    None
}

fn christmas() -> Timestamp {
    "2026-12-25T12:00:00Z".parse().unwrap()
}

fn window(name: &str, reach: Reach) -> FreezeWindow {
    FreezeWindow {
        name: name.to_owned(),
        reason: "nobody is there".to_owned(),
        schedule: FreezeSchedule::Once {
            from: "2026-12-24T00:00:00Z".parse().unwrap(),
            to: "2026-12-27T00:00:00Z".parse().unwrap(),
        },
        reach,
    }
}

#[tokio::test]
async fn every_window_that_holds_is_named_with_its_end_and_reason() {
    let (journal, _folder) = journal().await;
    let (settings, me) = (Settings::of(&journal), Holder::of_this_process("test"));
    let gates = JournalGates { journal: &journal, env: nothing, now: christmas };
    assert_eq!(gates.frozen(&request()).await, Ok(None));
    settings.put("a", &window("holidays", Reach::Everything), &me).await.unwrap();
    let staging = Reach::Environment { environment: "staging".parse().unwrap() };
    settings.put("b", &window("elsewhere", staging), &me).await.unwrap();
    let project = Reach::Project { project: "p".parse().unwrap() };
    settings.put("c", &window("audit", project), &me).await.unwrap();
    let past = FreezeSchedule::Once {
        from: "2025-12-24T00:00:00Z".parse().unwrap(),
        to: "2025-12-27T00:00:00Z".parse().unwrap(),
    };
    let past = FreezeWindow { schedule: past, ..window("last year", Reach::Everything) };
    settings.put("d", &past, &me).await.unwrap();
    let words = gates.frozen(&request()).await.unwrap().unwrap();
    assert_eq!(
        words,
        "freeze window `holidays` (nobody is there) holds for everything until 2026-12-27T00:00:00Z; freeze window `audit` \
         (nobody is there) holds for project `p` until 2026-12-27T00:00:00Z"
    );
    let year = (christmas() - jiff::SignedDuration::from_hours(24), christmas());
    let planned = freezes(&journal, &request().place, year.0, year.1).await.unwrap();
    let names: Vec<_> = planned.iter().map(|(window, _)| window.name.as_str()).collect();
    assert_eq!(names, ["holidays", "audit"]);
}

#[tokio::test]
async fn policies_make_their_approval_part_of_the_request_or_name_the_broken_rule() {
    let (journal, _folder) = journal().await;
    let (settings, me) = (Settings::of(&journal), Holder::of_this_process("test"));
    assert_eq!(governed(&journal, request()).await.unwrap(), request());
    let anna = Key::generate().unwrap();
    let policy: DeploymentPolicy = serde_json::from_value(json!({
        "name": "careful", "reach": { "reach": "environment", "environment": "production" },
        "approval": { "required": 1, "approvers": [{ "name": "anna", "public_key": anna.public_key() }] },
    }))
    .unwrap();
    settings.put("careful", &policy, &me).await.unwrap();
    assert_eq!(governed(&journal, request()).await.unwrap().approval, policy.approval);
    let stricter = DeploymentPolicy { health_required: true, ..policy };
    settings.put("careful", &stricter, &me).await.unwrap();
    let error = governed(&journal, request()).await.unwrap_err();
    assert_eq!(error.exit_code(), spectra_types::ExitCode::GateRefused);
    assert!(error.to_string().contains("policy `careful`, `health_required`"), "{error}");
}

/// The variables of the run that each test pretends to be in, by the number of its run.
static RUNS: LazyLock<Mutex<BTreeMap<String, String>>> = LazyLock::new(Mutex::default);

fn run(name: &str, id: &str) -> Option<String> {
    match name {
        "GITHUB_RUN_ID" => Some(id.to_owned()),
        "GITHUB_REPOSITORY" => Some("acme/shop".to_owned()),
        "GITHUB_TOKEN" => Some("ghs-token-of-a-gate-test".to_owned()),
        "GITHUB_API_URL" => RUNS.lock().unwrap().get(id).cloned(),
        _ => None,
    }
}

fn approved_run(name: &str) -> Option<String> {
    run(name, "1")
}

fn rejected_run(name: &str) -> Option<String> {
    run(name, "2")
}

async fn github(id: &str, entries: Value) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    RUNS.lock().unwrap().insert(id.to_owned(), format!("http://{}", listener.local_addr().unwrap()));
    let router = Router::new().fallback(move |request: Request| {
        let approvals = request.uri().path().ends_with("/approvals");
        let run = json!({ "run_attempt": 1, "status": "in_progress" });
        let answer = if approvals { entries.to_string() } else { run.to_string() };
        async move { answer }
    });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
}

fn entry(login: &str, state: &str) -> Value {
    json!({ "environments": [{ "name": "production" }], "state": state, "user": { "login": login }, "comment": "" })
}

fn with_rule(required: u32, key: &Key) -> RolloutRequest {
    let approvers = vec![Approver { name: "anna".to_owned(), public_key: key.public_key() }];
    let github_environment = Some("production".to_owned());
    let rule = ApprovalRule { required, before_start: true, approvers, github_environment };
    RolloutRequest { approval: Some(rule), ..request() }
}

#[tokio::test]
async fn reviewers_of_github_count_beside_signatures_and_a_person_once() {
    let (journal, _folder) = journal().await;
    let anna = Key::generate().unwrap();
    let request = with_rule(2, &anna);
    let statement = Statement::about(&request, Decision::Given, "anna", christmas());
    record(&journal, &sign(&anna, statement)).await.unwrap();
    // Anna has an account as well.
    github("1", json!([entry("Anna", "approved")])).await;
    let gates = JournalGates { journal: &journal, env: approved_run, now: christmas };
    assert!(matches!(gates.approval(&request).await.unwrap(), Approval::Missing { .. }));
    github("1", json!([entry("Anna", "approved"), entry("ben", "approved")])).await;
    let by = vec!["anna".to_owned(), "github:ben".to_owned()];
    assert_eq!(gates.approval(&request).await, Ok(Approval::Given { by }));
    // Outside of a run nobody reviewed.
    let outside = JournalGates { journal: &journal, env: nothing, now: christmas };
    assert!(matches!(outside.approval(&request).await.unwrap(), Approval::Missing { .. }));
}

#[tokio::test]
async fn a_refusal_at_github_denies() {
    let (journal, _folder) = journal().await;
    github("2", json!([entry("ben", "rejected"), entry("cleo", "approved")])).await;
    let gates = JournalGates { journal: &journal, env: rejected_run, now: christmas };
    let denied = gates.approval(&with_rule(1, &Key::generate().unwrap())).await;
    assert_eq!(denied, Ok(Approval::Denied { by: "github:ben".to_owned() }));
}

#[tokio::test]
async fn a_github_that_cannot_be_asked_is_no_approval() {
    let (journal, _folder) = journal().await;
    let no_token: Env = |name| if name == "GITHUB_TOKEN" { None } else { run(name, "3") };
    let gates = JournalGates { journal: &journal, env: no_token, now: christmas };
    let error = gates.approval(&with_rule(1, &Key::generate().unwrap())).await.unwrap_err();
    assert!(error.contains("`GITHUB_TOKEN` is not set") && error.contains("actions: read"), "{error}");
}
