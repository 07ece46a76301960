//! A service in an environment: its settings, and changing them without losing the others.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use spectra_types::{EnvironmentId, Secret, ServiceId};

use crate::client::{Client, Touches, confirmed};
use crate::deployment::{Deployment, InstanceRef, same_image};
use crate::domain::ServiceDomain;
use crate::error::{Error, ErrorKind, Result};
use crate::gql::{Operation, ServiceInstanceUpdate, service_instance_update};
use crate::patch::{Deploys, Patch};
use crate::variables::Variable;
use crate::wire_enum::wire_enum;

/// How long Railway waits for a health check where nothing is set.
const DEFAULT_HEALTHCHECK: Duration = Duration::from_mins(5);

wire_enum! {
    /// When a container that ended is started again.
    pub enum RestartPolicyType {
        /// Whenever it ended.
        Always = "ALWAYS",
        /// Never.
        Never = "NEVER",
        /// When it ended with a failure.
        OnFailure = "ON_FAILURE",
    }
}

/// When and how often a container that ended is started again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// When.
    pub condition: RestartPolicyType,
    /// How often.
    pub max_retries: u32,
}

/// A service in an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The id of the instance itself.
    pub id: String,
    /// The service.
    pub service: ServiceId,
    /// Its name, the same in every environment.
    pub service_name: String,
    /// The environment.
    pub environment: EnvironmentId,
    /// The image it is set to, as text: a foreign one may be a tag.
    pub image: Option<String>,
    /// The repository it is built from instead.
    pub repository: Option<String>,
    /// The path that has to answer 200 before a deployment takes over.
    pub healthcheck_path: Option<String>,
    /// How long that may take; Railway's default is 300 s.
    pub healthcheck_timeout: Option<Duration>,
    /// Replaces the image's command.
    pub start_command: Option<String>,
    /// Runs before the deployment.
    pub pre_deploy_command: Option<String>,
    /// How long the old deployment stays after the new one took over.
    pub overlap: Option<Duration>,
    /// How long a replaced container may take to end.
    pub draining: Option<Duration>,
    /// Replicas, where no regions are set.
    pub replicas: Option<u32>,
    /// Replicas by region; empty where none are set.
    pub regions: BTreeMap<String, u32>,
    /// When containers are restarted.
    pub restart_policy: RestartPolicy,
    /// The service's variables here, references unresolved.
    pub variables: BTreeMap<String, Variable>,
    /// The generated domains.
    pub domains: Vec<ServiceDomain>,
    /// The newest deployment, which may lag behind what was just started.
    pub latest_deployment: Option<Deployment>,
    /// The deployments that serve.
    pub active_deployments: Vec<Deployment>,
}

impl Instance {
    /// Replicas in all regions together; 1 where nothing is set.
    #[must_use]
    pub fn total_replicas(&self) -> u32 {
        if self.regions.is_empty() { self.replicas.unwrap_or(1) } else { self.regions.values().sum() }
    }
}

/// What to do with one setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// Leave it.
    #[default]
    Keep,
    /// Remove it, so that Railway's default holds.
    Clear,
    /// Set it.
    Set(T),
}

impl<T> Change<T> {
    /// `None` clears.
    #[must_use]
    pub fn from_option(value: Option<T>) -> Self {
        value.map_or(Self::Clear, Self::Set)
    }

    const fn as_set(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Keep | Self::Clear => None,
        }
    }

    const fn is_clear(&self) -> bool {
        matches!(self, Self::Clear)
    }
}

/// Where and how often a service runs. The two are never sent together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// So many, where the service is now.
    Replicas(u32),
    /// So many in each region; regions not named are left.
    Regions(BTreeMap<String, u32>),
}

/// Access to a private registry. Railway stores it and never shows it again.
#[derive(Clone, Debug)]
pub struct RegistryCredentials {
    /// The user.
    pub username: String,
    /// The password or token.
    pub password: Secret<String>,
}

/// Changes of a service in an environment.
#[derive(Clone, Debug, Default)]
pub struct InstanceUpdate {
    /// The image; clearing detaches the service from its source.
    pub image: Change<String>,
    /// Sent when given; `None` keeps what is stored.
    pub registry_credentials: Option<RegistryCredentials>,
    /// The path of the health check.
    pub healthcheck_path: Change<String>,
    /// Its time limit, in whole seconds.
    pub healthcheck_timeout: Change<Duration>,
    /// Replaces the image's command.
    pub start_command: Change<String>,
    /// Runs before the deployment.
    pub pre_deploy_command: Change<String>,
    /// How long the old deployment stays, in whole seconds.
    pub overlap: Change<Duration>,
    /// How long a container may take to end, in whole seconds.
    pub draining: Change<Duration>,
    /// Where and how often it runs; `None` keeps.
    pub placement: Option<Placement>,
    /// When containers are restarted; `None` keeps.
    pub restart_policy: Option<RestartPolicy>,
}

