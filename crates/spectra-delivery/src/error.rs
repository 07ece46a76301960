//! Why a rollout was not begun.

use spectra_journal::Held;
use spectra_rollout::spec::Problem;
use spectra_rollout::{Outcome, Report, UnknownTimeZone, Violation};
use spectra_sign::{Refusal, UNAVAILABLE, UNSIGNED, Unavailable};
use spectra_types::{ErrorCode, ExitCode, PinnedImage};

/// A rollout was not begun. Nothing was changed, unless [`changed_nothing`](Error::changed_nothing) says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request cannot work.
    #[error("the rollout cannot work: {}", list(.problems))]
    Invalid {
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// Another process acts on one of the services.
    #[error(
        "{} acts on `{}`: its lease {} was taken at {} and holds until {} unless it is renewed",
        .held.holder, .held.subject, .held.fence, .held.since, .held.expires_at
    )]
    LeaseHeld {
        /// Who.
        held: Box<Held>,
    },
    /// An earlier rollout could not be brought back, and nobody has looked at it yet.
    #[error("rollout `{rollout}` of `{subject}` ended with a failed rollback: {reason}")]
    Unresolved {
        /// The service.
        subject: String,
        /// The rollout.
        rollout: String,
        /// What failed.
        reason: String,
    },
    /// The journal cannot be used.
    #[error("the journal cannot be used")]
    Journal(#[from] spectra_journal::Error),
    /// What the journal says of a rollout cannot be read.
    #[error("record {seq} of rollout `{rollout}` cannot be read by this version")]
    Record {
        /// The rollout.
        rollout: String,
        /// The record.
        seq: u64,
        /// Why.
        source: serde_json::Error,
    },
    /// There is no such rollout.
    #[error("the journal knows no rollout `{0}`")]
    NoSuchRollout(String),
    /// A deployment policy forbids it.
    #[error("the deployment policy forbids it: {}", join(.violations))]
    Policy {
        /// The rules that the request breaks.
        violations: Vec<Violation>,
    },
    /// The image is not signed as a policy wants it.
    #[error(transparent)]
    Unsigned(Box<Refusal>),
    /// There is a policy about signatures, and nobody could be asked for them.
    #[error(transparent)]
    SignaturesUnavailable(#[from] Unavailable),
    /// Somebody asked to end while signatures were looked for.
    #[error("interrupted while the signatures of `{image}` were looked for")]
    Interrupted {
        /// Of which image.
        image: PinnedImage,
    },
    /// A setting makes no sense.
    #[error("the {kind} `{id}` makes no sense: {}", list(.problems))]
    Setting {
        /// Of which type.
        kind: &'static str,
        /// Which.
        id: String,
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// What the journal says of a setting cannot be read.
    #[error("record {seq}, of setting `{id}`, cannot be read by this version")]
    SettingRecord {
        /// Which.
        id: String,
        /// The record.
        seq: u64,
        /// Why.
        source: serde_json::Error,
    },
    /// A freeze window cannot be judged.
    #[error(transparent)]
    TimeZone(#[from] UnknownTimeZone),
    /// GitHub's reviewers could not be asked.
    #[error(transparent)]
    GitHub(#[from] spectra_github::Error),
    /// No version before the one that runs is known.
    #[error("no version of `{subject}` is known from before {running}, which runs")]
    NothingBefore {
        /// The service.
        subject: String,
        /// What runs.
        running: String,
    },
    /// An approval is not signed by the key that it names.
    #[error("the approval of {approver} is not signed by the key that it names, so it was not written down")]
    Signature {
        /// Whose.
        approver: String,
    },
    /// Something cannot be written as JSON.
    #[error("{what} cannot be written as JSON")]
    Encode {
        /// What.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The platform could not be asked.
    #[error("the platform could not be asked: {0}")]
    Railway(#[from] spectra_railway::Error),
    /// The service cannot be probed.
    #[error("the service cannot be probed: {0}")]
    Probe(String),
    /// An earlier rollout was brought to an end, and then the one that was asked for could not be begun.
    #[error("{}; the one that was asked for was not begun", brought_to_an_end(.recovered))]
    AfterRecovery {
        /// The earlier rollouts, and how each ended; at least one.
        recovered: Vec<(String, Outcome)>,
        /// Why the one that was asked for was not begun.
        source: Box<Self>,
    },
    /// A wish was written down, and what came of it could not be found out.
    #[error("the wish is written down for rollout `{rollout}`, and what comes of it could not be followed")]
    AfterWish {
        /// The rollout that it is for.
        rollout: String,
        /// Why not.
        source: Box<Self>,
    },
}

impl Error {
    /// This error, where those rollouts had been brought to an end before.
    pub(crate) fn after_recovery(self, recovered: &[Report]) -> Self {
        if recovered.is_empty() {
            return self;
        }
        let recovered =
            recovered.iter().map(|report| (report.rollout.clone(), report.outcome.clone())).collect();
        Self::AfterRecovery { recovered, source: Box::new(self) }
    }

    /// This error, where a wish for that rollout had been written down before.
    pub(crate) fn after_wish(self, rollout: &str) -> Self {
        Self::AfterWish { rollout: rollout.to_owned(), source: Box::new(self) }
    }

    /// Whether nothing was changed: neither on the platform, nor will it be by a rollout that was asked for something.
    #[must_use]
    pub const fn changed_nothing(&self) -> bool {
        !matches!(self, Self::AfterRecovery { .. } | Self::AfterWish { .. })
    }

    /// What went wrong, without what had been done before.
    #[must_use]
    pub fn cause(&self) -> &Self {
        match self {
            Self::AfterRecovery { source, .. } | Self::AfterWish { source, .. } => source.cause(),
            cause => cause,
        }
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid { .. } => ErrorCode::new("SPX-430"),
            Self::LeaseHeld { .. } => ErrorCode::new("SPX-431"),
            Self::Unresolved { .. } => ErrorCode::new("SPX-432"),
            Self::Record { .. } => ErrorCode::new("SPX-433"),
            Self::NoSuchRollout(_) => ErrorCode::new("SPX-434"),
            Self::Probe(_) => ErrorCode::new("SPX-435"),
            Self::NothingBefore { .. } => ErrorCode::new("SPX-445"),
            Self::Interrupted { .. } => ErrorCode::new("SPX-446"),
            Self::Signature { .. } => ErrorCode::new("SPX-436"),
            Self::Encode { .. } => ErrorCode::new("SPX-437"),
            Self::Policy { .. } => ErrorCode::new("SPX-438"),
            Self::Unsigned(_) => UNSIGNED,
            Self::SignaturesUnavailable(_) => UNAVAILABLE,
            Self::Setting { .. } => ErrorCode::new("SPX-439"),
            Self::SettingRecord { .. } => ErrorCode::new("SPX-440"),
            Self::TimeZone(_) => ErrorCode::new("SPX-441"),
            Self::GitHub(error) => error.code(),
            Self::Journal(error) => error.code(),
            Self::Railway(error) => error.code(),
            Self::AfterRecovery { source, .. } | Self::AfterWish { source, .. } => source.code(),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::LeaseHeld { .. } => Some(
                "wait for it, stop it there, or take the lease away with `railway-deployer rollout unlock`, which is \
                 recorded",
            ),
            Self::Unresolved { .. } => Some(
                "look at the service on Railway; when it is in order, run `railway-deployer rollout unlock`, and try again",
            ),
            Self::Record { .. } => Some("use the version of Spectra that wrote it, or a later one"),
            Self::SettingRecord { .. } | Self::TimeZone(_) => {
                Some("use the version of Spectra that wrote it, or a later one")
            }
            Self::Policy { .. } => Some(
                "change the rollout, or the `spectra_deployment_policy` that asks for it; only a way back to a version that was \
                 stable passes it over",
            ),
            Self::Unsigned(refusal) if refusal.lacks.attestations && !refusal.lacks.signatures => Some(
                "attest the image with `railway-deployer image attest`, or change the policy; `railway-deployer image verify` \
                 shows what is there",
            ),
            Self::Unsigned(_) => Some(
                "sign the image with `railway-deployer image sign`, or change the policy; `railway-deployer image verify` shows \
                 what is there",
            ),
            Self::SignaturesUnavailable(_) => Some(
                "nothing is rolled out while its signatures cannot be read: check the registry, and the credentials for it",
            ),
            Self::GitHub(error) => error.hint(),
            Self::NothingBefore { .. } => Some("name the version to go back to: `--to REPOSITORY@sha256:…`"),
            Self::Journal(error) => error.hint(),
            Self::Railway(error) => error.hint(),
            Self::AfterRecovery { source, .. } | Self::AfterWish { source, .. } => source.hint(),
            Self::Invalid { .. }
            | Self::NoSuchRollout(_)
            | Self::Interrupted { .. }
            | Self::Probe(_)
            | Self::Signature { .. }
            | Self::Encode { .. }
            | Self::Setting { .. } => None,
        }
    }

    /// The exit code that says it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Invalid { .. } | Self::NoSuchRollout(_) | Self::Setting { .. } => ExitCode::Usage,
            Self::Policy { .. } | Self::Unsigned(_) => ExitCode::GateRefused,
            Self::Interrupted { .. } => ExitCode::Interrupted,
            Self::LeaseHeld { .. } | Self::Unresolved { .. } => ExitCode::LeaseHeld,
            Self::Railway(error) => match error.kind() {
                spectra_railway::ErrorKind::Unauthenticated | spectra_railway::ErrorKind::Forbidden => {
                    ExitCode::NotAuthorised
                }
                _ => ExitCode::Failed,
            },
            Self::AfterRecovery { source, .. } | Self::AfterWish { source, .. } => match source.exit_code() {
                // That code says that nothing was tried.
                ExitCode::Usage => ExitCode::Failed,
                code => code,
            },
            _ => ExitCode::Failed,
        }
    }
}

fn list(problems: &[Problem]) -> String {
    let lines: Vec<_> =
        problems.iter().map(|problem| format!("`{}`: {}", problem.path, problem.message)).collect();
    lines.join("; ")
}

fn brought_to_an_end(recovered: &[(String, Outcome)]) -> String {
    let each: Vec<_> = recovered
        .iter()
        .map(|(rollout, outcome)| format!("rollout `{rollout}` was brought to an end first ({outcome})"))
        .collect();
    each.join("; ")
}

fn join(violations: &[Violation]) -> String {
    let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use spectra_rollout::{Phase, Place, Snapshot};
    use spectra_types::error_chain;

    use super::*;

    fn complete(rollout: &str) -> Report {
        Report {
            rollout: rollout.to_owned(),
            candidate: format!("ghcr.io/team/web@sha256:{}", "a".repeat(64)).parse().unwrap(),
            outcome: Outcome::Complete { deployment: "d-1".parse().unwrap() },
            phase: Phase::Complete,
            snapshot: Snapshot { running: None, setting: None, pre_deploy: None },
            observed: None,
            deployment: None,
            place: Place {
                project: "p-1".parse().unwrap(),
                environment: "e-1".parse().unwrap(),
                service: "s-1".parse().unwrap(),
            },
            measurements: Vec::new(),
            leftovers: Vec::new(),
            timeline: Vec::new(),
        }
    }

    #[test]
    fn a_refusal_after_a_recovery_tells_of_it_and_does_not_say_that_nothing_was_changed() {
        let refusal = || Error::Probe("it has no domain".to_owned());
        let alone = refusal().after_recovery(&[]);
        assert!(alone.changed_nothing());
        assert_eq!(alone.to_string(), refusal().to_string());
        let after = refusal().after_recovery(&[complete("ro-1")]);
        assert!(!after.changed_nothing());
        let text = error_chain(&after);
        assert!(text.starts_with("rollout `ro-1` was brought to an end first (complete: "), "{text}");
        assert!(text.contains("; the one that was asked for was not begun: "), "{text}");
        assert!(text.ends_with("it has no domain"), "{text}");
        assert_eq!((after.code(), after.exit_code()), (refusal().code(), refusal().exit_code()));
        assert!(matches!(after.cause(), Error::Probe(_)));
        let usage = Error::NoSuchRollout("ro-2".to_owned()).after_wish("ro-1");
        assert_eq!(usage.exit_code(), ExitCode::Failed, "something was tried");
    }
}
