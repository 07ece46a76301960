//! Who may do what: nothing asked, Basic, or Bearer with a token endpoint of our own.
//!
//! The Bearer mode follows the token specification of the distribution project: a challenge names realm, service
//! and scope; the client fetches a token with its password (GET with Basic, or the `OAuth2` POST) and comes back.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;
use spectra_types::Secret;
use uuid::Uuid;

use super::{
    error::{ApiError, Code},
    name::RepositoryName,
    quirks::{Quirks, TokenField},
};
use crate::clock::LONGEST;

/// Where tokens are fetched, below the registry's root. No repository can have this name.
pub(crate) const TOKEN_PATH: &str = "_token";
/// The `service` of the challenge.
const SERVICE: &str = "spectra-sandbox";

/// How clients prove who they are.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum RegistryAuth {
    /// Everybody may do everything.
    #[default]
    Anonymous,
    /// Every request needs this user and password.
    Basic {
        /// User name.
        user: String,
        /// Password.
        password: Secret<String>,
    },
    /// Every request needs a token of the right scope, fetched from `/v2/_token` with this user and password.
    Bearer {
        /// User name.
        user: String,
        /// Password.
        password: Secret<String>,
        /// How long a token is good for, in real time.
        token_lifetime: Duration,
        /// Whether a token for `pull` alone is given without a password, as public registries do.
        anonymous_pull: bool,
    },
}

/// A right that a request needs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Need<'a> {
    /// To do something to a repository.
    Repository(&'a RepositoryName, Action),
    /// To list all repositories.
    Catalog,
}

impl<'a> Need<'a> {
    /// Kind, name and actions, as a scope has them.
    fn parts(self) -> (&'static str, &'a str, &'static [&'static str]) {
        match self {
            Self::Repository(name, action) => ("repository", name.as_str(), action.needs()),
            Self::Catalog => ("registry", "catalog", &["*"]),
        }
    }
}

/// What a request does to a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Pull,
    Push,
    Delete,
}

impl Action {
    /// What a token has to grant. Whoever writes reads as well.
    const fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Pull => &["pull"],
            Self::Push => &["pull", "push"],
            Self::Delete => &["delete"],
        }
    }
}

/// A repository and actions on it; `registry:catalog:*` is held as text too.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Scope {
    kind: String,
    name: String,
    actions: Vec<String>,
}

impl Scope {
    fn parse(text: &str) -> Option<Self> {
        // The name may hold a colon (a host with a port), so the ends are cut off.
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let actions = actions.split(',').filter(|action| !action.is_empty()).map(str::to_owned).collect();
        Some(Self { kind: kind.to_owned(), name: name.to_owned(), actions })
    }

    fn allows(&self, kind: &str, name: &str, action: &str) -> bool {
        self.kind == kind
            && self.name == name
            && self.actions.iter().any(|granted| granted == action || granted == "*")
    }
}

#[derive(Debug)]
struct Token {
    scopes: Vec<Scope>,
    expires: Instant,
}

/// Checks requests and gives tokens. Tokens live in memory: after a restart clients fetch new ones, which they
/// must be able to do at any time anyway.
#[derive(Debug)]
pub(crate) struct Gate {
    /// What the registry was opened with.
    base: Arc<RegistryAuth>,
    auth: RwLock<Arc<RegistryAuth>>,
    tokens: Mutex<HashMap<String, Token>>,
}

impl Gate {
    pub(crate) fn new(auth: RegistryAuth) -> Self {
        let base = Arc::new(auth);
        Self { auth: RwLock::new(Arc::clone(&base)), base, tokens: Mutex::default() }
    }

    /// Lets in by other rules from now on; `None`: by those that the registry was opened with.
    pub(crate) fn replace(&self, auth: Option<RegistryAuth>) {
        let auth = auth.map_or_else(|| Arc::clone(&self.base), Arc::new);
        *self.auth.write().unwrap_or_else(PoisonError::into_inner) = auth;
    }

