//! The platform's health probe: plain HTTP to the replica, no redirects, 200 and nothing else.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

/// What Railway's prober sends as `Host`.
const HOST: &str = "healthcheck.railway.app";
/// Longest wait for one answer, in real time.
const TIMEOUT: Duration = Duration::from_secs(5);

static CLIENT: LazyLock<Option<reqwest::Client>> = LazyLock::new(|| {
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .timeout(TIMEOUT)
        .user_agent("RailwayHealthCheck/1.0")
        .build()
        .inspect_err(|error| tracing::error!(%error, "no HTTP client for health checks"))
        .ok()
});

/// Asks once; the error says what came instead of 200.
pub(super) async fn probe(address: SocketAddr, path: &str) -> Result<(), String> {
    let client = CLIENT.as_ref().ok_or("the sandbox has no HTTP client")?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    let answer = client
        .get(format!("http://{address}{slash}{path}"))
        .header("Host", HOST)
        .send()
        .await
        .map_err(|error| {
            if error.is_timeout() { "no answer in time".to_owned() } else { "service unavailable".to_owned() }
        })?;
    match answer.status().as_u16() {
        200 => Ok(()),
        other => Err(format!("status code {other}")),
    }
}
