//! `spectra_deployment_policy`: what every rollout of a project or environment has to keep to.

use spectra_rollout::DeploymentPolicy;
use spectra_rollout::spec::{ApprovalRule, Approver};
use spectra_types::{EnvironmentId, HumanDuration, ProjectId};
use tfplugin::{Attr, Diagnostics, Model, Text};

use super::{SettingModel, given, reach, reached, same};
use crate::signatures::SignaturePolicyModel;

/// What every rollout of a project or an environment has to keep to, whoever asks for it.
///
/// The policy is kept in the journal, and checked before a rollout begins. What breaks a rule is refused, and the rule is
/// named; there is no way around it but to change the policy, which is recorded. Where several policies hold, all of them do.
/// The approval becomes part of each rollout: people of GitHub's environment, or signatures made with `railway-deployer
/// rollout approve`, each for one digest and one plan.
///
/// The `image` of a `spectra_service` is deployed without a rollout. A policy with an approval, a minimum bake, health or
/// required steps refuses it; where images may come from and who has to sign them holds for it as for a rollout.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct DeploymentPolicyModel {
    /// The same as the name.
    #[tf(computed, stable)]
    pub(crate) id: Attr<String>,
    /// What it is called, unique among the journal's policies.
    #[tf(required, force_new, identity, validate(length(1..=128)))]
    pub(crate) name: Attr<String>,
    /// Only in this project. Without it and without `environment_id` it holds for everything.
    #[tf(optional, conflicts_with("environment_id"))]
    pub(crate) project_id: Attr<Text<ProjectId>>,
    /// Only in this environment.
    #[tf(optional)]
    pub(crate) environment_id: Attr<Text<EnvironmentId>>,
    /// Who has to approve.
    #[tf(optional)]
    pub(crate) approval: Attr<ApprovalModel>,
    /// The shortest time that a new version is watched.
    #[tf(optional, same_as = same::<HumanDuration>)]
    pub(crate) minimum_bake: Attr<Text<HumanDuration>>,
    /// The longest timeout of a rollout.
    #[tf(optional, same_as = same::<HumanDuration>, validate(with = crate::validators::positive_duration))]
    pub(crate) maximum_timeout: Attr<Text<HumanDuration>>,
    /// Whether the service has to be probed from outside.
    #[tf(optional, default = false)]
    pub(crate) health_required: Attr<bool>,
    /// Steps that every rollout has to take: `canary`, `analysis`, `pause`, …
    #[tf(optional, validate(length(1..=16)))]
    pub(crate) required_steps: Attr<Vec<String>>,
    /// Where images may come from: `ghcr.io/acme/shop`, or `ghcr.io/acme/*` for all below. All when left out.
    #[tf(optional, validate(length(1..=64)))]
    pub(crate) allowed_repositories: Attr<Vec<String>>,
    /// Whose signatures images need. They are looked for in the image's registry, by digest, at plan where the image is known, and
    /// again before anything happens. Where there are several policies with `signatures`, each image has to be covered by one of
    /// them, and all that cover it hold.
    #[tf(optional)]
    pub(crate) signatures: Attr<SignaturePolicyModel>,
}

/// Who has to approve.
#[derive(Clone, Debug, Model)]
pub(crate) struct ApprovalModel {
    /// How many different people.
    #[tf(optional, default = 1_i64, validate(range(1..=16)))]
    pub(crate) required: Attr<i64>,
    /// Whether it has to be there when the rollout begins. Otherwise it is asked for by `pause` steps alone.
    #[tf(optional, default = true)]
    pub(crate) before_start: Attr<bool>,
    /// Who may, by signature.
    #[tf(optional)]
    pub(crate) approvers: Attr<Vec<ApproverModel>>,
    /// The GitHub environment whose reviewers count too: those who approved the workflow run that the rollout is part of.
    #[tf(optional, validate(length(1..=255)))]
    pub(crate) github_environment: Attr<String>,
}

