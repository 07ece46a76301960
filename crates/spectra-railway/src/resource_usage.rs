//! Processor and memory of a service, told apart by deployment.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use spectra_types::DeploymentId;

use crate::client::{Client, id};
use crate::deployment::InstanceRef;
use crate::error::Result;
use crate::gql::{ResourceUsage, resource_usage};
use crate::window::{parts, step_seconds};

/// What the replicas of one deployment used together. Steps of which Railway says nothing have no sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeploymentUsage {
    /// Processor, oldest first.
    pub cpu: Vec<CpuSample>,
    /// Memory, oldest first.
    pub memory: Vec<MemorySample>,
}

/// Processor in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuSample {
    /// When the step began.
    pub at: Timestamp,
    /// Processors in use: 0.5 is half of one.
    pub vcpus: f64,
}

/// Memory in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemorySample {
    /// When the step began.
    pub at: Timestamp,
    /// In use, in units of 10⁹ bytes.
    pub gigabytes: f64,
}

impl Client {
    /// Processor and memory of a service between two moments, by deployment, in steps of whole seconds. A deployment
    /// of which Railway says nothing is missing.
    ///
    /// One request for each 1 000 steps, at most 20; a window with more steps is [`ErrorKind::BadInput`].
    ///
    /// [`ErrorKind::BadInput`]: crate::ErrorKind::BadInput
    pub async fn resource_usage(
        &self,
        instance: &InstanceRef,
        from: Timestamp,
        to: Timestamp,
        step: Duration,
    ) -> Result<BTreeMap<DeploymentId, DeploymentUsage>> {
        use resource_usage::{MetricMeasurement, MetricTag};
        let attempt = || format!("read what service `{}` uses", instance.service);
        let mut usage: BTreeMap<DeploymentId, DeploymentUsage> = BTreeMap::new();
        for part in parts::<ResourceUsage>(from, to, step).map_err(|error| error.attempting(attempt))? {
            let variables = resource_usage::Variables {
                project: Some(instance.project.to_string()),
                environment: Some(instance.environment.to_string()),
                service: Some(instance.service.to_string()),
                from: part.from.to_string(),
                to: Some(part.to.to_string()),
                step: Some(step_seconds(step)),
                measurements: vec![MetricMeasurement::CPU_USAGE, MetricMeasurement::MEMORY_USAGE_GB],
                tags: Some(vec![MetricTag::DEPLOYMENT_ID]),
            };
            let data =
                self.query::<ResourceUsage>(variables).await.map_err(|error| error.attempting(attempt))?;
            for series in data.metrics {
                // What belongs to no deployment is nobody's candidate.
                let Some(deployment) = series.tags.deployment_id.filter(|id| !id.is_empty()) else {
                    continue;
                };
                let of = usage.entry(id::<ResourceUsage, _>(deployment)?).or_default();
                let samples =
                    series.values.iter().filter_map(|sample| Some((part.sample(sample.ts)?, sample.value)));
                match series.measurement {
                    MetricMeasurement::CPU_USAGE => {
                        of.cpu.extend(samples.map(|(at, vcpus)| CpuSample { at, vcpus }));
                    }
                    MetricMeasurement::MEMORY_USAGE_GB => {
                        of.memory.extend(samples.map(|(at, gigabytes)| MemorySample { at, gigabytes }));
                    }
                    _ => {}
                }
            }
        }
        usage.retain(|_, of| !of.cpu.is_empty() || !of.memory.is_empty());
        for of in usage.values_mut() {
            of.cpu.sort_by_key(|sample| sample.at);
            of.memory.sort_by_key(|sample| sample.at);
        }
        Ok(usage)
    }
}
