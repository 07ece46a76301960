//! Where the client connects, as whom, and how fast.

use std::sync::Arc;
use std::time::Duration;

use spectra_types::{SafeUrl, Secret};
use url::Url;

use crate::error::ConfigError;
use crate::time::{Clock, Polling, SystemClock};

/// Railway's public API.
pub const DEFAULT_ENDPOINT: &str = "https://backboard.railway.com/graphql/v2";
/// The variable that replaces [`DEFAULT_ENDPOINT`].
pub const ENDPOINT_VARIABLE: &str = "SPECTRA_RAILWAY_ENDPOINT";
/// The variable of account and workspace tokens.
pub const API_TOKEN_VARIABLE: &str = "RAILWAY_API_TOKEN";
/// The variable of project tokens; account tokens are found in it too.
pub const TOKEN_VARIABLE: &str = "RAILWAY_TOKEN";

/// The variable that has a loopback endpoint treated as Railway's: requests and looks come as slowly as there.
pub const BUDGET_VARIABLE: &str = "SPECTRA_RAILWAY_BUDGET";

/// What is known beforehand about a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenKindHint {
    /// Nothing: ask Railway.
    #[default]
    Auto,
    /// An account token (OAuth tokens are sent the same way).
    Account,
    /// A workspace token.
    Workspace,
    /// A project token.
    Project,
}

/// Where a token was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenOrigin {
    /// Given by the configuration.
    Configuration,
    /// [`API_TOKEN_VARIABLE`].
    ApiTokenVariable,
    /// [`TOKEN_VARIABLE`].
    TokenVariable,
}

impl TokenOrigin {
    /// For messages.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Configuration => "the configuration",
            Self::ApiTokenVariable => "`RAILWAY_API_TOKEN`",
            Self::TokenVariable => "`RAILWAY_TOKEN`",
        }
    }
}

/// How fast requests are sent.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Requests per second in the long run.
    pub per_second: f64,
    /// Requests that may go out at once after a pause.
    pub burst: u32,
    /// The longest time one call waits for its turn, or for a limit to pass.
    pub longest_wait: Duration,
}

impl Budget {
    /// Below every paid plan's and the edge's limit of 10 a second.
    pub const REMOTE: Self = Self { per_second: 5.0, burst: 5, longest_wait: Duration::from_mins(5) };
    /// For a sandbox on this machine: the limit of the Pro plan, which it enforces.
    pub const LOOPBACK: Self = Self { per_second: 40.0, burst: 10, longest_wait: Duration::from_mins(5) };
}

/// Everything a [`Client`](crate::Client) needs.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The GraphQL endpoint; plain HTTP is accepted for loopback addresses.
    pub endpoint: Url,
    /// The token.
    pub token: Secret<String>,
    /// Where it was found.
    pub token_origin: TokenOrigin,
    /// A second token, when both variables are set with different values. If the two turn out to be of different
    /// kinds the first call fails and names both; otherwise `token` is used.
    pub other_token: Option<(Secret<String>, TokenOrigin)>,
    /// What is known about `token`.
    pub token_kind: TokenKindHint,
    /// Sent with every request; an empty one is refused by Railway's edge.
    pub user_agent: String,
    /// The longest time for one request.
    pub timeout: Duration,
    /// `None`: [`Budget::LOOPBACK`] for loopback endpoints, otherwise [`Budget::REMOTE`].
    pub budget: Option<Budget>,
    /// `None`: [`Polling::LOOPBACK`] for loopback endpoints, otherwise [`Polling::REMOTE`].
    pub polling: Option<Polling>,
    /// How long a read of an environment answers further reads of it. A change through the same client ends it.
    pub snapshot_ttl: Duration,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl ClientConfig {
    /// The default endpoint with this token.
    #[must_use]
    pub fn new(token: Secret<String>) -> Self {
        Self {
            endpoint: default_endpoint(),
            token,
            token_origin: TokenOrigin::Configuration,
            other_token: None,
            token_kind: TokenKindHint::Auto,
            user_agent: concat!("spectra/", env!("CARGO_PKG_VERSION")).to_owned(),
            timeout: Duration::from_mins(1),
            budget: None,
            polling: None,
            snapshot_ttl: Duration::from_secs(5),
            clock: Arc::new(SystemClock::start()),
        }
    }

    /// Token and endpoint from the process's environment: [`API_TOKEN_VARIABLE`], [`TOKEN_VARIABLE`],
    /// [`ENDPOINT_VARIABLE`], [`BUDGET_VARIABLE`].
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Like [`from_env`](Self::from_env), with the variables passed in. Empty ones count as not set.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let lookup = |name| lookup(name).filter(|value| !value.trim().is_empty());
        let api = lookup(API_TOKEN_VARIABLE).map(|text| (Secret::new(text), TokenOrigin::ApiTokenVariable));
        let token = lookup(TOKEN_VARIABLE).map(|text| (Secret::new(text), TokenOrigin::TokenVariable));
        let (first, second) = match (api, token) {
            (Some(api), Some(token)) if api.0 == token.0 => (api, None),
            (Some(api), token) => (api, token),
            (None, Some(token)) => (token, None),
            (None, None) => return Err(ConfigError::MissingToken),
        };
        let mut config = Self::new(first.0);
        config.token_origin = first.1;
        config.other_token = second;
        config.endpoint = endpoint_from_lookup(lookup)?;
        // It can only be made slower: what Railway bears is no matter of opinion.
        match lookup(BUDGET_VARIABLE).as_deref().map(str::trim) {
            None => {}
            Some("remote") => {
                config.budget = Some(Budget::REMOTE);
                config.polling = Some(Polling::REMOTE);
            }
            Some(_) => return Err(ConfigError::Budget { variable: BUDGET_VARIABLE }),
        }
        Ok(config)
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let loopback = SafeUrl::from(self.endpoint.clone()).is_loopback();
        if self.endpoint.scheme() != "https" && !(self.endpoint.scheme() == "http" && loopback) {
            return Err(ConfigError::InsecureEndpoint);
        }
        let tokens = std::iter::once((&self.token, self.token_origin))
            .chain(self.other_token.as_ref().map(|(token, origin)| (token, *origin)));
        for (token, origin) in tokens {
            let text = token.expose();
            if text.trim().is_empty() || !text.chars().all(|c| c.is_ascii_graphic()) {
                return Err(ConfigError::MalformedToken { origin: origin.describe() });
            }
        }
        Ok(())
    }
}