/// A setting that reads differently from what it was set to, or was never to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDifference {
    /// Which.
    pub field: &'static str,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl fmt::Display for FieldDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is `{}` instead of `{}`", self.field, self.found, self.expected)
    }
}

pub(crate) fn seconds(number: Option<i64>) -> Option<Duration> {
    number.and_then(|number| u64::try_from(number).ok()).map(Duration::from_secs)
}

/// Written as a list, read as a list or as text.
pub(crate) fn pre_deploy_command(value: Option<&Value>) -> Option<String> {
    let text = match value? {
        Value::String(text) => text.as_str(),
        Value::Array(items) => items.first()?.as_str()?,
        _ => return None,
    };
    (!text.is_empty()).then(|| text.to_owned())
}

fn whole_seconds(duration: Duration) -> Option<i64> {
    i64::try_from(duration.as_secs()).ok()
}

fn region_config(regions: &BTreeMap<String, u32>) -> Value {
    regions.iter().map(|(region, count)| (region.clone(), json!({ "numReplicas": count }))).collect()
}

impl InstanceUpdate {
    /// What is to be read after the update, starting from what was read before it.
    fn expected(&self, observed: &Instance) -> Instance {
        fn apply<T: Clone>(change: &Change<T>, field: &mut Option<T>) {
            match change {
                Change::Keep => {}
                Change::Clear => *field = None,
                Change::Set(value) => *field = Some(value.clone()),
            }
        }
        let mut expected = observed.clone();
        apply(&self.image, &mut expected.image);
        apply(&self.healthcheck_path, &mut expected.healthcheck_path);
        apply(&self.healthcheck_timeout, &mut expected.healthcheck_timeout);
        apply(&self.start_command, &mut expected.start_command);
        apply(&self.pre_deploy_command, &mut expected.pre_deploy_command);
        apply(&self.overlap, &mut expected.overlap);
        apply(&self.draining, &mut expected.draining);
        match &self.placement {
            None => {}
            Some(Placement::Replicas(count)) => match expected.regions.len() {
                1 => expected.regions.values_mut().for_each(|replicas| *replicas = *count),
                _ => expected.replicas = Some(*count),
            },
            Some(Placement::Regions(regions)) => expected.regions.clone_from(regions),
        }
        if let Some(policy) = &self.restart_policy {
            expected.restart_policy = policy.clone();
        }
        expected
    }

