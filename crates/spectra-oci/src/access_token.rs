//! A registry's access token for somebody else: a tool that is handed a token, and no password.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use spectra_types::Secret;

use crate::{
    Client, Credential, Error, NoProgress,
    auth::{Challenge, Scopes},
};

/// What a token is to be good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The repository: `team/app`.
    pub repository: String,
    /// What may be done there, such as `pull` and `push`.
    pub actions: Vec<String>,
}

/// A bearer token of a registry. A registry may grant less than was asked for, and says so nowhere but in the token.
#[derive(Debug, Clone)]
pub struct AccessToken {
    /// To be sent as `Authorization: Bearer …`.
    pub value: Secret<String>,
    /// Whose login it was given for, and where that was found, such as `anonymous access`.
    pub login: String,
    /// How long it is good for; `None` for one that was configured as it is, whose end only the registry knows.
    pub lifetime: Option<Lifetime>,
}

/// When a token begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// When it was asked for, by this machine's clock.
    pub from: SystemTime,
    /// For how long, by the word of the token service; a day at most.
    pub length: Duration,
}

impl Lifetime {
    /// When it ends; when it began if no clock can show the end.
    #[must_use]
    pub fn end(&self) -> SystemTime {
        self.from.checked_add(self.length).unwrap_or(self.from)
    }
}

impl Client {
    /// Gets a new token from the token service that a registry (host with optional port) names, with the login that
    /// is known for it. Never one that was handed out before: its time has begun to run.
    ///
    /// A registry that wants a password with every call, or nothing, has no tokens: [`Error::NoTokens`].
    pub async fn access_token(&self, registry: &str, access: Option<&Access>) -> Result<AccessToken, Error> {
        let registry = self.registry(registry)?;
        let (repository, scopes) = match access {
            Some(access) => (
                access.repository.as_str(),
                Scopes::none().repository(&access.repository, &access.actions.join(",")),
            ),
            None => ("", Scopes::none()),
        };
        let session = self.session(&registry, repository, scopes, Arc::new(NoProgress));
        let no_tokens = |wants: &'static str| Error::NoTokens { host: registry.host.clone(), wants };
        match session.challenge(None).await? {
            Challenge::None => Err(no_tokens("nothing")),
            Challenge::Basic => Err(no_tokens("user name and password with every call")),
            Challenge::Bearer { realm, service, scope: _ } => {
                let found = session.credential().await?;
                if let Credential::RegistryToken(value) = found.credential {
                    return Ok(AccessToken { value, login: found.origin, lifetime: None });
                }
                let attempt = format!("get a token of the registry `{}`", registry.host);
                let from = SystemTime::now();
                let token =
                    session.fetch_token(&attempt, &realm, service.as_deref(), &session.scopes).await?;
                let lifetime = Some(Lifetime { from, length: token.lifetime });
                Ok(AccessToken { value: token.value, login: found.origin, lifetime })
            }
        }
    }
}
