//! The schema of `spectra_rollout`.

use std::collections::BTreeMap;

use spectra_types::{DeploymentId, Digest, EnvironmentId, HumanDuration, PinnedImage, ProjectId, ServiceId};
use tfplugin::{Attr, Model, Text, TfEnum};

/// This service in this environment runs this digest.
///
/// Applying deploys the image, follows that deployment to its end, checks the digest that really runs on every
/// replica, probes the service, and watches it for the bake time. If anything of that fails, the digest that ran
/// before is brought back, the apply fails, and state says what runs. A service that runs the digest already is
/// adopted as it is, after the same probes.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct RolloutModel {
    /// `environment/service`.
    #[tf(computed, stable)]
    pub(crate) id: Attr<String>,
    /// The project.
    #[tf(required, force_new, identity)]
    pub(crate) project_id: Attr<Text<ProjectId>>,
    /// The environment.
    #[tf(required, force_new, identity)]
    pub(crate) environment_id: Attr<Text<EnvironmentId>>,
    /// The service.
    #[tf(required, force_new, identity)]
    pub(crate) service_id: Attr<Text<ServiceId>>,
    /// The image to run, pinned to a digest: `registry/repository@sha256:…`. `data.spectra_image` finds the digest of
    /// a tag; `provider::spectra::pin` joins the two.
    #[tf(required)]
    pub(crate) image: Attr<Text<PinnedImage>>,
    /// How traffic gets from the old deployment to the new one.
    #[tf(optional, default = "swap")]
    pub(crate) strategy: Attr<Strategy>,
    /// How the service is probed from outside, once Railway says it is up and during the bake.
    #[tf(optional)]
    pub(crate) health: Attr<HealthModel>,
    /// How long the new deployment is watched before the rollout is complete.
    #[tf(optional, default = "0s")]
    pub(crate) bake: Attr<Text<HumanDuration>>,
    /// The longest time without any progress.
    #[tf(optional, default = "10m", validate(with = crate::validators::positive_duration))]
    pub(crate) progress_deadline: Attr<Text<HumanDuration>>,
    /// The longest time for everything up to the end of the bake.
    #[tf(optional, default = "30m", validate(with = crate::validators::positive_duration))]
    pub(crate) timeout: Attr<Text<HumanDuration>>,
    /// The longest time for bringing the previous digest back.
    #[tf(optional, default = "5m", validate(with = crate::validators::positive_duration))]
    pub(crate) abort_timeout: Attr<Text<HumanDuration>>,
    /// What destroying does: `retain` leaves the service running, `remove` takes its deployment down.
    #[tf(optional, default = "retain")]
    pub(crate) on_destroy: Attr<OnDestroy>,
    /// Goes on in spite of a freeze window, for this reason, which is recorded. Take it out again afterwards: it counts for
    /// every rollout that it is configured for.
    #[tf(optional, validate(length(1..=1024)))]
    pub(crate) freeze_override: Attr<String>,
    /// Any values; a change deploys the image anew, for instance because variables changed.
    #[tf(optional)]
    pub(crate) triggers: Attr<BTreeMap<String, Attr<String>>>,
    /// The digest that runs.
    #[tf(computed)]
    pub(crate) running_digest: Attr<Text<Digest>>,
    /// The digest that a failed rollout would return to: the last one that completed.
    #[tf(computed)]
    pub(crate) stable_digest: Attr<Text<Digest>>,
    /// The digest that ran before the last rollout.
    #[tf(computed)]
    pub(crate) previous_digest: Attr<Text<Digest>>,
    /// How the last rollout ended: `complete`, `rolled_back`, `rollback_failed`, `refused`, `superseded`.
    #[tf(computed)]
    pub(crate) phase: Attr<String>,
    /// The id of the last rollout.
    #[tf(computed)]
    pub(crate) rollout_id: Attr<String>,
    /// Railway's deployment that serves.
    #[tf(computed)]
    pub(crate) deployment_id: Attr<Text<DeploymentId>>,
}

/// How the service is probed from outside.
#[derive(Clone, Debug, Model)]
pub(crate) struct HealthModel {
    /// The path to ask for, on the service's own domain.
    #[tf(optional, default = "/", validate(with = crate::validators::url_path))]
    pub(crate) path: Attr<String>,
    /// The whole URL to ask for, when it is not on the service's own domain. Wins over `path`.
    #[tf(optional, validate(with = crate::validators::http_url))]
    pub(crate) url: Attr<String>,
    /// The status that counts as healthy. Redirects are not followed.
    #[tf(optional, default = 200_i64, validate(range(100..=599)))]
    pub(crate) expected_status: Attr<i64>,
    /// The time between two probes.
    #[tf(optional, default = "5s", validate(with = crate::validators::positive_duration))]
    pub(crate) interval: Attr<Text<HumanDuration>>,
    /// How long one probe may take.
    #[tf(optional, default = "5s", validate(with = crate::validators::positive_duration))]
    pub(crate) timeout: Attr<Text<HumanDuration>>,
    /// Healthy answers in a row that make the service healthy.
    #[tf(optional, default = 2_i64, validate(range(1..=100)))]
    pub(crate) success_threshold: Attr<i64>,
    /// Other answers in a row that make it unhealthy.
    #[tf(optional, default = 3_i64, validate(range(1..=100)))]
    pub(crate) failure_threshold: Attr<i64>,
}

/// How traffic gets from the old deployment to the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TfEnum)]
pub(crate) enum Strategy {
    /// All at once, when the new deployment is healthy.
    Swap,
}

/// What destroying a rollout does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TfEnum)]
pub(crate) enum OnDestroy {
    /// Forget it; the service goes on running.
    Retain,
    /// Take the running deployment down.
    Remove,
}
