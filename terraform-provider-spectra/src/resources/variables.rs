//! `spectra_variables`: variables of a service, or shared ones of an environment.

use spectra_railway::{Deploys, VariableChanges, VariableScope};
use spectra_types::{EnvironmentId, ProjectId, ServiceId};
use tfplugin::{Apply, Attr, Diagnostics, Import, Model, Operation, Plan, Resource, StateSlot, Text};

use super::import_id::import_id;
use super::managed_variables::{self as managed, Managed, SecretNames, Secrets, Variables as VariableMap};
use super::parents;
use crate::errors::{known, railway};
use crate::provider::{Clients, Cx};

/// What stands in an id for the variables that belong to no service.
const SHARED: &str = "shared";

/// Variables of one service, or of a whole environment, managed apart from either.
///
/// For variables that another team or module owns. Only the variables named here are touched; they must not be named
/// by another resource too. New values reach running replicas with the next deployment; `deploy = true` starts one.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct VariablesModel {
    /// `environment/service`, or `environment/shared`.
    #[tf(computed, stable)]
    id: Attr<String>,
    /// The project.
    #[tf(required, force_new, identity)]
    project_id: Attr<Text<ProjectId>>,
    /// The environment.
    #[tf(required, force_new, identity)]
    environment_id: Attr<Text<EnvironmentId>>,
    /// The service; variables that all services of the environment can refer to when left out.
    #[tf(optional, force_new, identity(optional))]
    service_id: Attr<Text<ServiceId>>,
    /// Variables by name. Values may refer to others: `provider::spectra::railway_ref`.
    #[tf(optional, validate(with = crate::validators::variable_names))]
    variables: VariableMap,
    /// Secrets by name: write-only, sealed on Railway. Raise `secrets_wo_version` when a value changes.
    #[tf(optional, write_only, sensitive, validate(with = crate::validators::variable_names))]
    secrets_wo: Secrets,
    /// Any number; raising it writes the secrets again.
    #[tf(optional)]
    secrets_wo_version: Attr<i64>,
    /// The names of the secrets that are set. Values are never read.
    #[tf(computed)]
    secret_names: SecretNames,
    /// Whether a change starts one deployment of what is affected. It is not followed; `spectra_rollout` does that.
    #[tf(optional, default = false)]
    deploy: Attr<bool>,
}

impl VariablesModel {
    /// What is known of variables before they are read; without a service they are the shared ones.
    pub(crate) fn imported(
        project_id: Attr<Text<ProjectId>>,
        environment_id: Attr<Text<EnvironmentId>>,
        service_id: Attr<Text<ServiceId>>,
    ) -> Self {
        Self { project_id, environment_id, service_id, ..Self::default() }
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

    fn ids(&self) -> Result<(Text<ProjectId>, Text<EnvironmentId>), Diagnostics> {
        Ok((known(&self.project_id, "project_id")?, known(&self.environment_id, "environment_id")?))
    }

    fn scope(&self) -> VariableScope {
        match self.service_id.as_known() {
            Some(service) => VariableScope::Service(service.get().clone()),
            None => VariableScope::Shared,
        }
    }

    fn deploys(&self) -> Deploys {
        if self.deploy == Attr::Known(true) { Deploys::Start } else { Deploys::Skip }
    }

    fn with_id(self) -> Result<Self, Diagnostics> {
        let (_, environment) = self.ids()?;
        let owner = self.service_id.as_known().map_or_else(|| SHARED.to_owned(), ToString::to_string);
        Ok(Self { id: format!("{environment}/{owner}").into(), ..self })
    }
}

/// The resource.
pub(crate) struct Variables;

impl Resource for Variables {
    type Model = VariablesModel;
    type Client = Clients;

    const TYPE: &'static str = "spectra_variables";
    const IMPORT_ID: &'static str = "`project/environment/service`, each an id, with `shared` in place of the service for the variables that all services share";

    fn validate(&self, config: &VariablesModel, diagnostics: &mut Diagnostics) {
        managed::refuse_twice(&config.variables, &config.secrets_wo, diagnostics);
    }

    async fn plan(&self, cx: Option<&Cx>, plan: &mut Plan<VariablesModel>) {
        let Some(config) = plan.config.clone() else { return };
        managed::plan_secret_names(plan, &config.secrets_wo);
        let (Some(cx), Some(planned)) = (cx, plan.planned.clone()) else { return };
        if plan.operation == Operation::Create {
            parents::check_all(cx, plan, &planned.project_id, &planned.environment_id, &planned.service_id)
                .await;
        }
    }

