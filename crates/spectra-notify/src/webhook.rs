//! A message to a URL.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use spectra_types::{ErrorCode, SafeUrl, Secret};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::clock::{Clock, SystemClock};
use crate::signature::sign;

/// The header with the signature.
const SIGNATURE: &str = "x-spectra-signature";
/// The header that stays the same when a message is sent again.
const DELIVERY: &str = "x-spectra-delivery";

/// How often and after how long a message is sent again.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Attempts altogether, at least one.
    pub attempts: u32,
    /// The wait after the first failure; doubles each time, with jitter.
    pub base: Duration,
    /// The longest wait, also where the receiver asks for more.
    pub cap: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 5, base: Duration::from_secs(1), cap: Duration::from_secs(30) }
    }
}

/// How messages are sent.
#[derive(Clone, Debug)]
pub struct Options {
    /// The longest time for one attempt.
    pub timeout: Duration,
    /// When to try again.
    pub retry: Retry,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), retry: Retry::default(), clock: Arc::new(SystemClock) }
    }
}

/// A message could not be delivered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no URL.
    #[error("the webhook's URL cannot be used: {0}")]
    Url(url::ParseError),
    /// Everybody on the way could read the message and change it.
    #[error("the webhook at `{endpoint}` is not reached by https; plain http is for this machine alone")]
    Insecure {
        /// Scheme, host and port.
        endpoint: String,
    },
    /// The URL has a login in it, which would go to logs on both sides.
    #[error("the webhook's URL at `{endpoint}` holds a user name or password")]
    Credentials {
        /// Scheme, host and port.
        endpoint: String,
    },
    /// An empty secret signs nothing.
    #[error("the secret to sign with is empty")]
    EmptySecret,
    /// The HTTP client could not be made.
    #[error("a client for the webhook at `{endpoint}` could not be made")]
    Client {
        /// Scheme, host and port.
        endpoint: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The receiver does not want the message, and will not want it later.
    #[error("`{endpoint}` refused the message with HTTP {status}; it was not delivered")]
    Refused {
        /// Scheme, host and port.
        endpoint: String,
        /// The status.
        status: u16,
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
            Self::Insecure { .. } => Some("give an https URL"),
            _ => None,
        }
    }
}

/// A message that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The id that it was sent under.
    pub id: String,
    /// The receiver's status.
    pub status: u16,
    /// How many attempts it took.
    pub attempts: u32,
}

/// A place that takes JSON by POST.
pub struct Webhook {
    client: reqwest::Client,
    url: SafeUrl,
    endpoint: String,
    secret: Option<Secret<String>>,
    options: Options,
}

/// A path can be as secret as a query.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

enum Attempt {
    Accepted(u16),
    Refused(u16),
    Again { why: String, asked: Option<Duration> },
}

impl Webhook {
    /// A webhook at `url`, with the secret that signs what is sent to it. Nothing is sent yet.
    pub fn new(url: &str, secret: Option<Secret<String>>, options: Options) -> Result<Self, Error> {
        let url = SafeUrl::from(Url::parse(url).map_err(Error::Url)?);
        let endpoint = format!("{}://{}", url.expose().scheme(), url.authority());
        let secure = match url.expose().scheme() {
            "https" => true,
            "http" => url.is_loopback(),
            _ => false,
        };
        if !secure {
            return Err(Error::Insecure { endpoint });
        }
        if !url.expose().username().is_empty() || url.expose().password().is_some() {
            return Err(Error::Credentials { endpoint });
        }
        if secret.as_ref().is_some_and(|secret| secret.expose().is_empty()) {
            return Err(Error::EmptySecret);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("spectra/", env!("CARGO_PKG_VERSION")))
            .timeout(options.timeout)
            // Elsewhere nobody has vouched for; a redirected POST would also lose its body.
            .redirect(reqwest::redirect::Policy::none());
        if url.is_loopback() {
            builder = builder.no_proxy();
        }
        let client =
            builder.build().map_err(|source| Error::Client { endpoint: endpoint.clone(), source })?;
        Ok(Self { client, url, endpoint, secret, options })
    }

    /// Scheme, host and port: all of the URL that may be shown.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Sends `body`, which is JSON, until it is accepted, refused, or tried often enough. `told` hears of every failed
    /// attempt that is followed by another. When `cancel` trips, an attempt under way is awaited, so that it is known
    /// what became of it, and no other is made; where it has tripped before, there is none at all.
    pub async fn send(
        &self,
        body: &str,
        cancel: &CancellationToken,
        mut told: impl FnMut(&str),
    ) -> Result<Delivery, Error> {
        let id = format!("{:032x}", rand::rng().random::<u128>());
        let mut attempts = 0;
        if cancel.is_cancelled() {
            let (endpoint, last) = (self.endpoint.clone(), "none was made".to_owned());
            return Err(Error::Stopped { endpoint, attempts, last });
        }
        loop {
            attempts += 1;
            let endpoint = self.endpoint.clone();
            let (last, asked) = match self.attempt(&id, body).await {
                Attempt::Accepted(status) => return Ok(Delivery { id, status, attempts }),
                Attempt::Refused(status) => return Err(Error::Refused { endpoint, status }),
                Attempt::Again { why, asked } => (why, asked),
            };
            if attempts >= self.options.retry.attempts {
                return Err(Error::GaveUp { endpoint, attempts, last });
            }
            let wait = self.wait(attempts, asked);
            told(&format!("attempt {attempts} failed: {last}; trying again in {} ms", wait.as_millis()));
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Error::Stopped { endpoint, attempts, last }),
                () = self.options.clock.sleep(wait) => {}
            }
        }
    }

    async fn attempt(&self, id: &str, body: &str) -> Attempt {
        let mut request = self
            .client
            .post(self.url.expose().clone())
            .header(CONTENT_TYPE, "application/json")
            .header(DELIVERY, id)
            .body(body.to_owned());
        if let Some(secret) = &self.secret {
            // Dated anew: an attempt that comes minutes later must not look like an old message.
            let signature = sign(secret, self.options.clock.unix_seconds(), body.as_bytes());
            request = request.header(SIGNATURE, signature.to_string());
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                // The URL is in the error's own words.
                let why = spectra_types::error_chain(&error.without_url());
                return Attempt::Again { why, asked: None };
            }
        };
        let status = response.status();
        if status.is_success() {
            return Attempt::Accepted(status.as_u16());
        }
        let again = status.is_server_error()
            || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
        if !again {
            return Attempt::Refused(status.as_u16());
        }
        Attempt::Again { why: format!("HTTP {}", status.as_u16()), asked: retry_after(response.headers()) }
    }

    fn wait(&self, attempt: u32, asked: Option<Duration>) -> Duration {
        let Retry { base, cap, .. } = self.options.retry;
        match asked {
            Some(asked) => asked.min(cap),
            None => base
                .saturating_mul(2_u32.saturating_pow(attempt - 1))
                .min(cap)
                .mul_f64(rand::rng().random_range(0.5..=1.0)),
        }
    }
}

/// Seconds; dates are passed over, and the own back-off holds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
