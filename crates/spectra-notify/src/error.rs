//! What can go wrong.

use std::time::Duration;

use spectra_types::ErrorCode;

/// A message could not be delivered, or a channel not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no URL.
    #[error("the receiver's URL cannot be used: {0}")]
    Url(url::ParseError),
    /// Everybody on the way could read the message and change it.
    #[error("`{endpoint}` is not reached by https; plain http is for this machine alone")]
    Insecure {
        /// Scheme, host and port.
        endpoint: String,
    },
    /// The URL has a login in it, which would go to logs on both sides.
    #[error("the URL at `{endpoint}` holds a user name or password")]
    Credentials {
        /// Scheme, host and port.
        endpoint: String,
    },
    /// An empty secret signs nothing.
    #[error("the secret to sign with is empty")]
    EmptySecret,
    /// The client could not be made.
    #[error("a client for `{endpoint}` could not be made")]
    Client {
        /// Scheme, host and port.
        endpoint: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The receiver does not want the message, and will not want it later.
    #[error("`{endpoint}` refused the message with HTTP {status}{}; it was not delivered", saying(.words))]
    Refused {
        /// Scheme, host and port.
        endpoint: String,
        /// The status.
        status: u16,
        /// What it said, cut and redacted; may be empty.
        words: String,
    },
    /// It was tried often enough.
    #[error("`{endpoint}` did not accept the message in {attempts} attempts; the last one: {last}")]
    GaveUp {
        /// Scheme, host and port.
        endpoint: String,
        /// How many.
        attempts: u32,
        /// How the last one failed.
        last: String,
    },
    /// Stopped before the first attempt, or while waiting for the next.
    #[error(
        "stopped after {attempts} attempts; `{endpoint}` has not accepted the message, the last one: {last}"
    )]
    Stopped {
        /// Scheme, host and port.
        endpoint: String,
        /// How many.
        attempts: u32,
        /// How the last one failed.
        last: String,
    },
    /// The channel's description says something that cannot be.
    #[error("the channel `{channel}` cannot be used: {problem}")]
    Spec {
        /// The channel's name.
        channel: String,
        /// What, with the attribute.
        problem: String,
    },
    /// A secret is not there.
    #[error(
        "the channel `{channel}` needs the environment variable `{variable}` (`{attribute}`), which is {state}"
    )]
    Variable {
        /// The channel's name.
        channel: String,
        /// The variable's name.
        variable: String,
        /// Where the channel's description names it.
        attribute: &'static str,
        /// `not set`, or what is wrong with its value; never the value.
        state: String,
    },
    /// What answers there is not what the channel is for.
    #[error("`{endpoint}` answered HTTP {status}{}, as {service} does not: nothing is known to be delivered", saying(.words))]
    Unexpected {
        /// Scheme, host and port.
        endpoint: String,
        /// Who should have answered.
        service: &'static str,
        /// The status.
        status: u16,
        /// What it said, cut and redacted; may be empty.
        words: String,
    },
    /// The mail server does not want the message, and will not want it later.
    #[error("`{endpoint}` refused the mail with {status}{}; no recipient gets it", saying(.words))]
    MailRefused {
        /// Scheme, host and port.
        endpoint: String,
        /// The reply's code.
        status: u16,
        /// What it said, cut and redacted; may be empty.
        words: String,
    },
    /// The mail server cannot do what is needed, or the mail cannot be written.
    #[error("the mail cannot be sent to `{endpoint}`: {why}")]
    Mail {
        /// Scheme, host and port.
        endpoint: String,
        /// Why.
        why: String,
    },
    /// The time for all channels is over.
    #[error(
        "`{endpoint}` had not accepted the message after {} ms, and was not waited for any longer; an attempt under way \
         may still arrive; {last}",
        after.as_millis()
    )]
    Overdue {
        /// Scheme, host and port.
        endpoint: String,
        /// The time that was given.
        after: Duration,
        /// How the attempt before failed, or that there was none.
        last: String,
    },
    /// Without it no alert can be ended.
    #[error("the message `{event}` has no key, and a page without one could not be resolved")]
    NoKey {
        /// The event's name.
        event: String,
    },
}

fn saying(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(" (\"{words}\")") }
}

impl Error {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::new(match self {
            Self::Url(_) => "SPX-700",
            Self::Insecure { .. } => "SPX-701",
            Self::Credentials { .. } => "SPX-702",
            Self::EmptySecret => "SPX-703",
            Self::Client { .. } => "SPX-704",
            Self::Refused { .. } => "SPX-705",
            Self::GaveUp { .. } => "SPX-706",
            Self::Stopped { .. } => "SPX-707",
            Self::Spec { .. } => "SPX-708",
            Self::Variable { .. } => "SPX-709",
            Self::Unexpected { .. } => "SPX-710",
            Self::MailRefused { .. } => "SPX-711",
            Self::Mail { .. } => "SPX-712",
            Self::Overdue { .. } => "SPX-713",
            Self::NoKey { .. } => "SPX-714",
        })
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Refused { status: 301..=399, .. } => Some(
                "redirects are not followed, since they could lead the message elsewhere: give the final URL",
            ),
            Self::Refused { status: 401 | 403, .. } => {
                Some("check the secret, and whether the receiver's clock agrees with this machine's")
            }
            Self::Refused { status: 404 | 410, .. } => {
                Some("the receiver does not know the URL; it may have been revoked")
            }
            Self::Insecure { .. } => Some("give an https URL"),
            Self::Variable { .. } => {
                Some("channels hold the names of variables, and read the secrets from there")
            }
            Self::Unexpected { .. } => Some("check that the URL is the one the service gave out"),
            Self::MailRefused { status: 530 | 534 | 535, .. } => Some("check the user name and password"),
            _ => None,
        }
    }
}
