//! Canaries: a service beside another one, set like it, for a candidate that takes no traffic of the original.
//!
//! Railway gives all traffic of a service to one deployment, so a candidate that shall be looked at beforehand needs a
//! service of its own. It is marked by variables, so that it is found again whatever became of who made it.

use std::collections::{BTreeMap, BTreeSet};

use spectra_types::ServiceId;

use crate::client::Client;
use crate::deployment::InstanceRef;
use crate::domain::ServiceDomain;
use crate::error::{Error, ErrorKind, Result};
use crate::gql::{EnvironmentSnapshot as SnapshotQuery, Operation, ServiceCreate, ServiceDelete};
use crate::instance::{Change, Instance, InstanceUpdate, Placement, RegistryCredentials};
use crate::patch::Deploys;
use crate::service::{FanOut, NewService, Service};
use crate::variables::{Variable, VariableChanges, VariableScope, VariableValue};

/// The variable of a canary that holds the id of the original service. It is there from the first moment.
pub const CANARY_OF_VARIABLE: &str = "SPECTRA_CANARY_OF";
/// The variable of a canary that holds the id of its rollout. It is written last: a canary without it is unfinished.
pub const ROLLOUT_VARIABLE: &str = "SPECTRA_ROLLOUT";

/// A canary to be made.
#[derive(Clone, Debug)]
pub struct NewCanary {
    /// The service to be cloned, in the one environment where that happens.
    pub of: InstanceRef,
    /// The name of the clone, at most 32 characters, for this rollout alone.
    pub name: String,
    /// The rollout that it is made for.
    pub rollout: String,
    /// Where and how often it runs; `None`: like the original.
    pub placement: Option<Placement>,
    /// Railway never shows those of the original, so they are given anew.
    pub registry_credentials: Option<RegistryCredentials>,
}

/// A clone that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClonedService {
    /// Where it is. Nothing is deployed there yet.
    pub instance: InstanceRef,
    /// Variables of the original that the clone lacks, since Railway does not show their values: sealed ones. Whoever
    /// cannot do without them deletes the clone instead of deploying it.
    pub unreadable: BTreeSet<String>,
}

/// A canary as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundCanary {
    /// Where it is.
    pub instance: InstanceRef,
    /// Its name.
    pub name: String,
    /// The rollout that it was made for; `None` if it was never finished.
    pub rollout: Option<String>,
}

fn text<'a>(instance: &'a Instance, name: &str) -> Option<&'a str> {
    instance.variables.get(name)?.value.as_ref().map(VariableValue::expose)
}

/// What the clone's variables are to be, and the names of those that cannot be copied.
fn copied(
    original: &BTreeMap<String, Variable>,
    new: &NewCanary,
) -> (BTreeMap<String, VariableValue>, BTreeSet<String>) {
    let (mut set, mut unreadable) = (BTreeMap::new(), BTreeSet::new());
    for (name, variable) in original {
        match &variable.value {
            Some(value) => drop(set.insert(name.clone(), value.clone())),
            None => drop(unreadable.insert(name.clone())),
        }
    }
    set.insert(CANARY_OF_VARIABLE.to_owned(), new.of.service.as_str().into());
    set.insert(ROLLOUT_VARIABLE.to_owned(), new.rollout.as_str().into());
    (set, unreadable)
}

/// The settings of the original that a clone shares.
///
/// Not the image, which the rollout sets. Not the pre-deploy command: a migration that ran for the original must not
/// run a second time beside it.
fn settings(original: &Instance, new: &NewCanary) -> InstanceUpdate {
    let placement = new.placement.clone().unwrap_or_else(|| {
        if original.regions.is_empty() {
            Placement::Replicas(original.total_replicas())
        } else {
            Placement::Regions(original.regions.clone())
        }
    });
    InstanceUpdate {
        image: Change::Keep,
        registry_credentials: new.registry_credentials.clone(),
        healthcheck_path: Change::from_option(original.healthcheck_path.clone()),
        // Without a path it means nothing, and is not sent.
        healthcheck_timeout: match (&original.healthcheck_path, original.healthcheck_timeout) {
            (Some(_), Some(timeout)) => Change::Set(timeout),
            _ => Change::Keep,
        },
        start_command: Change::from_option(original.start_command.clone()),
        pre_deploy_command: Change::Keep,
        overlap: Change::from_option(original.overlap),
        draining: Change::from_option(original.draining),
        placement: Some(placement),
        restart_policy: Some(original.restart_policy.clone()),
    }
}

