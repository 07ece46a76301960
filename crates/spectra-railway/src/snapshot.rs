//! Everything about one environment, read at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use spectra_types::{EnvironmentId, ProjectId, ServiceId};

use crate::client::{Client, Page, id};
use crate::deployment::deployment_from;
use crate::domain::service_domain_from;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::gql::{self, EnvironmentSnapshot as SnapshotQuery, Operation, environment_snapshot};
use crate::instance::{Instance, RestartPolicy, pre_deploy_command, seconds};
use crate::variables::{Variable, VariableValue};

/// An environment with its services, their settings, variables, domains and deployments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentSnapshot {
    /// The environment itself.
    pub environment: Environment,
    /// Changes with every change of the configuration.
    pub config_etag: String,
    /// Edits that somebody staged and nobody applied.
    pub unmerged_changes: u32,
    /// The services that have an instance here.
    pub instances: BTreeMap<ServiceId, Instance>,
    /// The shared variables, references unresolved.
    pub shared_variables: BTreeMap<String, Variable>,
}

impl EnvironmentSnapshot {
    /// One service's instance; [`ErrorKind::NotFound`] if it has none here.
    pub fn instance(&self, service: &ServiceId) -> Result<&Instance> {
        self.instances.get(service).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                SnapshotQuery::NAME,
                format!("service `{service}` has no instance in environment `{}`", self.environment.name),
            )
        })
    }
}

