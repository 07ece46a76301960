//! Patches and variables.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use spectra_railway::{Client, Deploys, ErrorKind, VariableChanges, VariableScope};

use crate::fake::{Fake, data, raw, refusal, refusal_with, unmerged};

fn scope() -> VariableScope {
    VariableScope::Service("svc".parse().unwrap())
}

fn changes(set: &[(&str, &str)], seal: &[(&str, &str)], delete: &[&str]) -> VariableChanges {
    let map = |pairs: &[(&str, &str)]| -> BTreeMap<_, _> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect()
    };
    let delete: BTreeSet<_> = delete.iter().map(|name| (*name).to_owned()).collect();
    VariableChanges { set: map(set), seal: map(seal), delete }
}

async fn change(client: &Client, changes: &VariableChanges, deploys: Deploys) -> spectra_railway::Result<()> {
    client
        .change_variables(&"prj".parse().unwrap(), &"env".parse().unwrap(), &scope(), changes, deploys)
        .await
}

fn patch_status(status: &str, error: Option<&str>) -> crate::fake::Reply {
    data(json!({ "environmentPatch": { "id": "p1", "status": status, "lastAppliedError": error } }))
}

#[tokio::test]
async fn plain_values_are_one_upsert_that_keeps_foreign_ones() {
    let (fake, client) = Fake::with_account().await;
    fake.once("VariableCollectionUpsert", raw(504, "timeout"));
    fake.once("VariableCollectionUpsert", data(json!({ "variableCollectionUpsert": true })));
    change(&client, &changes(&[("A", "1"), ("B", "2")], &[], &[]), Deploys::Skip).await.unwrap();
    let seen = fake.seen("VariableCollectionUpsert");
    assert_eq!(seen.len(), 2, "the same values twice are the same as once");
    assert_eq!(
        seen[0].variables["input"],
        json!({ "projectId": "prj", "environmentId": "env", "serviceId": "svc",
                "variables": { "A": "1", "B": "2" }, "skipDeploys": true })
    );
    // With deployments a repetition would be a second one.
    fake.once("VariableCollectionUpsert", raw(504, "timeout"));
    let error = change(&client, &changes(&[("A", "1")], &[], &[]), Deploys::Start).await.unwrap_err();
    assert!(error.is_ambiguous());
    assert_eq!(fake.count("VariableCollectionUpsert"), 3);
    assert!(change(&client, &VariableChanges::default(), Deploys::Start).await.is_ok());
}

#[tokio::test]
async fn q39_deletion_and_sealing_are_one_quiet_commit() {
    let (fake, client) = Fake::with_account().await;
    fake.always("EnvironmentChanges", unmerged(0));
    fake.once(
        "EnvironmentStageChanges",
        data(json!({ "environmentStageChanges": { "id": "p1", "status": "STAGED" } })),
    );
    fake.once(
        "EnvironmentPatchCommitStaged",
        data(json!({ "environmentPatchCommitStaged": "apply/env/p1" })),
    );
    fake.once("EnvironmentPatchGet", patch_status("APPLYING", None));
    fake.once("EnvironmentPatchGet", patch_status("COMMITTED", None));
    change(&client, &changes(&[("A", "1")], &[("S", "x")], &["OLD"]), Deploys::Skip).await.unwrap();
    assert_eq!(
        fake.seen("EnvironmentStageChanges")[0].variables,
        json!({ "environment": "env", "merge": true, "input": { "services": { "svc": { "variables": {
            "A": { "value": "1" }, "S": { "value": "x", "isSealed": true }, "OLD": null } } } } })
    );
    assert_eq!(fake.seen("EnvironmentPatchCommitStaged")[0].variables["skipDeploys"], true);
    assert_eq!(fake.seen("EnvironmentPatchGet")[0].variables["id"], "p1");
}