    async fn create(
        &self,
        cx: &Cx,
        apply: Apply<VariablesModel>,
        state: &StateSlot<VariablesModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let Apply { planned, config, .. } = apply;
        let planned = planned.with_id()?;
        let (project, environment) = planned.ids()?;
        let changes = managed::changes(None, &planned.managed(), &config.secrets_wo);
        managed::write(cx, &project, &environment, &planned.scope(), &changes, planned.deploys()).await?;
        state.save(planned);
        Ok(Diagnostics::new())
    }

    async fn read(&self, cx: &Cx, state: VariablesModel) -> Result<Option<VariablesModel>, Diagnostics> {
        let (project, environment) = state.ids()?;
        let found = match cx.client.railway()?.variables(&project, &environment, &state.scope()).await {
            Ok(found) => found,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => {
                return Err(railway("The variables could not be read", &error, "State is unchanged.").into());
            }
        };
        // Only an import leaves the names of the secrets open: plans always say them.
        if state.secret_names.is_null() {
            let read = state.with_managed(managed::read_all(&found));
            return Ok(Some(VariablesModel { deploy: false.into(), ..read }.with_id()?));
        }
        let managed = managed::read(&state.managed(), &found);
        Ok(Some(state.with_managed(managed)))
    }

    async fn update(
        &self,
        cx: &Cx,
        apply: Apply<VariablesModel>,
        state: &StateSlot<VariablesModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let Apply { prior, planned, config } = apply;
        let (project, environment) = planned.ids()?;
        let before = prior.as_ref().map(VariablesModel::managed);
        let changes = managed::changes(before.as_ref(), &planned.managed(), &config.secrets_wo);
        managed::write(cx, &project, &environment, &planned.scope(), &changes, planned.deploys()).await?;
        state.save(planned);
        Ok(Diagnostics::new())
    }

    async fn delete(
        &self,
        cx: &Cx,
        prior: VariablesModel,
        _: &StateSlot<VariablesModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let (project, environment) = prior.ids()?;
        let client = cx.client.railway()?;
        let found = match client.variables(&project, &environment, &prior.scope()).await {
            Ok(found) => found,
            // With the service or the environment its variables went.
            Err(error) if error.is_not_found() => return Ok(Diagnostics::new()),
            Err(error) => {
                return Err(
                    railway("The variables could not be read", &error, "They are still in state.").into()
                );
            }
        };
        let named = prior.variables.clone().or_default().into_keys();
        let secrets = prior.secret_names.clone().known();
        let secrets = secrets.iter().flat_map(|names| names.iter().cloned());
        let changes = VariableChanges {
            delete: named.chain(secrets).filter(|name| found.contains_key(name)).collect(),
            ..VariableChanges::default()
        };
        managed::write(cx, &project, &environment, &prior.scope(), &changes, prior.deploys()).await?;
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Cx, import: Import) -> Result<VariablesModel, Diagnostics> {
        let [project, environment, owner] =
            import_id(&import.id, ["project", "environment", "service_or_shared"])?;
        let service_id = if owner.as_str() == SHARED { Attr::Null } else { owner.parse()? };
        Ok(VariablesModel::imported(project.parse()?, environment.parse()?, service_id))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tfplugin::testing::Changed;

    use super::*;
    use crate::fake::{Fake, instance, snapshot};

    fn variables(given: &[(&str, &str)]) -> VariablesModel {
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), Attr::Known((*value).to_owned())));
        VariablesModel {
            project_id: Attr::Known("p-1".parse().unwrap()),
            environment_id: Attr::Known("e-1".parse().unwrap()),
            service_id: Attr::Known("s-1".parse().unwrap()),
            variables: Attr::Known(given.collect()),
            ..VariablesModel::default()
        }
    }

    #[tokio::test]
    async fn the_plan_after_an_import_is_empty() {
        let fake = Fake::start().await;
        let config = json!({ "services": { "s-1": { "variables": { "A": { "value": "1" } } } } });
        fake.answer("EnvironmentSnapshot", snapshot(&[instance(&json!({}))], &config));
        let mut core = fake.core().await;
        core.import::<Variables>("web", "p-1/e-1/s-1").await.unwrap();
        let plan = core.plan::<Variables>("web", &variables(&[("A", "1")])).await.unwrap();
        assert_eq!(plan.changed, Changed::Nothing, "{plan:?}");
        let plan = core.plan::<Variables>("web", &variables(&[("A", "2")])).await.unwrap();
        assert_eq!(plan.changed, Changed::Updated);
    }
}
