//! `spectra_environment`: a Railway environment with its shared variables.

use spectra_railway::{
    Deploys, Environment as RailwayEnvironment, InitialDeploys, NewEnvironment, VariableScope,
};
use spectra_types::{EnvironmentId, ProjectId};
use tfplugin::{Apply, Attr, Diagnostics, Import, Model, Operation, Plan, Resource, StateSlot, Text};

use super::import_id::import_id;
use super::managed_variables::{self as managed, Managed, SecretNames, Secrets, Variables};
use super::parents;
use crate::errors::{LEFT_BEHIND, UNCHANGED, known, left_behind, railway};
use crate::provider::{Clients, Cx};

/// A Railway environment, with the variables that all its services share.
///
/// Without `source_environment_id` it is a root: empty, and every service created in any root of the project appears
/// in it. With it, it is a fork: services, volumes, configuration and unsealed variables of the source are copied,
/// and services created in it stay in it. A fork does not deploy what it copied; a `spectra_rollout` does.
///
/// Only the variables named here are managed. Secrets are sealed: Railway never shows them again, and they are in no
/// plan and no state.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct EnvironmentModel {
    /// The environment's id.
    #[tf(computed, stable, identity)]
    id: Attr<Text<EnvironmentId>>,
    /// The project that the environment is in.
    #[tf(required, force_new, identity)]
    project_id: Attr<Text<ProjectId>>,
    /// The environment's name, unique in the project.
    #[tf(required, validate(length(1..=32)))]
    name: Attr<String>,
    /// The environment to fork; a root environment is made when left out.
    #[tf(optional, force_new)]
    source_environment_id: Attr<Text<EnvironmentId>>,
    /// Whether Railway made the environment for a pull request and will remove it by itself.
    #[tf(computed, stable)]
    is_ephemeral: Attr<bool>,
    /// Shared variables by name. Values may refer to others: `provider::spectra::railway_ref`.
    #[tf(optional, validate(with = crate::validators::variable_names))]
    variables: Variables,
    /// Shared secrets by name: write-only, sealed on Railway. Raise `secrets_wo_version` when a value changes.
    #[tf(optional, write_only, sensitive, validate(with = crate::validators::variable_names))]
    secrets_wo: Secrets,
    /// Any number; raising it writes the secrets again.
    #[tf(optional)]
    secrets_wo_version: Attr<i64>,
    /// The names of the secrets that are set. Values are never read.
    #[tf(computed)]
    secret_names: SecretNames,
}

impl EnvironmentModel {
    /// What is known of an environment before it is read.
    pub(crate) fn imported(project_id: Attr<Text<ProjectId>>, id: Attr<Text<EnvironmentId>>) -> Self {
        // Which of the environment's variables are managed here, only configuration says.
        let secret_names = Attr::Known([].into_iter().collect());
        Self { id, project_id, secret_names, ..Self::default() }
    }

    fn managed(&self) -> Managed {
        Managed {
            variables: self.variables.clone(),
            secrets_wo_version: self.secrets_wo_version.clone(),
            secret_names: self.secret_names.clone(),
        }
    }

    fn with_managed(self, managed: Managed) -> Self {
        let Managed { variables, secrets_wo_version, secret_names } = managed;
        Self { variables, secrets_wo_version, secret_names, ..self }
    }

    /// The environment as it is right after it was created: no variables set yet.
    fn bare(&self) -> Self {
        let none = Managed { secret_names: Attr::Known([].into_iter().collect()), ..Managed::default() };
        self.clone().with_managed(none)
    }

    fn with(self, environment: RailwayEnvironment) -> Self {
        Self {
            id: Text::new(environment.id).into(),
            project_id: Text::new(environment.project).into(),
            name: environment.name.into(),
            // Railway forgets a source that was deleted. What the environment was made from stays true, and
            // forgetting it would plan another environment.
            source_environment_id: match environment.source {
                Some(source) => Text::new(source).into(),
                None => self.source_environment_id,
            },
            is_ephemeral: environment.is_ephemeral.into(),
            ..self
        }
    }

