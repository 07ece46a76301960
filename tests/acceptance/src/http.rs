//! HTTP to loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

/// Status and body of an answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

/// Gets a URL; names under `.localhost` are this machine (RFC 6761), whatever the resolver says.
///
/// # Panics
/// When no HTTP answer comes.
#[must_use]
pub fn get(url: &str) -> Answer {
    send(url, reqwest::Client::get)
}

/// Sends a `DELETE`.
///
/// # Panics
/// When no HTTP answer comes.
#[must_use]
pub(crate) fn delete(url: &str) -> Answer {
    send(url, reqwest::Client::delete)
}

/// Posts JSON and reads JSON back; `token` becomes a bearer token.
///
/// # Panics
/// When no HTTP answer comes or the answer is not JSON.
#[must_use]
pub fn post_json(url: &str, token: Option<&str>, body: &Value) -> Value {
    let text = body.to_string();
    let answer = send(url, |client, url| {
        let request = client.post(url).header("content-type", "application/json").body(text.clone());
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    });
    serde_json::from_str(&answer.body).unwrap_or_else(|error| {
        panic!("`POST {url}` answered {} and no JSON ({error}): {}", answer.status, answer.body)
    })
}

/// Puts JSON and reads JSON back.
///
/// # Panics
/// When no HTTP answer comes or the answer is not JSON.
#[must_use]
pub(crate) fn put_json(url: &str, body: &Value) -> Value {
    let text = body.to_string();
    let answer = send(url, |client, url| {
        client.put(url).header("content-type", "application/json").body(text.clone())
    });
    serde_json::from_str(&answer.body).unwrap_or_else(|error| {
        panic!("`PUT {url}` answered {} and no JSON ({error}): {}", answer.status, answer.body)
    })
}

fn send(
    url: &str,
    request: impl FnOnce(&reqwest::Client, reqwest::Url) -> reqwest::RequestBuilder,
) -> Answer {
    let parsed = reqwest::Url::parse(url).unwrap_or_else(|error| panic!("`{url}` is not a URL: {error}"));
    let host = parsed.host_str().unwrap_or_default().to_owned();
    let mut builder = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30));
    if host.ends_with(".localhost") {
        let port = parsed.port_or_known_default().unwrap_or(80);
        builder = builder.resolve(&host, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = builder.build().unwrap();
        let answer =
            request(&client, parsed).send().await.unwrap_or_else(|error| panic!("`{url}` failed: {error}"));
        let status = answer.status().as_u16();
        let body = answer.text().await.unwrap_or_else(|error| panic!("`{url}` broke off: {error}"));
        Answer { status, body }
    })
}
