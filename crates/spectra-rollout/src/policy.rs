//! Deployment policies: what every rollout of an environment has to keep to, whoever asks for it.

use std::fmt;

use serde::{Deserialize, Serialize};
use spectra_sign::{SignaturePolicy, is_repository_pattern, repository_matches};
use spectra_types::{HumanDuration, ImageRef};

use crate::reach::Reach;
use crate::spec::{ApprovalRule, Approver, Problem, RolloutRequest};

/// The words for steps that a policy can require.
const STEPS: [&str; 7] = ["migrate", "hook", "canary", "pause", "analysis", "swap", "wave"];

/// The rule about where images come from.
const REPOSITORIES: &str = "allowed_repositories";
/// The rule about who approves.
const APPROVAL: &str = "approval";
/// The rule about who signs.
const SIGNATURES: &str = "signatures";

/// What every rollout within reach has to keep to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentPolicy {
    /// What it is called.
    pub name: String,
    /// Where.
    pub reach: Reach,
    /// Who has to approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalRule>,
    /// The shortest bake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_bake: Option<HumanDuration>,
    /// The longest timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_timeout: Option<HumanDuration>,
    /// Whether the service has to be probed.
    #[serde(default)]
    pub health_required: bool,
    /// Steps that have to be taken: `canary`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_steps: Vec<String>,
    /// Where images may come from: `ghcr.io/acme/shop`, or `ghcr.io/acme/*` for all below. Empty allows all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_repositories: Vec<String>,
    /// Whose signatures images need. Whoever delivers a rollout checks that before anything happens; [`govern`] does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signatures: Option<SignaturePolicy>,
}

/// A rule that a request breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which policy.
    pub policy: String,
    /// Which of its rules: `minimum_bake`.
    pub rule: &'static str,
    /// What it asks for, and what was asked of it.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy `{}`, `{}`: {}", self.policy, self.rule, self.message)
    }
}

impl Violation {
    /// Whether the image itself is what the rule is about, and not the way that it is brought out.
    #[must_use]
    pub fn is_about_the_image(&self) -> bool {
        self.rule == REPOSITORIES
    }

    /// That a policy asks for signatures, and that there is nothing they could be looked for by: a tag moves.
    #[must_use]
    pub fn no_digest(policy: &str, image: &ImageRef) -> Self {
        let message = format!(
            "`{image}` has to be signed, and is named without a digest: it could be another one once it was looked at"
        );
        Self { policy: policy.to_owned(), rule: SIGNATURES, message }
    }

    /// Whether the image would have to be named by its digest.
    #[must_use]
    pub fn is_about_the_digest(&self) -> bool {
        self.rule == SIGNATURES
    }
}

impl DeploymentPolicy {
    /// One that asks for nothing yet.
    #[must_use]
    pub fn new(name: impl Into<String>, reach: Reach) -> Self {
        Self {
            name: name.into(),
            reach,
            approval: None,
            minimum_bake: None,
            maximum_timeout: None,
            health_required: false,
            required_steps: Vec::new(),
            allowed_repositories: Vec::new(),
            signatures: None,
        }
    }

    /// Everything that is wrong with it.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut add = |path: &str, message: String| found.push(Problem { path: path.to_owned(), message });
        if self.name.trim().is_empty() || self.name.chars().any(char::is_control) {
            add("name", "it is empty, or has control characters".to_owned());
        }
        if let Some(rule) = &self.approval {
            if rule.required == 0 {
                add("approval.required", "an approval by nobody is none; leave `approval` out".to_owned());
            } else if rule.github_environment.is_none() && people(&rule.approvers) < rule.required {
                let message = format!(
                    "{} have to approve, but only {} may: name more, or `github_environment`",
                    rule.required,
                    people(&rule.approvers)
                );
                add("approval.approvers", message);
            }
        }
        if self.maximum_timeout.is_some_and(|timeout| timeout.get().is_zero()) {
            add("maximum_timeout", "it leaves no time".to_owned());
        }
        for (index, step) in self.required_steps.iter().enumerate() {
            if !STEPS.contains(&step.as_str()) {
                add(
                    &format!("required_steps[{index}]"),
                    format!("`{step}` is no step: they are {}", STEPS.join(", ")),
                );
            }
        }
        for (index, pattern) in self.allowed_repositories.iter().enumerate() {
            if !is_repository_pattern(pattern) {
                add(
                    &format!("allowed_repositories[{index}]"),
                    format!(
                        "`{pattern}` is neither a repository with its registry, such as `ghcr.io/acme/shop`, nor all below a \
                         path, such as `ghcr.io/acme/*`"
                    ),
                );
            }
        }
        for problem in self.signatures.iter().flat_map(SignaturePolicy::problems) {
            add(&format!("signatures.{}", problem.path), problem.message);
        }
        found
    }

    /// The rules that the request breaks. An approval is not asked for here: [`govern`] makes it part of the request.
    #[must_use]
    pub fn violations(&self, request: &RolloutRequest) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut add = |rule, message| {
            found.push(Violation { policy: self.name.clone(), rule, message });
        };
        if let Some(least) = self.minimum_bake
            && request.bake < least.get()
        {
            let bake = HumanDuration::new(request.bake);
            add("minimum_bake", format!("the bake is {bake}, and has to be {least} at least"));
        }
        if let Some(most) = self.maximum_timeout
            && request.timeout > most.get()
        {
            let timeout = HumanDuration::new(request.timeout);
            add("maximum_timeout", format!("the timeout is {timeout}, and may be {most} at most"));
        }
        if self.health_required && request.health.is_none() {
            add("health_required", "the service is not probed: give the rollout `health`".to_owned());
        }
        let steps = request.all_steps();
        for required in &self.required_steps {
            if !steps.iter().any(|step| step.kind() == required) {
                add("required_steps", format!("there is no `{required}` step"));
            }
        }
        found.extend(self.not_from_there(&request.candidate.image_ref()));
        found
    }

    /// The rules that an image breaks which is deployed without a rollout: then nobody approves it, watches it or takes steps.
    /// How long a rollout may take says nothing about it, and signatures are the business of whoever deploys it.
    #[must_use]
    pub fn violations_without_rollout(&self, image: &ImageRef) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut add = |rule, message: String| {
            let message = format!("{message}, which takes a rollout");
            found.push(Violation { policy: self.name.clone(), rule, message });
        };
        if let Some(rule) = &self.approval {
            add(APPROVAL, format!("{} have to approve the image", rule.required));
        }
        if let Some(least) = self.minimum_bake.filter(|least| !least.get().is_zero()) {
            add("minimum_bake", format!("the image has to be watched for {least} at least"));
        }
        if self.health_required {
            add("health_required", "the service has to be probed".to_owned());
        }
        if !self.required_steps.is_empty() {
            let steps: Vec<_> = self.required_steps.iter().map(|step| format!("`{step}`")).collect();
            add("required_steps", format!("there have to be the steps {}", steps.join(", ")));
        }
        found.extend(self.not_from_there(image));
        found
    }

    /// Whether the image is from where images may not come from.
    fn not_from_there(&self, image: &ImageRef) -> Option<Violation> {
        let allowed = &self.allowed_repositories;
        let is_allowed = |pattern: &String| repository_matches(pattern, image.registry(), image.repository());
        (!allowed.is_empty() && !allowed.iter().any(is_allowed)).then(|| Violation {
            policy: self.name.clone(),
            rule: REPOSITORIES,
            message: format!("the image is `{image}`; images may come from {}", allowed.join(", ")),
        })
    }
}

