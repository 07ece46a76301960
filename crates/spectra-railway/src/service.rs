//! Services: names in a project, with an instance in each environment that has them.

use std::collections::BTreeMap;
use std::sync::Arc;

use spectra_types::{EnvironmentId, ProjectId, ServiceId};

use crate::client::{Client, Page, Touches, all_pages, confirmed, id};
use crate::deployment::InstanceRef;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::gql::{
    Operation, ServiceCreate, ServiceDelete, ServiceList, ServiceUpdate, service_create, service_delete,
    service_list, service_update,
};
use crate::instance::Instance;
use crate::patch::{Deploys, Patch};
use crate::project::dedup;

/// The longest name that Railway takes.
const LONGEST_NAME: usize = 32;

/// A service of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// The project.
    pub project: ProjectId,
    /// Its name, unique in the project.
    pub name: String,
}

/// What to do about Railway's habit of placing a service that is made in one root environment into all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FanOut {
    /// Make nothing if there is more than one root environment.
    Refuse,
    /// Let it appear everywhere.
    Allow,
    /// Remove the new, still empty instances from the other environments.
    Prune,
}

/// A service to be made, without a source: Railway would deploy that at once, before variables are set.
#[derive(Clone, Debug)]
pub struct NewService {
    /// The project.
    pub project: ProjectId,
    /// The environment that needs it.
    pub environment: EnvironmentId,
    /// Its name, at most 32 characters.
    pub name: String,
    /// What to do about the other environments.
    pub fan_out: FanOut,
}

macro_rules! service_from {
    ($operation:ty, $node:expr) => {{
        let node = $node;
        Service {
            id: id::<$operation, _>(node.id)?,
            project: id::<$operation, _>(node.project_id)?,
            name: node.name,
        }
    }};
}

impl Client {
    /// The services of a project. Shared for a moment between callers.
    pub async fn services(&self, project: &ProjectId) -> Result<Arc<Vec<Service>>> {
        let config = self.config();
        self.service_lists()
            .get(project, config.snapshot_ttl, || self.now(), || self.fetch_services(project))
            .await
    }

    pub(crate) async fn fetch_services(&self, project: &ProjectId) -> Result<Vec<Service>> {
        let listed = all_pages::<ServiceList, _, _>(|after| async move {
            let variables = service_list::Variables { project: project.to_string(), after };
            let list = self.query::<ServiceList>(variables).await?.project.services;
            let mut items = Vec::new();
            for edge in list.edges {
                if edge.node.deleted_at.is_none() {
                    items.push(service_from!(ServiceList, edge.node));
                }
            }
            Page::new::<ServiceList>(items, list.page_info.has_next_page, list.page_info.end_cursor)
        })
        .await;
        match listed {
            Ok(mut services) => {
                dedup(&mut services, |service| service.id.clone());
                Ok(services)
            }
            Err(error) => {
                let error = self.settle_missing_project(project, error).await;
                Err(error.attempting(|| format!("list the services of project `{project}`")))
            }
        }
    }

    /// The service of that name.
    pub async fn service_by_name(&self, project: &ProjectId, name: &str) -> Result<Option<Service>> {
        Ok(self.services(project).await?.iter().find(|service| service.name == name).cloned())
    }

    /// Makes a service and waits until its instance in the environment can be used. One that a lost answer left
    /// behind is taken over; one that was there before is a conflict.
    pub async fn create_service(&self, new: &NewService) -> Result<(Service, Instance)> {
        self.create_service_with(new, BTreeMap::new()).await
    }

    /// As [`create_service`](Self::create_service), with variables that it has from its first moment.
    pub(crate) async fn create_service_with(
        &self,
        new: &NewService,
        variables: BTreeMap<String, String>,
    ) -> Result<(Service, Instance)> {
        let attempt = || format!("create service `{}` in project `{}`", new.name, new.project);
        self.create_service_inner(new, variables).await.map_err(|error| error.attempting(attempt))
    }

