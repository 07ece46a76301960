//! Whose token it is, found out once.

use spectra_types::{EnvironmentId, ProjectId, Secret, WorkspaceId};

use reqwest::header::HeaderValue;

use crate::client::Client;
use crate::config::{TokenKindHint, TokenOrigin};
use crate::error::{Error, ErrorKind, Result};
use crate::gql::{
    Operation, TokenProbeApi, TokenProbeMe, TokenProbeProject, token_probe_api, token_probe_me,
    token_probe_project,
};
use crate::transport::AuthHeader;

/// The kinds of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Reaches everything the person can do.
    Account,
    /// Reaches every project of one workspace.
    Workspace,
    /// Reaches one environment of one project.
    Project,
}

impl TokenKind {
    /// For messages.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Account => "account token",
            Self::Workspace => "workspace token",
            Self::Project => "project token",
        }
    }
}

/// A workspace that the token reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// Its id.
    pub id: WorkspaceId,
    /// Its name.
    pub name: String,
}

/// The environment that a project token reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectScope {
    /// The project.
    pub project: ProjectId,
    /// Its name.
    pub project_name: String,
    /// The environment.
    pub environment: EnvironmentId,
    /// Its name.
    pub environment_name: String,
}

/// What Railway says about the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its kind.
    pub kind: TokenKind,
    /// Where it was found.
    pub origin: TokenOrigin,
    /// The workspaces it reaches; empty for project tokens.
    pub workspaces: Vec<Workspace>,
    /// What a project token reaches.
    pub scope: Option<ProjectScope>,
}

impl Identity {
    /// Such as "project token in `RAILWAY_TOKEN` for environment `production` of project `shop`".
    #[must_use]
    pub fn describe(&self) -> String {
        let base = format!("{} in {}", self.kind.describe(), self.origin.describe());
        match &self.scope {
            Some(scope) => format!(
                "{base} for environment `{}` of project `{}`",
                scope.environment_name, scope.project_name
            ),
            None => base,
        }
    }
}

pub(crate) struct Credential {
    pub(crate) header: AuthHeader,
    pub(crate) identity: Identity,
}

/// Probes every configured token and settles on one.
pub(crate) async fn detect(client: &Client) -> Result<Credential> {
    let config = client.config();
    let first = detect_one(client, &config.token, config.token_origin, config.token_kind).await?;
    let Some((token, origin)) = &config.other_token else { return Ok(first) };
    let second = detect_one(client, token, *origin, TokenKindHint::Auto).await?;
    let is_project = |credential: &Credential| credential.identity.kind == TokenKind::Project;
    if is_project(&first) != is_project(&second) {
        return Err(Error::new(
            ErrorKind::Unauthenticated,
            TokenProbeApi::NAME,
            format!(
                "two different tokens are set: {} and {}",
                first.identity.describe(),
                second.identity.describe()
            ),
        )
        .hinting(
            "unset one of `RAILWAY_API_TOKEN` and `RAILWAY_TOKEN`, or name the token in the configuration",
        ));
    }
    Ok(first)
}

