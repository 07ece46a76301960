//! `ephemeral.spectra_registry_token`: a registry's access token for one run.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use spectra_oci::{Access, Lifetime};
use tfplugin::{Attr, Diagnostic, Diagnostics, EphemeralResource, Model, Opened, Renewed, Sensitive, Value};

use crate::errors::{known, sentence};
use crate::provider::{Clients, Cx};

/// The most that is kept in hand before a token ends.
const MARGIN: Duration = Duration::from_mins(1);

/// A bearer token of an image registry, from the token service that the registry names.
///
/// The login is that of the provider's `registry` setting, else of the Docker configuration and its credential
/// helpers; without any the token is an anonymous one. The registry decides how long it lives, usually five minutes,
/// and no token service prolongs one: a run that needs it for longer has to log in by itself.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct RegistryTokenModel {
    /// The registry: `ghcr.io`, `127.0.0.1:7430`.
    #[tf(required, validate(with(host, "a host with an optional port")))]
    host: Attr<String>,
    /// The repository that the token is for: `team/app`. A token without one proves who asks and allows nothing.
    #[tf(optional, validate(length(1..=255)))]
    repository: Attr<String>,
    /// What the token allows in the repository: `pull`, `push`, `delete`. Only `pull` when left out. A registry may
    /// grant less, and does not say so.
    #[tf(optional, validate(one_of("pull", "push", "delete")))]
    actions: Attr<BTreeSet<String>>,
    /// The token, to be sent as `Authorization: Bearer …`.
    #[tf(computed, sensitive)]
    token: Attr<Sensitive<String>>,
    /// Whose login the token was given for, and where that was found.
    #[tf(computed)]
    login: Attr<String>,
    /// When the token ends, RFC 3339; null for a token that was configured as it is.
    #[tf(computed)]
    expires_at: Attr<String>,
}

/// A host with an optional port, and nothing else.
fn host(value: &Value) -> Result<(), String> {
    let Value::String(text) = value else { return Ok(()) };
    let parsed = url::Url::parse(&format!("https://{text}/"));
    let is_host = parsed.is_ok_and(|url| {
        url.path() == "/" && url.username().is_empty() && url.password().is_none() && url.query().is_none()
    });
    if is_host && !text.contains(['/', '#']) {
        return Ok(());
    }
    Err(format!("`{text}` is not a host with an optional port, such as `ghcr.io`"))
}

/// What the warning at the end of a token's life needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Given {
    host: String,
    expires_at: Option<String>,
}

/// The ephemeral resource.
pub(crate) struct RegistryToken;

impl EphemeralResource for RegistryToken {
    type Model = RegistryTokenModel;
    type Client = Clients;
    type Private = Given;

    const TYPE: &'static str = "spectra_registry_token";

    fn validate(&self, config: &RegistryTokenModel, diagnostics: &mut Diagnostics) {
        if config.actions.is_known() && config.repository.is_null() {
            diagnostics.error_at(
                "actions",
                "Actions without a repository",
                "A token allows actions in a repository: give `repository` too.",
            );
        }
    }

    async fn open(
        &self,
        cx: &Cx,
        config: RegistryTokenModel,
    ) -> Result<Opened<RegistryTokenModel, Given>, Diagnostics> {
        let host = known(&config.host, "host")?;
        let access = config.repository.as_known().map(|repository| Access {
            repository: repository.clone(),
            actions: match config.actions.as_known() {
                Some(actions) => actions.iter().cloned().collect(),
                None => vec!["pull".to_owned()],
            },
        });
        let given = cx.client.registry().access_token(&host, access.as_ref()).await.map_err(|error| {
            let mut detail = format!(
                "{} [{}]. Nothing was changed.",
                sentence(&spectra_types::error_chain(&error)),
                error.code()
            );
            if let Some(hint) = error.hint() {
                detail.push_str("\n\n");
                detail.push_str(&sentence(hint));
                detail.push('.');
            }
            let detail = spectra_types::Redactor::global().redact(&detail).into_owned();
            Diagnostic::error(format!("There is no token of the registry `{host}`"), detail).at("host")
        })?;
        let expires_at = given.lifetime.and_then(|lifetime| jiff::Timestamp::try_from(lifetime.end()).ok());
        let expires_at = expires_at.map(|moment| moment.to_string());
        let private = Given { host, expires_at: expires_at.clone() };
        let result = RegistryTokenModel {
            token: Attr::Known(Sensitive(given.value.expose().clone())),
            login: given.login.into(),
            expires_at: expires_at.into(),
            ..config
        };
        let opened = Opened::new(result, private);
        Ok(match given.lifetime {
            Some(lifetime) => opened.renew_at(notice(lifetime)),
            None => opened,
        })
    }

