//! Challenges and tokens.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use serde::Deserialize;
use spectra_types::Secret;
use url::Url;

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// Nothing.
    None,
    /// User name and password with every request.
    Basic,
    /// A token from the service at `realm`.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// As a registry makes it whatever the call: the scope is each call's own.
    pub(crate) fn without_scope(mut self) -> Self {
        if let Self::Bearer { scope, .. } = &mut self {
            *scope = None;
        }
        self
    }
}

/// The first Bearer or Basic challenge in all headers; Negotiate and the like are passed over.
pub(crate) fn parse_challenges(headers: &HeaderMap) -> Option<Challenge> {
    headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(split_challenges)
        .find_map(|(scheme, parameters)| match scheme.to_ascii_lowercase().as_str() {
            "basic" => Some(Challenge::Basic),
            "bearer" => {
                let mut parameters = parameters;
                Some(Challenge::Bearer {
                    realm: parameters.remove("realm")?,
                    service: parameters.remove("service"),
                    scope: parameters.remove("scope"),
                })
            }
            _ => None,
        })
}

/// Splits a header into schemes with their parameters. A header may hold several, separated by the same commas
/// that separate parameters.
fn split_challenges(header: &str) -> Vec<(String, HashMap<String, String>)> {
    let mut challenges: Vec<(String, HashMap<String, String>)> = Vec::new();
    for piece in split_outside_quotes(header) {
        let piece = piece.trim();
        let word = piece.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(piece.len());
        let (first, rest) = piece.split_at(word);
        let parameter = if rest.starts_with('=') {
            piece
        } else {
            if !first.is_empty() {
                challenges.push((first.to_owned(), HashMap::new()));
            }
            rest.trim_start()
        };
        if let (Some((name, value)), Some((_, parameters))) =
            (parameter.split_once('='), challenges.last_mut())
        {
            parameters.insert(name.trim().to_ascii_lowercase(), unquote(value.trim()));
        }
    }
    challenges
}

fn split_outside_quotes(text: &str) -> Vec<&str> {
    let (mut pieces, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                pieces.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    pieces.push(&text[start..]);
    pieces
}

fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut output = String::new();
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        output.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    output
}

/// The rights that a set of calls needs, such as `repository:team/app:pull,push`, and those that would be of use to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Scopes {
    needed: BTreeSet<String>,
    wished: BTreeSet<String>,
}

impl Scopes {
    pub(crate) fn none() -> Self {
        Self::default()
    }

    pub(crate) fn repository(mut self, name: &str, actions: &str) -> Self {
        self.needed.insert(format!("repository:{name}:{actions}"));
        self
    }

    /// A repository to read from if we may; without it, the calls are made nevertheless.
    pub(crate) fn wish(mut self, name: &str) -> Self {
        self.wished.insert(format!("repository:{name}:pull"));
        self
    }

    /// Without the wishes; nothing if there are none.
    pub(crate) fn without_wishes(&self) -> Option<Self> {
        let needed = self.needed.clone();
        (!self.wished.is_empty()).then_some(Self { needed, wished: BTreeSet::new() })
    }

    /// Adds what a registry itself named in its challenge.
    pub(crate) fn and(&self, asked: Option<&str>) -> Self {
        let mut scopes = self.clone();
        let asked = asked.unwrap_or_default().split(' ').filter(|scope| !scope.is_empty());
        scopes.needed.extend(asked.map(str::to_owned));
        scopes
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.needed.iter().chain(self.wished.difference(&self.needed)).map(String::as_str)
    }
}

/// An access token and when to stop using it.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) value: Secret<String>,
    /// By the word of the service; a day at most.
    pub(crate) lifetime: Duration,
    usable_until: Instant,
}

/// Shortest and longest time for which a token is used, in seconds.
const SHORTEST: u64 = 60;
const LONGEST: u64 = 24 * 60 * 60;

/// What a token service answers.
#[derive(Deserialize)]
pub(crate) struct TokenAnswer {
    #[serde(default)]
    token: Option<Secret<String>>,
    #[serde(default)]
    access_token: Option<Secret<String>>,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl TokenAnswer {
    /// The token, if there is one under either name.
    pub(crate) fn into_token(self) -> Option<Token> {
        let value = self.token.or(self.access_token).filter(|token| !token.expose().is_empty())?;
        // The specification's default is 60 s, and values below that are taken as 60 s; nobody needs one for longer than a day. A
        // tenth is kept in hand for clocks and slow requests.
        let lifetime = Duration::from_secs(self.expires_in.unwrap_or(SHORTEST).clamp(SHORTEST, LONGEST));
        Some(Token { value, lifetime, usable_until: Instant::now() + lifetime * 9 / 10 })
    }
}

impl Token {
    pub(crate) fn is_usable(&self) -> bool {
        Instant::now() < self.usable_until
    }
}

/// One slot a scope set. Whoever holds a slot's lock fetches its token; the others wait for the same one.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    slots: Mutex<HashMap<Scopes, TokenSlot>>,
}

pub(crate) type TokenSlot = Arc<tokio::sync::Mutex<Held>>;

