//! Backup schedules and locks. A schedule is due at midnights (UTC) of sandbox time; what it makes is kept for a
//! while, and for good once it is locked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

use crate::clock::Tick;
use crate::core::Draft;
use crate::railway::auth::Identity;
use crate::railway::ops::volumes::{backups, reach_instance};
use crate::railway::ops::{Place, audit, born, new_id};
use crate::railway::refusal::Refusal;
use crate::settings::{Settings, ticks};
use crate::store::World;
use crate::store::rows::{BackupKind, BackupSchedule, Times, VolumeBackup};

const DAY: u64 = 86_400;

impl BackupKind {
    /// When it is due, as cron says it.
    pub(crate) const fn cron(self) -> &'static str {
        match self {
            Self::Daily => "0 0 * * *",
            Self::Weekly => "0 0 * * 0",
            Self::Monthly => "0 0 1 * *",
        }
    }

    /// How long its backups are kept.
    pub(crate) const fn retention(self) -> Duration {
        Duration::from_secs(match self {
            Self::Daily => 6 * DAY,
            Self::Weekly => 30 * DAY,
            Self::Monthly => 90 * DAY,
        })
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Daily => "Daily",
            Self::Weekly => "Weekly",
            Self::Monthly => "Monthly",
        }
    }

    /// The first midnight after `tick` at which it is due; never, beyond what a calendar can say.
    fn next(self, tick: Tick) -> Tick {
        let next = || {
            let now = Timestamp::from_millisecond(i64::try_from(tick).ok()?).ok()?;
            let today: Date = TimeZone::UTC.to_datetime(now).date();
            let date = match self {
                Self::Daily => today.tomorrow(),
                Self::Weekly => today.nth_weekday(1, Weekday::Sunday),
                Self::Monthly => today.last_of_month().tomorrow(),
            };
            let midnight = TimeZone::UTC.to_timestamp(date.ok()?.at(0, 0, 0, 0)).ok()?;
            Tick::try_from(midnight.as_millisecond()).ok()
        };
        next().unwrap_or(Tick::MAX)
    }
}

/// The schedules of a volume instance, the most frequent first.
pub(crate) fn list(
    world: &World,
    who: &Identity,
    instance: &str,
) -> Result<Vec<Arc<BackupSchedule>>, Refusal> {
    reach_instance(world, who, instance)?;
    let mut rows: Vec<_> =
        world.backup_schedules.iter().filter(|row| row.volume_instance_id == instance).cloned().collect();
    rows.sort_by_key(|row| row.kind);
    Ok(rows)
}

/// Replaces the set: what is not named is gone, what is named and was there stays as it is.
pub(crate) fn update(
    draft: &mut Draft,
    who: &Identity,
    instance: &str,
    kinds: &BTreeSet<BackupKind>,
) -> Result<(), Refusal> {
    let row = reach_instance(&draft.world, who, instance)?;
    let had = list(&draft.world, who, instance)?;
    for old in had.iter().filter(|old| !kinds.contains(&old.kind)) {
        draft.world.backup_schedules.remove(&old.id);
    }
    for kind in kinds.iter().filter(|kind| !had.iter().any(|old| old.kind == **kind)) {
        let schedule = BackupSchedule {
            id: new_id(),
            volume_instance_id: instance.to_owned(),
            kind: *kind,
            next_tick: kind.next(draft.tick),
            times: born(draft),
        };
        let id = schedule.id.clone();
        draft.world.backup_schedules.insert(&id, schedule);
    }
    let place = Place { project: Some(&row.project_id), environment: Some(&row.environment_id) };
    audit(draft, who, "volume_instance", "update_backup_schedule", instance, place);
    Ok(())
}

/// The backup is kept until somebody deletes it.
pub(crate) fn lock(draft: &mut Draft, who: &Identity, instance: &str, backup: &str) -> Result<(), Refusal> {
    let row = reach_instance(&draft.world, who, instance)?;
    if !backups(&draft.world, who, instance, draft.tick)?.iter().any(|row| row.id == backup) {
        return Err(Refusal::not_found("VolumeInstanceBackup"));
    }
    let stamp = draft.stamp;
    if let Some(row) = draft.world.backups.get_mut(backup) {
        row.expires_tick = None;
        row.expires_at = None;
        row.times.updated_at = stamp;
    }
    let place = Place { project: Some(&row.project_id), environment: Some(&row.environment_id) };
    audit(draft, who, "volume_instance", "lock_backup", instance, place);
    Ok(())
}

/// An instance that goes takes its schedules along.
pub(crate) fn remove_of(draft: &mut Draft, instance: &str) {
    let rows = draft.world.backup_schedules.iter().filter(|row| row.volume_instance_id == instance);
    let ids: Vec<_> = rows.map(|row| row.id.clone()).collect();
    for id in ids {
        draft.world.backup_schedules.remove(&id);
    }
}

/// When a schedule or the end of a backup is due next.
pub(crate) fn due(world: &World) -> Option<Tick> {
    let schedules = world.backup_schedules.iter().map(|row| row.next_tick);
    let ends = world.backups.iter().filter_map(|row| row.expires_tick);
    schedules.chain(ends).min()
}