/// The request as the policies want it: with their approvals in it. `Err` names every rule that it breaks.
pub fn govern(
    policies: &[DeploymentPolicy],
    mut request: RolloutRequest,
) -> Result<RolloutRequest, Vec<Violation>> {
    let mut violations = Vec::new();
    // Every service of a rollout is in one environment.
    let place = request.place.clone();
    for policy in policies.iter().filter(|policy| policy.reach.covers(&place)) {
        violations.extend(policy.violations(&request));
        if let Some(rule) = &policy.approval {
            let merged = match request.approval.take() {
                None => rule.clone(),
                Some(other) => both(&other, rule),
            };
            // A rule that nobody can fulfil would look like an approval that is missing.
            if merged.github_environment.is_none() && people(&merged.approvers) < merged.required {
                violations.push(Violation {
                    policy: policy.name.clone(),
                    rule: APPROVAL,
                    message: format!(
                        "{} have to approve, but only {} of its approvers may by the other rules as well",
                        merged.required,
                        people(&merged.approvers)
                    ),
                });
            }
            request.approval = Some(merged);
        }
    }
    if violations.is_empty() { Ok(request) } else { Err(violations) }
}

/// What the policies ask for that a way back does not wait for: every rule that it breaks, and every approval.
#[must_use]
pub fn passed_over(policies: &[DeploymentPolicy], request: &RolloutRequest) -> Vec<Violation> {
    let mut found = Vec::new();
    for policy in policies.iter().filter(|policy| policy.reach.covers(&request.place)) {
        found.extend(policy.violations(request));
        if let Some(rule) = &policy.approval {
            found.push(Violation {
                policy: policy.name.clone(),
                rule: APPROVAL,
                message: format!("{} have to approve a rollout", rule.required),
            });
        }
        // Looking for them would make the way back wait for the registry. It was let in when it became the stable version.
        if policy.signatures.is_some() {
            found.push(Violation {
                policy: policy.name.clone(),
                rule: SIGNATURES,
                message: "a rollout's image has to be signed; it was not looked whether this one still is"
                    .to_owned(),
            });
        }
    }
    found
}

/// A rule that is fulfilled only if both are: by as many as the stricter one asks for, of people who count for both.
fn both(one: &ApprovalRule, other: &ApprovalRule) -> ApprovalRule {
    let also =
        |approver: &&Approver| other.approvers.iter().any(|also| also.public_key == approver.public_key);
    ApprovalRule {
        required: one.required.max(other.required),
        before_start: one.before_start || other.before_start,
        approvers: one.approvers.iter().filter(also).cloned().collect(),
        github_environment: one
            .github_environment
            .clone()
            .filter(|environment| other.github_environment.as_ref() == Some(environment)),
    }
}

/// How many different people these are: neither a second key nor a second name makes another one.
pub(crate) fn people(approvers: &[Approver]) -> u32 {
    let different = |index: usize, approver: &Approver| {
        approvers[..index].iter().all(|before| {
            before.public_key != approver.public_key && !before.name.eq_ignore_ascii_case(&approver.name)
        })
    };
    let count = approvers.iter().enumerate().filter(|(index, approver)| different(*index, approver)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