    fn auth(&self) -> Arc<RegistryAuth> {
        Arc::clone(&self.auth.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes all tokens invalid, and says whether there were any. `None` if another way to log in is asked for.
    pub(crate) fn revoke(&self) -> Option<bool> {
        let revoked = std::mem::take(&mut *self.tokens.lock().unwrap_or_else(PoisonError::into_inner));
        matches!(*self.auth(), RegistryAuth::Bearer { .. }).then_some(!revoked.is_empty())
    }

    /// May the request go on? It needs all of `needs`; for `/v2/` itself there are none, and somebody known is enough.
    pub(crate) fn check(&self, headers: &HeaderMap, needs: &[Need<'_>]) -> Result<(), ApiError> {
        match &*self.auth() {
            RegistryAuth::Anonymous => Ok(()),
            RegistryAuth::Basic { user, password } => match basic(headers) {
                Some((given_user, given)) if given_user == *user && given == *password.expose() => Ok(()),
                given => Err(refused(
                    if given.is_some() {
                        "user or password is wrong"
                    } else {
                        "a user and a password are needed"
                    },
                    "Basic realm=\"spectra-sandbox\"",
                )),
            },
            RegistryAuth::Bearer { .. } => self.check_token(headers, needs),
        }
    }

    fn check_token(&self, headers: &HeaderMap, needs: &[Need<'_>]) -> Result<(), ApiError> {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1");
        let mut challenge = format!("Bearer realm=\"http://{host}/v2/{TOKEN_PATH}\",service=\"{SERVICE}\"");
        let scopes: Vec<String> = needs
            .iter()
            .map(|need| {
                let (kind, name, actions) = need.parts();
                format!("{kind}:{name}:{}", actions.join(","))
            })
            .collect();
        if !scopes.is_empty() {
            challenge = format!("{challenge},scope=\"{}\"", scopes.join(" "));
        }
        let Some(token) = authorization(headers, "bearer") else {
            return Err(refused("a token is needed", &challenge));
        };
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, token| token.expires > Instant::now());
        let Some(token) = tokens.get(token) else {
            challenge.push_str(",error=\"invalid_token\"");
            return Err(refused("the token is unknown or has expired", &challenge));
        };
        let allowed = needs.iter().all(|need| {
            let (kind, name, actions) = need.parts();
            let granted = |action: &&str| token.scopes.iter().any(|scope| scope.allows(kind, name, action));
            actions.iter().all(granted)
        });
        if allowed {
            return Ok(());
        }
        challenge.push_str(",error=\"insufficient_scope\"");
        Err(refused("the token does not cover this", &challenge))
    }

    /// The token endpoint. `form` holds the query of a GET or the form of an `OAuth2` POST.
    pub(crate) fn issue(&self, headers: &HeaderMap, form: &[(String, String)], quirks: &Quirks) -> Response {
        let auth = self.auth();
        let RegistryAuth::Bearer { user, password, token_lifetime, anonymous_pull } = &*auth else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let given = match field("grant_type").as_deref() {
            // The identity token of this registry is its password.
            Some("refresh_token") => field("refresh_token").map(|token| (user.clone(), token)),
            Some("password") => field("username").zip(field("password")),
            Some(_) => return bad_form("unsupported_grant_type"),
            None => basic(headers),
        };
        if field("grant_type").is_some() && (field("service").is_none() || field("client_id").is_none()) {
            return bad_form("invalid_request");
        }
        let known = match &given {
            Some((given_user, given)) if given_user == user && given == password.expose() => true,
            Some(_) => return refused("user or password is wrong", "Basic realm=\"token\"").into_response(),
            None => false,
        };
        let scopes: Vec<Scope> = form
            .iter()
            .filter(|(key, _)| key == "scope")
            .flat_map(|(_, value)| value.split(' '))
            .filter_map(Scope::parse)
            .filter_map(|mut scope| {
                if !known {
                    scope.actions.retain(|action| *anonymous_pull && action == "pull");
                }
                (!scope.actions.is_empty()).then_some(scope)
            })
            .collect();
        if !known && !anonymous_pull {
            return refused("a user and a password are needed", "Basic realm=\"token\"").into_response();
        }
        let token = Uuid::new_v4().simple().to_string();
        let now = Instant::now();
        // Beyond what a clock can say: as good as for ever.
        let expires = now.checked_add(*token_lifetime).unwrap_or(now + LONGEST);
        self.tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(token.clone(), Token { scopes, expires });
        let mut answer = json!({});
        if quirks.token_field != TokenField::AccessToken {
            answer["token"] = json!(token);
        }
        if quirks.token_field != TokenField::Token {
            answer["access_token"] = json!(token);
        }
        if !quirks.hide_expiry {
            answer["expires_in"] = json!(token_lifetime.as_secs());
        }
        if known && field("offline_token").or_else(|| field("access_type")).is_some() {
            answer["refresh_token"] = json!(password.expose());
        }
        Json(answer).into_response()
    }
}

/// The refusal of a form, as `OAuth2` has it.
fn bad_form(error: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response()
}

/// The credentials behind a scheme of the `Authorization` header.
fn authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let (given, credentials) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then(|| credentials.trim())
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let decoded = BASE64_STANDARD.decode(authorization(headers, "basic")?).ok()?;
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn refused(message: &str, challenge: &str) -> ApiError {
    let error = ApiError::new(Code::Unauthorized, message);
    match HeaderValue::from_str(challenge) {
        Ok(challenge) => error.header(header::WWW_AUTHENTICATE, challenge),
        Err(_) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_names_kind_repository_and_actions() {
        let scope = Scope::parse("repository:team/app:pull,push").unwrap();
        assert!(scope.allows("repository", "team/app", "push"));
        assert!(!scope.allows("repository", "team/app", "delete"));
        assert!(!scope.allows("repository", "team/other", "pull"));
        assert!(Scope::parse("repository:a:*").unwrap().allows("repository", "a", "delete"));
        assert_eq!(Scope::parse("repository"), None);
    }
}
