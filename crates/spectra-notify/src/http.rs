//! A place that takes JSON by POST, and what it answers.

use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use spectra_types::{Redactor, SafeUrl, error_chain};
use url::Url;

use crate::error::Error;
use crate::retry::Attempt;
use crate::text::{cut, one_line};

/// What is read of an answer, in bytes.
const READ: usize = 4096;
/// What is shown of it.
const SHOWN: usize = 300;
/// Parts of a URL from this length on are taken out of what the receiver says.
const PART: usize = 8;

/// A URL that is checked, with a client for it.
pub(crate) struct Endpoint {
    client: reqwest::Client,
    url: SafeUrl,
    shown: String,
    /// Knows the URL's own parts, for a receiver may repeat them. Apart from the process's redactor, which would take a
    /// path such as `/hook` out of everything.
    parts: Redactor,
}

/// A path can be as secret as a query.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// The URL, and what of it may be shown: scheme, host and port.
pub(crate) fn check_url(url: &str) -> Result<(SafeUrl, String), Error> {
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
    Ok((url, endpoint))
}

/// An answer whose status says yes. What else it says is not waited for unless asked.
pub(crate) struct Yes {
    pub(crate) status: u16,
    response: reqwest::Response,
}

impl Endpoint {
    /// Checks the URL. Nothing is sent yet.
    pub(crate) fn new(url: &str, timeout: Duration) -> Result<Self, Error> {
        let (url, endpoint) = check_url(url)?;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("spectra/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            // Elsewhere nobody has vouched for; a redirected POST would also lose its body.
            .redirect(reqwest::redirect::Policy::none());
        if url.is_loopback() {
            builder = builder.no_proxy();
        }
        let client = builder
            .build()
            .map_err(|source| Error::Client { endpoint: endpoint.clone(), source: Box::new(source) })?;
        let parts = parts(url.expose());
        Ok(Self { client, url, shown: endpoint, parts })
    }

    /// Scheme, host and port: all of the URL that may be shown.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Sends `body` once. What is no success is already judged.
    pub(crate) async fn post(&self, headers: &[(&str, String)], body: &str) -> Result<Yes, Attempt> {
        let mut request = self
            .client
            .post(self.url.expose().clone())
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        // The URL is in the error's own words.
        let mut response = request
            .send()
            .await
            .map_err(|error| Attempt::Again { why: error_chain(&error.without_url()), asked: None })?;
        let (status, asked) = (response.status(), retry_after(response.headers()));
        if status.is_success() {
            return Ok(Yes { status: status.as_u16(), response });
        }
        // As far as they came: the status alone decides.
        let (Ok(words) | Err(words)) = self.words(&mut response).await;
        let again = status.is_server_error()
            || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
        let (status, words) = (status.as_u16(), shorten(&words));
        Err(if again {
            let words = if words.is_empty() { words } else { format!(" (\"{words}\")") };
            Attempt::Again { why: format!("HTTP {status}{words}"), asked }
        } else {
            Attempt::Refused(Error::Refused { endpoint: self.shown.clone(), status, words })
        })
    }

    /// An answer that counts only if `means_yes` says so of its words; otherwise it is not the service that answers there.
    pub(crate) async fn confirm(
        &self,
        service: &'static str,
        mut yes: Yes,
        means_yes: impl Fn(&str) -> bool,
    ) -> Attempt {
        let status = yes.status;
        match self.words(&mut yes.response).await {
            Ok(words) if means_yes(&words) => Attempt::Accepted(status),
            Ok(words) => {
                let (endpoint, words) = (self.shown.clone(), shorten(&words));
                Attempt::Refused(Error::Unexpected { endpoint, service, status, words })
            }
            Err(_) => Attempt::Again { why: format!("HTTP {status}, and no more"), asked: None },
        }
    }

    /// The beginning of the body in one line, without secrets, not yet cut; what came of it, if it ended too early.
    async fn words(&self, response: &mut reqwest::Response) -> Result<String, String> {
        let mut body = Vec::new();
        let end = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break Ok(()),
                Err(_) => break Err(()),
            }
            if body.len() >= READ {
                break Ok(());
            }
        };
        let text = String::from_utf8_lossy(&body);
        // Redacted before it is made one line, which would change a secret with a line break in it.
        let words = one_line(&self.parts.redact(&Redactor::global().redact(&text)));
        end.map(|()| words.clone()).map_err(|()| words)
    }
}

fn shorten(words: &str) -> String {
    cut(words, SHOWN)
}

fn parts(url: &Url) -> Redactor {
    let redactor = Redactor::new();
    let segments = url.path_segments().into_iter().flatten();
    let values: Vec<_> = url.query_pairs().map(|(_, value)| value.into_owned()).collect();
    for part in segments.chain(values.iter().map(String::as_str)) {
        if part.len() >= PART {
            redactor.register(part);
        }
    }
    if url.path().len() >= PART {
        redactor.register(url.path());
    }
    redactor
}

/// Seconds; dates are passed over, and the own back-off holds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
