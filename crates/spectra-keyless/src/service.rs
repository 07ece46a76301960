//! Requests to the services: over TLS, without redirects, with a time limit, and no more read than an answer can be.

use std::{fmt, net::IpAddr, time::Duration};

use reqwest::{Client, RequestBuilder, redirect::Policy};

use crate::{Error, Service};

/// How long a service may take. Rekor waits until an entry is in the tree.
const AT_MOST: Duration = Duration::from_mins(1);
/// The longest answer, in bytes: certificates and proofs are a few thousand.
const LONGEST: usize = 1024 * 1024;
/// How much of a refusal is told, in characters.
const TOLD: usize = 300;

/// The address of a service. Only on this machine may it be without TLS: a token is sent there.
#[derive(Clone, Debug)]
pub struct Url {
    service: Service,
    inner: reqwest::Url,
    /// On this machine.
    here: bool,
}

impl Url {
    /// Reads one.
    pub fn parse(service: Service, text: &str) -> Result<Self, Error> {
        let failed = |reason| Error::Address { service, url: shown(text), reason };
        let url = reqwest::Url::parse(text).map_err(|_| failed("it is no URL"))?;
        let host = url.host_str().ok_or_else(|| failed("it has no host"))?;
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        let here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        match url.scheme() {
            "https" => {}
            "http" if here => {}
            "http" => return Err(failed("it is `http`, and what is sent there is secret")),
            _ => return Err(failed("it is neither `https` nor `http`")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(failed("it has a user or a password in it"));
        }
        Ok(Self { service, inner: url, here })
    }

    /// A path below it.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.inner.as_str().trim_end_matches('/'))
    }

    pub(crate) fn whole(&self) -> reqwest::Url {
        self.inner.clone()
    }

    pub(crate) const fn service(&self) -> Service {
        self.service
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is behind a question mark may be a secret.
        let mut url = self.inner.clone();
        url.set_query(None);
        f.write_str(url.as_str().trim_end_matches('/'))
    }
}

/// What of an address may be shown that is refused: not what is behind a question mark, and not what is before an at sign.
fn shown(text: &str) -> String {
    let text = text.split('?').next().unwrap_or_default();
    text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, rest)| format!("…@{rest}"))
}

/// A client for one service. None is kept: a signature takes one request of each.
pub(crate) fn client(url: &Url) -> Result<Client, Error> {
    let builder = Client::builder().redirect(Policy::none()).timeout(AT_MOST);
    let builder = builder.user_agent(concat!("spectra/", env!("CARGO_PKG_VERSION")));
    // What goes to this machine in clear text must not go to a proxy first.
    let builder = if url.here { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| unreachable_at(url, error))
}

fn unreachable_at(url: &Url, error: reqwest::Error) -> Error {
    let source = Box::new(error.without_url());
    Error::Unreachable { service: url.service(), url: url.to_string(), source }
}

/// Sends a request and reads the answer.
pub(crate) async fn read(url: &Url, request: RequestBuilder) -> Result<Vec<u8>, Error> {
    let failed = |error| unreachable_at(url, error);
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > LONGEST {
            let reason = format!("it is longer than {LONGEST} bytes");
            return Err(Error::Answer { service: url.service(), url: url.to_string(), reason });
        }
        body.extend_from_slice(&chunk);
    }
    if status.is_success() {
        return Ok(body);
    }
    Err(Error::Refused {
        service: url.service(),
        url: url.to_string(),
        status: status.as_u16(),
        said: said(&body),
    })
}

/// What a service says, on one line: its `message`, where it is JSON.
fn said(body: &[u8]) -> String {
    let message = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|value| value.get("message")?.as_str().map(str::to_owned));
    let text = message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let text: String = text.split(|c: char| c.is_control()).collect::<Vec<_>>().join(" ");
    match text.trim() {
        "" => "it does not say why".to_owned(),
        text => text.chars().take(TOLD).collect(),
    }
}