    fn ids(&self) -> Result<(Text<ProjectId>, Text<EnvironmentId>), Diagnostics> {
        Ok((known(&self.project_id, "project_id")?, known(&self.id, "id")?))
    }
}

/// The resource.
pub(crate) struct Environment;

impl Resource for Environment {
    type Model = EnvironmentModel;
    type Client = Clients;

    const TYPE: &'static str = "spectra_environment";
    const IMPORT_ID: &'static str = "`project/environment`, each an id";

    fn validate(&self, config: &EnvironmentModel, diagnostics: &mut Diagnostics) {
        managed::refuse_twice(&config.variables, &config.secrets_wo, diagnostics);
    }

    async fn plan(&self, cx: Option<&Cx>, plan: &mut Plan<EnvironmentModel>) {
        let Some(config) = plan.config.clone() else { return };
        managed::plan_secret_names(plan, &config.secrets_wo);
        let (Some(cx), Some(planned)) = (cx, plan.planned.clone()) else { return };
        if plan.operation == Operation::Create {
            if !parents::check_not_project_token(cx, plan, "create environments").await {
                return;
            }
            parents::check_project(cx, plan, &planned.project_id).await;
            parents::check_environment(
                cx,
                plan,
                &planned.project_id,
                &planned.source_environment_id,
                "source_environment_id",
            )
            .await;
        }
    }

    async fn create(
        &self,
        cx: &Cx,
        apply: Apply<EnvironmentModel>,
        state: &StateSlot<EnvironmentModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let Apply { planned, config, .. } = apply;
        let new = NewEnvironment {
            project: known(&planned.project_id, "project_id")?.into_inner(),
            name: known(&planned.name, "name")?,
            source: planned.source_environment_id.as_known().map(|source| source.get().clone()),
            deploys: InitialDeploys::Skip,
        };
        let environment = match cx.client.railway()?.create_environment(&new).await {
            Ok(environment) => environment,
            Err(error) => {
                let id = left_behind(&error);
                let left = match (id.is_known(), error.changed_nothing()) {
                    (true, _) => LEFT_BEHIND,
                    (false, true) => UNCHANGED,
                    (false, false) => {
                        "The environment may have been created: look for it on Railway, and import or delete it before \
                         applying again."
                    }
                };
                if id.is_known() {
                    state.save(EnvironmentModel { id, is_ephemeral: false.into(), ..planned.bare() });
                }
                return Err(railway(
                    format!("The environment `{}` could not be created", new.name),
                    &error,
                    left,
                )
                .into());
            }
        };
        let changes = managed::changes(None, &planned.managed(), &config.secrets_wo);
        let complete = planned.with(environment);
        // From here on the environment exists: whatever fails below, state knows it, with no variables set yet.
        state.save(complete.bare());
        let (project, id) = complete.ids()?;
        managed::write(cx, &project, &id, &VariableScope::Shared, &changes, Deploys::Skip).await?;
        state.save(complete);
        Ok(Diagnostics::new())
    }

