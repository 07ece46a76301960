//! Asks a service over HTTP, the way its users do.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use reqwest::redirect::Policy;
use spectra_rollout::{Measurement, Verdict};
use thiserror::Error;
use url::{Host, Url};

/// The longest piece of an answer's body that is quoted.
const EXCERPT: usize = 200;

/// A `GET` of one URL, judged by the status of its answer.
///
/// Redirects are not followed: one answered by a login page must not count as healthy. A host under `.localhost`
/// is this machine (RFC 6761, section 6.3), also where the system's resolver does not know.
#[derive(Debug)]
pub struct HttpProbe {
    client: reqwest::Client,
    url: Url,
    expected_status: u16,
}

/// A probe could not be made.
#[derive(Debug, Error)]
#[error("making a client to probe `{url}` failed")]
pub struct ProbeError {
    url: String,
    #[source]
    source: reqwest::Error,
}

impl HttpProbe {
    /// A probe of `url` that expects `expected_status` within `timeout`.
    pub fn new(url: Url, expected_status: u16, timeout: Duration) -> Result<Self, ProbeError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("spectra-probe/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .timeout(timeout)
            // Each probe is a new connection: a kept one would go on talking to the deployment it was opened to.
            .pool_max_idle_per_host(0);
        // What is on this machine is not behind anybody's proxy.
        match (url.host(), url.port_or_known_default()) {
            (Some(Host::Domain(host)), Some(port)) if is_localhost(host) => {
                builder = builder.no_proxy().resolve(host, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            }
            (Some(Host::Ipv4(address)), _) if address.is_loopback() => builder = builder.no_proxy(),
            (Some(Host::Ipv6(address)), _) if address.is_loopback() => builder = builder.no_proxy(),
            _ => {}
        }
        match builder.build() {
            Ok(client) => Ok(Self { client, url, expected_status }),
            Err(source) => Err(ProbeError { url: url.to_string(), source }),
        }
    }

    /// The URL that is asked for.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }
}

impl HttpProbe {
    /// Asks once. A failure to ask is a measurement too.
    pub async fn measure(&self) -> Measurement {
        let subject = format!("GET {}", self.url);
        let begun = Instant::now();
        let unhealthy =
            |answer: String| Measurement { subject: subject.clone(), answer, verdict: Verdict::Unhealthy };
        let mut response = match self.client.get(self.url.clone()).send().await {
            Ok(response) => response,
            Err(error) => return unhealthy(no_answer(&error, begun.elapsed())),
        };
        let status = response.status();
        let location = response
            .headers()
            .get(reqwest::header::LOCATION)
            .and_then(|location| location.to_str().ok())
            .map(|location| format!(", a redirect to `{location}`, which is not followed"))
            .unwrap_or_default();
        let took = begun.elapsed();
        if status.as_u16() == self.expected_status {
            let answer = format!("HTTP {status} in {} ms", took.as_millis());
            return Measurement { subject, answer, verdict: Verdict::Healthy };
        }
        let body = excerpt(&beginning(&mut response).await);
        let expected = self.expected_status;
        unhealthy(format!("HTTP {status} in {} ms (expected {expected}){location}{body}", took.as_millis()))
    }
}

/// Whether a host is this machine by its name.
#[must_use]
pub fn is_localhost(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost")
}

/// The URL of a service by its domain, which may carry a port: plain HTTP on this machine, HTTPS elsewhere.
pub fn service_url(domain: &str) -> Result<Url, url::ParseError> {
    let host = domain.rsplit_once(':').map_or(domain, |(host, _)| host);
    let scheme = if is_localhost(host) { "http" } else { "https" };
    Url::parse(&format!("{scheme}://{domain}/"))
}

fn no_answer(error: &reqwest::Error, took: Duration) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if error.is_timeout() {
        format!("no answer within {} ms", took.as_millis())
    } else if error.is_connect() {
        format!("no connection: {cause}")
    } else {
        format!("no answer: {cause}")
    }
}

/// Reads no more of a body than is quoted; a broken body is as good as a short one here.
async fn beginning(response: &mut reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < EXCERPT * 4 {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The beginning of a body on one line; empty for an empty body.
fn excerpt(body: &str) -> String {
    let line = body.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        return String::new();
    }
    let mut short: String = line.chars().take(EXCERPT).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    format!(": {short:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_urls_are_https_unless_local() {
        assert_eq!(service_url("web.up.railway.app").unwrap().as_str(), "https://web.up.railway.app/");
        let local = service_url("web-1a2b.up.railway.localhost:7430").unwrap();
        assert_eq!(local.as_str(), "http://web-1a2b.up.railway.localhost:7430/");
    }

    #[test]
    fn localhost_is_a_suffix_of_labels() {
        assert!(is_localhost("localhost") && is_localhost("a.LOCALHOST."));
        assert!(!is_localhost("notlocalhost") && !is_localhost("localhost.example"));
    }

    #[test]
    fn long_bodies_are_cut() {
        assert_eq!(excerpt("  \n "), "");
        assert!(excerpt(&"x".repeat(500)).chars().count() < EXCERPT + 8);
    }

    async fn answer_once(reply: &'static str) -> Url {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await.unwrap();
            stream.write_all(reply.as_bytes()).await.unwrap();
        });
        Url::parse(&format!("http://app.localhost:{port}/healthz")).unwrap()
    }

    async fn measure(reply: &'static str) -> Measurement {
        HttpProbe::new(answer_once(reply).await, 200, Duration::from_secs(5)).unwrap().measure().await
    }

    #[tokio::test]
    async fn expected_status_is_healthy() {
        let measurement = measure("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(measurement.verdict, Verdict::Healthy, "{measurement:?}");
    }

    #[tokio::test]
    async fn other_status_quotes_the_answer() {
        let measurement =
            measure("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 13\r\n\r\ndatabase down").await;
        assert_eq!(measurement.verdict, Verdict::Unhealthy);
        assert!(measurement.answer.contains("HTTP 503") && measurement.answer.contains("database down"));
    }

    #[tokio::test]
    async fn redirect_is_not_followed() {
        let measurement =
            measure("HTTP/1.1 302 Found\r\nlocation: https://login.example/\r\ncontent-length: 0\r\n\r\n")
                .await;
        assert_eq!(measurement.verdict, Verdict::Unhealthy);
        assert!(measurement.answer.contains("login.example"));
    }

    #[tokio::test]
    async fn refused_connection_is_unhealthy() {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let url = Url::parse(&format!("http://127.0.0.1:{port}/")).unwrap();
        let measurement = HttpProbe::new(url, 200, Duration::from_secs(5)).unwrap().measure().await;
        assert!(measurement.answer.starts_with("no connection"), "{measurement:?}");
    }
}
