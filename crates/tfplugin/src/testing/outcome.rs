//! What came of something that core did.

use std::fmt;

use super::messages::diagnostics;
use crate::check::Violation;
use crate::proto::tfplugin6 as proto;
use crate::{AttributePath, Deferral, Diagnostics, Value};

/// What a plan or an apply does with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Nothing.
    Nothing,
    /// There was none before.
    Created,
    /// It stays, and changes.
    Updated,
    /// It goes, and another takes its place.
    Replaced,
    /// It goes.
    Deleted,
}

/// What came of a plan or an apply.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was or would be done.
    pub changed: Changed,
    /// The planned state of a plan, the new state of an apply.
    pub value: Value,
    /// The attributes that make it a replacement.
    pub replaced_by: Vec<AttributePath>,
    /// Why it has to wait for another run, if it has to: nothing was applied then.
    pub deferred: Option<Deferral>,
    /// Warnings.
    pub warnings: Diagnostics,
}

/// Why something failed.
#[derive(Debug)]
pub enum Failed {
    /// The provider says so.
    Refused(Diagnostics),
    /// Terraform core would say so: the answer breaks its rules.
    Rules(Vec<String>),
    /// It has to wait for another run; only after [`Core::allow_deferral`](super::Core::allow_deferral).
    Deferred(Deferral),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(messages) => {
                for message in messages.iter() {
                    let place =
                        message.attribute.as_ref().map(|path| format!(" (`{path}`)")).unwrap_or_default();
                    writeln!(f, "{}{place}: {}", message.summary, message.detail)?;
                }
                Ok(())
            }
            Self::Rules(rules) => write!(f, "Terraform would not accept the answer: {}", rules.join("; ")),
            Self::Deferred(reason) => write!(f, "It has to wait for another run: {reason:?}"),
        }
    }
}

impl std::error::Error for Failed {}

impl Failed {
    pub(super) fn rules(violations: &[Violation]) -> Result<(), Self> {
        if violations.is_empty() {
            Ok(())
        } else {
            Err(Self::Rules(violations.iter().map(ToString::to_string).collect()))
        }
    }

    /// What the provider has said; empty when core has refused.
    #[must_use]
    pub fn diagnostics(self) -> Diagnostics {
        match self {
            Self::Refused(diagnostics) => diagnostics,
            Self::Rules(_) | Self::Deferred(_) => Diagnostics::new(),
        }
    }
}

/// Why an answer is put off, if it is. What may not be put off, and a reason that core does not know, is a broken rule.
pub(super) fn deferral(
    deferred: Option<proto::Deferred>,
    capabilities: proto::ClientCapabilities,
) -> Result<Option<Deferral>, Failed> {
    use proto::deferred::Reason;
    let Some(deferred) = deferred else { return Ok(None) };
    if !capabilities.deferral_allowed {
        return Err(Failed::Rules(vec!["nothing is deferred unless the client allows it".to_owned()]));
    }
    match Reason::try_from(deferred.reason) {
        Ok(Reason::ResourceConfigUnknown) => Ok(Some(Deferral::ResourceConfigUnknown)),
        Ok(Reason::ProviderConfigUnknown) => Ok(Some(Deferral::ProviderConfigUnknown)),
        Ok(Reason::AbsentPrereq) => Ok(Some(Deferral::AbsentPrerequisite)),
        _ => Err(Failed::Rules(vec![format!("no such reason to defer: {}", deferred.reason)])),
    }
}

/// The messages, or the failure they are.
pub(super) fn accepted(messages: Vec<proto::Diagnostic>) -> Result<Diagnostics, Failed> {
    let messages = diagnostics(messages);
    if messages.has_errors() { Err(Failed::Refused(messages)) } else { Ok(messages) }
}