    async fn create_service_inner(
        &self,
        new: &NewService,
        variables: BTreeMap<String, String>,
    ) -> Result<(Service, Instance)> {
        if new.name.trim().is_empty() || new.name.chars().count() > LONGEST_NAME {
            let message = format!("a service's name has 1 to {LONGEST_NAME} characters");
            return Err(Error::new(ErrorKind::BadInput, ServiceCreate::NAME, message));
        }
        let others = self.other_environments(new).await?;
        let before = self.fetch_services(&new.project).await?;
        if let Some(existing) = before.iter().find(|service| service.name == new.name) {
            let message = format!("there is one of that name already: `{}`", existing.id);
            return Err(Error::new(ErrorKind::Conflict, ServiceCreate::NAME, message));
        }
        let create = || async {
            let input = service_create::ServiceCreateInput {
                name: Some(new.name.clone()),
                project_id: new.project.to_string(),
                environment_id: Some(new.environment.to_string()),
                variables: (!variables.is_empty()).then(|| variables.clone()),
            };
            let variables = service_create::Variables { input };
            let data = self.mutate::<ServiceCreate>(Touches::Everything, variables).await?;
            Ok::<_, Error>(service_from!(ServiceCreate, data.service_create))
        };
        let service = match self.out_wait_cooldown(&create).await {
            Err(error) if error.is_ambiguous() => {
                let found = self
                    .look(self.polling().visible_within, || async {
                        let services = self.fetch_services(&new.project).await?;
                        Ok(services.into_iter().find(|service| service.name == new.name))
                    })
                    .await;
                match found {
                    Ok(Some(service)) => service,
                    Ok(None) => create().await?,
                    Err(_) => return Err(error),
                }
            }
            other => other?,
        };
        let instance =
            self.settle_service(new, &service, &others).await.map_err(|error| error.leaving(&service.id))?;
        Ok((service, instance))
    }

    /// What is left to do for a new service once there is one.
    pub(crate) async fn settle_service(
        &self,
        new: &NewService,
        service: &Service,
        others: &[Environment],
    ) -> Result<Instance> {
        let instance = self.wait_for_instance(new, service).await?;
        for environment in others {
            self.prune(new, service, environment).await?;
        }
        Ok(instance)
    }

    /// The root environments into which the service would be placed too, if they are to be pruned; refused if they
    /// are not wanted.
    pub(crate) async fn other_environments(&self, new: &NewService) -> Result<Vec<Environment>> {
        let environments = self.environments(&new.project).await?;
        let Some(home) = environments.iter().find(|known| known.id == new.environment) else {
            let message = format!("the project has no environment `{}`", new.environment);
            return Err(Error::new(ErrorKind::NotFound, ServiceCreate::NAME, message));
        };
        let others: Vec<_> = environments
            .iter()
            .filter(|known| home.is_root() && known.is_root() && known.id != home.id)
            .cloned()
            .collect();
        if others.is_empty() || new.fan_out == FanOut::Allow {
            return Ok(Vec::new());
        }
        if new.fan_out == FanOut::Refuse {
            let names: Vec<_> = others.iter().map(|known| format!("`{}`", known.name)).collect();
            let message = format!(
                "Railway would place it into every root environment, that is also into {}; nothing was made",
                names.join(", ")
            );
            return Err(Error::new(ErrorKind::BadInput, ServiceCreate::NAME, message)
                .hinting("allow that, or make the environment a fork of another one"));
        }
        Ok(others)
    }

    async fn wait_for_instance(&self, new: &NewService, service: &Service) -> Result<Instance> {
        let reference = InstanceRef {
            project: new.project.clone(),
            environment: new.environment.clone(),
            service: service.id.clone(),
        };
        let object = format!("the instance of service `{}` ({})", service.name, service.id);
        self.wait_until_visible(&object, || self.fresh_instance(&reference)).await
    }

    async fn prune(&self, new: &NewService, service: &Service, other: &Environment) -> Result<()> {
        let reference = InstanceRef {
            project: new.project.clone(),
            environment: other.id.clone(),
            service: service.id.clone(),
        };
        // Instances appear one by one; deleting one that is not there yet would leave it behind.
        let appeared = self
            .look(self.polling().settled_within, || async { self.fresh_instance(&reference).await.map(Some) })
            .await?;
        if appeared.is_some() {
            self.delete_instance(&reference).await?;
        }
        Ok(())
    }