    async fn read(&self, cx: &Cx, state: EnvironmentModel) -> Result<Option<EnvironmentModel>, Diagnostics> {
        let (project, id) = state.ids()?;
        let railway_client = cx.client.railway()?;
        let failed = |error: spectra_railway::Error| -> Diagnostics {
            railway(format!("The environment `{id}` could not be read"), &error, "State is unchanged.").into()
        };
        let environment = match railway_client.environment(&project, &id).await {
            Ok(environment) => environment,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let managed = match railway_client.variables(&project, &id, &VariableScope::Shared).await {
            Ok(found) => managed::read(&state.managed(), &found),
            // It was deleted between the two reads.
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        Ok(Some(state.with(environment).with_managed(managed)))
    }

    async fn update(
        &self,
        cx: &Cx,
        apply: Apply<EnvironmentModel>,
        state: &StateSlot<EnvironmentModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let Apply { prior, planned, config } = apply;
        let (project, id) = planned.ids()?;
        let name = known(&planned.name, "name")?;
        if prior.as_ref().is_none_or(|prior| prior.name != planned.name) {
            cx.client.railway()?.rename_environment(&project, &id, &name).await.map_err(|error| {
                railway(
                    format!("The environment `{id}` could not be renamed to `{name}`"),
                    &error,
                    "State keeps the values from before.",
                )
                .at("name")
            })?;
            if let Some(prior) = &prior {
                state.save(EnvironmentModel { name: planned.name.clone(), ..prior.clone() });
            }
        }
        let before = prior.as_ref().map(EnvironmentModel::managed);
        let mut changes = managed::changes(before.as_ref(), &planned.managed(), &config.secrets_wo);
        managed::drop_equal(cx, &project, &id, &VariableScope::Shared, before.as_ref(), &mut changes).await?;
        managed::write(cx, &project, &id, &VariableScope::Shared, &changes, Deploys::Skip).await?;
        state.save(planned);
        Ok(Diagnostics::new())
    }

    async fn delete(
        &self,
        cx: &Cx,
        prior: EnvironmentModel,
        _: &StateSlot<EnvironmentModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let (project, id) = prior.ids()?;
        cx.client.railway()?.delete_environment(&project, &id).await.map_err(|error| {
            railway(format!("The environment `{id}` could not be deleted"), &error, "It is still in state.")
        })?;
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Cx, import: Import) -> Result<EnvironmentModel, Diagnostics> {
        let [project, id] = import_id(&import.id, ["project", "environment"])?;
        Ok(EnvironmentModel::imported(project.parse()?, id.parse()?))
    }

    async fn import_identity(
        &self,
        _: &Cx,
        identity: EnvironmentModel,
    ) -> Result<EnvironmentModel, Diagnostics> {
        Ok(EnvironmentModel::imported(identity.project_id, identity.id))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tfplugin::testing::Changed;

    use super::*;
    use crate::fake::{Fake, environment, list, snapshot};

    fn named(name: &str) -> EnvironmentModel {
        EnvironmentModel {
            project_id: Attr::Known("p-1".parse().unwrap()),
            name: name.to_owned().into(),
            ..EnvironmentModel::default()
        }
    }

    #[tokio::test]
    async fn the_plan_after_an_import_is_empty_and_leaves_foreign_variables_alone() {
        let fake = Fake::start().await;
        let config = json!({ "sharedVariables": { "FOREIGN": { "value": "x" }, "S": { "isSealed": true } } });
        fake.answer("EnvironmentSnapshot", snapshot(&[], &config));
        let mut core = fake.core().await;
        core.import::<Environment>("main", "p-1/e-1").await.unwrap();
        assert_eq!(core.plan::<Environment>("main", &named("main")).await.unwrap().changed, Changed::Nothing);
    }

    #[tokio::test]
    async fn a_fork_whose_source_was_deleted_is_not_replaced() {
        let fake = Fake::start().await;
        fake.answer("EnvironmentSnapshot", snapshot(&[], &json!({})));
        let forked = list(&[environment("e-1", "main", Some("e-0"))]);
        fake.answer("EnvironmentList", json!({ "environments": forked }));
        let mut core = fake.core().await;
        core.import::<Environment>("main", "p-1/e-1").await.unwrap();
        let state = core.state::<Environment>("main").unwrap().unwrap();
        let orphan = state.with(RailwayEnvironment {
            id: "e-1".parse().unwrap(),
            project: "p-1".parse().unwrap(),
            name: "main".to_owned(),
            source: None,
            is_ephemeral: false,
            can_access: true,
        });
        assert_eq!(orphan.source_environment_id.as_known().unwrap().as_str(), "e-0");
    }
}