async fn detect_one(
    client: &Client,
    token: &Secret<String>,
    origin: TokenOrigin,
    hint: TokenKindHint,
) -> Result<Credential> {
    let value = || {
        let mut header = HeaderValue::from_str(token.expose()).map_err(|error| {
            Error::new(
                ErrorKind::Unauthenticated,
                TokenProbeApi::NAME,
                "the token cannot be sent in a header",
            )
            .because(error)
        })?;
        header.set_sensitive(true);
        Ok::<_, Error>(header)
    };
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|error| {
        Error::new(ErrorKind::Unauthenticated, TokenProbeApi::NAME, "the token cannot be sent in a header")
            .because(error)
    })?;
    bearer.set_sensitive(true);
    let bearer = AuthHeader::Bearer(bearer);
    let project = AuthHeader::ProjectAccessToken(value()?);

    let project_first = match hint {
        TokenKindHint::Project => true,
        TokenKindHint::Auto => origin == TokenOrigin::TokenVariable,
        TokenKindHint::Account | TokenKindHint::Workspace => false,
    };
    let order = if project_first { [&project, &bearer] } else { [&bearer, &project] };
    let mut refusal = None;
    for header in order {
        let probed = match header {
            AuthHeader::Bearer(_) => probe_bearer(client, header, origin, hint).await,
            AuthHeader::ProjectAccessToken(_) => probe_project(client, header, origin).await,
        };
        match probed {
            Ok(identity) => {
                check_hint(hint, &identity)?;
                return Ok(Credential { header: header.clone(), identity });
            }
            Err(error) if is_refusal(&error) => {
                refusal.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    let trace = refusal.as_ref().and_then(|error| error.trace_id().map(str::to_owned));
    let message = format!(
        "Railway accepts the token in {} neither as account or workspace token nor as project token",
        origin.describe()
    );
    let error = Error::new(ErrorKind::Unauthenticated, TokenProbeApi::NAME, message).trace(trace);
    Err(match refusal {
        Some(refusal) => error.because(refusal),
        None => error,
    })
}

/// Says no to this header, as opposed to not answering.
fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::Forbidden | ErrorKind::NotFound)
        && !error.message().to_lowercase().contains("two factor")
        && !error.message().contains("the edge answered")
}

fn check_hint(hint: TokenKindHint, identity: &Identity) -> Result<()> {
    let wanted = match hint {
        TokenKindHint::Auto => return Ok(()),
        TokenKindHint::Account => TokenKind::Account,
        TokenKindHint::Workspace => TokenKind::Workspace,
        TokenKindHint::Project => TokenKind::Project,
    };
    if wanted == identity.kind {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unauthenticated,
        TokenProbeApi::NAME,
        format!(
            "the token type is set to {}, but Railway knows it as {}",
            wanted.describe(),
            identity.describe()
        ),
    )
    .hinting("remove the token type, or use the other token"))
}

async fn probe_bearer(
    client: &Client,
    header: &AuthHeader,
    origin: TokenOrigin,
    hint: TokenKindHint,
) -> Result<Identity> {
    let data = client.call_as::<TokenProbeApi>(header, token_probe_api::Variables).await?;
    let workspaces = data
        .api_token
        .workspaces
        .into_iter()
        .map(|workspace| {
            let id = client.id::<TokenProbeApi, WorkspaceId>(workspace.id)?;
            Ok(Workspace { id, name: workspace.name })
        })
        .collect::<Result<Vec<_>>>()?;
    // A workspace token reaches exactly one; only an account knows who it is.
    let kind = if workspaces.len() == 1 {
        match client.call_as::<TokenProbeMe>(header, token_probe_me::Variables).await {
            Ok(_) => TokenKind::Account,
            // OAuth tokens are sent like account tokens and may lack the right to personal fields.
            Err(error) if is_refusal(&error) && hint == TokenKindHint::Account => TokenKind::Account,
            Err(error) if is_refusal(&error) => TokenKind::Workspace,
            Err(error) => return Err(error),
        }
    } else {
        TokenKind::Account
    };
    Ok(Identity { kind, origin, workspaces, scope: None })
}

async fn probe_project(client: &Client, header: &AuthHeader, origin: TokenOrigin) -> Result<Identity> {
    let data = client.call_as::<TokenProbeProject>(header, token_probe_project::Variables).await?;
    let token = data.project_token;
    let scope = ProjectScope {
        project: client.id::<TokenProbeProject, _>(token.project_id)?,
        project_name: token.project.name,
        environment: client.id::<TokenProbeProject, _>(token.environment_id)?,
        environment_name: token.environment.name,
    };
    Ok(Identity { kind: TokenKind::Project, origin, workspaces: Vec::new(), scope: Some(scope) })
}
