//! Backup schedules on the sandbox's clock, and locks.

mod support;

use serde_json::{Value, json};
use support::{Place, World, world};

const CREATE: &str = "mutation C($i: VolumeCreateInput!) { volumeCreate(input: $i) { id volumeInstances { edges { node { id } } } } }";
const SET: &str = "mutation S($v: String!, $k: [VolumeInstanceBackupScheduleKind!]!) { volumeInstanceBackupScheduleUpdate(volumeInstanceId: $v, kinds: $k) }";
const SCHEDULES: &str = "query S($v: String!) { s: volumeInstanceBackupScheduleList(volumeInstanceId: $v) { id kind name cron retentionSeconds createdAt } }";
const BACKUPS: &str = "query B($v: String!) { b: volumeInstanceBackupList(volumeInstanceId: $v) { id name creatorId scheduleId createdAt expiresAt } }";
const LOCK: &str = "mutation L($v: String!, $b: String!) { volumeInstanceBackupLock(volumeInstanceId: $v, volumeInstanceBackupId: $b) }";
const DAY: u64 = 86_400_000;

/// A still clock at 01:00 UTC of some day, and a volume instance.
#[expect(clippy::unwrap_used, reason = "test support")]
async fn instance(world: &World) -> (Place, String, String) {
    let place = world.place().await;
    world.settings(json!({ "manual_clock": true, "consistency_tail": { "default": "0s" } })).await;
    let now = world.admin("GET", "status", Value::Null).await["clock"]["now"].as_u64().unwrap();
    let one = (now / DAY + 1) * DAY + DAY / 24;
    world.admin("POST", "clock", json!({ "advance": format!("{}ms", one - now) })).await;
    let input = json!({ "projectId": place.project, "environmentId": place.environment, "serviceId": place.service, "mountPath": "/data" });
    let row = world.ask(CREATE, json!({ "i": input })).await["volumeCreate"].clone();
    let instance = row["volumeInstances"]["edges"][0]["node"]["id"].as_str().unwrap().to_owned();
    (place, row["id"].as_str().unwrap().to_owned(), instance)
}

async fn advance(world: &World, by: &str) {
    world.admin("POST", "clock", json!({ "advance": by })).await;
}

async fn set(world: &World, instance: &str, kinds: &[&str]) {
    world.ask(SET, json!({ "v": instance, "k": kinds })).await;
}

#[expect(clippy::unwrap_used, reason = "test support")]
async fn rows(world: &World, query: &str, key: &str, instance: &str) -> Vec<Value> {
    world.ask(query, json!({ "v": instance })).await[key].as_array().unwrap().clone()
}

async fn backups(world: &World, instance: &str) -> Vec<Value> {
    rows(world, BACKUPS, "b", instance).await
}

#[expect(clippy::unwrap_used, reason = "test support")]
fn moment(value: &Value) -> u64 {
    let at: jiff::Timestamp = value.as_str().unwrap().parse().unwrap();
    u64::try_from(at.as_millisecond()).unwrap()
}

/// Waits until there are `count` backups; the newest comes first.
async fn until(world: &World, instance: &str, count: usize) -> Vec<Value> {
    world.until(&format!("{count} backups"), async || backups(world, instance).await.len() == count).await;
    backups(world, instance).await
}

#[tokio::test]
async fn the_set_of_schedules_is_replaced() {
    let mut world = world().await;
    let (_, volume, instance) = instance(&world).await;
    assert!(rows(&world, SCHEDULES, "s", &instance).await.is_empty());
    set(&world, &instance, &["MONTHLY", "DAILY", "DAILY"]).await;
    let first = rows(&world, SCHEDULES, "s", &instance).await;
    assert_eq!(first.len(), 2);
    assert_eq!((&first[0]["kind"], &first[0]["cron"]), (&json!("DAILY"), &json!("0 0 * * *")));
    assert_eq!(
        (&first[0]["retentionSeconds"], &first[1]["retentionSeconds"]),
        (&json!(518_400), &json!(7_776_000))
    );
    world.restart().await;
    set(&world, &instance, &["WEEKLY", "DAILY"]).await;
    let second = rows(&world, SCHEDULES, "s", &instance).await;
    assert_eq!(second[0], first[0], "what stays is the same schedule");
    assert_eq!((&second[1]["kind"], &second[1]["cron"]), (&json!("WEEKLY"), &json!("0 0 * * 0")));
    assert_eq!(second[1]["retentionSeconds"], 2_592_000);
    assert_eq!(second.len(), 2);
    set(&world, &instance, &[]).await;
    assert!(rows(&world, SCHEDULES, "s", &instance).await.is_empty());
    world.ask("mutation D($v: String!) { volumeDelete(volumeId: $v) }", json!({ "v": volume })).await;
    assert_eq!(world.refused(SCHEDULES, json!({ "v": instance })).await, "Not Authorized");
}

