//! What can go wrong, sorted by what a caller can do about it.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use spectra_types::ErrorCode;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The classes of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no valid credential.
    Unauthenticated,
    /// The credential does not reach the object or the operation.
    Forbidden,
    /// The object does not exist; where Railway leaves it open, a listing of the parent said so.
    NotFound,
    /// The object exists, or was just made, but cannot be used yet.
    NotYet,
    /// Something of that name exists already, or somebody else is changing the same thing.
    Conflict,
    /// Too many requests.
    RateLimited,
    /// Railway wants some time between two such operations.
    Cooldown,
    /// The plan does not allow it.
    PlanLimit,
    /// Railway refuses a value.
    BadInput,
    /// The environment changed since it was read; nothing was applied.
    StaleBase,
    /// It is unknown whether a change was made.
    Ambiguous,
    /// Client and API disagree about the schema.
    SchemaMismatch,
    /// No usable answer from the network or the gateway; nothing was changed.
    Transport,
    /// A change was made, but reading back shows something else.
    Diverged,
    /// Any other refusal, in Railway's words.
    Business,
}

impl ErrorKind {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        const fn code(text: &'static str) -> ErrorCode {
            ErrorCode::new(text)
        }
        match self {
            Self::Unauthenticated => code("SPX-201"),
            Self::Forbidden => code("SPX-202"),
            Self::NotFound => code("SPX-203"),
            Self::NotYet => code("SPX-204"),
            Self::Conflict => code("SPX-205"),
            Self::RateLimited => code("SPX-206"),
            Self::Cooldown => code("SPX-207"),
            Self::PlanLimit => code("SPX-208"),
            Self::BadInput => code("SPX-209"),
            Self::StaleBase => code("SPX-210"),
            Self::Ambiguous => code("SPX-211"),
            Self::SchemaMismatch => code("SPX-212"),
            Self::Transport => code("SPX-213"),
            Self::Diverged => code("SPX-214"),
            Self::Business => code("SPX-215"),
        }
    }

    const fn hint(self) -> Option<&'static str> {
        Some(match self {
            Self::Unauthenticated => {
                "check that the token is complete and not revoked; account and workspace tokens go into \
                 `RAILWAY_API_TOKEN`, project tokens into `RAILWAY_TOKEN`"
            }
            Self::Forbidden => {
                "use a token that reaches the object: a project token reaches one environment of one project"
            }
            Self::NotFound => "it may have been deleted outside of Spectra",
            Self::NotYet => "Railway shows new objects with a delay; try again in a minute",
            Self::Conflict => "import the existing object, or choose another name",
            Self::RateLimited => {
                "wait, or lower the number of requests; the hourly budget depends on the plan"
            }
            Self::Cooldown => "try again in half a minute",
            Self::PlanLimit => "the workspace's plan has to be changed for this",
            Self::StaleBase => "read the environment again and repeat the change",
            Self::Ambiguous => "look at the object before repeating the change: it may have been made",
            Self::SchemaMismatch => "Railway's API has changed: upgrade Spectra",
            Self::Transport => "try again; see status.railway.com if it persists",
            Self::Diverged => "compare the settings on Railway with the wanted ones before deploying",
            Self::BadInput | Self::Business => return None,
        })
    }

    /// Whether the same call may succeed later without anything being changed by the caller.
    #[must_use]
    pub const fn retryable(self) -> bool {
        matches!(self, Self::NotYet | Self::RateLimited | Self::Cooldown | Self::StaleBase | Self::Transport)
    }
}

/// A failed call, with everything needed to explain it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Failure>);

