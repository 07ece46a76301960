//! The schema of `spectra_service`.

use std::collections::BTreeMap;

use spectra_types::{EnvironmentId, HumanDuration, ImageRef, ProjectId, ServiceId};
use tfplugin::{Attr, Model, Sensitive, Text, TfEnum};

use crate::resources::managed_variables::{SecretNames, Secrets, Variables};

/// A Railway service in one environment: its name, its settings, its variables.
///
/// A service's name is known to the whole project; everything else belongs to one environment. To have the same
/// service in two environments, declare it twice with the same name. Settings take effect with the next deployment,
/// which is `spectra_rollout`'s business: give it `triggers` made of the settings that should start one.
///
/// A service created in a root environment appears in every root environment of the project. Spectra refuses that
/// unless `allow_fan_out` is set.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct ServiceModel {
    /// The service's id, the same in every environment.
    #[tf(computed, stable, identity)]
    pub(crate) id: Attr<Text<ServiceId>>,
    /// The project that the service is in.
    #[tf(required, force_new, identity)]
    pub(crate) project_id: Attr<Text<ProjectId>>,
    /// The environment that the settings belong to.
    #[tf(required, force_new, identity)]
    pub(crate) environment_id: Attr<Text<EnvironmentId>>,
    /// The service's name, unique in the project. Changing it renames the service in every environment.
    #[tf(required, validate(length(1..=32)))]
    pub(crate) name: Attr<String>,
    /// The image that the service is set to. Where it is given, every change of the service deploys it, unobserved;
    /// leave it out where a `spectra_rollout` decides what runs. Leaving it out later leaves what runs as it is.
    /// Deployment policies hold: one with an approval, a bake, health or steps refuses it, and one with `signatures`
    /// wants it by its digest. Freeze windows do not hold it up.
    #[tf(optional)]
    pub(crate) image: Attr<Text<ImageRef>>,
    /// Railway's own health check: a new deployment serves only after this path answered 200.
    #[tf(optional)]
    pub(crate) health_check: Attr<HealthCheckModel>,
    /// How many replicas run, where the service is now. Excludes `regions`. 1 when both are left out.
    #[tf(optional, validate(range(1..=50)))]
    pub(crate) replicas: Attr<i64>,
    /// How many replicas run in which region: `{ "us-west2" = 2 }`. Excludes `replicas`.
    #[tf(optional, validate(with = crate::validators::region_replicas))]
    pub(crate) regions: Attr<BTreeMap<String, Attr<i64>>>,
    /// What happens when a replica ends.
    #[tf(optional)]
    pub(crate) restart_policy: Attr<RestartPolicyModel>,
    /// The command to run instead of the image's own.
    #[tf(optional, validate(length(1..=4096)))]
    pub(crate) start_command: Attr<String>,
    /// A command that runs before each deployment serves, a migration for instance; its failure stops the deployment.
    #[tf(optional, validate(length(1..=4096)))]
    pub(crate) pre_deploy_command: Attr<String>,
    /// How long the old deployment goes on after the new one serves, in whole seconds.
    #[tf(optional, validate(with = crate::validators::whole_seconds))]
    pub(crate) overlap: Attr<Text<HumanDuration>>,
    /// How long an old replica has between SIGTERM and SIGKILL, in whole seconds.
    #[tf(optional, validate(with = crate::validators::whole_seconds))]
    pub(crate) draining: Attr<Text<HumanDuration>>,
    /// Variables by name. Only those named here are managed.
    #[tf(optional, validate(with = crate::validators::variable_names))]
    pub(crate) variables: Variables,
    /// Secrets by name: write-only, sealed on Railway. Raise `secrets_wo_version` when a value changes.
    #[tf(optional, write_only, sensitive, validate(with = crate::validators::variable_names))]
    pub(crate) secrets_wo: Secrets,
    /// Any number; raising it writes the secrets again.
    #[tf(optional)]
    pub(crate) secrets_wo_version: Attr<i64>,
    /// The names of the secrets that are set. Values are never read.
    #[tf(computed)]
    pub(crate) secret_names: SecretNames,
    /// How Railway logs in to a private registry.
    #[tf(optional)]
    pub(crate) registry_credentials: Attr<RegistryCredentialsModel>,
    /// Accept that a service created in a root environment appears in every root environment of the project.
    #[tf(optional, default = false)]
    pub(crate) allow_fan_out: Attr<bool>,
}

/// Railway's own health check.
#[derive(Clone, Debug, Model)]
pub(crate) struct HealthCheckModel {
    /// The path to ask for; only the answer 200 counts, a redirect does not.
    #[tf(required, validate(with = crate::validators::url_path))]
    pub(crate) path: Attr<String>,
    /// How long a new deployment has to answer, in whole seconds.
    #[tf(
        optional,
        default = "300s",
        validate(with = crate::validators::whole_seconds, with = crate::validators::positive_duration)
    )]
    pub(crate) timeout: Attr<Text<HumanDuration>>,
}

/// What happens when a replica ends.
#[derive(Clone, Debug, Model)]
pub(crate) struct RestartPolicyModel {
    /// When to restart.
    #[tf(required)]
    pub(crate) r#type: Attr<RestartPolicyType>,
    /// How often at most, for `ON_FAILURE`.
    #[tf(optional, default = 10_i64, validate(range(0..=1000)))]
    pub(crate) max_retries: Attr<i64>,
}

/// When a replica is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TfEnum)]
pub(crate) enum RestartPolicyType {
    /// When it ended with an error.
    #[tf(name = "ON_FAILURE")]
    OnFailure,
    /// Whenever it ended.
    #[tf(name = "ALWAYS")]
    Always,
    /// Never.
    #[tf(name = "NEVER")]
    Never,
}

/// A login to a registry.
#[derive(Clone, Debug, Model)]
pub(crate) struct RegistryCredentialsModel {
    /// The user name.
    #[tf(required, validate(length(1..=256)))]
    pub(crate) username: Attr<String>,
    /// The password or token: write-only. Raise `password_wo_version` when it changes.
    #[tf(required, write_only, sensitive)]
    pub(crate) password_wo: Attr<Sensitive<String>>,
    /// Any number; raising it writes the login again.
    #[tf(optional)]
    pub(crate) password_wo_version: Attr<i64>,
}
