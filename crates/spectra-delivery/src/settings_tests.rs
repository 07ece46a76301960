use serde_json::json;
use spectra_journal::Location;
use spectra_rollout::FreezeSchedule;

use super::*;

async fn journal() -> (Journal, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let location: Location = format!("sqlite://{}/journal.db", folder.path().display()).parse().unwrap();
    (Journal::open(&location).await.unwrap(), folder)
}

fn place(environment: &str) -> Place {
    Place {
        project: "p".parse().unwrap(),
        environment: environment.parse().unwrap(),
        service: "api".parse().unwrap(),
    }
}

fn window(reason: &str, reach: Reach) -> FreezeWindow {
    FreezeWindow {
        name: "quiet".to_owned(),
        reason: reason.to_owned(),
        schedule: FreezeSchedule::Once {
            from: "2026-12-24T00:00:00Z".parse().unwrap(),
            to: "2026-12-27T00:00:00Z".parse().unwrap(),
        },
        reach,
    }
}

#[tokio::test]
async fn the_last_record_counts() {
    let (journal, _folder) = journal().await;
    let (settings, me) = (Settings::of(&journal), Holder::of_this_process("test"));
    let first = window("one", Reach::Everything);
    settings.put("a", &first, &me).await.unwrap();
    let second = window("two", Reach::Everything);
    settings.put("a", &second, &me).await.unwrap();
    settings.put("b", &first, &me).await.unwrap();
    assert_eq!(settings.get::<FreezeWindow>("a").await.unwrap(), Some(second));
    assert!(settings.remove::<FreezeWindow>("b", &me).await.unwrap());
    assert!(!settings.remove::<FreezeWindow>("b", &me).await.unwrap());
    let ids: Vec<_> = settings.list::<FreezeWindow>().await.unwrap().into_keys().collect();
    assert_eq!(ids, ["a"]);
    settings.put("b", &first, &me).await.unwrap();
    assert_eq!(settings.get::<FreezeWindow>("b").await.unwrap(), Some(first));
    // What was is still there, with who did it; a removal of nothing is not written.
    let records = journal.records(&Query::default()).await.unwrap();
    let kinds: Vec<_> = records.iter().map(|record| record.kind.as_str()).collect();
    assert_eq!(kinds, ["setting.put", "setting.put", "setting.put", "setting.removed", "setting.put"]);
    assert_eq!(records[3].body["by"]["id"], json!(me.id));
}

#[tokio::test]
async fn types_have_ids_of_their_own() {
    let (journal, _folder) = journal().await;
    let (settings, me) = (Settings::of(&journal), Holder::of_this_process("test"));
    settings.put("a", &window("one", Reach::Everything), &me).await.unwrap();
    assert_eq!(settings.get::<DeploymentPolicy>("a").await.unwrap(), None);
    assert!(!settings.remove::<DeploymentPolicy>("a", &me).await.unwrap());
    assert!(settings.get::<FreezeWindow>("a").await.unwrap().is_some());
}

#[tokio::test]
async fn a_place_has_the_settings_that_reach_it() {
    let (journal, _folder) = journal().await;
    let (settings, me) = (Settings::of(&journal), Holder::of_this_process("test"));
    let environment = |name: &str| Reach::Environment { environment: name.parse().unwrap() };
    settings.put("a", &window("all", Reach::Everything), &me).await.unwrap();
    settings.put("b", &window("here", environment("production")), &me).await.unwrap();
    settings.put("c", &window("there", environment("staging")), &me).await.unwrap();
    settings
        .put("d", &window("project", Reach::Project { project: "p".parse().unwrap() }), &me)
        .await
        .unwrap();
    let reasons =
        |found: Vec<FreezeWindow>| found.into_iter().map(|window| window.reason).collect::<Vec<_>>();
    assert_eq!(reasons(settings.at(&place("production")).await.unwrap()), ["all", "here", "project"]);
    assert_eq!(reasons(settings.at(&place("staging")).await.unwrap()), ["all", "there", "project"]);
}

#[tokio::test]
async fn what_makes_no_sense_is_not_written() {
    let (journal, _folder) = journal().await;
    let (settings, me) = (Settings::of(&journal), Holder::of_this_process("test"));
    let error = settings.put("a", &window(" ", Reach::Everything), &me).await.unwrap_err();
    assert!(error.to_string().contains("`reason`"), "{error}");
    let policy: DeploymentPolicy = serde_json::from_value(json!({
        "name": "p", "reach": { "reach": "everything" },
        "approval": { "required": 1, "approvers": [{ "name": "anna", "public_key": "no key" }] },
    }))
    .unwrap();
    let error = settings.put("p", &policy, &me).await.unwrap_err();
    assert!(error.to_string().contains("`approval.approvers[0].public_key`"), "{error}");
    assert_eq!(journal.head().await.unwrap().0, 0);
}

/// Passed over, a window of a later version would be no window.
#[tokio::test]
async fn a_setting_of_a_later_version_is_an_error_and_not_passed_over() {
    let (journal, _folder) = journal().await;
    let body = json!({ "type": "freeze_window", "id": "a", "version": 2, "value": { "moon": "full" } });
    let (subject, kind) = (SUBJECT.to_owned(), kinds::SETTING_PUT.to_owned());
    journal.append(Draft { subject, rollout: None, kind, body }).await.unwrap();
    let error = Settings::of(&journal).list::<FreezeWindow>().await.unwrap_err();
    assert!(spectra_types::error_chain(&error).contains("version 2"), "{error}");
    // Nor is one with a word that is not known.
    let mut value = serde_json::to_value(window("one", Reach::Everything)).unwrap();
    value["moon"] = json!("full");
    assert!(serde_json::from_value::<FreezeWindow>(value).is_err());
}