    /// What differs. A cleared time reads as Railway's default, whatever that is.
    fn differences(&self, expected: &Instance, found: &Instance) -> Vec<FieldDifference> {
        let mut differences = Vec::new();
        let mut note = |field, same: bool, expected: String, found: String| {
            if !same {
                differences.push(FieldDifference { field, expected, found });
            }
        };
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "unset".to_owned());
        let time = |value: Option<Duration>| {
            value.map_or_else(|| "unset".to_owned(), |value| format!("{} s", value.as_secs()))
        };
        let same = match (&expected.image, &found.image) {
            (Some(wanted), found) => same_image(found.as_deref(), wanted),
            (None, found) => found.is_none(),
        };
        note("image", same, text(&expected.image), text(&found.image));
        for (field, expected, found) in [
            ("health check path", &expected.healthcheck_path, &found.healthcheck_path),
            ("start command", &expected.start_command, &found.start_command),
            ("pre-deploy command", &expected.pre_deploy_command, &found.pre_deploy_command),
        ] {
            note(field, expected == found, text(expected), text(found));
        }
        for (field, cleared, expected, found) in [
            (
                "health check timeout",
                self.healthcheck_timeout.is_clear() || self.healthcheck_path.is_clear(),
                expected.healthcheck_timeout,
                found.healthcheck_timeout,
            ),
            ("overlap", self.overlap.is_clear(), expected.overlap, found.overlap),
            ("draining time", self.draining.is_clear(), expected.draining, found.draining),
        ] {
            // what is not set may read as the default.
            let default = if field == "health check timeout" { DEFAULT_HEALTHCHECK } else { Duration::ZERO };
            let same = expected == found || cleared || (expected.is_none() && found == Some(default));
            note(field, same, time(expected), time(found));
        }
        if expected.regions.is_empty() {
            // Railway may show replicas by region once they are set.
            let (wanted, count) = (expected.total_replicas(), found.total_replicas());
            note("number of replicas", wanted == count, wanted.to_string(), count.to_string());
        } else {
            let show = |regions: &BTreeMap<String, u32>| {
                let parts: Vec<_> =
                    regions.iter().map(|(region, count)| format!("{region}: {count}")).collect();
                if parts.is_empty() { "unset".to_owned() } else { parts.join(", ") }
            };
            let same = expected.regions == found.regions;
            note("replicas by region", same, show(&expected.regions), show(&found.regions));
        }
        let policy =
            |policy: &RestartPolicy| format!("{} with {} retries", policy.condition, policy.max_retries);
        let same = expected.restart_policy == found.restart_policy;
        note("restart policy", same, policy(&expected.restart_policy), policy(&found.restart_policy));
        differences
    }

    /// The mutation's input: what is set, and with it what Railway has been seen to lose.
    fn input(&self, observed: &Instance) -> service_instance_update::ServiceInstanceUpdateInput {
        let expected = self.expected(observed);
        let regions = (!expected.regions.is_empty()).then(|| region_config(&expected.regions));
        let replicas = if regions.is_none() { expected.replicas.map(i64::from) } else { None };
        service_instance_update::ServiceInstanceUpdateInput {
            source: self
                .image
                .as_set()
                .map(|image| service_instance_update::ServiceSourceInput { image: Some(image.clone()) }),
            registry_credentials: self.registry_credentials.as_ref().map(|credentials| {
                service_instance_update::RegistryCredentialsInput {
                    username: credentials.username.clone(),
                    password: credentials.password.expose().clone(),
                }
            }),
            healthcheck_timeout: expected
                .healthcheck_path
                .as_ref()
                .and(expected.healthcheck_timeout)
                .and_then(whole_seconds),
            healthcheck_path: expected.healthcheck_path,
            start_command: match &self.start_command {
                Change::Set(command) => Some(command.clone()),
                // A null would be ignored; empty text clears.
                Change::Clear => Some(String::new()),
                Change::Keep => None,
            },
            pre_deploy_command: self.pre_deploy_command.as_set().map(|command| vec![command.clone()]),
            overlap_seconds: expected.overlap.and_then(whole_seconds),
            draining_seconds: expected.draining.and_then(whole_seconds),
            num_replicas: replicas,
            multi_region_config: regions,
            restart_policy_type: self.restart_policy.as_ref().map(|policy| policy.condition.clone()),
            restart_policy_max_retries: self
                .restart_policy
                .as_ref()
                .map(|policy| i64::from(policy.max_retries)),
        }
    }

    /// What only a patch can clear.
    fn clearing(&self, observed: &Instance) -> Patch {
        let service = &observed.service;
        let mut patch = Patch::new();
        let mut clear = |cleared: bool, set: bool, path: &[&str]| {
            if cleared && set {
                patch = std::mem::take(&mut patch).clear_service(service, path);
            }
        };
        clear(self.image.is_clear(), observed.image.is_some(), &["source", "image"]);
        clear(
            self.healthcheck_path.is_clear(),
            observed.healthcheck_path.is_some(),
            &["deploy", "healthcheckPath"],
        );
        clear(
            self.healthcheck_timeout.is_clear(),
            observed.healthcheck_timeout.is_some(),
            &["deploy", "healthcheckTimeout"],
        );
        clear(
            self.pre_deploy_command.is_clear(),
            observed.pre_deploy_command.is_some(),
            &["deploy", "preDeployCommand"],
        );
        clear(self.overlap.is_clear(), observed.overlap.is_some(), &["deploy", "overlapSeconds"]);
        clear(self.draining.is_clear(), observed.draining.is_some(), &["deploy", "drainingSeconds"]);
        patch
    }

    /// Something has to be sent with the mutation.
    fn needs_mutation(&self, observed: &Instance) -> bool {
        if self.registry_credentials.is_some() {
            return true;
        }
        let mut without_clears = self.clone();
        if self.image.is_clear() {
            without_clears.image = Change::Keep;
        }
        for change in [&mut without_clears.healthcheck_path, &mut without_clears.pre_deploy_command] {
            if change.is_clear() {
                *change = Change::Keep;
            }
        }
        for change in [
            &mut without_clears.healthcheck_timeout,
            &mut without_clears.overlap,
            &mut without_clears.draining,
        ] {
            if change.is_clear() {
                *change = Change::Keep;
            }
        }
        let expected = without_clears.expected(observed);
        !without_clears.differences(&expected, observed).is_empty()
    }

    fn check(&self, observed: &Instance) -> Result<()> {
        let refuse =
            |message: String| Err(Error::new(ErrorKind::BadInput, ServiceInstanceUpdate::NAME, message));
        match &self.placement {
            Some(Placement::Replicas(0)) => refuse("a service has at least one replica".to_owned()),
            Some(Placement::Regions(regions)) if regions.values().sum::<u32>() == 0 => {
                refuse("a service has at least one replica in one region".to_owned())
            }
            Some(Placement::Replicas(_)) if observed.regions.len() > 1 => {
                let regions: Vec<_> = observed.regions.keys().map(String::as_str).collect();
                refuse(format!(
                    "the service runs in several regions ({}), so the number of replicas has to be given by region",
                    regions.join(", ")
                ))
            }
            _ => Ok(()),
        }
    }
}

