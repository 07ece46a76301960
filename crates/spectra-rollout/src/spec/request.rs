//! One release.

use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use spectra_types::PinnedImage;

use super::health::HealthPolicy;
use super::human;
use super::metric::Metric;
use super::migration::MigrationPart;
use super::place::Place;
use super::step::Step;

/// What is asked for: this service runs this image, by these steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutRequest {
    /// Where.
    pub place: Place,
    /// The image to run.
    pub candidate: PinnedImage,
    /// What to do about a service that runs the candidate already.
    #[serde(default)]
    pub adopt: Adopt,
    /// How the service is probed; `None` trusts the platform's own health check alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthPolicy>,
    /// The steps, in order; without any, it is a swap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// What is measured from the first traffic to the end of the bake.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<Metric>,
    /// What to do when measurements decide nothing.
    #[serde(default)]
    pub on_inconclusive: OnInconclusive,
    /// Who has to approve; `None` when nobody has to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalRule>,
    /// How long the candidate is watched once it serves.
    #[serde(with = "human", default)]
    pub bake: Duration,
    /// The longest time without any progress of a deployment.
    #[serde(with = "human", default = "ten_minutes")]
    pub progress_deadline: Duration,
    /// The longest time for everything up to the end.
    #[serde(with = "human", default = "half_an_hour")]
    pub timeout: Duration,
    /// The longest time for the way back.
    #[serde(with = "human", default = "five_minutes")]
    pub abort_timeout: Duration,
    /// Goes on in spite of a freeze window, for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze_override: Option<String>,
    /// The run that it is part of: what fails takes those of the same run with it that it depends on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The ids of the rollouts that go back with this one, if they were part of the same run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
}

/// What to do about a service that runs the candidate already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adopt {
    /// Take the running deployment for the candidate's, and judge it.
    #[default]
    IfRunning,
    /// Deploy anew: changed variables take effect with a new deployment only.
    Never,
}

/// What to do when measurements decide nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnInconclusive {
    /// Go back. Nobody may be there to ask.
    #[default]
    Abort,
    /// Wait for an approval, at most for this long; then go back.
    Hold(#[serde(with = "human")] Duration),
    /// Go on.
    Proceed,
}

/// Who has to approve a rollout before it begins, and at every `pause` for an approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRule {
    /// How many different people.
    #[serde(default = "one")]
    pub required: u32,
    /// Whether it has to be there when the rollout begins. Otherwise it is asked for by `pause` steps alone.
    #[serde(default = "yes")]
    pub before_start: bool,
    /// Who may.
    #[serde(default)]
    pub approvers: Vec<Approver>,
    /// The GitHub environment whose reviewers count too: those who approved the run that this is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub github_environment: Option<String>,
}

/// A person who may approve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approver {
    /// Who it is.
    pub name: String,
    /// The Ed25519 public key that they sign with, base64.
    pub public_key: String,
}

impl RolloutRequest {
    /// A swap with the defaults.
    #[must_use]
    pub fn new(place: Place, candidate: PinnedImage) -> Self {
        Self {
            place,
            candidate,
            adopt: Adopt::default(),
            health: None,
            steps: Vec::new(),
            metrics: Vec::new(),
            on_inconclusive: OnInconclusive::default(),
            approval: None,
            bake: Duration::ZERO,
            progress_deadline: ten_minutes(),
            timeout: half_an_hour(),
            abort_timeout: five_minutes(),
            freeze_override: None,
            group: None,
            depends_on: Vec::new(),
        }
    }

    /// The steps up to the bake. Without one that moves traffic, a swap is the last of them.
    pub(crate) fn forward_steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = self.steps.iter().filter(|step| !is_contract(step)).cloned().collect();
        if !steps.iter().any(|step| matches!(step, Step::Swap | Step::Wave(_))) {
            steps.push(Step::Swap);
        }
        steps
    }

    /// All steps in the order in which they are taken.
    #[must_use]
    pub fn all_steps(&self) -> Vec<Step> {
        let mut steps = self.forward_steps();
        steps.extend(self.steps.iter().filter(|step| is_contract(step)).cloned());
        steps
    }

    /// What an approval is given for, besides the digest: SHA-256 of the request without what differs from run to run.
    #[must_use]
    pub fn plan_hash(&self) -> String {
        let plan = Self {
            freeze_override: None,
            group: None,
            depends_on: Vec::new(),
            approval: None,
            ..self.clone()
        };
        // A value of plain data: writing it cannot fail.
        let text = serde_json::to_vec(&plan).unwrap_or_default();
        Sha256::digest(&text).iter().fold(String::new(), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    /// Every service that it deploys to, its own first.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        let mut places = vec![self.place.clone()];
        for step in &self.steps {
            if let Step::Wave(wave) = step {
                for service in &wave.services {
                    let place = self.place.sibling(service.clone());
                    if !places.contains(&place) {
                        places.push(place);
                    }
                }
            }
        }
        places
    }
}

fn is_contract(step: &Step) -> bool {
    matches!(step, Step::Migrate(migration) if migration.part == MigrationPart::Contract)
}

const fn ten_minutes() -> Duration {
    Duration::from_mins(10)
}

const fn half_an_hour() -> Duration {
    Duration::from_mins(30)
}

const fn five_minutes() -> Duration {
    Duration::from_mins(5)
}

const fn one() -> u32 {
    1
}

const fn yes() -> bool {
    true
}