/// What is known for one scope set.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) token: Option<Token>,
    /// Whether the token service gives none for all of it, but did so without the wishes.
    pub(crate) wishes_refused: bool,
}

impl Tokens {
    pub(crate) fn slot(&self, scopes: &Scopes) -> TokenSlot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(scopes.clone()).or_default())
    }
}

/// Whether a service of `registry` may be at `url`: no step down from TLS, and no address inside a private network that the
/// registry itself is not in, for the answer of a foreign server must not choose what we call in here.
pub(crate) fn is_safe_target(registry: &Url, url: &Url) -> Result<(), String> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("`{}` is neither http nor https", url.scheme()));
    }
    if registry.scheme() == "https" && url.scheme() == "http" {
        return Err("it leads from https to plain http".to_owned());
    }
    if url.host() != registry.host() && is_link_local(url) {
        return Err(
            "it leads to a link-local address, where clouds keep their machines' credentials".to_owned()
        );
    }
    if url.host() != registry.host() && is_internal(url) && !is_internal(registry) {
        return Err("it leads from a public registry to an address inside this network".to_owned());
    }
    Ok(())
}

/// Addresses of the own network segment; among them are the metadata services of clouds.
fn is_link_local(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_link_local(),
        Some(url::Host::Ipv6(address)) => match address.to_ipv4_mapped() {
            Some(address) => address.is_link_local(),
            None => address.is_unicast_link_local(),
        },
        _ => false,
    }
}

fn is_internal_v4(address: std::net::Ipv4Addr) -> bool {
    address.is_loopback() || address.is_private() || address.is_link_local() || address.is_unspecified()
}

fn is_internal(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => is_internal_v4(address),
        // An IPv4 address in IPv6's clothes leads to the same place.
        Some(url::Host::Ipv6(a)) => a.to_ipv4_mapped().map_or_else(
            || a.is_loopback() || a.is_unique_local() || a.is_unicast_link_local() || a.is_unspecified(),
            is_internal_v4,
        ),
        Some(url::Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        parse_challenges(&headers)
    }

    fn bearer(realm: &str, service: &str) -> Challenge {
        Challenge::Bearer { realm: realm.into(), service: Some(service.into()), scope: None }
    }

    #[test]
    fn reads_all_challenges() {
        assert_eq!(parse(&[r#"Bearer realm="https://a/t",service="s""#]), Some(bearer("https://a/t", "s")));
        assert_eq!(
            parse(&["Negotiate", r#"bearer realm="https://a/t" , service=s"#]),
            Some(bearer("https://a/t", "s"))
        );
        assert_eq!(
            parse(&[r#"Negotiate abc==, Basic realm="a, b", Bearer realm="x""#]),
            Some(Challenge::Basic)
        );
        assert_eq!(
            parse(&[
                r#"Bearer realm="r",scope="repository:a:pull,push repository:b:pull",error="insufficient_scope""#
            ]),
            Some(Challenge::Bearer {
                realm: "r".into(),
                service: None,
                scope: Some("repository:a:pull,push repository:b:pull".into())
            })
        );
        assert_eq!(parse(&["Digest realm=x"]), None);
        assert_eq!(parse(&[]), None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in "[ -~]{0,80}") {
            let _ = parse(&[text.as_str()]);
        }
    }

    #[test]
    fn targets_of_a_public_registry_stay_public() {
        let url = |text: &str| Url::parse(text).unwrap();
        let public = url("https://ghcr.io/");
        assert!(is_safe_target(&public, &url("https://storage.example.com/x")).is_ok());
        assert!(is_safe_target(&public, &url("http://storage.example.com/x")).is_err());
        for inside in [
            "https://169.254.169.254/",
            "https://10.0.0.8/",
            "https://[::1]/",
            "https://localhost/",
            "https://localhost./",
            "https://registry.localhost./",
            "https://[::ffff:127.0.0.1]/",
        ] {
            assert!(is_safe_target(&public, &url(inside)).is_err(), "{inside}");
        }
        let local = url("http://127.0.0.1:5000/");
        assert!(is_safe_target(&local, &url("http://127.0.0.1:6000/")).is_ok());
        for metadata in ["http://169.254.169.254/", "http://[fe80::1]/", "http://[::ffff:169.254.169.254]/"] {
            assert!(is_safe_target(&local, &url(metadata)).is_err(), "{metadata}");
        }
    }

    #[test]
    fn token_names_and_lifetimes() {
        let token = |text: &str| serde_json::from_str::<TokenAnswer>(text).unwrap().into_token();
        assert_eq!(token(r#"{"access_token":"abcd1"}"#).unwrap().value.expose(), "abcd1");
        assert!(token(r#"{"token":"abcd2","expires_in":300}"#).unwrap().is_usable());
        assert!(token("{}").is_none());
        // A time that no clock can show.
        let endless = token(r#"{"token":"abcd3","expires_in":18446744073709551615}"#).unwrap();
        assert!(endless.is_usable() && endless.lifetime == Duration::from_hours(24));
    }
}