#[tokio::test]
async fn q30_staged_edits_of_others_are_not_shipped_along() {
    let (fake, client) = Fake::with_account().await;
    fake.always("EnvironmentChanges", unmerged(2));
    let error = change(&client, &changes(&[], &[], &["OLD"]), Deploys::Start).await.unwrap_err();
    assert_eq!((error.kind(), error.changed_nothing()), (ErrorKind::Conflict, true));
    assert!(error.to_string().contains("2 staged edits"), "{error}");
    assert_eq!(fake.operations().last().unwrap(), "EnvironmentChanges");
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_looked_up_or_repeated() {
    let (fake, client) = Fake::with_account().await;
    fake.always("EnvironmentChanges", unmerged(0));
    fake.always(
        "EnvironmentStageChanges",
        data(json!({ "environmentStageChanges": { "id": "p1", "status": "STAGED" } })),
    );
    fake.once("EnvironmentPatchCommitStaged", raw(504, "timeout"));
    change(&client, &changes(&[], &[], &["OLD"]), Deploys::Skip).await.unwrap();
    assert_eq!(
        fake.count("EnvironmentPatchCommitStaged"),
        1,
        "nothing is staged any more, so it was committed"
    );

    fake.once("EnvironmentPatchCommit", raw(504, "timeout"));
    fake.once("EnvironmentPatchCommit", data(json!({ "environmentPatchCommit": "apply/env/p2" })));
    fake.always("EnvironmentPatchGet", patch_status("COMMITTED", None));
    change(&client, &changes(&[], &[], &["OLD"]), Deploys::Start).await.unwrap();
    assert_eq!(fake.count("EnvironmentPatchCommit"), 2);
}

#[tokio::test]
async fn a_patch_that_cannot_be_applied_says_why() {
    let (fake, client) = Fake::with_account().await;
    fake.always("EnvironmentChanges", unmerged(0));
    fake.always("EnvironmentPatchCommit", data(json!({ "environmentPatchCommit": "p1" })));
    fake.always("EnvironmentPatchGet", patch_status("STAGED", Some("no such region")));
    let error = change(&client, &changes(&[], &[], &["OLD"]), Deploys::Start).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Business);
    assert!(error.to_string().contains("no such region"), "{error}");
    fake.always("EnvironmentPatchGet", patch_status("APPLYING", None));
    let error = change(&client, &changes(&[], &[], &["OLD"]), Deploys::Start).await.unwrap_err();
    assert!(error.is_ambiguous(), "accepted is not applied: {error}");
}

#[tokio::test]
async fn q29_a_stale_base_applied_nothing() {
    let (fake, client) = Fake::with_account().await;
    fake.always("EnvironmentChanges", unmerged(0));
    fake.always("EnvironmentPatchCommit", refusal_with("STALE_ENVIRONMENT_BASE", "the base moved"));
    let error = change(&client, &changes(&[], &[], &["OLD"]), Deploys::Start).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.changed_nothing(), error.retryable()),
        (ErrorKind::StaleBase, true, true)
    );
}

#[tokio::test]
async fn q06_a_write_during_a_build_waits() {
    let (fake, client) = Fake::with_account().await;
    fake.once(
        "VariableCollectionUpsert",
        refusal("Cannot redeploy yet, please wait for the original deployment to finish building"),
    );
    fake.once("VariableCollectionUpsert", data(json!({ "variableCollectionUpsert": true })));
    change(&client, &changes(&[("A", "1")], &[], &[]), Deploys::Start).await.unwrap();
    assert_eq!(fake.count("VariableCollectionUpsert"), 2);
}

#[tokio::test]
async fn two_changes_of_one_environment_at_once_do_not_take_each_other_for_somebody_elses() {
    let (fake, client) = Fake::with_account().await;
    fake.always("EnvironmentChanges", unmerged(0));
    fake.always(
        "EnvironmentStageChanges",
        data(json!({ "environmentStageChanges": { "id": "p1", "status": "STAGED" } })),
    );
    fake.always(
        "EnvironmentPatchCommitStaged",
        data(json!({ "environmentPatchCommitStaged": "environment-apply/env/p1" })),
    );
    fake.always("EnvironmentPatchGet", patch_status("COMMITTED", None));
    let (one, other) =
        (changes(&[], &[("A", "first-hidden")], &[]), changes(&[], &[("B", "second-hidden")], &[]));
    let (first, second) =
        tokio::join!(change(&client, &one, Deploys::Skip), change(&client, &other, Deploys::Skip));
    first.unwrap();
    second.unwrap();
    let writes: Vec<_> =
        fake.operations().into_iter().filter(|name| name.starts_with("Environment")).collect();
    let turn = [
        "EnvironmentChanges",
        "EnvironmentStageChanges",
        "EnvironmentPatchCommitStaged",
        "EnvironmentPatchGet",
    ];
    assert_eq!(writes, [turn, turn].concat(), "one after the other");
}
