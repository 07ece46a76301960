//! Why keyless signatures can be neither checked nor made. That one does not hold is no error of this kind: it does not count.

use std::fmt;

use spectra_types::ErrorCode;

/// Somebody who is asked while a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Service {
    /// The authority that issues certificates.
    Fulcio,
    /// The transparency log.
    Rekor,
    /// Who gives the jobs of GitHub Actions their identity tokens.
    GitHub,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fulcio => "the certificate authority",
            Self::Rekor => "the transparency log",
            Self::GitHub => "GitHub's source of identity tokens",
        })
    }
}

/// See the module. No variant holds a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The root of trust is none.
    #[error("the root of trust {from} cannot be used: {reason}")]
    Root {
        /// Where it comes from.
        from: String,
        /// Why.
        reason: String,
    },
    /// There is no identity token, or what is there is none.
    #[error("the identity token {from} cannot be used: {reason}")]
    Token {
        /// Where it comes from.
        from: String,
        /// Why.
        reason: String,
    },
    /// A service's address cannot be used.
    #[error("`{url}` is no address of {service}: {reason}")]
    Address {
        /// Whose.
        service: Service,
        /// The address.
        url: String,
        /// Why.
        reason: &'static str,
    },
    /// A service does not answer.
    #[error("{service} at `{url}` does not answer")]
    Unreachable {
        /// Which.
        service: Service,
        /// Where.
        url: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A service says no.
    #[error("{service} at `{url}` refuses, with status {status}: {said}")]
    Refused {
        /// Which.
        service: Service,
        /// Where.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What it says, on one line.
        said: String,
    },
    /// A service answers something else than what it was asked for.
    #[error("{service} at `{url}` gives an answer that makes no sense: {reason}")]
    Answer {
        /// Which.
        service: Service,
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// What was made does not hold. The log has it all the same.
    #[error(
        "the signature that was made, and is in the log, does not hold by the root of trust {from}: {reason}"
    )]
    DoesNotHold {
        /// Where the root comes from.
        from: String,
        /// Why.
        reason: String,
    },
    /// The key or the statement.
    #[error(transparent)]
    Signing(#[from] spectra_sign::Error),
}

impl Error {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        ErrorCode::new(match self {
            Self::Root { .. } => "SPX-337",
            Self::Token { .. } => "SPX-338",
            Self::Address { .. } => "SPX-339",
            Self::Unreachable { .. } => "SPX-340",
            Self::Refused { .. } => "SPX-341",
            Self::Answer { .. } => "SPX-342",
            Self::DoesNotHold { .. } => "SPX-343",
            Self::Signing(error) => return error.code(),
        })
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Root { .. } => Some(
                "it is the `trusted_root.json` of a Sigstore instance; without `--trusted-root`, that of the public one is used",
            ),
            Self::Token { .. } => Some(
                "an identity token is short-lived and made for the audience `sigstore`: `--identity-token`, SIGSTORE_ID_TOKEN, or a \
                 job of GitHub Actions with the permission `id-token: write`",
            ),
            Self::DoesNotHold { .. } => Some(
                "the authority and the log have to be those of the root: `--fulcio-url`, `--rekor-url` and `--trusted-root` belong \
                 together",
            ),
            _ => None,
        }
    }

    /// Whether a service did not believe the token.
    #[must_use]
    pub const fn is_not_authorised(&self) -> bool {
        matches!(self, Self::Refused { status: 401 | 403, .. })
    }

    /// Whether the arguments are wrong, and not what became of them.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Root { .. } | Self::Token { .. } | Self::Address { .. })
    }
}