#[tokio::test]
async fn a_daily_backup_is_made_at_midnight_and_kept_for_six_days() {
    let world = world().await;
    let (_, _, instance) = instance(&world).await;
    set(&world, &instance, &["DAILY"]).await;
    let schedule = rows(&world, SCHEDULES, "s", &instance).await[0]["id"].clone();
    advance(&world, "22h").await;
    assert!(backups(&world, &instance).await.is_empty());
    advance(&world, "1h").await;
    // Its workflow takes ten seconds more.
    advance(&world, "10s").await;
    let first = until(&world, &instance, 1).await[0].clone();
    assert_eq!((&first["scheduleId"], &first["creatorId"]), (&schedule, &Value::Null));
    assert_eq!(moment(&first["expiresAt"]) - moment(&first["createdAt"]), 6 * DAY);
    for count in 2..=6 {
        advance(&world, "24h").await;
        until(&world, &instance, count).await;
    }
    // The seventh replaces the first.
    advance(&world, "24h").await;
    world
        .until("the first is gone and the seventh there", async || {
            let rows = backups(&world, &instance).await;
            rows.len() == 6 && rows.iter().all(|row| row["id"] != first["id"])
        })
        .await;
}

#[tokio::test]
async fn what_was_missed_is_made_up_for_as_far_as_it_would_still_be_kept() {
    let mut world = world().await;
    let (_, _, instance) = instance(&world).await;
    set(&world, &instance, &["DAILY", "WEEKLY", "MONTHLY"]).await;
    advance(&world, "8760h").await;
    let by_kind = async |world: &World| {
        let schedules = rows(world, SCHEDULES, "s", &instance).await;
        let made = backups(world, &instance).await;
        schedules
            .iter()
            .map(|row| made.iter().filter(|backup| backup["scheduleId"] == row["id"]).count())
            .collect::<Vec<_>>()
    };
    world.until("a year's backups", async || !backups(&world, &instance).await.is_empty()).await;
    let kept = by_kind(&world).await;
    assert_eq!(kept[0], 6);
    assert!((4..=5).contains(&kept[1]) && (2..=3).contains(&kept[2]), "{kept:?}");
    // Midnights apart, newest first.
    let made = backups(&world, &instance).await;
    assert!(made.windows(2).all(|pair| moment(&pair[0]["createdAt"]) >= moment(&pair[1]["createdAt"])));
    world.restart().await;
    assert!(backups(&world, &instance).await.len() >= kept.iter().sum::<usize>() - 1, "a restart keeps them");
}

#[tokio::test]
async fn a_locked_backup_stays_until_somebody_deletes_it() {
    let world = world().await;
    let (_, _, instance) = instance(&world).await;
    set(&world, &instance, &["DAILY"]).await;
    advance(&world, "23h").await;
    advance(&world, "10s").await;
    let first = until(&world, &instance, 1).await[0].clone();
    let chosen = json!({ "v": instance, "b": first["id"] });
    world.ask(LOCK, chosen.clone()).await;
    assert_eq!(backups(&world, &instance).await[0]["expiresAt"], Value::Null);
    set(&world, &instance, &[]).await;
    advance(&world, "8760h").await;
    assert_eq!(backups(&world, &instance).await[0]["id"], first["id"]);
    let delete = "mutation D($v: String!, $b: String!) { volumeInstanceBackupDelete(volumeInstanceId: $v, volumeInstanceBackupId: $b) { workflowId } }";
    world.ask(delete, chosen.clone()).await;
    advance(&world, "10s").await;
    assert!(backups(&world, &instance).await.is_empty());
    assert_eq!(world.refused(LOCK, chosen).await, "VolumeInstanceBackup not found");
}

#[tokio::test]
async fn a_backup_that_somebody_made_has_no_end() {
    let world = world().await;
    let (_, _, instance) = instance(&world).await;
    let make = "mutation B($v: String!) { volumeInstanceBackupCreate(volumeInstanceId: $v, name: \"mine\") { workflowId } }";
    world.ask(make, json!({ "v": instance })).await;
    advance(&world, "8760h").await;
    let mine = backups(&world, &instance).await;
    assert_eq!((&mine[0]["name"], &mine[0]["expiresAt"]), (&json!("mine"), &Value::Null));
    assert_eq!(mine[0]["scheduleId"], Value::Null);
}
