//! `spectra_service`: a Railway service in one environment.

mod model;
mod place;
mod policies;
mod settings;

use std::collections::BTreeMap;

use spectra_railway::{
    Client, Deploys, InstanceRef, InstanceUpdate, VariableChanges, VariableScope, normalise_region,
};
use spectra_types::{EnvironmentId, ImageRef, ProjectId, ServiceId};
use tfplugin::{
    Apply, Attr, AttributePath, Diagnostic, Diagnostics, Import, Operation, Plan, Resource, StateSlot, Text,
};

pub(crate) use self::model::ServiceModel;
use self::place::Unplaced;
use super::import_id::import_id;
use super::managed_variables::{self as managed, Managed};
use super::parents;
use crate::errors::{UNCHANGED, known, railway};
use crate::provider::{Clients, Cx};

impl ServiceModel {
    /// What is known of a service before it is read.
    pub(crate) fn imported(
        project_id: Attr<Text<ProjectId>>,
        environment_id: Attr<Text<EnvironmentId>>,
        id: Attr<Text<ServiceId>>,
    ) -> Self {
        Self { id, project_id, environment_id, allow_fan_out: false.into(), ..Self::default() }
    }

    fn managed(&self) -> Managed {
        Managed {
            variables: self.variables.clone(),
            secrets_wo_version: self.secrets_wo_version.clone(),
            secret_names: self.secret_names.clone(),
        }
    }

    fn instance(&self) -> Result<InstanceRef, Diagnostics> {
        Ok(InstanceRef {
            project: known(&self.project_id, "project_id")?.into_inner(),
            environment: known(&self.environment_id, "environment_id")?.into_inner(),
            service: known(&self.id, "id")?.into_inner(),
        })
    }

    /// The service as it is right after it was created: nothing set yet.
    fn bare(&self) -> Self {
        Self {
            id: self.id.clone(),
            project_id: self.project_id.clone(),
            environment_id: self.environment_id.clone(),
            name: self.name.clone(),
            allow_fan_out: self.allow_fan_out.clone(),
            ..Self::default()
        }
    }
}

/// The resource.
pub(crate) struct Service;

impl Resource for Service {
    type Model = ServiceModel;
    type Client = Clients;

    const TYPE: &'static str = "spectra_service";
    const IMPORT_ID: &'static str = "`project/environment/service`, each an id";

    fn validate(&self, config: &ServiceModel, diagnostics: &mut Diagnostics) {
        if config.replicas.is_known() && config.regions.is_known() {
            diagnostics.push(
                Diagnostic::error(
                    "Replicas are given twice",
                    "`replicas` and `regions` exclude each other: `regions` says how many run in each region.",
                )
                .at("replicas"),
            );
        }
        managed::refuse_twice(&config.variables, &config.secrets_wo, diagnostics);
    }

    async fn plan(&self, cx: Option<&Cx>, plan: &mut Plan<ServiceModel>) {
        let Some(config) = plan.config.clone() else { return };
        managed::plan_secret_names(plan, &config.secrets_wo);
        let Some(planned) = plan.planned.clone() else { return };
        refuse_to_leave_regions(plan, &planned);
        let Some(cx) = cx else { return };
        policies::check(cx, plan, &planned).await;
        if plan.operation == Operation::Update {
            return check_regions(cx, plan, &planned).await;
        }
        if parents::check_project(cx, plan, &planned.project_id).await
            && parents::check_environment(
                cx,
                plan,
                &planned.project_id,
                &planned.environment_id,
                "environment_id",
            )
            .await
        {
            check_fan_out(cx, plan, &planned).await;
            check_regions(cx, plan, &planned).await;
        }
    }

    async fn create(
        &self,
        cx: &Cx,
        apply: Apply<ServiceModel>,
        state: &StateSlot<ServiceModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let Apply { planned, config, .. } = apply;
        let name = known(&planned.name, "name")?;
        let admitted = policies::admit(cx, &planned).await?;
        let instance = match place::place(cx, &planned, &name).await {
            Ok(instance) => instance,
            Err(Unplaced { left: Some(id), why }) => {
                state.save(ServiceModel { id: Text::new(id).into(), ..planned.bare() });
                return Err(why);
            }
            Err(Unplaced { left: None, why }) => return Err(why),
        };
        let planned = ServiceModel { id: Text::new(instance.service.clone()).into(), ..planned };
        // From here on the service exists in this environment, whatever fails below. What a fork has copied is there
        // already, and goes unless it is asked for.
        let bare = settings::read(planned.bare(), &instance);
        state.save(bare.clone());
        let update = settings::update(Some(&bare), &planned, &config);
        let changes = managed::changes(None, &planned.managed(), &config.secrets_wo);
        let reference = planned.instance()?;
        policies::write_down(cx, admitted.as_ref(), &reference).await?;
        configure(cx, &reference, &name, update.as_ref(), &changes).await?;
        deploy_if_set(cx, &planned, true, state).await?;
        state.save(planned);
        Ok(Diagnostics::new())
    }