    /// Terraform hands out the value that was opened and no other, so a new token would reach nobody. What is left
    /// is to say why whatever uses the old one is about to be refused.
    async fn renew(&self, _: &Cx, private: Given) -> Result<Renewed<Given>, Diagnostics> {
        tracing::warn!(
            host = %private.host,
            expires_at = private.expires_at.as_deref().unwrap_or("unknown"),
            "the registry's token ends soon, and no registry prolongs one: what still uses it then will be refused"
        );
        Ok(Renewed::default())
    }
}

/// When Terraform is to come back: a tenth of the life, and at most [`MARGIN`], before its end.
fn notice(lifetime: Lifetime) -> SystemTime {
    lifetime.end() - (lifetime.length / 10).min(MARGIN)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
    use axum::http::{HeaderMap, StatusCode, Uri};
    use axum::response::{IntoResponse as _, Response};
    use tfplugin::testing::Core;

    use super::*;
    use crate::provider::{ProviderModel, RegistryModel, Spectra};

    /// A registry that names its own token service, which knows one login and gives tokens for five minutes.
    async fn registry() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"test\"");
        let answer = move |uri: Uri, headers: HeaderMap| async move { answer(&challenge, &uri, &headers) };
        let router = Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        host
    }

    fn answer(challenge: &str, uri: &Uri, headers: &HeaderMap) -> Response {
        if uri.path() != "/token" {
            return (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge.to_owned())]).into_response();
        }
        // bot:pw-of-a-registry-test
        let login = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if login != Some("Basic Ym90OnB3LW9mLWEtcmVnaXN0cnktdGVzdA==") {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        let scope = uri.query().unwrap_or_default().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        format!(r#"{{"token":"given-for-{scope}","expires_in":300}}"#).into_response()
    }

    #[tokio::test]
    async fn a_token_comes_from_the_service_that_the_registry_names_with_the_configured_login() {
        let host = registry().await;
        let login = RegistryModel {
            username: "bot".into(),
            password: Attr::Known(Sensitive("pw-of-a-registry-test".to_owned())),
        };
        let config = ProviderModel {
            railway: Attr::Null,
            registry: Attr::Known([(host.clone(), login)].into()),
            journal: Attr::Null,
        };
        let core = Core::new(Spectra, &config).await.unwrap();
        let asked = RegistryTokenModel {
            host: host.into(),
            repository: "team/app".into(),
            actions: Attr::Known(["pull".to_owned(), "push".to_owned()].into()),
            ..RegistryTokenModel::default()
        };
        let mut open = core.open::<RegistryToken>(&asked).await.unwrap();
        let token = open.result.token.as_known().unwrap().expose().clone();
        assert_eq!(token, "given-for-service-test-scope-repository-3Ateam-2Fapp-3Apull-2Cpush");
        let end: jiff::Timestamp = open.result.expires_at.as_str().unwrap().parse().unwrap();
        assert_eq!(end.as_second() - open.renew_at.unwrap(), 30, "a tenth before the end");
        core.renew::<RegistryToken>(&mut open).await.unwrap();
        assert_eq!(open.renew_at, None, "nothing prolongs it");
        core.close::<RegistryToken>(open).await.unwrap();
    }

    #[test]
    fn a_notice_comes_before_the_end() {
        let lifetime = |length| Lifetime { from: SystemTime::UNIX_EPOCH, length };
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(notice(lifetime(Duration::from_mins(5))), at(270));
        assert_eq!(notice(lifetime(Duration::from_hours(1))), at(3540));
    }

    #[test]
    fn a_host_is_no_url() {
        let check = |text: &str| host(&Value::from(text));
        for good in ["ghcr.io", "127.0.0.1:7430", "[::1]:5000", "docker.io"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["https://ghcr.io", "ghcr.io/team", "u:p@ghcr.io", "ghcr.io?x", ""] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn actions_need_a_repository() {
        let config = ProviderModel { railway: Attr::Null, registry: Attr::Null, journal: Attr::Null };
        let core = Core::new(Spectra, &config).await.unwrap();
        let asked = RegistryTokenModel {
            host: "ghcr.io".into(),
            actions: Attr::Known(["pull".to_owned()].into()),
            ..RegistryTokenModel::default()
        };
        let error = core.open::<RegistryToken>(&asked).await.unwrap_err().to_string();
        assert!(error.contains("`repository`"), "{error}");
    }
}
