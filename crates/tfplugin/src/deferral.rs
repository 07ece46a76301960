//! Work that cannot be planned yet.

use crate::Diagnostic;
use crate::proto::tfplugin6 as proto;

/// Why a plan, a read or an import has to wait for another run. Only clients that say so may be answered with it; for every
/// other client the same reason is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deferral {
    /// The resource's own configuration is not known well enough.
    ResourceConfigUnknown,
    /// The provider's configuration is not known well enough.
    ProviderConfigUnknown,
    /// Something that must exist first does not.
    AbsentPrerequisite,
}

impl Deferral {
    pub(crate) fn to_proto(self) -> proto::Deferred {
        use proto::deferred::Reason;
        let reason = match self {
            Self::ResourceConfigUnknown => Reason::ResourceConfigUnknown,
            Self::ProviderConfigUnknown => Reason::ProviderConfigUnknown,
            Self::AbsentPrerequisite => Reason::AbsentPrereq,
        };
        proto::Deferred { reason: reason.into() }
    }

    /// What a client is told that knows no deferral.
    pub(crate) fn refusal(self, name: &str) -> Diagnostic {
        let reason = match self {
            Self::ResourceConfigUnknown => "its configuration depends on values that are not known yet",
            Self::ProviderConfigUnknown => {
                "the provider's configuration depends on values that are not known yet"
            }
            Self::AbsentPrerequisite => "something that it needs does not exist yet",
        };
        Diagnostic::error(
            format!("`{name}` cannot be planned yet"),
            format!(
                "This run cannot go on: {reason}. Nothing was changed. Apply what it depends on first (with `-target`), \
                 then run again."
            ),
        )
    }
}

/// Whether the client may be answered with a deferral.
pub(crate) fn allowed(capabilities: Option<&proto::ClientCapabilities>) -> bool {
    capabilities.is_some_and(|client| client.deferral_allowed)
}