    /// Places an existing service of the project into an environment, and waits until it is there. Deploys nothing.
    pub async fn create_instance(&self, instance: &InstanceRef) -> Result<Instance> {
        let attempt =
            || format!("place service `{}` into environment `{}`", instance.service, instance.environment);
        let services = self.fetch_services(&instance.project).await.map_err(|e| e.attempting(attempt))?;
        if !services.iter().any(|service| service.id == instance.service) {
            let message = format!("project `{}` has no such service", instance.project);
            return Err(Error::new(ErrorKind::NotFound, ServiceList::NAME, message).attempting(attempt));
        }
        match self.fresh_instance(instance).await {
            Ok(existing) => return Ok(existing),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.attempting(attempt)),
        }
        let patch = Patch::new().create_instance(&instance.service);
        self.commit_patch(
            &instance.project,
            &instance.environment,
            &patch,
            "Spectra: place a service",
            Deploys::Skip,
        )
        .await
        .map_err(|error| error.attempting(attempt))?;
        let object = format!("the instance of service `{}`", instance.service);
        self.wait_until_visible(&object, || self.fresh_instance(instance))
            .await
            .map_err(|error| error.after_change().attempting(attempt))
    }

    /// Renames a service, in all environments.
    pub async fn rename_service(
        &self,
        project: &ProjectId,
        service: &ServiceId,
        name: &str,
    ) -> Result<Service> {
        let attempt = || format!("rename service `{service}` to `{name}`");
        let rename = || async {
            let input = service_update::ServiceUpdateInput { name: Some(name.to_owned()) };
            let variables = service_update::Variables { id: service.to_string(), input };
            let data = self.mutate::<ServiceUpdate>(Touches::Everything, variables).await?;
            Ok::<_, Error>(service_from!(ServiceUpdate, data.service_update))
        };
        let error = match rename().await {
            Ok(service) => return Ok(service),
            // The same name twice is the same as once.
            Err(error) if error.is_ambiguous() => match rename().await {
                Ok(service) => return Ok(service),
                Err(error) => error,
            },
            Err(error) => error,
        };
        Err(self.settle_missing_service(project, service, error).await.attempting(attempt))
    }

    /// Decides between gone and out of reach.
    async fn settle_missing_service(&self, project: &ProjectId, service: &ServiceId, error: Error) -> Error {
        if !matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::NotFound) {
            return error;
        }
        match self.fetch_services(project).await {
            Ok(services) if services.iter().any(|known| known.id == *service) => error,
            Ok(_) => {
                let message = format!("project `{project}` has no service `{service}`");
                Error::new(ErrorKind::NotFound, error.operation(), message)
                    .trace(error.trace_id().map(str::to_owned))
            }
            Err(parent) if parent.is_not_found() => parent,
            Err(_) => error,
        }
    }

    /// Deletes a service in all environments. One that is listed no longer counts as deleted.
    pub async fn delete_service(&self, project: &ProjectId, service: &ServiceId) -> Result<()> {
        let result = self.send_service_delete(service, None).await;
        let gone = || async {
            match self.fetch_services(project).await {
                Ok(services) => Ok((!services.iter().any(|known| known.id == *service)).then_some(())),
                Err(error) if error.is_not_found() => Ok(Some(())),
                Err(error) => Err(error),
            }
        };
        self.confirm_deletion(result, gone)
            .await
            .map_err(|error| error.attempting(|| format!("delete service `{service}`")))
    }

    /// Deletes a service in one environment; it stays in the others.
    pub async fn delete_instance(&self, instance: &InstanceRef) -> Result<()> {
        let result = self.send_service_delete(&instance.service, Some(&instance.environment)).await;
        let gone = || async {
            match self.fresh_environment_snapshot(&instance.project, &instance.environment).await {
                Ok(snapshot) => Ok((!snapshot.instances.contains_key(&instance.service)).then_some(())),
                Err(error) if error.is_not_found() => Ok(Some(())),
                Err(error) => Err(error),
            }
        };
        self.confirm_deletion(result, gone).await.map_err(|error| {
            error.attempting(|| {
                format!("delete service `{}` in environment `{}`", instance.service, instance.environment)
            })
        })
    }

    async fn send_service_delete(
        &self,
        service: &ServiceId,
        environment: Option<&EnvironmentId>,
    ) -> Result<()> {
        let variables = service_delete::Variables {
            id: service.to_string(),
            environment: environment.map(ToString::to_string),
        };
        let data = self.mutate::<ServiceDelete>(Touches::Everything, variables).await?;
        confirmed::<ServiceDelete>(data.service_delete)
    }

    /// Deleted is what a listing no longer has, whatever the answer to the deletion was.
    async fn confirm_deletion<F>(&self, result: Result<()>, gone: impl FnMut() -> F) -> Result<()>
    where
        F: Future<Output = Result<Option<()>>>,
    {
        if let Err(error) = &result
            && !matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::NotFound | ErrorKind::Ambiguous)
        {
            return result;
        }
        match (self.look(self.polling().settled_within, gone).await, result) {
            (Ok(Some(())), _) => Ok(()),
            (_, Err(error)) | (Err(error), Ok(())) => Err(error),
            (Ok(None), Ok(())) => Err(Error::new(
                ErrorKind::NotYet,
                ServiceDelete::NAME,
                "the service is still listed after its deletion",
            )),
        }
    }
}
