//! URLs that can be printed.

use std::{fmt, str::FromStr};

use url::{Host, Url};

use crate::text::serde_as_text;

/// A URL whose `Display` and `Debug` mask credentials and the values of query keys that sign or authorise.
///
/// Use it wherever a URL may reach a person, a log or an error. Serialising writes the masked form too.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SafeUrl(Url);

/// Query keys, in lower case, whose value is as good as a password; prefixes end in `-`.
const SENSITIVE: &[&str] = &[
    "_state",
    "access_token",
    "apikey",
    "api_key",
    "auth",
    "code",
    "credential",
    "id_token",
    "key",
    "password",
    "refresh_token",
    "secret",
    "sig",
    "signature",
    "token",
    "x-amz-",
    "x-goog-",
];

const MASK: &str = "***";

impl SafeUrl {
    /// The URL itself, to be requested and not to be printed.
    #[must_use]
    pub const fn expose(&self) -> &Url {
        &self.0
    }

    /// Gives the URL up.
    #[must_use]
    pub fn into_inner(self) -> Url {
        self.0
    }

    /// Host and port as written in a `Host` header; empty for a URL without a host.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Whether the host is this machine: a loopback address, `localhost`, or a name under `.localhost`
    /// (RFC 6761).
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.');
                name == "localhost" || name.ends_with(".localhost")
            }
            None => false,
        }
    }
}

fn is_sensitive(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SENSITIVE.iter().any(|known| if known.ends_with('-') { key.starts_with(known) } else { key == *known })
}

impl fmt::Display for SafeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = self.0.clone();
        if url.cannot_be_a_base() {
            // Such as `user:password@host`, which parses with the scheme `user`.
            return write!(f, "{}:{MASK}", url.scheme());
        }
        // Both setters fail only for URLs that cannot carry credentials and thus have none to mask.
        if !url.username().is_empty() && url.set_username(MASK).is_err()
            || url.password().is_some() && url.set_password(Some(MASK)).is_err()
        {
            return f.write_str("[url]");
        }
        let query = url.query().map(|query| {
            let pairs = query.split('&').map(|pair| {
                let key = pair.split_once('=').map_or(pair, |(key, _)| key);
                // Keys may be percent-encoded, so they are decoded before the comparison.
                let sensitive = url::form_urlencoded::parse(key.as_bytes())
                    .next()
                    .is_some_and(|(decoded, _)| is_sensitive(&decoded));
                if sensitive { format!("{key}={MASK}") } else { pair.to_owned() }
            });
            pairs.collect::<Vec<_>>().join("&")
        });
        url.set_query(query.as_deref());
        f.write_str(url.as_str())
    }
}

impl fmt::Debug for SafeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SafeUrl({self})")
    }
}

impl From<Url> for SafeUrl {
    fn from(url: Url) -> Self {
        Self(url)
    }
}

impl FromStr for SafeUrl {
    type Err = SafeUrlError;

    /// Accepts absolute URLs. The text is not repeated in the error, for it may hold a password.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|source| SafeUrlError { reason: source.to_string() })?;
        if url.cannot_be_a_base() {
            return Err(SafeUrlError { reason: "there is no `//` after the scheme".to_owned() });
        }
        Ok(Self(url))
    }
}

serde_as_text!(SafeUrl);

/// Why a text is not an absolute URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an absolute URL such as `https://host/path`: {reason}")]
pub struct SafeUrlError {
    reason: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn passwords_never_show(password in "[a-z0-9]{12}", key in "(token|X-Amz-Signature|%73ig)") {
            let url: SafeUrl = format!("https://user:{password}@host/p?a=b&{key}={password}").parse().unwrap();
            let shown = format!("{url} {url:?}");
            prop_assert!(!shown.contains(&password), "{}", shown);
            prop_assert!(shown.contains("a=b"));
        }

        #[test]
        fn parse_after_display_is_identity_without_secrets(path in "[a-z0-9/]{0,30}", port in 1024_u16..) {
            let url: SafeUrl = format!("http://example.org:{port}/{path}?page=2#top").parse().unwrap();
            prop_assert_eq!(url.to_string().parse::<SafeUrl>().unwrap(), url);
        }
    }

    #[test]
    fn loopback() {
        for (text, expected) in [
            ("http://127.0.0.1:7430/x", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("http://web-1a2b.up.railway.localhost:7430", true),
            ("https://localhost.example.com", false),
            ("https://10.0.0.1", false),
        ] {
            assert_eq!(text.parse::<SafeUrl>().unwrap().is_loopback(), expected, "{text}");
        }
    }

    #[test]
    fn errors_do_not_repeat_the_text() {
        insta::assert_snapshot!("user:p4ssw0rd@host".parse::<SafeUrl>().unwrap_err(), @"not an absolute URL such as `https://host/path`: there is no `//` after the scheme");
        let opaque = SafeUrl::from(Url::parse("user:p4ssw0rd@host").unwrap());
        assert_eq!(opaque.to_string(), "user:***");
        insta::assert_snapshot!("host/p4th".parse::<SafeUrl>().unwrap_err(), @"not an absolute URL such as `https://host/path`: relative URL without a base");
    }
}
