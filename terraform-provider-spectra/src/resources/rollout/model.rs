//! The schema of `spectra_rollout`.

use std::collections::BTreeMap;

use spectra_types::{DeploymentId, Digest, EnvironmentId, HumanDuration, PinnedImage, ProjectId, ServiceId};
use tfplugin::{Attr, Model, Sensitive, Text, TfEnum};

use super::metrics::MetricModel;
use super::steps::StepModel;

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
    /// What is done, in order; undone in reverse when anything fails. Without any, the image is swapped in.
    #[tf(optional)]
    pub(crate) steps: Attr<Vec<StepModel>>,
    /// What is measured from the first traffic of the new version to the end of the bake.
    #[tf(optional)]
    pub(crate) metrics: Attr<Vec<MetricModel>>,
    /// What to do when measurements decide nothing: go back, wait `hold_for` for an approval, or go on.
    #[tf(optional, default = "abort")]
    pub(crate) on_inconclusive: Attr<Inconclusive>,
    /// How long an approval is waited for with `on_inconclusive = "hold"`.
    #[tf(optional, validate(with = crate::validators::positive_duration))]
    pub(crate) hold_for: Attr<Text<HumanDuration>>,
    /// Who has to approve this digest and these steps; a new digest needs a new approval.
    #[tf(optional)]
    pub(crate) approval: Attr<ApprovalModel>,
    /// `rollout_id`s of rollouts that go back with this one when it fails, if they were part of the same apply.
    #[tf(optional)]
    pub(crate) depends_on_rollouts: Attr<Vec<String>>,
    /// How long the lease is waited for while another process rolls this service out. It fails at once when left out.
    #[tf(optional, default = "0s")]
    pub(crate) wait_for_lease: Attr<Text<HumanDuration>>,
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
    /// How Railway logs in to the registry of `image`; the image that ran before is pulled with it too where it is of the same
    /// registry. Another login deploys the image anew, also where it runs already. Without it, Railway keeps the login that it
    /// has.
    #[tf(optional)]
    pub(crate) registry_credentials: Attr<RegistryCredentialsModel>,
    /// Any values; a change deploys the image anew, for instance because variables changed.
    #[tf(optional)]
    pub(crate) triggers: Attr<BTreeMap<String, Attr<String>>>,
    /// What the last rollout did or the next one will do, step by step, and when it ends.
    #[tf(computed)]
    pub(crate) schedule: Attr<Vec<String>>,
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

/// A login to a registry, for the image that is rolled out.
#[derive(Clone, Debug, Model)]
pub(crate) struct RegistryCredentialsModel {
    /// The user name.
    #[tf(required, validate(length(1..=256)))]
    pub(crate) username: Attr<String>,
    /// The password or token: write-only. It is sent with each rollout, and stored by Railway alone.
    #[tf(required, write_only, sensitive)]
    pub(crate) password_wo: Attr<Sensitive<String>>,
    /// Any number; raising it deploys the image anew, pulled with the new login.
    #[tf(optional)]
    pub(crate) password_wo_version: Attr<i64>,
}

/// What to do when measurements decide nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TfEnum)]
pub(crate) enum Inconclusive {
    /// Go back.
    Abort,
    /// Wait for an approval.
    Hold,
    /// Go on.
    Proceed,
}

/// Who has to approve.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct ApprovalModel {
    /// How many different people.
    #[tf(optional, default = 1_i64, validate(range(1..=100)))]
    pub(crate) required: Attr<i64>,
    /// Whether the approval has to be there when the rollout begins. Otherwise `pause` steps alone ask for it.
    #[tf(optional, default = true)]
    pub(crate) before_start: Attr<bool>,
    /// Who may.
    #[tf(optional)]
    pub(crate) approvers: Attr<Vec<ApproverModel>>,
    /// The GitHub environment whose reviewers count too: those who approved the run that this apply is part of.
    #[tf(optional)]
    pub(crate) github_environment: Attr<String>,
}

/// A person who may approve.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct ApproverModel {
    /// Who it is.
    #[tf(required)]
    pub(crate) name: Attr<String>,
    /// The Ed25519 public key that they sign with, base64: `railway-deployer rollout approve` says it.
    #[tf(required)]
    pub(crate) public_key: Attr<String>,
}

/// What destroying a rollout does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TfEnum)]
pub(crate) enum OnDestroy {
    /// Forget it; the service goes on running.
    Retain,
    /// Take the running deployment down.
    Remove,
}
