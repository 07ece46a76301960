//! `spectra_freeze_window`: a time in which nothing is rolled out.

use jiff::Timestamp;
use jiff::civil::Time;
use spectra_rollout::{Day, FreezeSchedule, FreezeWindow};
use spectra_types::{EnvironmentId, ProjectId};
use tfplugin::{Attr, Diagnostics, Model, Text, TfEnum};

use super::{SettingModel, reach, reached, same};

/// A time in which no rollout begins or takes its next step. Bringing back what ran before is never held up.
///
/// The window is kept in the journal, so it holds for everybody who rolls out with that journal, Terraform or not. A rollout
/// that has to go on all the same gives a reason, which is recorded: `freeze_override`.
#[derive(Clone, Debug, Default, Model)]
#[tf(exactly_one_of("once", "weekly"))]
pub(crate) struct FreezeWindowModel {
    /// The same as the name.
    #[tf(computed, stable)]
    pub(crate) id: Attr<String>,
    /// What it is called, unique among the journal's freeze windows.
    #[tf(required, force_new, identity, validate(length(1..=128)))]
    pub(crate) name: Attr<String>,
    /// Why. Whoever is held up reads it.
    #[tf(required, validate(length(1..=1024)))]
    pub(crate) reason: Attr<String>,
    /// Only in this project. Without it and without `environment_id` it holds for everything.
    #[tf(optional, conflicts_with("environment_id"))]
    pub(crate) project_id: Attr<Text<ProjectId>>,
    /// Only in this environment.
    #[tf(optional)]
    pub(crate) environment_id: Attr<Text<EnvironmentId>>,
    /// Holds once, from one moment to another.
    #[tf(optional)]
    pub(crate) once: Attr<OnceModel>,
    /// Holds again every week.
    #[tf(optional)]
    pub(crate) weekly: Attr<WeeklyModel>,
}

/// From one moment to another.
#[derive(Clone, Debug, Model)]
pub(crate) struct OnceModel {
    /// The beginning, RFC 3339: `2026-12-24T00:00:00+01:00`.
    #[tf(required, same_as = same::<Timestamp>)]
    pub(crate) from: Attr<Text<Timestamp>>,
    /// The end, RFC 3339.
    #[tf(required, same_as = same::<Timestamp>)]
    pub(crate) to: Attr<Text<Timestamp>>,
}

/// Every week.
#[derive(Clone, Debug, Model)]
pub(crate) struct WeeklyModel {
    /// The days on which it begins: `friday`.
    #[tf(required, validate(length(1..=7)))]
    pub(crate) days: Attr<Vec<DayName>>,
    /// When it begins: `22:00`.
    #[tf(required, same_as = same::<Time>)]
    pub(crate) from: Attr<Text<Time>>,
    /// When it ends: on the same day where that is later than `from`, otherwise on the next. `00:00` is the end of a day.
    #[tf(required, same_as = same::<Time>)]
    pub(crate) to: Attr<Text<Time>>,
    /// Whose clocks: a name of the time zone database, such as `Europe/Berlin`. Daylight saving time is heeded.
    #[tf(optional, default = "UTC")]
    pub(crate) time_zone: Attr<String>,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TfEnum)]
pub(crate) enum DayName {
    /// Monday.
    Monday,
    /// Tuesday.
    Tuesday,
    /// Wednesday.
    Wednesday,
    /// Thursday.
    Thursday,
    /// Friday.
    Friday,
    /// Saturday.
    Saturday,
    /// Sunday.
    Sunday,
}

const DAYS: [(DayName, Day); 7] = [
    (DayName::Monday, Day::Monday),
    (DayName::Tuesday, Day::Tuesday),
    (DayName::Wednesday, Day::Wednesday),
    (DayName::Thursday, Day::Thursday),
    (DayName::Friday, Day::Friday),
    (DayName::Saturday, Day::Saturday),
    (DayName::Sunday, Day::Sunday),
];

impl SettingModel for FreezeWindowModel {
    type Value = FreezeWindow;

    const TYPE: &'static str = "spectra_freeze_window";
    const WORDS: &'static str = "freeze window";

    fn name(&self) -> &Attr<String> {
        &self.name
    }

    fn with_id(self) -> Self {
        Self { id: self.name.clone(), ..self }
    }

    fn value(&self) -> Result<FreezeWindow, Diagnostics> {
        let schedule = match &self.once {
            Attr::Known(once) => FreezeSchedule::Once {
                from: once.from.clone().require("once.from")?.into_inner(),
                to: once.to.clone().require("once.to")?.into_inner(),
            },
            _ => weekly(&self.weekly.clone().require("weekly")?)?,
        };
        Ok(FreezeWindow {
            name: self.name.clone().require("name")?,
            reason: self.reason.clone().require("reason")?,
            schedule,
            reach: reach(&self.project_id, &self.environment_id)?,
        })
    }

    fn of(value: FreezeWindow) -> Self {
        let (project_id, environment_id) = reached(&value.reach);
        let (once, weekly) = match value.schedule {
            FreezeSchedule::Once { from, to } => {
                (OnceModel { from: Text::new(from).into(), to: Text::new(to).into() }.into(), Attr::Null)
            }
            FreezeSchedule::Weekly { days, from, to, time_zone } => {
                let name = |day: &Day| DAYS.iter().find(|(_, of)| of == day).map(|(name, _)| *name);
                let weekly = WeeklyModel {
                    days: days.iter().filter_map(name).collect::<Vec<_>>().into(),
                    from: Text::new(from).into(),
                    to: Text::new(to).into(),
                    time_zone: time_zone.into(),
                };
                (Attr::Null, weekly.into())
            }
        };
        let (name, reason) = (value.name.into(), value.reason.into());
        Self { name, reason, project_id, environment_id, once, weekly, ..Self::default() }.with_id()
    }

    fn named(name: String) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

fn weekly(weekly: &WeeklyModel) -> Result<FreezeSchedule, Diagnostics> {
    let day = |name: &DayName| DAYS.iter().find(|(of, _)| of == name).map(|(_, day)| *day);
    let zone = match &weekly.time_zone {
        Attr::Null => "UTC".to_owned(),
        zone => zone.clone().require("weekly.time_zone")?,
    };
    Ok(FreezeSchedule::Weekly {
        days: weekly.days.clone().require("weekly.days")?.iter().filter_map(day).collect(),
        from: weekly.from.clone().require("weekly.from")?.into_inner(),
        to: weekly.to.clone().require("weekly.to")?.into_inner(),
        time_zone: zone,
    })
}