impl Client {
    /// Makes a service that is set like another one, in that one environment only, and deploys nothing.
    ///
    /// It has the original's placement, health check, start command, restart policy, overlap and draining times, and
    /// its variables with references unresolved, so that `${{db.URL}}` means the same there. It has none of its
    /// domains, no pre-deploy command (a migration must not run twice), no resource limits and no schedule, and lacks
    /// the variables that are named in the result. A service with a volume is refused, for a volume has one reader.
    ///
    /// The same call again finds what the first one began, by its name and mark, and finishes it. A service of that
    /// name without the mark, or of another rollout, is [`ErrorKind::Conflict`]. After a failure
    /// [`Error::left_behind`] has the id, if there is one; [`canaries_of`](Self::canaries_of) finds it too.
    ///
    /// 14 requests, and 3 more for each other root environment, out of which Railway's copies are taken; 6 if there is
    /// nothing to do; more while Railway takes its time to show what was made.
    pub async fn clone_service(&self, new: &NewCanary) -> Result<ClonedService> {
        let attempt = || format!("clone service `{}` as `{}`", new.of.service, new.name);
        self.clone_service_inner(new).await.map_err(|error| error.attempting(attempt))
    }

    async fn clone_service_inner(&self, new: &NewCanary) -> Result<ClonedService> {
        let snapshot = self.fresh_environment_snapshot(&new.of.project, &new.of.environment).await?;
        let original = snapshot.instance(&new.of.service)?;
        self.refuse_uncloneable(original, new).await?;
        let (wanted, unreadable) = copied(&original.variables, new);
        let service = NewService {
            project: new.of.project.clone(),
            environment: new.of.environment.clone(),
            name: new.name.clone(),
            // A canary in another environment would be nobody's.
            fan_out: FanOut::Prune,
        };
        let listed = self.fetch_services(&new.of.project).await?;
        let known = listed.into_iter().find(|known| known.name == new.name);
        let clone = if let Some(known) = known {
            self.take_over(new, &service, known).await?
        } else {
            let mark = BTreeMap::from([(CANARY_OF_VARIABLE.to_owned(), new.of.service.to_string())]);
            self.create_service_with(&service, mark).await?.0
        };
        let instance = InstanceRef { service: clone.id, ..new.of.clone() };
        let finished = async {
            self.update_instance(&instance, &settings(original, new)).await?;
            self.copy_variables(&instance, &wanted).await
        };
        finished.await.map_err(|error| error.leaving(&instance.service))?;
        Ok(ClonedService { instance, unreadable })
    }

    async fn refuse_uncloneable(&self, original: &Instance, new: &NewCanary) -> Result<()> {
        if original.variables.contains_key(CANARY_OF_VARIABLE) {
            let message = format!("`{}` is a canary itself", original.service_name);
            return Err(Error::new(ErrorKind::BadInput, SnapshotQuery::NAME, message));
        }
        let mounts = self.volume_mounts(&new.of.project, &new.of.environment).await?;
        if let Some(mount) = mounts.iter().find(|mount| mount.service == new.of.service) {
            let message = format!(
                "`{}` keeps data in a volume at `{}`: the clone would run without it, and a volume cannot be shared; \
                 nothing was made",
                original.service_name, mount.mount_path
            );
            return Err(Error::new(ErrorKind::BadInput, ServiceCreate::NAME, message)
                .hinting("roll this service out without a canary"));
        }
        Ok(())
    }

    /// A service of the clone's name is the clone if it is marked so.
    async fn take_over(&self, new: &NewCanary, service: &NewService, known: Service) -> Result<Service> {
        let conflict = |why: String| {
            let message = format!("service `{}` ({}) exists already, and {why}", known.name, known.id);
            Error::new(ErrorKind::Conflict, ServiceCreate::NAME, message)
        };
        let reference = InstanceRef { service: known.id.clone(), ..new.of.clone() };
        let instance = match self.wait_until_visible("the canary", || self.fresh_instance(&reference)).await {
            Ok(instance) => instance,
            Err(error) if error.kind() == ErrorKind::NotYet => {
                return Err(conflict("is not in this environment".to_owned()));
            }
            Err(error) => return Err(error),
        };
        match text(&instance, CANARY_OF_VARIABLE) {
            Some(of) if of == new.of.service.as_str() => {}
            Some(of) => return Err(conflict(format!("is a canary of service `{of}`"))),
            None => return Err(conflict("is not marked as a canary".to_owned())),
        }
        match text(&instance, ROLLOUT_VARIABLE) {
            // Written last, so everything before is done.
            Some(rollout) if rollout == new.rollout => Ok(known),
            Some(rollout) => Err(conflict(format!("belongs to rollout `{rollout}`"))
                .hinting("end that rollout, or delete its canary if nobody needs it")),
            None => {
                let leaving = |error: Error| error.leaving(&known.id);
                let others = self.other_environments(service).await.map_err(leaving)?;
                self.settle_service(service, &known, &others).await.map_err(leaving)?;
                Ok(known)
            }
        }
    }