/// The part of the configuration that the typed fields do not show.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    services: BTreeMap<String, Option<ServiceConfig>>,
    shared_variables: BTreeMap<String, Option<VariableConfig>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ServiceConfig {
    variables: Option<BTreeMap<String, Option<VariableConfig>>>,
    deploy: Option<DeployConfig>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DeployConfig {
    multi_region_config: Option<BTreeMap<String, Option<RegionConfig>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RegionConfig {
    num_replicas: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct VariableConfig {
    value: Option<String>,
    is_sealed: Option<bool>,
}

fn read_variables(config: BTreeMap<String, Option<VariableConfig>>) -> BTreeMap<String, Variable> {
    config
        .into_iter()
        .filter_map(|(name, variable)| {
            let variable = variable?;
            let sealed = variable.is_sealed.unwrap_or(false);
            // What Railway shows of a sealed value is a mask, not a value.
            let value = variable.value.filter(|_| !sealed).map(VariableValue::from);
            Some((name, Variable { value, sealed }))
        })
        .collect()
}

type Node = environment_snapshot::EnvironmentSnapshotEnvironmentServiceInstancesEdgesNode;

fn instance(node: Node, environment: &EnvironmentId, config: Option<ServiceConfig>) -> Result<Instance> {
    let config = config.unwrap_or_default();
    let source = node.source;
    let (image, repository) = source.map_or((None, None), |source| (source.image, source.repo));
    let regions = config
        .deploy
        .and_then(|deploy| deploy.multi_region_config)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(region, config)| Some((region, config?.num_replicas.unwrap_or(1))))
        .collect();
    let mut domains = Vec::new();
    for domain in node.domains.service_domains {
        if domain.deleted_at.is_none() {
            domains.push(service_domain_from!(SnapshotQuery, domain));
        }
    }
    let mut active = Vec::new();
    for deployment in node.active_deployments {
        active.push(deployment_from!(SnapshotQuery, deployment));
    }
    let latest = match node.latest_deployment {
        Some(deployment) => Some(deployment_from!(SnapshotQuery, deployment)),
        None => None,
    };
    Ok(Instance {
        id: node.id,
        service: id::<SnapshotQuery, _>(node.service_id)?,
        service_name: node.service_name,
        environment: environment.clone(),
        image,
        repository,
        healthcheck_path: node.healthcheck_path.filter(|text| !text.is_empty()),
        healthcheck_timeout: seconds(node.healthcheck_timeout),
        start_command: node.start_command.filter(|text| !text.is_empty()),
        pre_deploy_command: pre_deploy_command(node.pre_deploy_command.as_ref()),
        overlap: seconds(node.overlap_seconds),
        draining: seconds(node.draining_seconds),
        replicas: node.num_replicas.and_then(|count| u32::try_from(count).ok()),
        regions,
        restart_policy: RestartPolicy {
            condition: node.restart_policy_type,
            max_retries: u32::try_from(node.restart_policy_max_retries).unwrap_or(0),
        },
        variables: read_variables(config.variables.unwrap_or_default()),
        domains,
        latest_deployment: latest,
        active_deployments: active,
    })
}

fn parse_config(value: Value) -> Result<Config> {
    if value.is_null() {
        return Ok(Config::default());
    }
    serde_json::from_value(value).map_err(|error| {
        Error::new(
            ErrorKind::SchemaMismatch,
            SnapshotQuery::NAME,
            "the environment's configuration does not have the expected shape",
        )
        .because(error)
    })
}

impl Client {
    /// Everything about an environment. Everybody who asks within [`ClientConfig::snapshot_ttl`] shares one request;
    /// a change made through this client ends that.
    ///
    /// [`ClientConfig::snapshot_ttl`]: crate::ClientConfig::snapshot_ttl
    pub async fn environment_snapshot(
        &self,
        project: &ProjectId,
        environment: &EnvironmentId,
    ) -> Result<Arc<EnvironmentSnapshot>> {
        let ttl = self.config().snapshot_ttl;
        // The more rollouts share a read, the more of them it is worth waiting for.
        let pause = |last: Duration| self.sleep((last + self.spacing()).saturating_sub(self.now()));
        let fetch = || self.fetch_snapshot(project, environment);
        self.snapshots()
            .get_after(environment, ttl, || self.now(), pause, fetch)
            .await
            .map_err(|error| error.attempting(|| format!("read environment `{environment}`")))
    }

    /// Everything about an environment, read now: by a request that is sent after this is called. Those who ask at about
    /// the same time share it.
    pub async fn fresh_environment_snapshot(
        &self,
        project: &ProjectId,
        environment: &EnvironmentId,
    ) -> Result<Arc<EnvironmentSnapshot>> {
        self.snapshots().invalidate(environment);
        self.environment_snapshot(project, environment).await
    }

    async fn fetch_snapshot(
        &self,
        project: &ProjectId,
        environment: &EnvironmentId,
    ) -> Result<EnvironmentSnapshot> {
        let mut attempts = 1;
        loop {
            match self.fetch_snapshot_pages(project, environment).await {
                Err(error) if error.kind() == ErrorKind::StaleBase && attempts < 4 => attempts += 1,
                Ok(snapshot) => return Ok(snapshot),
                Err(error) => return Err(self.settle_missing_environment(project, environment, error).await),
            }
        }
    }

    async fn fetch_snapshot_pages(
        &self,
        project: &ProjectId,
        environment: &EnvironmentId,
    ) -> Result<EnvironmentSnapshot> {
        let mut after = None;
        let mut snapshot: Option<EnvironmentSnapshot> = None;
        loop {
            let variables = gql::environment_snapshot::Variables {
                project: project.to_string(),
                environment: environment.to_string(),
                after: after.clone(),
            };
            let node = self.query::<SnapshotQuery>(variables).await?.environment;
            if node.deleted_at.is_some() {
                let message = format!("environment `{environment}` is deleted");
                return Err(Error::new(ErrorKind::NotFound, SnapshotQuery::NAME, message));
            }
            if !node.can_access {
                let message = format!("environment `{}` is restricted", node.name);
                return Err(Error::new(ErrorKind::Forbidden, SnapshotQuery::NAME, message));
            }
            let mut config = parse_config(node.config)?;
            let list = node.service_instances;
            let mut page = BTreeMap::new();
            for edge in list.edges {
                if edge.node.deleted_at.is_some() {
                    continue;
                }
                let settings = config.services.remove(&edge.node.service_id).flatten();
                let instance = instance(edge.node, environment, settings)?;
                page.entry(instance.service.clone()).or_insert(instance);
            }
            let next = Page::new::<SnapshotQuery>(
                Vec::<()>::new(),
                list.page_info.has_next_page,
                list.page_info.end_cursor,
            )?
            .next;
            let mut whole = match snapshot.take() {
                // Two pages of two different states do not make one: begin again.
                Some(whole) if whole.config_etag != node.config_etag => {
                    let message = "the environment was changed while it was read";
                    return Err(Error::new(ErrorKind::StaleBase, SnapshotQuery::NAME, message));
                }
                Some(whole) => whole,
                None => EnvironmentSnapshot {
                    environment: Environment {
                        id: id::<SnapshotQuery, _>(node.id)?,
                        project: id::<SnapshotQuery, _>(node.project_id)?,
                        name: node.name,
                        source: node
                            .source_environment
                            .map(|source| id::<SnapshotQuery, _>(source.id))
                            .transpose()?,
                        is_ephemeral: node.is_ephemeral,
                        can_access: node.can_access,
                    },
                    config_etag: node.config_etag,
                    unmerged_changes: u32::try_from(node.unmerged_changes_count.unwrap_or(0)).unwrap_or(0),
                    instances: BTreeMap::new(),
                    shared_variables: read_variables(config.shared_variables),
                },
            };
            whole.instances.append(&mut page);
            match next {
                None => return Ok(whole),
                Some(_) if next == after => {
                    let message = "the list of services repeats a page";
                    return Err(Error::new(ErrorKind::SchemaMismatch, SnapshotQuery::NAME, message));
                }
                Some(_) => after = next,
            }
            snapshot = Some(whole);
        }
    }
}
