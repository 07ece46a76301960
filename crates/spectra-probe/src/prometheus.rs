//! Instant queries of Prometheus, and of what speaks its API.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use spectra_rollout::spec::{Metric, MetricKind};
use spectra_rollout::{MetricSource, Sample, Sampled, Scope};
use spectra_types::{Redactor, SafeUrl, Secret};
use thiserror::Error;
use url::{Url, form_urlencoded};

use crate::client::{client, excerpt, no_answer, redirected};
use crate::promql::{TemplateError, Values, resolve};

/// The longest form that is sent in a URL, in bytes; servers and proxies refuse long ones.
const LONGEST_IN_URL: usize = 2_000;

/// The longest answer that is read, in bytes. One value takes less than a thousandth of it.
const LONGEST_ANSWER: usize = 1 << 20;

type ReadSecret = dyn Fn(&str) -> Option<Secret<String>> + Send + Sync;

/// A source of metrics that asks the server that each metric names.
///
/// Exactly one number has to come of a query: a scalar, or a vector of one sample. An empty vector, `NaN` and the
/// infinities (a division by no requests) are no data. Where the metric is compared, the query for stable is asked at the
/// same time, with stable's service and deployment filled in; a query that names a deployment that is not there is no
/// data.
///
/// A token goes over HTTPS or stays on this machine.
pub struct Prometheus {
    timeout: Duration,
    secret: Arc<ReadSecret>,
    /// One for each address.
    clients: Mutex<BTreeMap<String, reqwest::Client>>,
}

impl fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prometheus").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// A query without an answer. Addresses are in the form that may be shown.
#[derive(Debug, Error)]
enum AskError {
    #[error("metric `{0}` is no query of Prometheus")]
    OtherKind(String),
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("the address is no URL such as `https://prometheus.example.com`: {0}")]
    Address(url::ParseError),
    #[error("`{0}` is no http or https address")]
    Scheme(String),
    #[error("`{0}` holds credentials; name an environment variable with the token in `token_env`")]
    Credentials(String),
    #[error("`{0}` has a query or a fragment; give the address of the server, with its path at most")]
    Extra(String),
    #[error("a token would go to `{0}` unencrypted; give an https address")]
    Insecure(String),
    #[error("environment variable `{0}`, which `token_env` names, is not set")]
    NoToken(String),
    #[error("what environment variable `{0}` holds cannot be sent as a token: it has control characters")]
    BadToken(String),
    #[error("making a client for `{address}` failed: {source}")]
    Client { address: String, source: reqwest::Error },
    #[error("`{address}`: {why}")]
    NoAnswer { address: String, why: String },
    #[error(
        "`{address}` gave an answer of more than {LONGEST_ANSWER} bytes; aggregate the query to one value"
    )]
    TooLong { address: String },
    #[error("`{address}` answered HTTP {status}{what}, which is not Prometheus' format")]
    Foreign { address: String, status: u16, what: String },
    #[error("`{address}` refused the query with HTTP {status}, {kind}: {message}")]
    Refused { address: String, status: u16, kind: String, message: String },
    #[error("the query gives {0} samples, but one value has to come of it: aggregate it, such as with `sum`")]
    Several(usize),
    #[error("the query gives a {0}, but a number has to come of it")]
    NoNumber(String),
    #[error("the sample's value is `{0}`, which is no number")]
    NotANumber(String),
    #[error("the query for stable: {0}")]
    Stable(Box<AskError>),
}

impl Prometheus {
    /// A source that waits at most `timeout` for an answer. `secret` reads an environment variable that holds a token.
    pub fn new(
        timeout: Duration,
        secret: impl Fn(&str) -> Option<Secret<String>> + Send + Sync + 'static,
    ) -> Self {
        Self { timeout, secret: Arc::new(secret), clients: Mutex::default() }
    }

    async fn ask(&self, metric: &Metric, scope: &Scope) -> (String, Result<Sample, AskError>) {
        let MetricKind::Prometheus { address, query, stable_query, token_env } = &metric.source else {
            return (String::new(), Err(AskError::OtherKind(metric.name.clone())));
        };
        let own = Values { place: &scope.place, deployment: scope.candidate.as_ref(), window: scope.window };
        let of_stable =
            Values { place: &scope.stable_place, deployment: scope.stable.as_ref(), window: scope.window };
        let resolved = match resolve(query, &own) {
            Ok(Some(resolved)) => resolved,
            Ok(None) => return (query.clone(), Ok(Sample::default())),
            Err(error) => return (query.clone(), Err(error.into())),
        };
        let stable = match stable_query.as_ref().filter(|_| metric.compare.is_some()) {
            None => None,
            Some(query) => match resolve(query, &of_stable) {
                Ok(resolved) => resolved,
                Err(error) => return (resolved, Err(AskError::Stable(Box::new(error.into())))),
            },
        };
        let shown = match &stable {
            Some(stable) => format!("{resolved}, compared with {stable}"),
            None => resolved.clone(),
        };
        let answer = async {
            let server = self.server(address, token_env.as_deref())?;
            let ask_stable = async {
                match &stable {
                    Some(query) => server.ask(query).await.map_err(|error| AskError::Stable(Box::new(error))),
                    None => Ok(None),
                }
            };
            // At the same time, so that both look at the same window.
            let (value, stable) = tokio::join!(server.ask(&resolved), ask_stable);
            Ok(Sample { value: value?, samples: None, stable: stable? })
        };
        (shown, answer.await)
    }

