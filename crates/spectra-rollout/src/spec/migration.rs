//! A change of a database schema, in two parts.

use serde::{Deserialize, Serialize};

use super::command::CommandSpec;

/// A migration and its way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Migration {
    /// Its name, unique in the rollout.
    pub name: String,
    /// Before traffic, or after the bake.
    pub part: MigrationPart,
    /// Where it runs.
    #[serde(default)]
    pub runner: Runner,
    /// What applies it. Run again after a crash, so it has to bear that.
    pub up: CommandSpec,
    /// What takes it back, also after `up` stopped half way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<CommandSpec>,
    /// Acknowledges that there is no way back. An irreversible `expand` stays applied after a rollback; an irreversible
    /// `contract` is the point of no return.
    #[serde(default)]
    pub irreversible: bool,
}

/// When a migration runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MigrationPart {
    /// Before traffic; the old version runs on the new schema, so it has to be safe for it.
    Expand,
    /// After the bake, when the old version is gone. It is taken back before the old version serves again; if that
    /// fails, the candidate stays.
    Contract,
}

/// Where a migration runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runner {
    /// On this machine, with the service's variables in its environment.
    #[default]
    Local,
    /// On the platform, as the pre-deploy command of the candidate's deployment.
    PreDeploy,
}
