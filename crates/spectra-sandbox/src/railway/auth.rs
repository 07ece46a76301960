//! Who asks, and what that reaches.

use std::sync::Arc;

use axum::http::HeaderMap;
use sha2::{Digest as _, Sha256};

use crate::railway::refusal::Refusal;
use crate::store::rows::{Environment, Instance, Project, Service};
use crate::store::{ONLY, World};

/// The credential of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Nothing, or nothing valid; the text is what the API answers.
    Nobody(&'static str),
    Account,
    Workspace,
    Project {
        token_id: String,
        project_id: String,
        environment_id: String,
    },
}

impl Identity {
    /// The word in the journal.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Nobody(_) => "none",
            Self::Account => "account",
            Self::Workspace => "workspace",
            Self::Project { .. } => "project",
        }
    }

    /// Whether the credential of a connection that stays open is still one.
    pub(crate) fn live(&self, world: &World) -> bool {
        match self {
            Self::Project { token_id, .. } => {
                world.tokens.iter().any(|row| row.id == *token_id && row.times.live())
            }
            _ => true,
        }
    }

    /// What rate limits are counted by.
    pub(crate) fn budget_key(&self) -> String {
        match self {
            Self::Project { token_id, .. } => format!("project:{token_id}"),
            other => other.kind().to_owned(),
        }
    }

    /// Reads the headers. Each kind has its own header; in the wrong one it is unknown.
    pub(crate) fn of(headers: &HeaderMap, world: &World) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        if let Some(secret) = text("project-access-token").filter(|secret| !secret.is_empty()) {
            let hash = hash(secret);
            return world.tokens.iter().find(|row| row.times.live() && row.hash == hash).map_or(
                Self::Nobody("Project Token not found"),
                |row| Self::Project {
                    token_id: row.id.clone(),
                    project_id: row.project_id.clone(),
                    environment_id: row.environment_id.clone(),
                },
            );
        }
        let Some(secret) = text("authorization").and_then(|value| {
            let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
            scheme.eq_ignore_ascii_case("bearer").then_some(rest.trim())
        }) else {
            return Self::Nobody("Not Authorized");
        };
        if let Some(keys) = world.keys.get(ONLY) {
            if secret == keys.account {
                return Self::Account;
            }
            if secret == keys.workspace {
                return Self::Workspace;
            }
        }
        let hash = hash(secret);
        if world.tokens.iter().any(|row| row.hash == hash) {
            return Self::Nobody("Project Token not found");
        }
        Self::Nobody(if secret.is_empty() { "Unauthenticated" } else { "Not Authorized" })
    }

    /// A row of the audit log names its actor.
    pub(crate) fn actor(&self) -> String {
        match self {
            Self::Project { token_id, .. } => format!("project-token:{token_id}"),
            other => other.kind().to_owned(),
        }
    }

    /// The identity behind an [`actor`](Self::actor), as far as it still exists; what its commit sets in motion is its.
    pub(crate) fn of_actor(actor: &str, world: &World) -> Option<Self> {
        match actor {
            "account" => Some(Self::Account),
            "workspace" => Some(Self::Workspace),
            other => {
                let token = world.tokens.get(other.strip_prefix("project-token:")?)?;
                Some(Self::Project {
                    token_id: token.id.clone(),
                    project_id: token.project_id.clone(),
                    environment_id: token.environment_id.clone(),
                })
            }
        }
    }

    /// Account or workspace token.
    pub(crate) fn admin(&self) -> Result<(), Refusal> {
        match self {
            Self::Account | Self::Workspace => Ok(()),
            Self::Project { .. } => Err(Refusal::not_authorized()),
            Self::Nobody("Unauthenticated") => {
                Err(Refusal { message: "Unauthenticated".to_owned(), code: Some("UNAUTHENTICATED") })
            }
            Self::Nobody(message) => {
                Err(Refusal { message: (*message).to_owned(), code: Some("UNAUTHORIZED") })
            }
        }
    }

    /// Any valid credential.
    pub(crate) fn known(&self) -> Result<(), Refusal> {
        match self {
            Self::Project { .. } => Ok(()),
            other => other.admin(),
        }
    }

    /// The live project `id`, if it is within reach.
    pub(crate) fn project(&self, world: &World, id: &str) -> Result<Arc<Project>, Refusal> {
        self.known()?;
        if id.is_empty() || matches!(self, Self::Project { project_id, .. } if project_id != id) {
            return Err(Refusal::not_authorized());
        }
        found(world.projects.get(id), "Project", |row| row.times.live())
    }

    /// The live environment `id`, if it is within reach and does not keep its content to itself.
    pub(crate) fn environment(&self, world: &World, id: &str) -> Result<Arc<Environment>, Refusal> {
        let row = self.sees(world, id)?;
        if world.restricted.contains(id) { Err(Refusal::not_authorized()) } else { Ok(row) }
    }

    /// The live environment `id`, if it is within reach: that it is there, and its name.
    pub(crate) fn sees(&self, world: &World, id: &str) -> Result<Arc<Environment>, Refusal> {
        self.known()?;
        if id.is_empty() || matches!(self, Self::Project { environment_id, .. } if environment_id != id) {
            return Err(Refusal::not_authorized());
        }
        found(world.environments.get(id), "Environment", |row| row.times.live())
    }

    /// The live service `id`, if it is within reach.
    pub(crate) fn service(&self, world: &World, id: &str) -> Result<Arc<Service>, Refusal> {
        self.known()?;
        if id.is_empty() {
            return Err(Refusal::not_authorized());
        }
        let service = found(world.services.get(id), "Service", |row| row.times.live())?;
        self.project(world, &service.project_id)?;
        Ok(service)
    }

    /// The live instance of a service in an environment, if both are within reach.
    pub(crate) fn instance(
        &self,
        world: &World,
        environment: &str,
        service: &str,
    ) -> Result<Arc<Instance>, Refusal> {
        self.environment(world, environment)?;
        self.service(world, service)?;
        world.instance(environment, service).cloned().ok_or_else(|| Refusal::not_found("ServiceInstance"))
    }
}

/// Absent: never existed. Deleted: the API pretends that the right is missing.
pub(crate) fn found<T>(
    row: Option<&Arc<T>>,
    kind: &str,
    live: impl Fn(&T) -> bool,
) -> Result<Arc<T>, Refusal> {
    match row {
        Some(row) if live(row) => Ok(Arc::clone(row)),
        Some(_) => Err(Refusal::not_authorized()),
        None => Err(Refusal::not_found(kind)),
    }
}

/// SHA-256 in hexadecimal.
pub(crate) fn hash(secret: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(secret.as_bytes()).iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