/// A person who may approve.
#[derive(Clone, Debug, Model)]
pub(crate) struct ApproverModel {
    /// Who it is. Somebody of the same name at GitHub is taken for the same person.
    #[tf(required, validate(length(1..=128)))]
    pub(crate) name: Attr<String>,
    /// Their Ed25519 public key, base64.
    #[tf(required)]
    pub(crate) public_key: Attr<String>,
}

impl SettingModel for DeploymentPolicyModel {
    type Value = DeploymentPolicy;

    const TYPE: &'static str = "spectra_deployment_policy";
    const WORDS: &'static str = "deployment policy";

    fn name(&self) -> &Attr<String> {
        &self.name
    }

    fn with_id(self) -> Self {
        Self { id: self.name.clone(), ..self }
    }

    fn value(&self) -> Result<DeploymentPolicy, Diagnostics> {
        let duration = |attribute: &Attr<Text<HumanDuration>>, name: &str| {
            given(attribute, name).map(|value| value.map(Text::into_inner))
        };
        Ok(DeploymentPolicy {
            name: self.name.clone().require("name")?,
            reach: reach(&self.project_id, &self.environment_id)?,
            approval: given(&self.approval, "approval")?.as_ref().map(rule).transpose()?,
            minimum_bake: duration(&self.minimum_bake, "minimum_bake")?,
            maximum_timeout: duration(&self.maximum_timeout, "maximum_timeout")?,
            health_required: given(&self.health_required, "health_required")?.unwrap_or(false),
            required_steps: given(&self.required_steps, "required_steps")?.unwrap_or_default(),
            allowed_repositories: given(&self.allowed_repositories, "allowed_repositories")?
                .unwrap_or_default(),
            signatures: given(&self.signatures, "signatures")?
                .map(|model| model.policy("signatures"))
                .transpose()?,
        })
    }

    fn of(value: DeploymentPolicy) -> Self {
        let (project_id, environment_id) = reached(&value.reach);
        let some = |list: Vec<String>| if list.is_empty() { Attr::Null } else { Attr::Known(list) };
        let duration = |duration: Option<HumanDuration>| duration.map(Text::new).into();
        Self {
            id: Attr::Null,
            name: value.name.into(),
            project_id,
            environment_id,
            approval: value.approval.map(approval).into(),
            minimum_bake: duration(value.minimum_bake),
            maximum_timeout: duration(value.maximum_timeout),
            health_required: value.health_required.into(),
            required_steps: some(value.required_steps),
            allowed_repositories: some(value.allowed_repositories),
            signatures: value.signatures.map(SignaturePolicyModel::of).into(),
        }
        .with_id()
    }

    fn named(name: String) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

fn rule(approval: &ApprovalModel) -> Result<ApprovalRule, Diagnostics> {
    let approvers = given(&approval.approvers, "approval.approvers")?.unwrap_or_default();
    let approver = |approver: &ApproverModel| -> Result<Approver, Diagnostics> {
        Ok(Approver {
            name: approver.name.clone().require("approval.approvers")?,
            public_key: approver.public_key.clone().require("approval.approvers")?,
        })
    };
    let required = given(&approval.required, "approval.required")?.unwrap_or(1);
    Ok(ApprovalRule {
        required: u32::try_from(required).unwrap_or(u32::MAX),
        before_start: given(&approval.before_start, "approval.before_start")?.unwrap_or(true),
        approvers: approvers.iter().map(approver).collect::<Result<_, _>>()?,
        github_environment: given(&approval.github_environment, "approval.github_environment")?,
    })
}

fn approval(rule: ApprovalRule) -> ApprovalModel {
    let approver = |approver: Approver| ApproverModel {
        name: approver.name.into(),
        public_key: approver.public_key.into(),
    };
    let approvers: Vec<_> = rule.approvers.into_iter().map(approver).collect();
    ApprovalModel {
        required: i64::from(rule.required).into(),
        before_start: rule.before_start.into(),
        approvers: if approvers.is_empty() { Attr::Null } else { approvers.into() },
        github_environment: rule.github_environment.into(),
    }
}
