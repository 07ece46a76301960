//! One request, one reply: headers, sizes, and what a reply means before GraphQL is looked at.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use spectra_types::SafeUrl;
use url::Url;

use crate::classify::{GraphqlError, to_error};
use crate::config::ClientConfig;
use crate::error::{ConfigError, Error, ErrorKind, Result};
use crate::gql::Effect;
use crate::pace::retry_after;

/// More than any environment needs; a runaway reply must not fill the memory.
const LARGEST_REPLY: usize = 64 << 20;

/// The one header that authenticates. The two are never sent together: Railway then guesses.
#[derive(Clone)]
pub(crate) enum AuthHeader {
    Bearer(HeaderValue),
    ProjectAccessToken(HeaderValue),
}

impl AuthHeader {
    pub(crate) fn pair(&self) -> (&'static str, HeaderValue) {
        match self {
            Self::Bearer(value) => ("authorization", value.clone()),
            Self::ProjectAccessToken(value) => ("project-access-token", value.clone()),
        }
    }
}

pub(crate) struct Transport {
    http: reqwest::Client,
    endpoint: Url,
}

/// A reply as it came.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Transport {
    pub(crate) fn new(config: &ClientConfig) -> Result<Self, ConfigError> {
        let mut endpoint = config.endpoint.clone();
        // URLs without a query string fall under a far lower limit of the edge.
        if !endpoint.query_pairs().any(|(key, _)| key == "source") {
            endpoint.query_pairs_mut().append_pair("source", "spectra");
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(config.user_agent.as_str())
            .timeout(config.timeout)
            .connect_timeout(config.timeout.min(Duration::from_secs(20)))
            // A redirected POST would become a GET, or carry the token elsewhere.
            .redirect(reqwest::redirect::Policy::none());
        if SafeUrl::from(endpoint.clone()).is_loopback() {
            builder = builder.no_proxy();
        }
        Ok(Self { http: builder.build().map_err(ConfigError::Http)?, endpoint })
    }

    pub(crate) const fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// Sends. An error is about the network; every reply, whatever its status, is a reply.
    pub(crate) async fn send(
        &self,
        operation: &'static str,
        effect: Effect,
        auth: &AuthHeader,
        body: Vec<u8>,
    ) -> Result<Reply> {
        let (name, value) = auth.pair();
        let sent = self
            .http
            .post(self.endpoint.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(name, value)
            .body(body)
            .send()
            .await;
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => {
                // Without a connection nothing was sent, so nothing can have happened.
                let unsent = error.is_connect() || error.is_builder();
                let error = network(operation, effect, unsent, error);
                return Err(if unsent { error.unsent() } else { error });
            }
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > LARGEST_REPLY => {
                    return Err(Error::new(
                        ErrorKind::SchemaMismatch,
                        operation,
                        format!("the reply is larger than {} MiB", LARGEST_REPLY >> 20),
                    ));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(Reply { status, headers, body }),
                Err(error) => return Err(network(operation, effect, false, error)),
            }
        }
    }
}

fn network(operation: &'static str, effect: Effect, unsent: bool, error: reqwest::Error) -> Error {
    let what = if error.is_timeout() {
        "no reply in time"
    } else if unsent {
        "no connection to the API"
    } else {
        "the connection broke before the reply was complete"
    };
    let (kind, what) = match effect {
        Effect::Write if !unsent => {
            (ErrorKind::Ambiguous, format!("{what}; the change may or may not have been made"))
        }
        _ => (ErrorKind::Transport, what.to_owned()),
    };
    Error::new(kind, operation, what).because(error.without_url())
}

#[derive(Deserialize)]
struct Envelope {
    data: Option<serde_json::Value>,
    errors: Option<Vec<GraphqlError>>,
}

/// Reads a reply. The HTTP status alone never means success.
pub(crate) fn read<T: DeserializeOwned>(
    operation: &'static str,
    effect: Effect,
    reply: &Reply,
    wall: Duration,
) -> Result<T> {
    let envelope = serde_json::from_slice::<Envelope>(&reply.body).ok();
    let errors = envelope.as_ref().and_then(|envelope| envelope.errors.as_deref()).unwrap_or_default();

    if reply.status == StatusCode::TOO_MANY_REQUESTS {
        // Throttled before execution, for writes too.
        let wait = retry_after(&reply.headers, &reply.body, wall);
        let message = if String::from_utf8_lossy(&reply.body).contains("1015") {
            "blocked by Railway's edge for too many requests (1015)"
        } else {
            "too many requests (HTTP 429)"
        };
        return Err(Error::new(ErrorKind::RateLimited, operation, message).after(wait));
    }
    if !errors.is_empty() {
        let partial = envelope.as_ref().and_then(|envelope| envelope.data.as_ref()).is_some_and(|data| {
            data.as_object().is_some_and(|fields| fields.values().any(|value| !value.is_null()))
        });
        let error = to_error(operation, effect, errors, partial);
        let wait = retry_after(&reply.headers, &[], wall);
        return Err(if error.kind() == ErrorKind::RateLimited { error.after(wait) } else { error });
    }
    let status = reply.status;
    if status.is_server_error() {
        return Err(gateway(operation, effect, format!("the gateway answered HTTP {status}")));
    }
    if status == StatusCode::UNAUTHORIZED {
        return Err(Error::new(ErrorKind::Unauthenticated, operation, "the token is refused (HTTP 401)"));
    }
    if !status.is_success() {
        let excerpt = excerpt(&reply.body);
        let kind =
            if status == StatusCode::FORBIDDEN { ErrorKind::Forbidden } else { ErrorKind::SchemaMismatch };
        return Err(Error::new(kind, operation, format!("the edge answered HTTP {status}: {excerpt}")));
    }
    let Some(envelope) = envelope else {
        let message = format!("HTTP {status} without a GraphQL reply: {}", excerpt(&reply.body));
        return Err(gateway(operation, effect, message));
    };
    let data = envelope
        .data
        .filter(|data| !data.is_null())
        .ok_or_else(|| gateway(operation, effect, "the reply has neither data nor errors".to_owned()))?;
    serde_json::from_value(data).map_err(|error| {
        let state = match effect {
            Effect::Read => "",
            Effect::Write => "; the change was made",
        };
        let message = format!("the reply does not have the expected shape{state}");
        Error::new(ErrorKind::SchemaMismatch, operation, message).because(error)
    })
}

fn gateway(operation: &'static str, effect: Effect, message: String) -> Error {
    match effect {
        Effect::Read => Error::new(ErrorKind::Transport, operation, message),
        Effect::Write => Error::new(
            ErrorKind::Ambiguous,
            operation,
            format!("{message}; the change may or may not have been made"),
        ),
    }
}

/// The beginning of a body that is not GraphQL, on one line.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(400)]);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = words.chars().take(120).collect();
    if short.is_empty() { "empty body".to_owned() } else { format!("`{short}`") }
}
