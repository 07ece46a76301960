//! Variables of services, and shared ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use spectra_types::{EnvironmentId, ProjectId, Secret, ServiceId};

use crate::client::{Client, Touches, confirmed};
use crate::deployment::InstanceRef;
use crate::error::{ErrorKind, Result};
use crate::gql::{
    VariableCollectionUpsert, VariablesRendered, variable_collection_upsert, variables_rendered,
};
use crate::patch::{Deploys, Patch};

/// Whose variables.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum VariableScope {
    /// The environment's shared ones.
    Shared,
    /// One service's.
    Service(ServiceId),
}

impl fmt::Display for VariableScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared => f.write_str("the shared variables"),
            Self::Service(service) => write!(f, "the variables of service `{service}`"),
        }
    }
}

/// The value of a variable. Anybody's variable may be a secret, so it is never printed; but it is not a
/// [`Secret`] either, for the process's redactor would then blot out every "8080" and "true".
#[derive(Clone, PartialEq, Eq)]
pub struct VariableValue(String);

impl VariableValue {
    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for VariableValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[value]")
    }
}

impl From<String> for VariableValue {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for VariableValue {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<&Secret<String>> for VariableValue {
    fn from(secret: &Secret<String>) -> Self {
        Self(secret.expose().clone())
    }
}

/// A variable as it is set, references unresolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The value; `None` when Railway does not show it.
    pub value: Option<VariableValue>,
    /// Can be replaced and deleted, never read.
    pub sealed: bool,
}

/// What to change among the variables of one scope. What is not named stays, whoever set it.
#[derive(Clone, Debug, Default)]
pub struct VariableChanges {
    /// To be set.
    pub set: BTreeMap<String, VariableValue>,
    /// To be set and sealed.
    pub seal: BTreeMap<String, VariableValue>,
    /// To be removed.
    pub delete: BTreeSet<String>,
}

impl VariableChanges {
    /// It changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.seal.is_empty() && self.delete.is_empty()
    }
}

impl Client {
    /// The variables of a scope as they are set, from the environment's shared snapshot. The `RAILWAY_*` ones that
    /// the platform adds are not among them.
    pub async fn variables(
        &self,
        project: &ProjectId,
        environment: &EnvironmentId,
        scope: &VariableScope,
    ) -> Result<BTreeMap<String, Variable>> {
        let snapshot = self.environment_snapshot(project, environment).await?;
        match scope {
            VariableScope::Shared => Ok(snapshot.shared_variables.clone()),
            VariableScope::Service(service) => Ok(snapshot.instance(service)?.variables.clone()),
        }
    }

    /// What a container of the service would see: references resolved, platform variables included.
    pub async fn rendered_variables(
        &self,
        instance: &InstanceRef,
    ) -> Result<BTreeMap<String, VariableValue>> {
        let variables = variables_rendered::Variables {
            project: instance.project.to_string(),
            environment: instance.environment.to_string(),
            service: Some(instance.service.to_string()),
        };
        let data = self.query::<VariablesRendered>(variables).await?;
        Ok(data.variables.into_iter().map(|(name, value)| (name, VariableValue(value))).collect())
    }

    /// Sets, seals and removes variables of one scope together: in one request when all are only set, otherwise as
    /// one patch. Setting the same twice is the same as once, so a lost answer is answered by repeating.
    pub async fn change_variables(
        &self,
        project: &ProjectId,
        environment: &EnvironmentId,
        scope: &VariableScope,
        changes: &VariableChanges,
        deploys: Deploys,
    ) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        if changes.seal.is_empty() && changes.delete.is_empty() {
            return self.upsert_variables(project, environment, scope, &changes.set, deploys).await;
        }
        let mut patch = Patch::new();
        for (name, value) in &changes.set {
            patch = patch.set_variable(scope, name, value);
        }
        for (name, value) in &changes.seal {
            patch = patch.seal_variable(scope, name, value);
        }
        for name in &changes.delete {
            patch = patch.delete_variable(scope, name);
        }
        self.commit_patch(project, environment, &patch, &format!("Spectra: change {scope}"), deploys).await
    }

    async fn upsert_variables(
        &self,
        project: &ProjectId,
        environment: &EnvironmentId,
        scope: &VariableScope,
        values: &BTreeMap<String, VariableValue>,
        deploys: Deploys,
    ) -> Result<()> {
        let upsert = || async {
            let input = variable_collection_upsert::VariableCollectionUpsertInput {
                project_id: project.to_string(),
                environment_id: environment.to_string(),
                service_id: match scope {
                    VariableScope::Shared => None,
                    VariableScope::Service(service) => Some(service.to_string()),
                },
                variables: values.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect(),
                skip_deploys: Some(deploys == Deploys::Skip),
            };
            let variables = variable_collection_upsert::Variables { input };
            let data =
                self.mutate::<VariableCollectionUpsert>(Touches::Environment(environment), variables).await?;
            confirmed::<VariableCollectionUpsert>(data.variable_collection_upsert)
        };
        let result = match self.out_wait_cooldown(&upsert).await {
            // With deployments a repetition would start a second one.
            Err(error) if error.is_ambiguous() && deploys == Deploys::Skip => upsert().await,
            other => other,
        };
        match result {
            Ok(()) => Ok(()),
            Err(error) => {
                let error = if error.kind() == ErrorKind::Forbidden || error.is_not_found() {
                    self.settle_missing_environment(project, environment, error).await
                } else {
                    error
                };
                Err(error.attempting(|| format!("set {scope} in environment `{environment}`")))
            }
        }
    }
}