/// Makes every backup that is due, those missed while nobody looked included, and drops those whose time is over.
/// `real` is how long a duration takes on the wall.
pub(crate) fn run(draft: &mut Draft, settings: &Settings, real: impl Fn(Duration) -> Duration) {
    let now = draft.tick;
    let over = |row: &&Arc<VolumeBackup>| row.expires_tick.is_some_and(|tick| tick <= now);
    let ids: Vec<_> = draft.world.backups.iter().filter(over).map(|row| row.id.clone()).collect();
    for id in ids {
        draft.world.backups.remove(&id);
    }
    let due = draft.world.backup_schedules.iter().filter(|row| row.next_tick <= now);
    let due: Vec<_> = due.cloned().collect();
    for schedule in due {
        let mut tick = schedule.next_tick;
        while tick <= now {
            make(draft, settings, &schedule, tick, &real);
            tick = schedule.kind.next(tick);
        }
        if let Some(row) = draft.world.backup_schedules.get_mut(&schedule.id) {
            row.next_tick = tick;
        }
    }
}

fn make(
    draft: &mut Draft,
    settings: &Settings,
    schedule: &BackupSchedule,
    tick: Tick,
    real: &impl Fn(Duration) -> Duration,
) {
    let retention = schedule.kind.retention();
    let expires = tick.saturating_add(milliseconds(retention));
    // A workflow that fails makes nothing, and of what was missed only what would still be kept is made up for.
    if settings.workflow_error.is_some() || expires <= draft.tick {
        return;
    }
    let Some(instance) = draft.world.volume_instances.get(&schedule.volume_instance_id) else { return };
    let created_at = draft.stamp.saturating_sub(draft.tick.saturating_sub(tick));
    let backup = VolumeBackup {
        id: new_id(),
        volume_instance_id: schedule.volume_instance_id.clone(),
        name: None,
        creator: None,
        size_mb: instance.size_mb,
        ready_tick: tick.saturating_add(ticks(settings.workflow_duration)),
        gone_tick: None,
        schedule_id: Some(schedule.id.clone()),
        expires_tick: Some(expires),
        expires_at: Some(created_at.saturating_add(milliseconds(real(retention)))),
        times: Times { created_at, created_tick: tick, updated_at: created_at, deleted_at: None },
    };
    let id = backup.id.clone();
    draft.world.backups.insert(&id, backup);
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rows::VolumeInstance;

    fn at(text: &str) -> Tick {
        Tick::try_from(text.parse::<Timestamp>().unwrap().as_millisecond()).unwrap()
    }

    #[test]
    fn the_next_midnight_of_each_kind() {
        // A Wednesday.
        let noon = at("2026-11-25T12:00:00Z");
        assert_eq!(BackupKind::Daily.next(noon), at("2026-11-26T00:00:00Z"));
        assert_eq!(BackupKind::Weekly.next(noon), at("2026-11-29T00:00:00Z"));
        assert_eq!(BackupKind::Monthly.next(noon), at("2026-12-01T00:00:00Z"));
        // At a due moment the next one counts.
        let sunday = at("2026-11-29T00:00:00Z");
        assert_eq!(BackupKind::Weekly.next(sunday), at("2026-12-06T00:00:00Z"));
        assert_eq!(BackupKind::Monthly.next(at("2026-12-01T00:00:00Z")), at("2027-01-01T00:00:00Z"));
        assert_eq!(BackupKind::Daily.next(Tick::MAX), Tick::MAX);
    }

    #[test]
    fn a_workflow_that_fails_makes_nothing_and_the_schedule_goes_on() {
        let times = Times::default();
        let mut draft = Draft { world: World::default(), effects: Vec::new(), stamp: 0, tick: 0 };
        let instance = VolumeInstance {
            id: "instance".to_owned(),
            volume_id: "volume".to_owned(),
            project_id: "project".to_owned(),
            environment_id: "environment".to_owned(),
            service_id: None,
            mount_path: "/data".to_owned(),
            region: "us-west2".to_owned(),
            size_mb: 500,
            updated_tick: 0,
            restoring_until: None,
            deleted_tick: None,
            times,
        };
        draft.world.volume_instances.insert("instance", instance);
        let first = at("2026-11-26T00:00:00Z");
        let schedule = BackupSchedule {
            id: "schedule".to_owned(),
            volume_instance_id: "instance".to_owned(),
            kind: BackupKind::Daily,
            next_tick: first,
            times,
        };
        draft.world.backup_schedules.insert("schedule", schedule);
        let mut settings = Settings { workflow_error: Some("no space".to_owned()), ..Settings::default() };
        let mut run_at = |tick: Tick, settings: &Settings| {
            draft.tick = tick;
            run(&mut draft, settings, |duration| duration);
            let next = draft.world.backup_schedules.iter().next().map(|row| row.next_tick);
            (draft.world.backups.iter().count(), next)
        };
        let second = at("2026-11-27T00:00:00Z");
        assert_eq!(run_at(first - 1, &settings), (0, Some(first)), "not yet");
        assert_eq!(run_at(first, &settings), (0, Some(second)));
        settings.workflow_error = None;
        assert_eq!(run_at(second, &settings), (1, Some(at("2026-11-28T00:00:00Z"))));
    }
}
