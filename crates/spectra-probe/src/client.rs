//! What every request of this crate has in common.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use reqwest::redirect::Policy;
use spectra_types::{Redactor, SafeUrl};
use url::{Host, Url};

/// The longest piece of an answer's body that is quoted, in characters.
pub(crate) const EXCERPT: usize = 200;

/// A client for one host: it follows no redirect and gives up after `timeout`, the body included.
///
/// A host under `.localhost` is this machine (RFC 6761, section 6.3), also where the system's resolver does not know.
pub(crate) fn client(url: &Url, timeout: Duration) -> reqwest::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("spectra-probe/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .timeout(timeout)
        // Each request is a new connection: a kept one would go on talking to the deployment it was opened to.
        .pool_max_idle_per_host(0);
    // What is on this machine is not behind anybody's proxy.
    if SafeUrl::from(url.clone()).is_loopback() {
        builder = builder.no_proxy();
        if let (Some(Host::Domain(host)), Some(port)) = (url.host(), url.port_or_known_default()) {
            builder = builder.resolve(host, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        }
    }
    builder.build()
}

/// Why no answer came, in words that do not repeat the URL.
pub(crate) fn no_answer(error: reqwest::Error, took: Duration) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
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

/// Where an answer sends its reader, in words; empty when it sends him nowhere.
pub(crate) fn redirected(response: &reqwest::Response) -> String {
    response
        .headers()
        .get(reqwest::header::LOCATION)
        .and_then(|location| location.to_str().ok())
        .map(|location| {
            let shown = Url::parse(location)
                .map_or_else(|_| location.to_owned(), |location| SafeUrl::from(location).to_string());
            format!(", a redirect to `{shown}`, which is not followed")
        })
        .unwrap_or_default()
}

/// The beginning of a body on one line, ready to be appended; empty for an empty body.
pub(crate) fn excerpt(body: &str) -> String {
    let line = body.split_whitespace().collect::<Vec<_>>().join(" ");
    // Before the cut: half a secret is not recognised.
    let line = Redactor::global().redact(&line);
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
    use spectra_types::Secret;

    use super::*;

    #[test]
    fn long_bodies_are_cut() {
        assert_eq!(excerpt("  \n "), "");
        assert!(excerpt(&"x".repeat(500)).chars().count() < EXCERPT + 8);
    }

    #[test]
    fn a_secret_at_the_cut_is_recognised() {
        let secret: Secret<String> = Secret::from("a-password-in-a-body");
        let body = format!("{}{}", "x".repeat(EXCERPT - 8), secret.expose());
        assert!(!excerpt(&body).contains("a-pass"), "{}", excerpt(&body));
    }
}
