//! Resource metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_graphql::{Context, Enum, Object, Result, SimpleObject};

use super::scalars::DateTime;
use super::{Request, request};
use crate::railway::auth::{Identity, found};
use crate::railway::metrics::{Frame, Measure, Place, Sight, Source, replicas};
use crate::railway::refusal::Refusal;
use crate::store::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(rename_items = "SCREAMING_SNAKE_CASE")]
pub(crate) enum MetricMeasurement {
    BackupUsageGb,
    CpuLimit,
    CpuUsage,
    #[graphql(name = "CPU_USAGE_2")]
    CpuUsage2,
    DiskUsageGb,
    EphemeralDiskUsageGb,
    MeasurementUnspecified,
    MemoryLimitGb,
    MemoryUsageGb,
    NetworkRxGb,
    NetworkTxGb,
    Unrecognized,
}

impl MetricMeasurement {
    fn measure(self) -> Result<Measure, Refusal> {
        Ok(match self {
            Self::BackupUsageGb => Measure::Backup,
            Self::CpuLimit => Measure::CpuLimit,
            Self::CpuUsage | Self::CpuUsage2 => Measure::Cpu,
            Self::DiskUsageGb => Measure::Disk,
            Self::EphemeralDiskUsageGb => Measure::OwnDisk,
            Self::MemoryLimitGb => Measure::MemoryLimit,
            Self::MemoryUsageGb => Measure::Memory,
            Self::NetworkRxGb => Measure::Received,
            Self::NetworkTxGb => Measure::Sent,
            Self::MeasurementUnspecified | Self::Unrecognized => {
                return Err(Refusal::input("Invalid measurement: it measures nothing"));
            }
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(rename_items = "SCREAMING_SNAKE_CASE")]
pub(crate) enum MetricTag {
    DeploymentId,
    DeploymentInstanceId,
    EnvironmentId,
    HostType,
    KeyUnspecified,
    PluginId,
    ProjectId,
    Region,
    ServiceId,
    Unrecognized,
    VolumeId,
    VolumeInstanceId,
}

/// The part of a place that `tags` tell apart.
fn group(place: &Place, tags: &[MetricTag]) -> Result<Place, Refusal> {
    let mut group = Place::default();
    for tag in tags {
        match tag {
            MetricTag::DeploymentId => group.deployment.clone_from(&place.deployment),
            MetricTag::DeploymentInstanceId => group.instance.clone_from(&place.instance),
            MetricTag::EnvironmentId => group.environment.clone_from(&place.environment),
            MetricTag::ProjectId => group.project.clone_from(&place.project),
            MetricTag::Region => group.region.clone_from(&place.region),
            MetricTag::ServiceId => group.service.clone_from(&place.service),
            MetricTag::VolumeId => group.volume.clone_from(&place.volume),
            MetricTag::VolumeInstanceId => group.volume_instance.clone_from(&place.volume_instance),
            // There are no plugins, so that they tell nothing apart.
            MetricTag::PluginId => {}
            MetricTag::HostType | MetricTag::KeyUnspecified | MetricTag::Unrecognized => {
                return Err(Refusal::input("Invalid groupBy: the sandbox cannot group by this tag"));
            }
        }
    }
    Ok(group)
}

#[derive(SimpleObject)]
pub(crate) struct Metric {
    ts: i32,
    value: f64,
}

#[derive(SimpleObject)]
pub(crate) struct MetricTags {
    deployment_id: Option<String>,
    deployment_instance_id: Option<String>,
    environment_id: Option<String>,
    #[graphql(deprecation)]
    plugin_id: Option<String>,
    project_id: Option<String>,
    region: Option<String>,
    service_id: Option<String>,
    volume_id: Option<String>,
    volume_instance_id: Option<String>,
}

impl From<Place> for MetricTags {
    fn from(place: Place) -> Self {
        Self {
            deployment_id: place.deployment,
            deployment_instance_id: place.instance,
            environment_id: place.environment,
            plugin_id: None,
            project_id: place.project,
            region: place.region,
            service_id: place.service,
            volume_id: place.volume,
            volume_instance_id: place.volume_instance,
        }
    }
}

#[derive(SimpleObject)]
pub(crate) struct MetricsResult {
    measurement: MetricMeasurement,
    tags: MetricTags,
    values: Vec<Metric>,
}

/// Whose metrics are asked for; every part narrows it down.
#[derive(Debug, Default)]
struct Scope {
    project: Option<String>,
    environment: Option<String>,
    service: Option<String>,
    volume: Option<String>,
    deleted: bool,
}

impl Scope {
    /// Refuses what is out of reach.
    fn check(&mut self, request: &Request, world: &World, workspace: Option<&str>) -> Result<(), Refusal> {
        request.who.known()?;
        let mut named = workspace.is_some();
        if let Some(id) = workspace {
            request.who.admin()?;
            if id != request.core.info.workspace_id {
                return Err(Refusal::not_authorized());
            }
        }
        if let Some(id) = &self.project {
            request.who.project(world, id)?;
            named = true;
        }
        if let Some(id) = &self.service {
            // With `includeDeleted` the service itself may be gone.
            let gone = world.services.get(id).filter(|row| self.deleted && !row.times.live());
            match gone {
                Some(row) => drop(request.who.project(world, &row.project_id)?),
                None => drop(request.who.service(world, id)?),
            }
            named = true;
        }
        if let Some(id) = &self.volume {
            let row = found(world.volumes.get(id), "Volume", |row| self.deleted || row.times.live())?;
            request.who.project(world, &row.project_id)?;
            named = true;
        }
        if let Identity::Project { environment_id, .. } = &request.who {
            self.environment.get_or_insert_with(|| environment_id.clone());
        }
        if let Some(id) = &self.environment {
            request.who.environment(world, id)?;
            named = true;
        }
        if named {
            return Ok(());
        }
        let ids = "`projectId`, `environmentId`, `serviceId`, `volumeId` or `workspaceId`";
        Err(Refusal::input(format!("Invalid request: one of {ids} is required")))
    }

    fn holds(&self, request: &Request, world: &World, place: &Place) -> bool {
        let same = |wanted: &Option<String>, id: &Option<String>| wanted.is_none() || wanted == id;
        let live = |id: &Option<String>, live: &dyn Fn(&str) -> bool| id.as_deref().is_none_or(live);
        same(&self.project, &place.project)
            && same(&self.environment, &place.environment)
            && same(&self.service, &place.service)
            && same(&self.volume, &place.volume)
            && !place
                .environment
                .as_ref()
                .is_some_and(|id| request.settings.restricted_environments.contains(id))
            && (self.deleted
                || live(&place.environment, &|id| world.environment(id).is_some())
                    && live(&place.service, &|id| world.service(id).is_some())
                    && live(&place.project, &|id| world.projects.get(id).is_some_and(|row| row.times.live())))
    }

    /// Everything in it that uses resources.
    fn sources(&self, request: &Request, world: &World, step: u64) -> Vec<Source> {
        let mut runs = Vec::new();
        for span in request.core.traffic.spans(|_| true) {
            let Some(row) = world.deployments.get(&span.deployment) else { continue };
            let place = Place {
                project: Some(row.project_id.clone()),
                environment: Some(row.environment_id.clone()),
                service: Some(row.service_id.clone()),
                deployment: Some(row.id.clone()),
                instance: Some(span.instance.clone()),
                region: Some(span.region.clone()),
                ..Place::default()
            };
            if self.holds(request, world, &place) {
                runs.push((place, span));
            }
        }
        let mut sources = replicas(&request.core.traffic, step, runs);
        for row in world.volume_instances.iter() {
            let place = Place {
                project: Some(row.project_id.clone()),
                environment: Some(row.environment_id.clone()),
                service: row.service_id.clone(),
                region: Some(row.region.clone()),
                volume: Some(row.volume_id.clone()),
                volume_instance: Some(row.id.clone()),
                ..Place::default()
            };
            if (!self.deleted && !row.times.live()) || !self.holds(request, world, &place) {
                continue;
            }
            let backups = world.backups.iter().filter(|backup| backup.volume_instance_id == row.id);
            sources.extend(backups.map(|backup| {
                let times = &backup.times;
                Source::backup(place.clone(), times.created_at, times.deleted_at)
            }));
            sources.push(Source::volume(place, row.times.created_at, row.times.deleted_at));
        }
        sources
    }
}

/// A number of seconds in milliseconds.
fn millis(name: &str, seconds: Option<i32>) -> Result<Option<u64>, Refusal> {
    let Some(seconds) = seconds else { return Ok(None) };
    match u64::try_from(seconds) {
        Ok(seconds @ 1..) => Ok(Some(seconds * 1000)),
        _ => Err(Refusal::input(format!("Invalid {name} {seconds}: use at least 1"))),
    }
}

/// Resource metrics.
#[derive(Default)]
pub(crate) struct Metrics;

#[Object]
impl Metrics {
    /// Only the tags of `groupBy` are set, and there is one series for each measurement and each combination of them.
    #[expect(clippy::too_many_arguments, reason = "the schema's arguments")]
    async fn metrics(
        &self,
        ctx: &Context<'_>,
        averaging_window_seconds: Option<i32>,
        end_date: Option<DateTime>,
        environment_id: Option<String>,
        group_by: Option<Vec<MetricTag>>,
        include_deleted: Option<bool>,
        measurements: Vec<MetricMeasurement>,
        project_id: Option<String>,
        sample_rate_seconds: Option<i32>,
        service_id: Option<String>,
        start_date: DateTime,
        volume_id: Option<String>,
        volume_instance_external_id: Option<String>,
        workspace_id: Option<String>,
    ) -> Result<Vec<MetricsResult>> {
        let request = request(ctx);
        let world: Arc<World> = request.world();
        let mut scope = Scope {
            project: project_id,
            environment: environment_id,
            service: service_id,
            volume: volume_id,
            deleted: include_deleted.unwrap_or(false),
        };
        scope.check(request, &world, workspace_id.as_deref())?;
        if volume_instance_external_id.is_some() {
            let refusal = "Invalid volumeInstanceExternalId: volumes of the sandbox have no such id";
            return Err(Refusal::input(refusal).into());
        }
        let step = millis("sampleRateSeconds", sample_rate_seconds)?.unwrap_or(60_000);
        let window = millis("averagingWindowSeconds", averaging_window_seconds)?.unwrap_or(step);
        let frame = Frame {
            from: start_date.0,
            to: end_date.map_or(u64::MAX, |date| date.0),
            step,
            averaged: window.div_ceil(step),
            sight: Sight::of(&request.settings, &request.core.clock),
        };
        let tags = group_by.unwrap_or_default();
        let mut groups: BTreeMap<Place, Vec<Source>> = BTreeMap::new();
        // An unknown tag is refused also where there is nothing to group.
        group(&Place::default(), &tags)?;
        for source in scope.sources(request, &world, step) {
            groups.entry(group(&source.place, &tags)?).or_default().push(source);
        }
        let mut results = Vec::new();
        for measurement in measurements {
            let measure = measurement.measure()?;
            for (place, sources) in &groups {
                let samples = frame.samples(measure, sources, request.points_left().saturating_add(1));
                request.spend_points(samples.len())?;
                if samples.is_empty() {
                    continue;
                }
                let values = samples
                    .into_iter()
                    .map(|(at, value)| Metric { ts: i32::try_from(at / 1000).unwrap_or(i32::MAX), value })
                    .collect();
                results.push(MetricsResult { measurement, tags: place.clone().into(), values });
            }
        }
        Ok(results)
    }
}
