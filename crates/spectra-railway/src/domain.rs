//! Generated domains of services.

use spectra_types::{EnvironmentId, ServiceId};

use crate::client::{Client, Touches, confirmed};
use crate::deployment::InstanceRef;
use crate::error::{Error, ErrorKind, Result};
use crate::gql::{
    DomainList, Operation, ServiceDomainCreate, ServiceDomainDelete, ServiceDomainUpdate, domain_list,
    service_domain_create, service_domain_delete, service_domain_update,
};

/// The longest DNS label: Railway makes one from the names of service and environment.
const LONGEST_LABEL: usize = 63;

/// A domain that Railway generated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceDomain {
    /// Its id.
    pub id: String,
    /// The host name, with a port only where the platform runs on one.
    pub domain: String,
    /// The service.
    pub service: ServiceId,
    /// The environment.
    pub environment: EnvironmentId,
    /// The container's port; `None` lets Railway choose.
    pub target_port: Option<u16>,
}

macro_rules! service_domain_from {
    ($operation:ty, $node:expr) => {{
        let node = $node;
        $crate::domain::ServiceDomain {
            id: node.id,
            domain: node.domain,
            service: $crate::client::id::<$operation, _>(node.service_id)?,
            environment: $crate::client::id::<$operation, _>(node.environment_id)?,
            target_port: node.target_port.and_then(|port| u16::try_from(port).ok()),
        }
    }};
}
pub(crate) use service_domain_from;

impl Client {
    /// The generated domains of a service in an environment, read now. The environment's snapshot has them too.
    pub async fn service_domains(&self, instance: &InstanceRef) -> Result<Vec<ServiceDomain>> {
        let variables = domain_list::Variables {
            project: instance.project.to_string(),
            environment: instance.environment.to_string(),
            service: instance.service.to_string(),
        };
        let list = match self.query::<DomainList>(variables).await {
            Ok(data) => data.domains.service_domains,
            Err(error) => {
                let error =
                    self.settle_missing_environment(&instance.project, &instance.environment, error).await;
                return Err(
                    error.attempting(|| format!("list the domains of service `{}`", instance.service))
                );
            }
        };
        let mut domains = Vec::new();
        for domain in list {
            if domain.deleted_at.is_none() {
                domains.push(service_domain_from!(DomainList, domain));
            }
        }
        crate::project::dedup(&mut domains, |domain: &ServiceDomain| domain.id.clone());
        Ok(domains)
    }

    /// Generates a domain and waits until it is listed. One that a lost answer left behind is taken over.
    pub async fn create_service_domain(
        &self,
        instance: &InstanceRef,
        target_port: Option<u16>,
    ) -> Result<ServiceDomain> {
        let attempt = || {
            format!(
                "generate a domain for service `{}` in environment `{}`",
                instance.service, instance.environment
            )
        };
        self.create_service_domain_inner(instance, target_port)
            .await
            .map_err(|error| error.attempting(attempt))
    }

