//! `spectra_domain`: a domain that Railway generates for a service.

use spectra_probe::service_url;
use spectra_railway::{InstanceRef, ServiceDomain};
use spectra_types::{EnvironmentId, ProjectId, ServiceId};
use tfplugin::{
    Apply, Attr, Diagnostic, Diagnostics, Import, Model, Operation, Plan, Resource, StateSlot, Text,
};

use super::import_id::import_id;
use super::parents;
use crate::errors::{LEFT_BEHIND, UNCHANGED, known, railway};
use crate::provider::{Clients, Cx};

/// A domain that Railway generates for a service in one environment.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct DomainModel {
    /// The domain's id.
    #[tf(computed, stable, identity)]
    id: Attr<String>,
    /// The project.
    #[tf(required, force_new, identity)]
    project_id: Attr<Text<ProjectId>>,
    /// The environment.
    #[tf(required, force_new, identity)]
    environment_id: Attr<Text<EnvironmentId>>,
    /// The service that answers.
    #[tf(required, force_new, identity)]
    service_id: Attr<Text<ServiceId>>,
    /// The port that the service listens on; Railway finds it when left out. Leaving it out later keeps the port, for
    /// Railway can set one but not forget it.
    #[tf(optional, computed, stable, validate(range(1..=65535)))]
    target_port: Attr<i64>,
    /// The domain: `web-production-1a2b.up.railway.app`.
    #[tf(computed, stable)]
    domain: Attr<String>,
    /// The service's URL, with a slash at the end.
    #[tf(computed, stable)]
    url: Attr<String>,
}

impl DomainModel {
    /// What is known of a domain before it is read.
    pub(crate) fn imported(instance: InstanceRef, id: String) -> Self {
        Self {
            id: id.into(),
            project_id: Text::new(instance.project).into(),
            environment_id: Text::new(instance.environment).into(),
            service_id: Text::new(instance.service).into(),
            ..Self::default()
        }
    }

    fn instance(&self) -> Result<InstanceRef, Diagnostics> {
        Ok(InstanceRef {
            project: known(&self.project_id, "project_id")?.into_inner(),
            environment: known(&self.environment_id, "environment_id")?.into_inner(),
            service: known(&self.service_id, "service_id")?.into_inner(),
        })
    }

    fn port(&self) -> Option<u16> {
        self.target_port.as_known().and_then(|port| u16::try_from(*port).ok())
    }

    fn with(self, domain: ServiceDomain) -> Result<Self, Diagnostics> {
        let url = service_url(&domain.domain).map_err(|error| {
            Diagnostic::error(
                "Railway generated an unusable domain",
                format!(
                    "The domain `{}` makes no URL: {error}. The domain exists on Railway.",
                    domain.domain
                ),
            )
            .at("domain")
        })?;
        Ok(Self { id: domain.id.into(), domain: domain.domain.into(), url: url.to_string().into(), ..self })
    }
}

/// The resource.
pub(crate) struct Domain;

impl Resource for Domain {
    type Model = DomainModel;
    type Client = Clients;

    const TYPE: &'static str = "spectra_domain";
    const IMPORT_ID: &'static str = "`project/environment/service/domain`, each an id";

    async fn plan(&self, cx: Option<&Cx>, plan: &mut Plan<DomainModel>) {
        let Some(planned) = plan.planned.clone() else { return };
        if let (Some(cx), Operation::Create) = (cx, plan.operation) {
            parents::check_all(cx, plan, &planned.project_id, &planned.environment_id, &planned.service_id)
                .await;
        }
    }

    async fn create(
        &self,
        cx: &Cx,
        apply: Apply<DomainModel>,
        state: &StateSlot<DomainModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let planned = apply.planned;
        let instance = planned.instance()?;
        let domain = match cx.client.railway()?.create_service_domain(&instance, planned.port()).await {
            Ok(domain) => domain,
            Err(error) => {
                let left = match (error.left_behind(), error.changed_nothing()) {
                    (Some(_), _) => LEFT_BEHIND,
                    (None, true) => UNCHANGED,
                    (None, false) => {
                        "A domain may have been generated: look at the service on Railway before applying again."
                    }
                };
                let summary = format!("No domain could be generated for service `{}`", instance.service);
                if let Some(id) = error.left_behind() {
                    state.save(DomainModel { id: id.to_owned().into(), ..planned });
                }
                return Err(railway(summary, &error, left).into());
            }
        };
        // The domain exists, whatever becomes of its URL.
        state.save(DomainModel { id: domain.id.clone().into(), ..planned.clone() });
        let target_port = match &planned.target_port {
            Attr::Known(port) => Attr::Known(*port),
            Attr::Null | Attr::Unknown => domain.target_port.map(i64::from).into(),
        };
        state.save(DomainModel { target_port, ..planned.with(domain)? });
        Ok(Diagnostics::new())
    }