    async fn read(&self, cx: &Cx, state: ServiceModel) -> Result<Option<ServiceModel>, Diagnostics> {
        let reference = state.instance()?;
        match cx.client.railway()?.instance(&reference).await {
            Ok(found) => Ok(Some(settings::read(state, &found))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => {
                let summary = format!("The service `{}` could not be read", reference.service);
                Err(railway(summary, &error, "State is unchanged.").into())
            }
        }
    }

    async fn update(
        &self,
        cx: &Cx,
        apply: Apply<ServiceModel>,
        state: &StateSlot<ServiceModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let Apply { prior, planned, config } = apply;
        let client = cx.client.railway()?;
        let (reference, name) = (planned.instance()?, known(&planned.name, "name")?);
        let update = settings::update(prior.as_ref(), &planned, &config);
        let before = prior.as_ref().map(ServiceModel::managed);
        let mut changes = managed::changes(before.as_ref(), &planned.managed(), &config.secrets_wo);
        let scope = VariableScope::Service(reference.service.clone());
        managed::drop_equal(
            cx,
            &reference.project,
            &reference.environment,
            &scope,
            before.as_ref(),
            &mut changes,
        )
        .await?;
        let something = !changes.is_empty()
            || match &update {
                None => false,
                Some(update) if settings::is_image_alone(update) => !serves(client, &planned).await?,
                Some(_) => true,
            };
        let admitted = if something { policies::admit(cx, &planned).await? } else { None };
        if prior.as_ref().is_none_or(|prior| prior.name != planned.name) {
            client.rename_service(&reference.project, &reference.service, &name).await.map_err(|error| {
                railway(
                    format!("The service `{}` could not be renamed to `{name}`", reference.service),
                    &error,
                    "State keeps the values from before.",
                )
                .at("name")
            })?;
            if let Some(prior) = &prior {
                state.save(ServiceModel { name: planned.name.clone(), ..prior.clone() });
            }
        }
        policies::write_down(cx, admitted.as_ref(), &reference).await?;
        configure(cx, &reference, &name, update.as_ref(), &changes).await?;
        deploy_if_set(cx, &planned, something, state).await?;
        state.save(planned);
        Ok(Diagnostics::new())
    }

    async fn delete(
        &self,
        cx: &Cx,
        prior: ServiceModel,
        _: &StateSlot<ServiceModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let (client, reference) = (cx.client.railway()?, prior.instance()?);
        let result = if runs_elsewhere(client, &reference).await? {
            client.delete_instance(&reference).await
        } else {
            client.delete_service(&reference.project, &reference.service).await
        };
        result.map_err(|error| {
            railway(
                format!("The service `{}` could not be deleted", reference.service),
                &error,
                "It is still in state.",
            )
        })?;
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Cx, import: Import) -> Result<ServiceModel, Diagnostics> {
        let [project, environment, service] = import_id(&import.id, ["project", "environment", "service"])?;
        Ok(ServiceModel::imported(project.parse()?, environment.parse()?, service.parse()?))
    }

    async fn import_identity(&self, _: &Cx, identity: ServiceModel) -> Result<ServiceModel, Diagnostics> {
        Ok(ServiceModel::imported(identity.project_id, identity.environment_id, identity.id))
    }
}

/// At plan, where the environment is known: would Railway place the service into other environments too?
async fn check_fan_out(cx: &Cx, plan: &mut Plan<ServiceModel>, planned: &ServiceModel) {
    let (Some(project), Some(environment), Some(name)) =
        (planned.project_id.as_known(), planned.environment_id.as_known(), planned.name.as_known())
    else {
        return;
    };
    let Ok(client) = cx.client.railway() else { return };
    let (Ok(environments), Ok(services)) =
        (client.environments(project).await, client.services(project).await)
    else {
        return;
    };
    let Some(home) = environments.iter().find(|known| &known.id == environment.get()) else { return };
    let others: Vec<String> = environments
        .iter()
        .filter(|other| home.is_root() && other.is_root() && other.id != home.id)
        .map(|other| format!("`{}`", other.name))
        .collect();
    // A service that the project has already is placed into this environment alone.
    let exists = services.iter().any(|service| &service.name == name);
    if exists || others.is_empty() || planned.allow_fan_out == Attr::Known(true) {
        return;
    }
    plan.error(
        "environment_id",
        "The service would appear in other environments too",
        format!(
            "`{}` is a root environment, and Railway places a service that is created in one root environment into all \
             of them, that is also into {}. {UNCHANGED}\n\nMake the environment a fork (`source_environment_id` of \
             `spectra_environment`), or set `allow_fan_out = true`.",
            home.name,
            others.join(", ")
        ),
    );
}

/// Refuses names that Railway has no region for. Asked only for what changes, and once a process for a project.
async fn check_regions(cx: &Cx, plan: &mut Plan<ServiceModel>, planned: &ServiceModel) {
    let (Some(regions), Some(project)) = (planned.regions.as_known(), planned.project_id.as_known()) else {
        return;
    };
    if !plan.changes("regions") {
        return;
    }
    let known = match cx.client.regions(project).await {
        Ok(known) => known,
        Err(diagnostics) => return plan.diagnostics.extend(diagnostics),
    };
    let mut meant = BTreeMap::new();
    for name in regions.keys() {
        let place = AttributePath::from("regions").key(name.clone());
        match normalise_region(&known, name) {
            Ok(region) if !settings::is_region(name, &region) => plan.error(
                place,
                "The region has another name",
                format!("Railway calls `{name}` `{region}` now. {UNCHANGED}\n\nWrite `{region}`."),
            ),
            Ok(region) => {
                if let Some(other) = meant.insert(region.clone(), name) {
                    plan.error(
                        place,
                        "A region is given twice",
                        format!(
                            "`{other}` and `{name}` both mean `{region}`. {UNCHANGED}\n\nDrop one of them."
                        ),
                    );
                }
            }
            Err(error) => plan
                .diagnostics
                .push(railway(format!("There is no region `{name}`"), &error, UNCHANGED).at(place)),
        }
    }
}

/// Railway takes a number of replicas without regions for one region only.
fn refuse_to_leave_regions(plan: &mut Plan<ServiceModel>, planned: &ServiceModel) {
    let regions = plan.prior.as_ref().and_then(|prior| prior.regions.as_known());
    let Some(regions) = regions.filter(|regions| regions.len() > 1) else { return };
    if !planned.regions.is_null() || plan.replaces() {
        return;
    }
    let names: Vec<_> = regions.keys().map(|region| format!("`{region}`")).collect();
    plan.error(
        "regions",
        "The service runs in several regions",
        format!(
            "It runs in {}, and which one is to stay has to be said. {UNCHANGED}\n\nGive `regions` with the one to stay.",
            names.join(", ")
        ),
    );
}

/// Writes settings and variables; nothing is deployed by either.
async fn configure(
    cx: &Cx,
    instance: &InstanceRef,
    name: &str,
    update: Option<&InstanceUpdate>,
    changes: &VariableChanges,
) -> Result<(), Diagnostics> {
    if let Some(update) = update {
        cx.client.railway()?.update_instance(instance, update).await.map_err(|error| {
            let left = if error.changed_nothing() {
                "None of its settings was changed."
            } else {
                "Some of its settings may have been changed; the next apply writes them again."
            };
            railway(format!("The settings of service `{name}` could not be written"), &error, left)
        })?;
    }
    let scope = VariableScope::Service(instance.service.clone());
    managed::write(cx, &instance.project, &instance.environment, &scope, changes, Deploys::Skip).await
}

/// A service whose image is given here is deployed when something changed; otherwise a rollout does that.
async fn deploy_if_set(
    cx: &Cx,
    planned: &ServiceModel,
    something: bool,
    state: &StateSlot<ServiceModel>,
) -> Result<(), Diagnostics> {
    let Some(image) = planned.image.as_known().filter(|_| something) else { return Ok(()) };
    let reference = planned.instance()?;
    if let Err(error) = cx.client.railway()?.deploy(&reference, Some(image.as_str())).await {
        // The setting reads back as asked for, so without this the next plan would be empty and nobody would deploy.
        state.save(ServiceModel { image: Attr::Null, ..planned.clone() });
        return Err(railway(
            format!("The image `{image}` could not be deployed"),
            &error,
            "The settings are written, and take effect with the next deployment. State has no image, so that the next \
             apply deploys it.",
        )
        .at("image")
        .into());
    }
    Ok(())
}

/// Whether the planned image is what the service is set to and what serves, as after an import.
async fn serves(client: &Client, planned: &ServiceModel) -> Result<bool, Diagnostics> {
    let reference = planned.instance()?;
    let found = client.fresh_instance(&reference).await.map_err(|error| {
        railway(format!("The service `{}` could not be read", reference.service), &error, UNCHANGED)
    })?;
    let same = |text: Option<&str>| {
        let found = text.and_then(|text| text.parse::<ImageRef>().ok());
        found.is_some() && found.as_ref() == planned.image.as_known().map(Text::get)
    };
    Ok(same(found.image.as_deref())
        && found
            .active_deployments
            .iter()
            .any(|deployment| deployment.is_serving() && same(deployment.image.as_deref())))
}

/// Whether another environment has the service too.
async fn runs_elsewhere(client: &Client, instance: &InstanceRef) -> Result<bool, Diagnostics> {
    let failed = |error: spectra_railway::Error| -> Diagnostics {
        railway("The project's environments could not be read", &error, "The service is still in state.")
            .into()
    };
    let environments = match client.environments(&instance.project).await {
        Ok(environments) => environments,
        Err(error) if error.is_not_found() => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    for environment in environments.iter().filter(|other| other.id != instance.environment) {
        // What cannot be looked into may run the service, and is not this resource's to take down.
        if !environment.can_access {
            return Ok(true);
        }
        match client.environment_snapshot(&instance.project, &environment.id).await {
            Ok(snapshot) if snapshot.instances.contains_key(&instance.service) => return Ok(true),
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tfplugin::testing::Changed;

    use super::*;
    use crate::fake::{Fake, instance, list, snapshot};

    fn web(regions: &[(&str, i64)]) -> ServiceModel {
        let regions: BTreeMap<_, _> =
            regions.iter().map(|(name, count)| ((*name).to_owned(), Attr::Known(*count))).collect();
        ServiceModel {
            project_id: Attr::Known("p-1".parse().unwrap()),
            environment_id: Attr::Known("e-1".parse().unwrap()),
            name: "web".to_owned().into(),
            regions: if regions.is_empty() { Attr::Null } else { regions.into() },
            ..ServiceModel::default()
        }
    }

    async fn railway(placement: serde_json::Value) -> Fake {
        let fake = Fake::start().await;
        let config = json!({ "services": { "s-1": { "deploy": { "multiRegionConfig": placement } } } });
        fake.answer("EnvironmentSnapshot", snapshot(&[instance(&json!({}))], &config));
        fake.answer("ServiceList", json!({ "project": { "services": list(&[]) } }));
        let region = |name: &str| json!({ "name": name, "region": null, "location": "", "country": "" });
        fake.answer("RegionList", json!({ "regions": [region("us-west2"), region("us-east4-eqdc4a")] }));
        fake
    }

    fn refused(failed: tfplugin::testing::Failed) -> Vec<String> {
        failed.diagnostics().iter().map(|one| one.attribute.as_ref().unwrap().to_string()).collect()
    }

    #[tokio::test]
    async fn the_plan_after_an_import_is_empty() {
        let fake = railway(json!({ "us-east4-eqdc4a": { "numReplicas": 2 } })).await;
        let mut core = fake.core().await;
        core.import::<Service>("web", "p-1/e-1/s-1").await.unwrap();
        let asked = ServiceModel { replicas: 2.into(), ..web(&[]) };
        assert_eq!(core.plan::<Service>("web", &asked).await.unwrap().changed, Changed::Nothing);
    }

    #[tokio::test]
    async fn an_unknown_region_is_refused_at_plan_and_regions_are_asked_for_once() {
        let fake = railway(json!({})).await;
        let mut core = fake.core().await;
        let failed = core.plan::<Service>("web", &web(&[("us-west2", 1), ("mars", 1)])).await.unwrap_err();
        assert_eq!(refused(failed), ["regions[\"mars\"]"]);
        let failed =
            core.plan::<Service>("web", &web(&[("us-east4", 1), ("us-east4-eqdc4a", 1)])).await.unwrap_err();
        assert_eq!(refused(failed), ["regions[\"us-east4-eqdc4a\"]"]);
        core.plan::<Service>("web", &web(&[("us-west2", 1), ("us-east4", 1)])).await.unwrap();
        assert_eq!(fake.seen().iter().filter(|name| *name == "RegionList").count(), 1);
    }

    #[tokio::test]
    async fn several_regions_are_not_left_without_saying_which_one_stays() {
        let fake =
            railway(json!({ "us-west2": { "numReplicas": 1 }, "us-east4-eqdc4a": { "numReplicas": 1 } }))
                .await;
        let mut core = fake.core().await;
        core.import::<Service>("web", "p-1/e-1/s-1").await.unwrap();
        let failed = core.plan::<Service>("web", &web(&[])).await.unwrap_err();
        assert_eq!(refused(failed), ["regions"]);
        let plan = core.plan::<Service>("web", &web(&[("us-west2", 1)])).await.unwrap();
        assert_eq!(plan.changed, Changed::Updated);
    }
}