    fn server(&self, text: &str, token_env: Option<&str>) -> Result<Server, AskError> {
        let mut url = Url::parse(text).map_err(AskError::Address)?;
        let safe = SafeUrl::from(url.clone());
        let address = safe.to_string();
        if !matches!(url.scheme(), "http" | "https") {
            return Err(AskError::Scheme(address));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AskError::Credentials(address));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(AskError::Extra(address));
        }
        let token = match token_env {
            None => None,
            Some(name) => {
                if url.scheme() != "https" && !safe.is_loopback() {
                    return Err(AskError::Insecure(address));
                }
                let token = (self.secret)(name).filter(|token| !token.expose().trim().is_empty());
                let token = token.ok_or_else(|| AskError::NoToken(name.to_owned()))?;
                let mut header = HeaderValue::from_str(&format!("Bearer {}", token.expose().trim()))
                    .map_err(|_| AskError::BadToken(name.to_owned()))?;
                header.set_sensitive(true);
                Some(header)
            }
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match clients.get(text) {
            Some(client) => client.clone(),
            None => match client(&url, self.timeout) {
                Ok(client) => clients.entry(text.to_owned()).or_insert(client).clone(),
                Err(source) => return Err(AskError::Client { address, source }),
            },
        };
        url.set_path(&format!("{}/api/v1/query", url.path().trim_end_matches('/')));
        Ok(Server { client, endpoint: url, address, token })
    }
}

impl MetricSource for Prometheus {
    fn sample<'a>(&'a self, metric: &'a Metric, scope: &'a Scope) -> BoxFuture<'a, Sampled> {
        async move {
            let (query, answer) = self.ask(metric, scope).await;
            let answer = answer.map_err(|error| Redactor::global().redact(&error.to_string()).into_owned());
            Sampled { query, answer }
        }
        .boxed()
    }
}

/// One server, with what is needed to ask it.
struct Server {
    client: reqwest::Client,
    endpoint: Url,
    address: String,
    token: Option<HeaderValue>,
}

/// What every answer is wrapped in.
#[derive(Deserialize)]
struct Envelope {
    status: Status,
    data: Option<serde_json::Value>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    error: Option<String>,
    warnings: Option<Vec<String>>,
    infos: Option<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Success,
    Error,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: serde_json::Value,
}

/// A time in seconds and a number as text.
type Point = (f64, String);

#[derive(Deserialize)]
struct Series {
    /// Left out where the sample is a histogram.
    value: Option<Point>,
}

impl Server {
    /// Asks once; `None` when there is no data.
    async fn ask(&self, query: &str) -> Result<Option<f64>, AskError> {
        let form = form_urlencoded::Serializer::new(String::new()).append_pair("query", query).finish();
        let mut request = if form.len() > LONGEST_IN_URL {
            self.client
                .post(self.endpoint.clone())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form)
        } else {
            let mut url = self.endpoint.clone();
            url.set_query(Some(&form));
            self.client.get(url)
        };
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        let begun = Instant::now();
        let no_answer = |error| AskError::NoAnswer {
            address: self.address.clone(),
            why: no_answer(error, begun.elapsed()),
        };
        let mut response = request.send().await.map_err(no_answer)?;
        let status = response.status().as_u16();
        let location = redirected(&response);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
            if body.len() + chunk.len() > LONGEST_ANSWER {
                return Err(AskError::TooLong { address: self.address.clone() });
            }
            body.extend_from_slice(&chunk);
        }
        let foreign = || AskError::Foreign {
            address: self.address.clone(),
            status,
            what: format!("{location}{}", excerpt(&String::from_utf8_lossy(&body))),
        };
        let envelope: Envelope = serde_json::from_slice(&body).map_err(|_| foreign())?;
        self.log(query, &envelope);
        if envelope.status == Status::Error || !(200..300).contains(&status) {
            return Err(AskError::Refused {
                address: self.address.clone(),
                status,
                kind: envelope.error_type.unwrap_or_else(|| "without a kind of error".to_owned()),
                message: envelope.error.unwrap_or_else(|| "without words".to_owned()),
            });
        }
        let data = envelope.data.ok_or_else(foreign)?;
        let data: Data = serde_json::from_value(data).map_err(|_| foreign())?;
        number(data).map_err(|error| error.unwrap_or_else(foreign))
    }

    /// Warnings do not keep a query from being answered, but whoever wonders about a value needs them.
    fn log(&self, query: &str, envelope: &Envelope) {
        for warning in envelope.warnings.iter().flatten() {
            tracing::warn!(address = %self.address, query, "Prometheus warns: {warning}");
        }
        for info in envelope.infos.iter().flatten() {
            tracing::debug!(address = %self.address, query, "Prometheus notes: {info}");
        }
    }
}

/// The one number of a result; an `Err(None)` is a result that does not have the form of its kind.
fn number(data: Data) -> Result<Option<f64>, Option<AskError>> {
    let point = match data.kind.as_str() {
        "scalar" => serde_json::from_value::<Point>(data.result).map_err(|_| None)?,
        "vector" => {
            let mut series: Vec<Series> = serde_json::from_value(data.result).map_err(|_| None)?;
            match (series.pop(), series.len()) {
                (None, _) => return Ok(None),
                (Some(one), 0) => one.value.ok_or_else(|| AskError::NoNumber("histogram".to_owned()))?,
                (Some(_), more) => return Err(Some(AskError::Several(more + 1))),
            }
        }
        _ => return Err(Some(AskError::NoNumber(data.kind))),
    };
    match point.1.parse::<f64>() {
        Ok(value) => Ok(Some(value).filter(|value| value.is_finite())),
        Err(_) => Err(Some(AskError::NotANumber(point.1))),
    }
}