/// The endpoint of the environment: [`ENDPOINT_VARIABLE`], otherwise [`DEFAULT_ENDPOINT`].
pub fn endpoint_from_env() -> Result<Url, ConfigError> {
    endpoint_from_lookup(|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()))
}

fn endpoint_from_lookup(lookup: impl Fn(&'static str) -> Option<String>) -> Result<Url, ConfigError> {
    lookup(ENDPOINT_VARIABLE).map_or_else(
        || Ok(default_endpoint()),
        |text| {
            text.trim()
                .parse()
                .map_err(|source| ConfigError::Endpoint { variable: ENDPOINT_VARIABLE, source })
        },
    )
}

#[expect(clippy::expect_used, reason = "a constant, parsed by the test `default_endpoint_is_a_url`")]
fn default_endpoint() -> Url {
    DEFAULT_ENDPOINT.parse().expect("a URL")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(pairs: &'static [(&'static str, &'static str)]) -> Result<ClientConfig, ConfigError> {
        ClientConfig::from_lookup(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn default_endpoint_is_a_url() {
        assert_eq!(default_endpoint().as_str(), DEFAULT_ENDPOINT);
    }

    #[test]
    fn both_variables_are_honoured() {
        let config = lookup(&[("RAILWAY_TOKEN", "aaaa-project")]).unwrap();
        assert_eq!(config.token_origin, TokenOrigin::TokenVariable);
        assert!(config.other_token.is_none());
        let config = lookup(&[("RAILWAY_API_TOKEN", "bbbb-account"), ("RAILWAY_TOKEN", " ")]).unwrap();
        assert_eq!(config.token_origin, TokenOrigin::ApiTokenVariable);
        let config = lookup(&[("RAILWAY_API_TOKEN", "bbbb"), ("RAILWAY_TOKEN", "bbbb")]).unwrap();
        assert!(config.other_token.is_none());
        let config = lookup(&[("RAILWAY_API_TOKEN", "bbbb"), ("RAILWAY_TOKEN", "cccc")]).unwrap();
        assert_eq!(config.other_token.unwrap().1, TokenOrigin::TokenVariable);
        assert!(matches!(lookup(&[]), Err(ConfigError::MissingToken)));
    }

    #[test]
    fn a_sandbox_can_be_spared_as_railway_is() {
        let config = lookup(&[("RAILWAY_TOKEN", "t0ken"), (BUDGET_VARIABLE, "remote")]).unwrap();
        assert_eq!(config.budget.unwrap().per_second.to_bits(), Budget::REMOTE.per_second.to_bits());
        assert_eq!(config.polling.unwrap().watch, Polling::REMOTE.watch);
        assert!(lookup(&[("RAILWAY_TOKEN", "t0ken")]).unwrap().budget.is_none());
        let fast = lookup(&[("RAILWAY_TOKEN", "t0ken"), (BUDGET_VARIABLE, "100")]);
        assert!(matches!(fast, Err(ConfigError::Budget { .. })));
    }

    #[test]
    fn tokens_travel_over_tls_or_stay_on_this_machine() {
        let mut config =
            lookup(&[("RAILWAY_TOKEN", "t0ken"), (ENDPOINT_VARIABLE, "http://example.org/g")]).unwrap();
        assert!(matches!(config.check(), Err(ConfigError::InsecureEndpoint)));
        config.endpoint = "http://127.0.0.1:7430/graphql/v2".parse().unwrap();
        assert!(config.check().is_ok());
        config.token = "two words".into();
        assert!(matches!(config.check(), Err(ConfigError::MalformedToken { .. })));
        assert!(matches!(
            lookup(&[("RAILWAY_TOKEN", "t0ken"), (ENDPOINT_VARIABLE, "not a url")]),
            Err(ConfigError::Endpoint { .. })
        ));
    }
}
