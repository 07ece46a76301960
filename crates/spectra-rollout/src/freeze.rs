//! Freeze windows: times in which nothing is begun.
//!
//! Days and times of a weekly window are those of the clocks in its time zone. Where a clock is set back, a time that comes
//! twice begins a window the first time and ends it the second time. Where it is set forward, a time that does not come
//! stands for the moment at which the clock is set. The rules of time zones are those that this program was built with, so
//! the same window is the same on every machine.

use std::fmt;
use std::sync::LazyLock;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

use crate::reach::Reach;
use crate::spec::Problem;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A time in which no rollout begins or takes a step. What goes back is never held up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeWindow {
    /// What it is called.
    pub name: String,
    /// Why; whoever is held up reads it.
    pub reason: String,
    /// When.
    pub schedule: FreezeSchedule,
    /// Where.
    pub reach: Reach,
}

/// When a freeze window holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "schedule", rename_all = "snake_case", deny_unknown_fields)]
pub enum FreezeSchedule {
    /// From one moment up to, and without, another.
    Once {
        /// The beginning.
        from: Timestamp,
        /// The end.
        to: Timestamp,
    },
    /// Again every week.
    Weekly {
        /// The days on which it begins.
        days: Vec<Day>,
        /// When it begins.
        from: Time,
        /// When it ends: on the same day if that is later than `from`, otherwise on the next.
        to: Time,
        /// Whose clocks: `Europe/Berlin`, `UTC`.
        time_zone: String,
    },
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Day {
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

impl Day {
    const fn weekday(self) -> Weekday {
        match self {
            Self::Monday => Weekday::Monday,
            Self::Tuesday => Weekday::Tuesday,
            Self::Wednesday => Weekday::Wednesday,
            Self::Thursday => Weekday::Thursday,
            Self::Friday => Weekday::Friday,
            Self::Saturday => Weekday::Saturday,
            Self::Sunday => Weekday::Sunday,
        }
    }
}

/// A time in which a window holds without a break: from the first moment up to, and without, the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// The beginning.
    pub from: Timestamp,
    /// The end.
    pub to: Timestamp,
}

impl Frozen {
    fn holds_at(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

/// A window names a time zone that this program does not know: whether it holds cannot be said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("freeze window `{window}` goes by time zone `{time_zone}`, which this version does not know")]
pub struct UnknownTimeZone {
    /// Which window.
    pub window: String,
    /// Which time zone.
    pub time_zone: String,
}

impl FreezeWindow {
    /// The time around `at` in which it holds without a break; `None` if it does not hold then.
    pub fn holds_at(&self, at: Timestamp) -> Result<Option<Frozen>, UnknownTimeZone> {
        Ok(self.times(at, at)?.into_iter().find(|frozen| frozen.holds_at(at)))
    }

    /// The times between two moments, both included, in which it holds, in order. The first may have begun before.
    pub fn hits(&self, from: Timestamp, to: Timestamp) -> Result<Vec<Frozen>, UnknownTimeZone> {
        let times = self.times(from, to)?.into_iter();
        Ok(times.filter(|frozen| frozen.from <= to && from < frozen.to).collect())
    }

    /// Everything that is wrong with it.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut add = |path: &str, message: &str| {
            found.push(Problem { path: path.to_owned(), message: message.to_owned() });
        };
        if self.name.trim().is_empty() || self.name.chars().any(char::is_control) {
            add("name", "it is empty, or has control characters");
        }
        if self.reason.trim().is_empty() {
            add("reason", "whoever is held up has to be told why");
        }
        match &self.schedule {
            FreezeSchedule::Once { from, to } => {
                if from >= to {
                    add("to", "the window ends before it begins");
                }
            }
            FreezeSchedule::Weekly { days, from, to, time_zone } => {
                let mut different = days.clone();
                different.sort_unstable();
                different.dedup();
                if days.is_empty() {
                    add("days", "without a day the window never begins");
                } else if different.len() != days.len() {
                    add("days", "a day is named twice");
                } else if days.len() == 7 && from == to {
                    add("days", "the window never ends: nothing could ever be rolled out");
                }
                if ZONES.get(time_zone).is_err() {
                    add("time_zone", "it is not the name of a time zone, such as `Europe/Berlin` or `UTC`");
                }
            }
        }
        found
    }

    /// The times that may touch the span, in order, those that touch each other made one.
    fn times(&self, first: Timestamp, last: Timestamp) -> Result<Vec<Frozen>, UnknownTimeZone> {
        let (days, from, to, time_zone) = match &self.schedule {
            FreezeSchedule::Once { from, to } => return Ok(vec![Frozen { from: *from, to: *to }]),
            FreezeSchedule::Weekly { days, from, to, time_zone } => (days, *from, *to, time_zone),
        };
        let zone = ZONES
            .get(time_zone)
            .map_err(|_| UnknownTimeZone { window: self.name.clone(), time_zone: time_zone.clone() })?;
        // A week more on both sides: what touches what touches the span is part of the same time.
        let mut date = zone.to_datetime(first).date().saturating_sub(8.days());
        let end = zone.to_datetime(last).date().saturating_add(8.days());
        let mut times: Vec<Frozen> = Vec::new();
        loop {
            if days.iter().any(|day| day.weekday() == date.weekday())
                && let Some(next) = on(date, from, to, &zone)
            {
                match times.last_mut() {
                    Some(last) if next.from <= last.to => last.to = last.to.max(next.to),
                    _ => times.push(next),
                }
            }
            match date.tomorrow() {
                Ok(tomorrow) if date < end => date = tomorrow,
                _ => return Ok(times),
            }
        }
    }
}

/// The window that begins on this date. `None` at the end of time, and where the clock jumps over all of it.
fn on(date: Date, from: Time, to: Time, zone: &TimeZone) -> Option<Frozen> {
    let last = if from < to { date } else { date.tomorrow().ok()? };
    let frozen = Frozen {
        from: moment(date.to_datetime(from), Twice::First, zone)?,
        to: moment(last.to_datetime(to), Twice::Second, zone)?,
    };
    (frozen.from < frozen.to).then_some(frozen)
}

/// Which one of two moments, where a clock is set back.
#[derive(Clone, Copy)]
enum Twice {
    First,
    Second,
}

/// When the clocks show this.
fn moment(local: DateTime, twice: Twice, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    if let AmbiguousOffset::Gap { .. } = ambiguous.offset() {
        let after = ambiguous.later().ok()?;
        return Some(zone.preceding(after).next().map_or(after, |transition| transition.timestamp()));
    }
    match twice {
        Twice::First => ambiguous.earlier().ok(),
        Twice::Second => ambiguous.later().ok(),
    }
}

impl fmt::Display for FreezeWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "freeze window `{}` ({})", self.name, self.reason)
    }
}

#[cfg(test)]
#[path = "freeze_tests.rs"]
mod tests;