    async fn read(&self, cx: &Cx, state: DomainModel) -> Result<Option<DomainModel>, Diagnostics> {
        let (instance, id) = (state.instance()?, known(&state.id, "id")?);
        let service = match cx.client.railway()?.instance(&instance).await {
            Ok(service) => service,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => {
                return Err(railway(
                    format!("The domain `{id}` could not be read"),
                    &error,
                    "State is unchanged.",
                )
                .into());
            }
        };
        let Some(found) = service.domains.into_iter().find(|domain| domain.id == id) else { return Ok(None) };
        let target_port = found.target_port.map(i64::from).into();
        Ok(Some(DomainModel { target_port, ..state.with(found)? }))
    }

    async fn update(
        &self,
        cx: &Cx,
        apply: Apply<DomainModel>,
        state: &StateSlot<DomainModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let planned = apply.planned;
        let instance = planned.instance()?;
        if let Some(port) = planned.port() {
            let domain = ServiceDomain {
                id: known(&planned.id, "id")?,
                domain: known(&planned.domain, "domain")?,
                service: instance.service,
                environment: instance.environment,
                target_port: None,
            };
            cx.client.railway()?.update_service_domain(&domain, port).await.map_err(|error| {
                railway(
                    format!("The port of domain `{}` could not be set", domain.domain),
                    &error,
                    "State keeps the port from before.",
                )
                .at("target_port")
            })?;
        }
        state.save(planned);
        Ok(Diagnostics::new())
    }

    async fn delete(
        &self,
        cx: &Cx,
        prior: DomainModel,
        _: &StateSlot<DomainModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let (instance, id) = (prior.instance()?, known(&prior.id, "id")?);
        cx.client.railway()?.delete_service_domain(&instance, &id).await.map_err(|error| {
            railway(format!("The domain `{id}` could not be deleted"), &error, "It is still in state.")
        })?;
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Cx, import: Import) -> Result<DomainModel, Diagnostics> {
        let [project, environment, service, domain] =
            import_id(&import.id, ["project", "environment", "service", "domain"])?;
        Ok(DomainModel {
            id: domain.as_str().to_owned().into(),
            project_id: project.parse()?,
            environment_id: environment.parse()?,
            service_id: service.parse()?,
            ..DomainModel::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tfplugin::testing::Changed;

    use super::*;
    use crate::fake::{Fake, instance, snapshot};

    fn domain(port: Attr<i64>) -> DomainModel {
        DomainModel {
            project_id: Attr::Known("p-1".parse().unwrap()),
            environment_id: Attr::Known("e-1".parse().unwrap()),
            service_id: Attr::Known("s-1".parse().unwrap()),
            target_port: port,
            ..DomainModel::default()
        }
    }

    #[tokio::test]
    async fn a_port_that_railway_has_found_neither_changes_nor_replaces_an_imported_domain() {
        let fake = Fake::start().await;
        let found = json!({ "id": "d-1", "domain": "web.up.railway.app", "serviceId": "s-1", "environmentId": "e-1",
            "targetPort": 8080, "deletedAt": null });
        let settings = json!({ "domains": { "serviceDomains": [found] } });
        fake.answer("EnvironmentSnapshot", snapshot(&[instance(&settings)], &json!({})));
        let mut core = fake.core().await;
        core.import::<Domain>("web", "p-1/e-1/s-1/d-1").await.unwrap();
        for port in [Attr::Null, Attr::Known(8080)] {
            let plan = core.plan::<Domain>("web", &domain(port)).await.unwrap();
            assert_eq!(plan.changed, Changed::Nothing, "{plan:?}");
        }
        let plan = core.plan::<Domain>("web", &domain(Attr::Known(3000))).await.unwrap();
        assert_eq!(plan.changed, Changed::Updated);
    }
}
