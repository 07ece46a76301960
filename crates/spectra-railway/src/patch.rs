//! Changes of an environment's configuration as one merge patch.

use serde_json::{Map, Value, json};
use spectra_types::{EnvironmentId, ProjectId, ServiceId};

use crate::client::{Client, Touches};
use crate::error::{Error, ErrorKind, Result};
use crate::gql::{
    EnvironmentChanges, EnvironmentPatchCommit, EnvironmentPatchCommitStaged, EnvironmentPatchGet,
    EnvironmentStageChanges, Operation, environment_changes, environment_patch_commit,
    environment_patch_commit_staged, environment_patch_get, environment_stage_changes,
};
use crate::variables::{VariableScope, VariableValue};

/// Whether a change starts deployments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deploys {
    /// What is affected is deployed, once.
    Start,
    /// Nothing is deployed; the change takes effect with the next deployment.
    Skip,
}

/// A merge patch of an environment: what it names is set, what it sets to null is removed, the rest stays.
///
/// No `Debug`, for it may hold secrets.
#[derive(Clone, Default)]
pub struct Patch {
    root: Map<String, Value>,
}

impl Patch {
    /// A patch that changes nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// It changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.is_empty()
    }

    fn set(&mut self, path: &[&str], value: Value) {
        let Some((last, parents)) = path.split_last() else { return };
        let mut map = &mut self.root;
        for key in parents {
            let slot = map.entry((*key).to_owned()).or_insert_with(|| Value::Object(Map::new()));
            if !slot.is_object() {
                *slot = Value::Object(Map::new());
            }
            let Value::Object(inner) = slot else { return };
            map = inner;
        }
        map.insert((*last).to_owned(), value);
    }

    /// Places a service of the project into this environment. Do not combine with removals of the same service:
    /// Railway ignores nulls next to it.
    #[must_use]
    pub fn create_instance(mut self, service: &ServiceId) -> Self {
        self.set(&["services", service.as_str(), "isCreated"], json!(true));
        self
    }

    /// Sets a value of a service, such as `["deploy", "overlapSeconds"]`.
    #[must_use]
    pub fn set_service(mut self, service: &ServiceId, path: &[&str], value: Value) -> Self {
        let path: Vec<&str> = ["services", service.as_str()].iter().chain(path).copied().collect();
        self.set(&path, value);
        self
    }

    /// Removes a value of a service, so that Railway's default holds.
    #[must_use]
    pub fn clear_service(self, service: &ServiceId, path: &[&str]) -> Self {
        self.set_service(service, path, Value::Null)
    }

    fn variable(mut self, scope: &VariableScope, name: &str, value: Value) -> Self {
        match scope {
            VariableScope::Shared => self.set(&["sharedVariables", name], value),
            VariableScope::Service(service) => {
                self.set(&["services", service.as_str(), "variables", name], value);
            }
        }
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn set_variable(self, scope: &VariableScope, name: &str, value: &VariableValue) -> Self {
        self.variable(scope, name, json!({ "value": value.expose() }))
    }

    /// Sets a variable that can never be read again, nor be unsealed.
    #[must_use]
    pub fn seal_variable(self, scope: &VariableScope, name: &str, value: &VariableValue) -> Self {
        self.variable(scope, name, json!({ "value": value.expose(), "isSealed": true }))
    }

    /// Removes a variable.
    #[must_use]
    pub fn delete_variable(self, scope: &VariableScope, name: &str) -> Self {
        self.variable(scope, name, Value::Null)
    }
}

/// The last segment of what a commit returns, which names the apply workflow.
fn patch_id(workflow: &str) -> &str {
    workflow.rsplit('/').next().unwrap_or(workflow)
}