#[derive(Debug)]
struct Failure {
    kind: ErrorKind,
    operation: &'static str,
    attempt: Option<String>,
    message: String,
    trace_id: Option<String>,
    retry_after: Option<Duration>,
    hint: Option<String>,
    never_sent: bool,
    changed: bool,
    left: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(attempt) = &self.attempt {
            write!(f, "failed to {attempt}: ")?;
        }
        write!(f, "{} (Railway operation `{}`", self.message, self.operation)?;
        if let Some(trace_id) = &self.trace_id {
            write!(f, ", trace id `{trace_id}`")?;
        }
        f.write_str(")")
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Failure {
            kind,
            operation,
            attempt: None,
            message: message.into(),
            trace_id: None,
            retry_after: None,
            hint: None,
            never_sent: false,
            changed: false,
            left: None,
            source: None,
        }))
    }

    pub(crate) fn trace(mut self, trace_id: Option<String>) -> Self {
        self.0.trace_id = trace_id;
        self
    }

    pub(crate) fn after(mut self, retry_after: Option<Duration>) -> Self {
        self.0.retry_after = retry_after;
        self
    }

    pub(crate) fn hinting(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub(crate) fn unsent(mut self) -> Self {
        self.0.never_sent = true;
        self
    }

    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The failure came after a change that was made.
    pub(crate) fn after_change(mut self) -> Self {
        self.0.changed = true;
        self
    }

    /// The failure came after this object was made.
    pub(crate) fn leaving(mut self, id: impl fmt::Display) -> Self {
        self.0.left = Some(id.to_string());
        self.after_change()
    }

    /// Says what the whole was for; the outermost caller knows best and has the last word.
    pub(crate) fn attempting(mut self, attempt: impl FnOnce() -> String) -> Self {
        self.0.attempt = Some(attempt());
        self
    }

    pub(crate) const fn never_sent(&self) -> bool {
        self.0.never_sent
    }

    /// The class.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The stable code of the class.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.0.kind.code()
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref().or(self.0.kind.hint())
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        self.0.kind.retryable()
    }

    /// The GraphQL operation that failed.
    #[must_use]
    pub const fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// Railway's words, or ours where Railway had none.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The id under which Railway's support finds the request.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.0.trace_id.as_deref()
    }

    /// How long the server asked to wait.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The object does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
    }

    /// It is unknown whether a change was made.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        self.kind() == ErrorKind::Ambiguous
    }

    /// The id of an object that the failed call made, and that exists now: to be kept and finished, not made again.
    #[must_use]
    pub fn left_behind(&self) -> Option<&str> {
        self.0.left.as_deref()
    }

    /// Whether a failed write surely changed nothing.
    #[must_use]
    pub const fn changed_nothing(&self) -> bool {
        !self.0.changed
            && !matches!(self.0.kind, ErrorKind::Ambiguous | ErrorKind::Diverged | ErrorKind::SchemaMismatch)
    }
}

/// Why a client cannot be made from a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No token anywhere.
    #[error(
        "there is no Railway token: set `RAILWAY_API_TOKEN` (account or workspace token) or `RAILWAY_TOKEN` (project token)"
    )]
    MissingToken,
    /// A token that cannot be sent.
    #[error("the Railway token in {origin} is empty or contains characters that no token has")]
    MalformedToken {
        /// Where it came from.
        origin: &'static str,
    },
    /// The endpoint is not a URL.
    #[error("`{variable}` is not a URL such as `https://host/graphql/v2`")]
    Endpoint {
        /// The environment variable.
        variable: &'static str,
        /// Why.
        #[source]
        source: url::ParseError,
    },
    /// There is no such budget.
    #[error(
        "`{variable}` can only be `remote`, which spares a sandbox as Railway is spared; leave it out otherwise"
    )]
    Budget {
        /// The environment variable.
        variable: &'static str,
    },
    /// The endpoint cannot be used.
    #[error("the Railway endpoint has to be an http or https URL; plain http is for loopback addresses only")]
    InsecureEndpoint,
    /// The HTTP client cannot be made.
    #[error("failed to set up the HTTP client")]
    Http(#[source] reqwest::Error),
}

impl ConfigError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::new("SPX-200")
    }
}
