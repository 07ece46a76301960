//! Showing a registry who we are: which challenge it makes, once; which token, one request for all who need it; and what to do when it
//! refuses one.

use reqwest::{
    Method, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};
use spectra_types::{SafeUrl, Secret};
use url::Url;

use crate::{
    Credential, Error,
    auth::{Challenge, Scopes, Token, TokenAnswer, is_safe_target, parse_challenges},
    content::Content,
    credentials::FoundCredential,
    session::{Body, Call, Session},
    source::MAX_DOCUMENT,
};

impl Session {
    /// A registry that lets `/v2/` pass without asking, but not the call itself.
    pub(crate) async fn override_challenge(
        &self,
        call: &Call<'_>,
        url: &Url,
        challenge: &Challenge,
    ) -> Result<Option<Response>, Error> {
        let found = self.credential().await?;
        let header = match challenge {
            Challenge::None => return Ok(None),
            Challenge::Basic => match &found.credential {
                Credential::Basic { username, password } => basic(username, password),
                _ => return Ok(None),
            },
            Challenge::Bearer { realm, service, scope } => {
                let scopes = self.scopes.and(scope.as_deref());
                let token = self.token(call.attempt, realm, service.as_deref(), &scopes).await?;
                bearer(&token.value)
            }
        };
        self.send_bare(call, url, header).await.map(Some)
    }

    pub(crate) async fn credential(&self) -> Result<FoundCredential, Error> {
        self.client.keychain().find(&self.registry.host, &self.repository).await
    }

    /// Learns once a registry how it wants to be authorised.
    /// `on_the_way` is what that is done for, if anything.
    pub(crate) async fn challenge(&self, on_the_way: Option<&str>) -> Result<&Challenge, Error> {
        let attempt = match on_the_way {
            Some(attempt) => format!("{attempt}: reach the registry"),
            None => format!("reach the registry `{}`", self.registry.host),
        };
        self.registry
            .challenge
            .get_or_try_init(|| {
                self.with_retries(&attempt, || async {
                    let url = self
                        .registry
                        .base
                        .join("v2/")
                        .map_err(|error| self.protocol(&attempt, error.to_string()))?;
                    let response =
                        self.send_bare(&Call::new(&attempt, Method::GET, url.clone()), &url, None).await?;
                    match response.status().as_u16() {
                        401 => parse_challenges(response.headers()).ok_or_else(|| {
                            self.protocol(&attempt, "401 without a Bearer or Basic challenge").into()
                        }),
                        200..=299 => Ok(Challenge::None),
                        // Not a registry, most likely a web site; or a registry in trouble.
                        _ => Err(self.failed(&attempt, response).await),
                    }
                })
            })
            .await
    }

    /// The header to send, and the token in it if it is one that can be renewed.
    pub(crate) async fn authorization(
        &self,
        attempt: &str,
        asked: Option<&str>,
    ) -> Result<(Option<HeaderValue>, Option<Token>), Error> {
        let challenge = self.challenge(Some(attempt)).await?;
        if *challenge == Challenge::None {
            return Ok((None, None));
        }
        match (challenge, self.credential().await?.credential) {
            (_, Credential::RegistryToken(token)) => Ok((bearer(&token), None)),
            (Challenge::Basic, Credential::Basic { username, password }) => {
                Ok((basic(&username, &password), None))
            }
            (Challenge::Bearer { realm, service, scope: _ }, _) => {
                let scopes = self.scopes.and(asked);
                let token = self.token(attempt, realm, service.as_deref(), &scopes).await?;
                Ok((bearer(&token.value), Some(token)))
            }
            _ => Ok((None, None)),
        }
    }

    /// A usable token for the scopes; one request for all who need it at the same time.
    async fn token(
        &self,
        attempt: &str,
        realm: &str,
        service: Option<&str>,
        scopes: &Scopes,
    ) -> Result<Token, Error> {
        let slot = self.registry.tokens.slot(scopes);
        let mut slot = slot.lock().await;
        if let Some(token) = slot.as_ref().filter(|token| token.is_usable()) {
            return Ok(token.clone());
        }
        let token = self.fetch_token(attempt, realm, service, scopes).await?;
        *slot = Some(token.clone());
        Ok(token)
    }

    /// Drops a token that the registry refused, unless someone has replaced it since.
    pub(crate) async fn forget(&self, used: Option<&Token>, asked: Option<&str>) {
        let Some(used) = used else { return };
        for scopes in [self.scopes.and(asked), self.scopes.clone()] {
            let slot = self.registry.tokens.slot(&scopes);
            let mut slot = slot.lock().await;
            if slot.as_ref().is_some_and(|token| token.value == used.value) {
                *slot = None;
            }
        }
    }

    pub(crate) async fn fetch_token(
        &self,
        attempt: &str,
        realm: &str,
        service: Option<&str>,
        scopes: &Scopes,
    ) -> Result<Token, Error> {
        let url =
            Url::parse(realm).map_err(|error| self.protocol(attempt, format!("bad token realm: {error}")))?;
        is_safe_target(&self.registry.base, &url).map_err(|reason| {
            self.protocol(attempt, format!("token realm `{}`: {reason}", SafeUrl::from(url.clone())))
        })?;
        let found = self.credential().await?;
        let attempt = format!("{attempt}: get an access token");
        self.with_retries(&attempt, || async {
            let mut url = url.clone();
            let mut headers = HeaderMap::new();
            let mut form = None;
            if let Credential::IdentityToken(token) = &found.credential {
                let scope = scopes.iter().collect::<Vec<_>>().join(" ");
                let encoded = url::form_urlencoded::Serializer::new(String::new())
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("client_id", "spectra")
                    .append_pair("service", service.unwrap_or_default())
                    .append_pair("scope", &scope)
                    .append_pair("refresh_token", token.expose())
                    .finish();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
                form = Some(Content::Memory(encoded.into()));
            } else {
                let mut query = url.query_pairs_mut();
                if let Some(service) = service {
                    query.append_pair("service", service);
                }
                for scope in scopes.iter() {
                    query.append_pair("scope", scope);
                }
                drop(query);
            }
            let authorization = match &found.credential {
                Credential::Basic { username, password } => basic(username, password),
                _ => None,
            };
            let call = Call {
                attempt: &attempt,
                method: if form.is_some() { Method::POST } else { Method::GET },
                url: url.clone(),
                headers,
                body: form.as_ref().map(|content| Body {
                    content,
                    start: 0,
                    length: content.len(),
                    digest: None,
                }),
            };
            let response = self.send_bare(&call, &url, authorization).await?;
            if response.status() != StatusCode::OK {
                return Err(self.failed(&attempt, response).await);
            }
            let (bytes, _) = self.read(&attempt, response, MAX_DOCUMENT).await?;
            serde_json::from_slice::<TokenAnswer>(&bytes)
                .ok()
                .and_then(TokenAnswer::into_token)
                .ok_or_else(|| self.protocol(&attempt, "the token service's answer holds no token").into())
        })
        .await
    }
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn bearer(token: &Secret<String>) -> Option<HeaderValue> {
    sensitive(&format!("Bearer {}", token.expose()))
}

fn basic(username: &str, password: &Secret<String>) -> Option<HeaderValue> {
    use base64::Engine as _;
    let pair = format!("{username}:{}", password.expose());
    sensitive(&format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(pair)))
}