impl Client {
    /// Commits a patch and waits until it is applied.
    ///
    /// Refused while somebody's edits are staged in the environment, for they would be shipped along. A repetition
    /// of a patch changes nothing, so a lost answer is answered by committing again. A patch that equals what is
    /// there already deploys nothing, and Railway does not say so.
    pub async fn commit_patch(
        &self,
        project: &ProjectId,
        environment: &EnvironmentId,
        patch: &Patch,
        message: &str,
        deploys: Deploys,
    ) -> Result<()> {
        if patch.is_empty() {
            return Ok(());
        }
        let attempt = || format!("change the configuration of environment `{environment}` ({message})");
        let turn = self.patching(environment);
        let _turn = turn.lock().await;
        self.refuse_staged(project, environment).await.map_err(|error| error.attempting(attempt))?;
        let committed = match deploys {
            Deploys::Start => self.commit_directly(environment, patch, message).await,
            Deploys::Skip => self.commit_quietly(project, environment, patch, message).await,
        };
        let result = match committed {
            Ok(Some(id)) => self.wait_until_applied(environment, &id).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        self.forget(Touches::Environment(environment));
        match result {
            Ok(()) => Ok(()),
            Err(error) => {
                Err(self.settle_missing_environment(project, environment, error).await.attempting(attempt))
            }
        }
    }

    /// How many edits are staged, read anew.
    pub async fn unmerged_changes(&self, project: &ProjectId, environment: &EnvironmentId) -> Result<u32> {
        let variables = environment_changes::Variables {
            project: project.to_string(),
            environment: environment.to_string(),
        };
        let result = self.query::<EnvironmentChanges>(variables).await;
        match result {
            Ok(data) => {
                let count = data.environment.unmerged_changes_count.unwrap_or(0);
                Ok(u32::try_from(count).unwrap_or(0))
            }
            Err(error) => Err(self.settle_missing_environment(project, environment, error).await),
        }
    }

    async fn refuse_staged(&self, project: &ProjectId, environment: &EnvironmentId) -> Result<()> {
        match self.unmerged_changes(project, environment).await? {
            0 => Ok(()),
            count => Err(Error::new(
                ErrorKind::Conflict,
                EnvironmentChanges::NAME,
                format!(
                    "{count} staged {} not applied yet, and would be shipped along with this one; nothing was changed",
                    if count == 1 { "edit is" } else { "edits are" }
                ),
            )
            .hinting("apply or discard the staged changes in Railway's dashboard, then repeat")),
        }
    }

    async fn commit_directly(
        &self,
        environment: &EnvironmentId,
        patch: &Patch,
        message: &str,
    ) -> Result<Option<String>> {
        let commit = || async {
            let variables = environment_patch_commit::Variables {
                environment: environment.to_string(),
                patch: Some(Value::Object(patch.root.clone())),
                message: Some(message.to_owned()),
            };
            let data =
                self.mutate::<EnvironmentPatchCommit>(Touches::Environment(environment), variables).await?;
            Ok::<_, Error>(Some(patch_id(&data.environment_patch_commit).to_owned()))
        };
        match commit().await {
            Err(error) if error.is_ambiguous() => commit().await,
            other => other,
        }
    }

    /// Stages and commits, which is the only way that can do without deployments.
    async fn commit_quietly(
        &self,
        project: &ProjectId,
        environment: &EnvironmentId,
        patch: &Patch,
        message: &str,
    ) -> Result<Option<String>> {
        let touches = Touches::Environment(environment);
        let stage = || async {
            let variables = environment_stage_changes::Variables {
                environment: environment.to_string(),
                input: Value::Object(patch.root.clone()),
                // Nothing is staged, as was looked up; merging keeps what was staged in between.
                merge: Some(true),
            };
            self.mutate::<EnvironmentStageChanges>(touches, variables).await
        };
        match stage().await {
            Err(error) if error.is_ambiguous() => stage().await,
            other => other,
        }?;
        let commit = || async {
            let variables = environment_patch_commit_staged::Variables {
                environment: environment.to_string(),
                message: Some(message.to_owned()),
                skip_deploys: Some(true),
            };
            let data = self.mutate::<EnvironmentPatchCommitStaged>(touches, variables).await?;
            Ok::<_, Error>(Some(patch_id(&data.environment_patch_commit_staged).to_owned()))
        };
        let error = match commit().await {
            Err(error) if error.is_ambiguous() => {
                // Committed edits are staged no longer.
                if matches!(self.unmerged_changes(project, environment).await, Ok(0)) {
                    return Ok(None);
                }
                match commit().await {
                    Err(error) => error,
                    done => return done,
                }
            }
            Err(error) => error,
            done => return done,
        };
        Err(error.with_kind(ErrorKind::Ambiguous).hinting(
            "the change is staged but not committed: apply or discard it in Railway's dashboard, then repeat",
        ))
    }

    async fn wait_until_applied(&self, environment: &EnvironmentId, patch: &str) -> Result<()> {
        let applied = self
            .look(self.polling().visible_within, || async {
                let variables = environment_patch_get::Variables { id: patch.to_owned() };
                let patch = self.query::<EnvironmentPatchGet>(variables).await?.environment_patch;
                if let Some(reason) = patch.last_applied_error.filter(|text| !text.is_empty()) {
                    let message = format!("Railway could not apply the change: {reason}");
                    return Err(Error::new(ErrorKind::Business, EnvironmentPatchGet::NAME, message).hinting(
                        "the change may be staged in the environment now: see Railway's dashboard before repeating",
                    ));
                }
                let applied =
                    matches!(patch.status, environment_patch_get::EnvironmentPatchStatus::COMMITTED);
                Ok(applied.then_some(()))
            })
            .await?;
        applied.ok_or_else(|| {
            Error::new(
                ErrorKind::Ambiguous,
                EnvironmentPatchGet::NAME,
                format!(
                    "the change was accepted by environment `{environment}` but is not applied after {} s",
                    self.polling().visible_within.as_secs()
                ),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_a_merge_patch() {
        let service: ServiceId = "svc".parse().unwrap();
        let scope = VariableScope::Service(service.clone());
        let patch = Patch::new()
            .clear_service(&service, &["deploy", "healthcheckPath"])
            .set_service(&service, &["deploy", "overlapSeconds"], json!(5))
            .set_variable(&scope, "A", &"1".into())
            .seal_variable(&scope, "B", &"2".into())
            .delete_variable(&VariableScope::Shared, "C");
        assert_eq!(
            Value::Object(patch.root),
            json!({
                "services": { "svc": {
                    "deploy": { "healthcheckPath": null, "overlapSeconds": 5 },
                    "variables": { "A": { "value": "1" }, "B": { "value": "2", "isSealed": true } },
                }},
                "sharedVariables": { "C": null },
            })
        );
        assert!(Patch::new().is_empty());
    }

    #[test]
    fn the_patch_id_is_the_last_segment() {
        assert_eq!(patch_id("environment-apply/env-1/patch-9"), "patch-9");
        assert_eq!(patch_id("patch-9"), "patch-9");
    }
}