    async fn create_service_domain_inner(
        &self,
        instance: &InstanceRef,
        target_port: Option<u16>,
    ) -> Result<ServiceDomain> {
        let before: Vec<String> =
            self.service_domains(instance).await?.into_iter().map(|domain| domain.id).collect();
        let create = || async {
            let input = service_domain_create::ServiceDomainCreateInput {
                service_id: instance.service.to_string(),
                environment_id: instance.environment.to_string(),
                target_port: target_port.map(i64::from),
            };
            let variables = service_domain_create::Variables { input };
            let touches = Touches::Environment(&instance.environment);
            let data = self.mutate::<ServiceDomainCreate>(touches, variables).await?;
            Ok::<_, Error>(service_domain_from!(ServiceDomainCreate, data.service_domain_create))
        };
        let mut attempts = 0;
        let created = loop {
            attempts += 1;
            match create().await {
                // "Please try again": a race between two new domains, usually over with the next try.
                Err(error) if error.kind() == ErrorKind::Cooldown && attempts < 4 => {
                    self.sleep(self.polling().longest).await;
                }
                Err(error) if error.kind() == ErrorKind::Cooldown => {
                    return Err(self.explain_refused_domain(instance, error).await);
                }
                Err(error) if error.is_ambiguous() => {
                    let found = self
                        .look(self.polling().settled_within, || async {
                            let domains = self.service_domains(instance).await?;
                            Ok(domains.into_iter().find(|domain| !before.contains(&domain.id)))
                        })
                        .await;
                    match found {
                        Ok(Some(domain)) => break domain,
                        Ok(None) if attempts < 2 => {}
                        _ => return Err(error),
                    }
                }
                Err(error) => {
                    return Err(self
                        .settle_missing_environment(&instance.project, &instance.environment, error)
                        .await);
                }
                Ok(domain) => break domain,
            }
        };
        let object = format!("domain `{}`", created.domain);
        self.wait_until_visible(&object, || async {
            let domains = self.service_domains(instance).await?;
            domains.into_iter().find(|domain| domain.id == created.id).ok_or_else(|| {
                Error::new(ErrorKind::NotFound, DomainList::NAME, format!("{object} is not listed"))
            })
        })
        .await
        .map_err(|error| error.leaving(&created.id))
    }

    /// Railway says "try again" also when the name would be too long.
    async fn explain_refused_domain(&self, instance: &InstanceRef, error: Error) -> Error {
        let Ok(snapshot) = self.environment_snapshot(&instance.project, &instance.environment).await else {
            return error;
        };
        let Ok(known) = snapshot.instance(&instance.service) else { return error };
        let label = format!("{}-{}", known.service_name, snapshot.environment.name);
        if label.chars().count() > LONGEST_LABEL {
            return error.with_kind(ErrorKind::BadInput).hinting(format!(
                "`{label}` is longer than the {LONGEST_LABEL} characters of a host name's part: shorten the name of the \
                 service or of the environment"
            ));
        }
        error
    }

    /// Sets the port that a generated domain leads to.
    pub async fn update_service_domain(&self, domain: &ServiceDomain, target_port: u16) -> Result<()> {
        let update = || async {
            let input = service_domain_update::ServiceDomainUpdateInput {
                service_domain_id: domain.id.clone(),
                // Mandatory even where only the port changes.
                domain: domain.domain.clone(),
                service_id: domain.service.to_string(),
                environment_id: domain.environment.to_string(),
                target_port: Some(i64::from(target_port)),
            };
            let touches = Touches::Environment(&domain.environment);
            let variables = service_domain_update::Variables { input };
            let data = self.mutate::<ServiceDomainUpdate>(touches, variables).await?;
            confirmed::<ServiceDomainUpdate>(data.service_domain_update)
        };
        let result = match update().await {
            Err(error) if error.is_ambiguous() => update().await,
            other => other,
        };
        result.map_err(|error| error.attempting(|| format!("set the port of domain `{}`", domain.domain)))
    }

    /// Deletes a generated domain. One that is listed no longer counts as deleted.
    pub async fn delete_service_domain(&self, instance: &InstanceRef, domain: &str) -> Result<()> {
        let attempt = || format!("delete domain `{domain}`");
        let result = self
            .out_wait_cooldown(|| async {
                let variables = service_domain_delete::Variables { id: domain.to_owned() };
                let touches = Touches::Environment(&instance.environment);
                let data = self.mutate::<ServiceDomainDelete>(touches, variables).await?;
                confirmed::<ServiceDomainDelete>(data.service_domain_delete)
            })
            .await;
        let Err(error) = result else { return Ok(()) };
        if !matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::NotFound | ErrorKind::Ambiguous) {
            return Err(error.attempting(attempt));
        }
        let gone = self
            .look(self.polling().settled_within, || async {
                match self.service_domains(instance).await {
                    Ok(domains) => Ok((!domains.iter().any(|known| known.id == domain)).then_some(())),
                    Err(error) if error.is_not_found() => Ok(Some(())),
                    Err(error) => Err(error),
                }
            })
            .await;
        match gone {
            Ok(Some(())) => Ok(()),
            _ => Err(error.attempting(attempt)),
        }
    }
}
