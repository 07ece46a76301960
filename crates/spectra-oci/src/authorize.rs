//! Showing a registry who we are: which challenge it makes, once; which token, one request for all who need it; and what to do when it
//! refuses one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use reqwest::{
    Method, StatusCode,
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

/// What went with a request to show who we are.
#[derive(Default)]
pub(crate) struct Shown {
    pub(crate) header: Option<HeaderValue>,
    /// What it answers.
    challenge: Option<Challenge>,
    /// The token in it, if it is one that can be renewed.
    token: Option<Token>,
    /// What it was made of, if that goes to the registry as it is.
    credential: Option<Credential>,
}

/// What was found to show to a registry: one slot a repository. Whoever holds a slot's lock looks for it; the others wait for the
/// same answer, for a helper may take seconds, ask for a finger, or count its calls.
#[derive(Debug, Default)]
pub(crate) struct FoundCredentials {
    slots: Mutex<HashMap<String, CredentialSlot>>,
}

type CredentialSlot = Arc<tokio::sync::Mutex<Option<FoundCredential>>>;

impl FoundCredentials {
    fn slot(&self, repository: &str) -> CredentialSlot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(repository.to_owned()).or_default())
    }
}

impl Session {
    /// What there is to show to this registry; looked for once, and again after it was refused.
    pub(crate) async fn credential(&self) -> Result<FoundCredential, Error> {
        let slot = self.registry.credentials.slot(&self.repository);
        let mut slot = slot.lock().await;
        if let Some(found) = &*slot {
            return Ok(found.clone());
        }
        let found = self.client.keychain().find(&self.registry.host, &self.repository).await?;
        *slot = Some(found.clone());
        Ok(found)
    }

    /// Drops a credential that was refused, unless someone has replaced it since.
    async fn forget_credential(&self, used: &Credential) {
        let slot = self.registry.credentials.slot(&self.repository);
        let mut slot = slot.lock().await;
        if slot.as_ref().is_some_and(|found| found.credential == *used) {
            *slot = None;
        }
    }

    /// Learns once a registry how it wants to be authorised.
    /// `on_the_way` is what that is done for, if anything.
    pub(crate) async fn challenge(&self, on_the_way: Option<&str>) -> Result<Challenge, Error> {
        let mut known = self.registry.challenge.lock().await;
        if let Some(challenge) = &*known {
            return Ok(challenge.clone());
        }
        let attempt = match on_the_way {
            Some(attempt) => format!("{attempt}: reach the registry"),
            None => format!("reach the registry `{}`", self.registry.host),
        };
        let challenge = self
            .with_retries(&attempt, || async {
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
            .await?;
        Ok(known.insert(challenge.without_scope()).clone())
    }

    /// What to send with a request, for the rights of the session and those that were `asked` for.
    pub(crate) async fn authorization(&self, attempt: &str, asked: Option<&str>) -> Result<Shown, Error> {
        let challenge = self.challenge(Some(attempt)).await?;
        let mut shown = Shown { challenge: Some(challenge.clone()), ..Shown::default() };
        if challenge == Challenge::None {
            return Ok(shown);
        }
        let credential = self.credential().await?.credential;
        match (challenge, &credential) {
            (_, Credential::RegistryToken(token)) => shown.header = bearer(token),
            (Challenge::Basic, Credential::Basic { username, password }) => {
                shown.header = basic(username, password);
            }
            (Challenge::Bearer { realm, service, scope: _ }, _) => {
                let scopes = self.scopes.and(asked);
                let token = self.token(attempt, &realm, service.as_deref(), &scopes).await?;
                shown.header = bearer(&token.value);
                shown.token = Some(token);
                return Ok(shown);
            }
            _ => {}
        }
        shown.credential = Some(credential);
        Ok(shown)
    }

    /// Learns from a 401 that answered what was `shown`. Returns what to show instead, if that is something else.
    pub(crate) async fn refused(
        &self,
        attempt: &str,
        shown: &Shown,
        challenge: Challenge,
        asked: Option<&str>,
    ) -> Result<Option<Shown>, Error> {
        {
            // Some registries let the first question pass, or everybody read, and ask when it comes to writing; some name
            // another token service for each repository.
            let mut known = self.registry.challenge.lock().await;
            if *known == shown.challenge {
                *known = Some(challenge.without_scope());
            }
        }
        if let Some(token) = &shown.token {
            self.forget(token, asked).await;
        }
        if let Some(credential) = &shown.credential {
            self.forget_credential(credential).await;
        }
        let next = self.authorization(attempt, asked).await?;
        Ok((next.header != shown.header).then_some(next))
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
        if let Some(token) = slot.token.as_ref().filter(|token| token.is_usable()) {
            return Ok(token.clone());
        }
        let fewer = scopes.without_wishes();
        let first = fewer.as_ref().filter(|_| slot.wishes_refused).unwrap_or(scopes);
        let token = match (self.fetch_token(attempt, realm, service, first).await, &fewer) {
            // Most services grant less than what was asked for; some refuse all of it.
            (Err(error), Some(fewer)) if error.is_not_authorised() && !slot.wishes_refused => {
                let token = self.fetch_token(attempt, realm, service, fewer).await?;
                slot.wishes_refused = true;
                token
            }
            (result, _) => result?,
        };
        slot.token = Some(token.clone());
        Ok(token)
    }

    /// Drops a token that the registry refused, unless someone has replaced it since.
    async fn forget(&self, used: &Token, asked: Option<&str>) {
        for scopes in [self.scopes.and(asked), self.scopes.clone()] {
            let slot = self.registry.tokens.slot(&scopes);
            let mut slot = slot.lock().await;
            if slot.token.as_ref().is_some_and(|token| token.value == used.value) {
                slot.token = None;
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
        let attempt = format!("{attempt}: get an access token");
        let found = self.credential().await?;
        let ask = |credential| self.ask_for_token(&attempt, &url, service, scopes, credential);
        let error = match ask(found.credential.clone()).await {
            Err(error) if error.is_not_authorised() => error,
            result => return result,
        };
        // Credentials of helpers end, too. What is the same as before would be refused again.
        self.forget_credential(&found.credential).await;
        match self.credential().await {
            Ok(again) if again.credential != found.credential => ask(again.credential).await,
            _ => Err(error),
        }
    }

    async fn ask_for_token(
        &self,
        attempt: &str,
        url: &Url,
        service: Option<&str>,
        scopes: &Scopes,
        credential: Credential,
    ) -> Result<Token, Error> {
        self.with_retries(attempt, || async {
            let mut url = url.clone();
            let mut headers = HeaderMap::new();
            let mut form = None;
            if let Credential::IdentityToken(token) = &credential {
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
            let authorization = match &credential {
                Credential::Basic { username, password } => basic(username, password),
                _ => None,
            };
            let call = Call {
                attempt,
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
                return Err(self.failed(attempt, response).await);
            }
            let (bytes, _) = self.read(attempt, response, MAX_DOCUMENT).await?;
            serde_json::from_slice::<TokenAnswer>(&bytes)
                .ok()
                .and_then(TokenAnswer::into_token)
                .ok_or_else(|| self.protocol(attempt, "the token service's answer holds no token").into())
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
