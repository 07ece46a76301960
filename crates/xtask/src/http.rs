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
    let failed = |reason: String| Error::Http { url: url.to_owned(), reason };
    let parsed = reqwest::Url::parse(url).map_err(|error| failed(error.to_string()))?;
    let host = parsed.host_str().unwrap_or_default().to_owned();
    let mut client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10));
    if host.ends_with(".localhost") {
        let port = parsed.port_or_known_default().unwrap_or(80);
        client = client.resolve(&host, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    let client = client.build().map_err(|error| failed(error.to_string()))?;
    let answer = client.get(parsed).send().await.map_err(|error| failed(error.to_string()))?;
    let status = answer.status().as_u16();
    let body = answer.text().await.map_err(|error| failed(error.to_string()))?;
    Ok(Answer { status, body })
}

/// Gets `url` and reads its body as JSON; every status but 200 is an error.
pub(crate) async fn get_json(url: &str) -> Result<serde_json::Value, Error> {
    let answer = get(url).await?;
    if answer.status != 200 {
        return Err(Error::Http {
            url: url.to_owned(),
            reason: format!("status {}: {}", answer.status, answer.body),
        });
    }
    serde_json::from_str(&answer.body)
        .map_err(|error| Error::Http { url: url.to_owned(), reason: format!("not JSON: {error}") })
}
