//! What a Spectra program tells the process that started it.

use std::fmt;

/// The exit codes of every Spectra program; part of the public interface, never renumbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum ExitCode {
    /// Done.
    #[default]
    Done = 0,
    /// Failed; the environment is as it was before.
    Failed = 1,
    /// The command line or the configuration is wrong; nothing was tried.
    Usage = 2,
    /// The rollout failed and the environment is back on the previous stable version.
    RolledBack = 3,
    /// The rollout failed and so did the way back; someone has to look.
    RollbackFailed = 4,
    /// A gate refused: approval, freeze window or policy.
    GateRefused = 5,
    /// The credentials are missing, wrong or not allowed to do this.
    NotAuthorised = 6,
    /// Another rollout holds the lease.
    LeaseHeld = 7,
    /// Interrupted by a signal.
    Interrupted = 130,
}

impl ExitCode {
    /// Every code, in numeric order.
    pub const ALL: [Self; 9] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::RolledBack,
        Self::RollbackFailed,
        Self::GateRefused,
        Self::NotAuthorised,
        Self::LeaseHeld,
        Self::Interrupted,
    ];

    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// One line on what the code means.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed, the environment is unchanged",
            Self::Usage => "wrong usage or configuration, nothing was tried",
            Self::RolledBack => "failed and rolled back",
            Self::RollbackFailed => "failed and the rollback failed too",
            Self::GateRefused => "refused by a gate: approval, freeze window or policy",
            Self::NotAuthorised => "not authorised",
            Self::LeaseHeld => "another rollout holds the lease",
            Self::Interrupted => "interrupted",
        }
    }
}

impl fmt::Display for ExitCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.code(), self.meaning())
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code())
    }
}

#[cfg(test)]
mod tests {
    use super::ExitCode;

    #[test]
    fn the_table_is_public_interface() {
        let table: Vec<String> = ExitCode::ALL.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(table.join("\n"), @"
        0 (done)
        1 (failed, the environment is unchanged)
        2 (wrong usage or configuration, nothing was tried)
        3 (failed and rolled back)
        4 (failed and the rollback failed too)
        5 (refused by a gate: approval, freeze window or policy)
        6 (not authorised)
        7 (another rollout holds the lease)
        130 (interrupted)
        ");
    }
}