    /// Sets what differs, quietly, and reads it back.
    async fn copy_variables(
        &self,
        instance: &InstanceRef,
        wanted: &BTreeMap<String, VariableValue>,
    ) -> Result<()> {
        let differing = |found: &Instance| -> BTreeMap<String, VariableValue> {
            let same = |name: &str, value: &VariableValue| {
                found.variables.get(name).is_some_and(|known| known.value.as_ref() == Some(value))
            };
            wanted
                .iter()
                .filter(|(name, value)| !same(name, value))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect()
        };
        let mut left = differing(&self.instance(instance).await?);
        if left.is_empty() {
            return Ok(());
        }
        // The mark that all is done goes last.
        let mark = left.remove(ROLLOUT_VARIABLE);
        for set in [left, mark.map(|id| (ROLLOUT_VARIABLE.to_owned(), id)).into_iter().collect()] {
            let changes = VariableChanges { set, ..VariableChanges::default() };
            let scope = VariableScope::Service(instance.service.clone());
            self.change_variables(&instance.project, &instance.environment, &scope, &changes, Deploys::Skip)
                .await?;
        }
        let settled = self
            .look(self.polling().settled_within, || async {
                let found = self.fresh_instance(instance).await?;
                Ok(differing(&found).is_empty().then_some(()))
            })
            .await
            .map_err(Error::after_change)?;
        settled.ok_or_else(|| {
            let message = "Railway accepted the variables of the clone, but reads back others";
            Error::new(ErrorKind::Diverged, SnapshotQuery::NAME, message)
        })
    }

    /// The canaries of a service in its environment, finished or not, read now. One request.
    pub async fn canaries_of(&self, of: &InstanceRef) -> Result<Vec<FoundCanary>> {
        let snapshot = self.fresh_environment_snapshot(&of.project, &of.environment).await?;
        let canaries = snapshot
            .instances
            .values()
            .filter(|instance| text(instance, CANARY_OF_VARIABLE) == Some(of.service.as_str()));
        Ok(canaries
            .map(|instance| FoundCanary {
                instance: InstanceRef { service: instance.service.clone(), ..of.clone() },
                name: instance.service_name.clone(),
                rollout: text(instance, ROLLOUT_VARIABLE).map(str::to_owned),
            })
            .collect())
    }

    /// Deletes a canary with everything in it. One that is gone is fine; a service that is not marked as a canary of
    /// `of` is [`ErrorKind::Conflict`], and is left alone. 3 requests.
    pub async fn delete_canary(&self, of: &ServiceId, canary: &InstanceRef) -> Result<()> {
        let attempt = || format!("delete canary `{}` of service `{of}`", canary.service);
        let instance = match self.fresh_instance(canary).await {
            Ok(instance) => Some(instance),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.attempting(attempt)),
        };
        let why = match &instance {
            Some(found) if text(found, CANARY_OF_VARIABLE) == Some(of.as_str()) => {
                return self.delete_service(&canary.project, &canary.service).await;
            }
            Some(_) => "is not marked as its canary",
            None => {
                let listed = self.fetch_services(&canary.project).await;
                let listed = match listed {
                    Err(error) if error.is_not_found() => return Ok(()),
                    listed => listed.map_err(|error| error.attempting(attempt))?,
                };
                if !listed.iter().any(|known| known.id == canary.service) {
                    return Ok(());
                }
                "is not in this environment, so nobody knows whether it is its canary"
            }
        };
        let message = format!("service `{}` {why}; nothing was deleted", canary.service);
        Err(Error::new(ErrorKind::Conflict, ServiceDelete::NAME, message).attempting(attempt))
    }

    /// The generated domain of a service, made if there is none, with this port if one is given. The same call again
    /// finds the same domain. One request if it is there, some 4 if not.
    pub async fn ensure_domain(
        &self,
        instance: &InstanceRef,
        target_port: Option<u16>,
    ) -> Result<ServiceDomain> {
        let Some(mut domain) = self.service_domains(instance).await?.into_iter().next() else {
            return self.create_service_domain(instance, target_port).await;
        };
        if let Some(port) = target_port
            && domain.target_port != Some(port)
        {
            self.update_service_domain(&domain, port).await?;
            domain.target_port = Some(port);
        }
        Ok(domain)
    }

    /// Names of a service's variables that a clone would lack, see [`ClonedService::unreadable`]: to ask before
    /// anything is made. One request, shared with other reads of the environment.
    pub async fn unreadable_variables(&self, instance: &InstanceRef) -> Result<BTreeSet<String>> {
        let found = self.instance(instance).await?;
        let hidden = found.variables.iter().filter(|(_, variable)| variable.value.is_none());
        Ok(hidden.map(|(name, _)| name.clone()).collect())
    }
}