impl Client {
    /// A service in an environment, from the environment's shared snapshot.
    pub async fn instance(&self, instance: &InstanceRef) -> Result<Instance> {
        let snapshot = self.environment_snapshot(&instance.project, &instance.environment).await?;
        snapshot.instance(&instance.service).cloned().map_err(|error| {
            error.attempting(|| {
                format!("read service `{}` in environment `{}`", instance.service, instance.environment)
            })
        })
    }

    /// A service in an environment, read now.
    pub async fn fresh_instance(&self, instance: &InstanceRef) -> Result<Instance> {
        self.forget(Touches::Environment(&instance.environment));
        self.instance(instance).await
    }

    /// Changes the settings of a service in one environment and reads them back. Deploys nothing.
    ///
    /// What is asked for already is not sent. Region placement and health check are sent along as they were read,
    /// for Railway has been seen to drop them. Any difference that is left when [`Polling::settled_within`] has
    /// passed, asked for or not, is an [`ErrorKind::Diverged`].
    ///
    /// [`Polling::settled_within`]: crate::Polling::settled_within
    pub async fn update_instance(&self, instance: &InstanceRef, update: &InstanceUpdate) -> Result<Instance> {
        let attempt =
            || format!("update service `{}` in environment `{}`", instance.service, instance.environment);
        self.update_instance_inner(instance, update).await.map_err(|error| error.attempting(attempt))
    }

    async fn update_instance_inner(
        &self,
        instance: &InstanceRef,
        update: &InstanceUpdate,
    ) -> Result<Instance> {
        let update = self.with_known_regions(instance, update).await?;
        let observed = self.fresh_instance(instance).await?;
        update.check(&observed)?;
        let expected = update.expected(&observed);
        let mutate = update.needs_mutation(&observed);
        let clearing = update.clearing(&observed);
        if !mutate && clearing.is_empty() {
            return Ok(observed);
        }
        if mutate {
            let send = || async {
                let variables = service_instance_update::Variables {
                    service: instance.service.to_string(),
                    environment: instance.environment.to_string(),
                    input: update.input(&observed),
                };
                let data = self
                    .mutate::<ServiceInstanceUpdate>(Touches::Environment(&instance.environment), variables)
                    .await?;
                confirmed::<ServiceInstanceUpdate>(data.service_instance_update)
            };
            let answer = match self.out_wait_cooldown(send).await {
                // The same values again are no second change.
                Err(error) if error.is_ambiguous() => send().await,
                other => other,
            };
            if let Err(error) = answer {
                return Err(self
                    .settle_missing_environment(&instance.project, &instance.environment, error)
                    .await);
            }
        }
        if !clearing.is_empty() {
            let message = format!("Spectra: clear settings of {}", observed.service_name);
            self.commit_patch(&instance.project, &instance.environment, &clearing, &message, Deploys::Skip)
                .await
                .map_err(|error| if mutate { error.after_change() } else { error })?;
        }
        let mut last = Vec::new();
        let deadline = self.now() + self.polling().settled_within;
        for pause in self.polling().pauses() {
            let found = self.fresh_instance(instance).await.map_err(Error::after_change)?;
            last = update.differences(&expected, &found);
            if last.is_empty() {
                return Ok(found);
            }
            if self.now() + pause > deadline {
                break;
            }
            self.sleep(pause).await;
        }
        let fields: Vec<_> = last.iter().map(ToString::to_string).collect();
        let message = format!("Railway accepted the update, but reads back otherwise: {}", fields.join("; "));
        Err(Error::new(ErrorKind::Diverged, ServiceInstanceUpdate::NAME, message))
    }

    /// Names regions as Railway does, so that what is read back can be compared.
    async fn with_known_regions(
        &self,
        instance: &InstanceRef,
        update: &InstanceUpdate,
    ) -> Result<InstanceUpdate> {
        let mut update = update.clone();
        if let Some(Placement::Regions(regions)) = &mut update.placement {
            let known = self.regions(Some(&instance.project)).await?;
            let mut named = BTreeMap::new();
            for (region, count) in std::mem::take(regions) {
                *named.entry(crate::region::normalise(&known, &region)?).or_insert(0) += count;
            }
            *regions = named;
        }
        Ok(update)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pre_deploy_commands_are_read_in_both_shapes() {
        assert_eq!(pre_deploy_command(Some(&json!("migrate"))), Some("migrate".to_owned()));
        assert_eq!(pre_deploy_command(Some(&json!(["migrate"]))), Some("migrate".to_owned()));
        assert_eq!(pre_deploy_command(Some(&json!([]))), None);
        assert_eq!(pre_deploy_command(Some(&json!(""))), None);
        assert_eq!(pre_deploy_command(None), None);
    }
}
