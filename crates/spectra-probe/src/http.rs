//! Asks a service over HTTP, the way its users do.

use std::time::{Duration, Instant};

use spectra_rollout::{Measurement, Verdict};
use spectra_types::SafeUrl;
use thiserror::Error;
use url::Url;

use crate::client::{EXCERPT, client, excerpt, no_answer, redirected};

/// A `GET` of one URL, judged by the status of its answer.
///
/// Redirects are not followed: one answered by a login page must not count as healthy. A host under `.localhost`
/// is this machine (RFC 6761, section 6.3), also where the system's resolver does not know.
#[derive(Debug)]
pub struct HttpProbe {
    client: reqwest::Client,
    url: SafeUrl,
    expected_status: u16,
}

/// A probe could not be made.
#[derive(Debug, Error)]
#[error("making a client to probe `{url}` failed")]
pub struct ProbeError {
    url: SafeUrl,
    #[source]
    source: reqwest::Error,
}

impl HttpProbe {
    /// A probe of `url` that expects `expected_status` within `timeout`.
    pub fn new(url: Url, expected_status: u16, timeout: Duration) -> Result<Self, ProbeError> {
        match client(&url, timeout) {
            Ok(client) => Ok(Self { client, url: url.into(), expected_status }),
            Err(source) => Err(ProbeError { url: url.into(), source }),
        }
    }

    /// The URL that is asked for.
    #[must_use]
    pub const fn url(&self) -> &Url {
        self.url.expose()
    }

    /// Asks once. A failure to ask is a measurement too.
    pub async fn measure(&self) -> Measurement {
        let subject = format!("GET {}", self.url);
        let begun = Instant::now();
        let unhealthy =
            |answer: String| Measurement { subject: subject.clone(), answer, verdict: Verdict::Unhealthy };
        let mut response = match self.client.get(self.url().clone()).send().await {
            Ok(response) => response,
            Err(error) => return unhealthy(no_answer(error, begun.elapsed())),
        };
        let status = response.status();
        let took = begun.elapsed();
        if status.as_u16() == self.expected_status {
            let answer = format!("HTTP {status} in {} ms", took.as_millis());
            return Measurement { subject, answer, verdict: Verdict::Healthy };
        }
        let location = redirected(&response);
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

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

    #[tokio::test]
    async fn a_token_in_the_url_is_asked_with_and_not_shown() {
        let mut url = answer_once("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        url.set_query(Some("token=t0ken-of-a-probe"));
        let probe = HttpProbe::new(url, 200, Duration::from_secs(5)).unwrap();
        assert!(probe.url().as_str().ends_with("/healthz?token=t0ken-of-a-probe"));
        let measurement = probe.measure().await;
        assert!(measurement.subject.ends_with("/healthz?token=***"), "{measurement:?}");
    }
}
