//! Plain HTTP to loopback: the sandbox's admin surface and the services that run on it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::error::Error;

/// Status and body of an answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Gets `url`. Every name under `.localhost` is this machine (RFC 6761, section 6.3), whatever the
/// resolver says, so the name is bound to the loopback address here. Proxies are ignored.
pub(crate) async fn get(url: &str) -> Result<Answer, Error> {
    Asked::new(url)?.get().await
}

/// One URL that is asked again and again, over connections that are kept.
pub(crate) struct Asked {
    client: reqwest::Client,
    url: reqwest::Url,
}

impl Asked {
    pub(crate) fn new(url: &str) -> Result<Self, Error> {
        let failed = |reason: String| Error::Http { method: "GET", url: url.to_owned(), reason };
        let (client, url) = client(url).map_err(failed)?;
        Ok(Self { client, url })
    }

    pub(crate) async fn get(&self) -> Result<Answer, Error> {
        let failed = |reason: reqwest::Error| Error::Http {
            method: "GET",
            url: self.url.to_string(),
            reason: reason.to_string(),
        };
        let answer = self.client.get(self.url.clone()).send().await.map_err(failed)?;
        let status = answer.status().as_u16();
        let body = answer.text().await.map_err(failed)?;
        Ok(Answer { status, body })
    }
}

/// Sends JSON and reads JSON; every status but 200 and 201 is an error.
pub(crate) async fn send_json(
    method: reqwest::Method,
    url: &str,
    token: Option<&str>,
    body: &serde_json::Value,
) -> Result<serde_json::Value, Error> {
    let name = match method.as_str() {
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        _ => "GET",
    };
    let failed = |reason: String| Error::Http { method: name, url: url.to_owned(), reason };
    let (client, parsed) = client(url).map_err(failed)?;
    let mut request = client.request(method, parsed).json(body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.map_err(|error| failed(error.to_string()))?;
    let status = answer.status().as_u16();
    let body = answer.text().await.map_err(|error| failed(error.to_string()))?;
    if !matches!(status, 200 | 201) {
        return Err(failed(format!("status {status}: {body}")));
    }
    serde_json::from_str(&body).map_err(|error| failed(format!("not JSON: {error}")))
}

fn client(url: &str) -> Result<(reqwest::Client, reqwest::Url), String> {
    let parsed = reqwest::Url::parse(url).map_err(|error| error.to_string())?;
    let host = parsed.host_str().unwrap_or_default().to_owned();
    let mut client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10));
    if host.ends_with(".localhost") {
        let port = parsed.port_or_known_default().unwrap_or(80);
        client = client.resolve(&host, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    Ok((client.build().map_err(|error| error.to_string())?, parsed))
}

/// Gets `url` and reads its body as JSON; every status but 200 is an error.
pub(crate) async fn get_json(url: &str) -> Result<serde_json::Value, Error> {
    let answer = get(url).await?;
    if answer.status != 200 {
        return Err(Error::Http {
            method: "GET",
            url: url.to_owned(),
            reason: format!("status {}: {}", answer.status, answer.body),
        });
    }
    serde_json::from_str(&answer.body).map_err(|error| Error::Http {
        method: "GET",
        url: url.to_owned(),
        reason: format!("not JSON: {error}"),
    })
}
