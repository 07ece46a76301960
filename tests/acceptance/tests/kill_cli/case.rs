//! What is killed, where, and what comes next.

use std::fmt;

use spectra_acceptance::{JournalRecord, Point};

/// Which rollout is killed, and which part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the new version.
    Forward,
    /// Back to the old one, after it was stopped in its bake.
    Back,
    /// Back to the old one, after somebody else asked for that in its bake.
    Asked,
    /// Back to the old one by another process, after it was killed in its bake.
    Recovery,
    /// To the new version, with everything that gates it, judges it and tells of it, beyond a migration with no way back.
    Gated,
    /// To the version that serves already.
    Again,
    /// Out of the way of a third version, which somebody deployed by hand in its bake.
    Replaced,
    /// Back to the old one, with a hook that cannot be undone.
    Stuck,
}

pub(crate) const WAYS: [Way; 8] =
    [Way::Forward, Way::Back, Way::Asked, Way::Recovery, Way::Gated, Way::Again, Way::Replaced, Way::Stuck];

impl Way {
    /// Whether it is killed in before it turns round.
    pub(crate) const fn is_forward(self) -> bool {
        matches!(self, Self::Forward | Self::Gated | Self::Again)
    }

    /// How many versions ahead it leads.
    pub(crate) const fn ahead(self) -> usize {
        match self {
            Self::Again => 0,
            _ => 1,
        }
    }

    /// The exit code of its own end.
    pub(crate) const fn code(self) -> i32 {
        match self {
            Self::Forward | Self::Gated | Self::Again => 0,
            Self::Replaced => 1,
            Self::Stuck => 4,
            Self::Back | Self::Asked | Self::Recovery => 3,
        }
    }

    /// Whether it is also killed in the middle of each change: those of the others are the same.
    pub(crate) const fn has_changes_of_its_own(self) -> bool {
        matches!(self, Self::Forward | Self::Back | Self::Recovery)
    }

    /// Whether this is the first record behind the turn. The way there is another way's.
    pub(crate) fn turns_at(self, record: &JournalRecord) -> bool {
        let kinds: &[&str] = match self {
            Self::Forward | Self::Gated | Self::Again => return true,
            Self::Back | Self::Stuck | Self::Replaced => &["rollout.going_back"],
            Self::Asked => &["rollout.heard"],
            Self::Recovery => &["lease.taken_over"],
        };
        kinds.contains(&record.kind.as_str())
    }
}

/// Where the process is killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Everything up to this record is done, and the record itself is not written.
    Before(Point),
    /// A change is announced in the record and asked of the platform, which does not do it: the n-th one of that name.
    In(String, u64),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before(point) => write!(f, "before {point}"),
            Self::In(operation, before) => write!(f, "in {operation} ({})", before + 1),
        }
    }
}

impl Stop {
    /// What has to be covered at least once.
    pub(crate) fn sort(&self) -> String {
        match self {
            Self::Before(point) => point.sort(),
            Self::In(operation, _) => format!("in {operation}"),
        }
    }
}

/// The command that comes after the killed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Abort,
    Same,
    Another,
}

pub(crate) const NEXT: [Next; 3] = [Next::Abort, Next::Same, Next::Another];

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) way: Way,
    pub(crate) stop: Stop,
    pub(crate) next: Next,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, killed {}, then {:?}", self.way, self.stop, self.next)
    }
}

/// What a killed process left in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It had not begun.
    Nothing,
    /// It had begun and announced no change.
    Begun,
    /// It had announced a change.
    Changed,
    /// It had announced one that there is no way back from.
    Beyond,
    /// It had ended, with the new version serving.
    Complete,
    /// It had ended otherwise.
    Ended,
}

impl Left {
    pub(crate) fn of(records: &[JournalRecord]) -> Self {
        let position = |kind: &str| records.iter().position(|record| record.kind == kind);
        if let Some(end) = position("rollout.finished") {
            let complete =
                records[end].body.pointer("/outcome/outcome").is_some_and(|word| word == "complete");
            return if complete { Self::Complete } else { Self::Ended };
        }
        let announced = |from: usize| records[from..].iter().any(|record| record.kind == "rollout.intent");
        match (position("rollout.begun"), position("rollout.point_of_no_return")) {
            (_, Some(point)) if announced(point) => Self::Beyond,
            (Some(begun), _) if announced(begun) => Self::Changed,
            (Some(_), _) => Self::Begun,
            (None, _) => Self::Nothing,
        }
    }

    /// Whether the new version serves in the end, if nobody asks for another one.
    pub(crate) const fn completes(self) -> bool {
        matches!(self, Self::Beyond | Self::Complete)
    }

    /// The exit code of an `abort` that comes next.
    pub(crate) const fn code_of_abort(self, way: Way) -> i32 {
        match (self, way) {
            // What was looked at by nobody stays in the way.
            (Self::Ended, Way::Stuck) => 7,
            (Self::Nothing | Self::Beyond | Self::Complete | Self::Ended, _) => 0,
            (Self::Begun, _) => 1,
            (Self::Changed, way) if way.is_forward() => 3,
            (Self::Changed, way) => way.code(),
        }
    }
}
