//! The flags that describe one rollout. Whatever does not fit flags is written in a file.

use std::path::PathBuf;

use clap::{Args, builder::BoolishValueParser};
use spectra_rollout::spec::{ApprovalRule, Approver};
use spectra_rollout::{Adopt, HealthPolicy, RolloutRequest};
use spectra_sign::SignaturePolicy;
use spectra_types::{HumanDuration, ImageRef, ImageRefError, PinnedImage};

use super::place::PlaceFlags;
use crate::{
    commands::image::{Certificates, RootFlags, policy_file},
    failure::Failure,
};

/// Whose signatures are asked for.
#[derive(Debug, Args)]
pub(super) struct SignatureFlags {
    /// TOML file that says whose signatures the images need, besides the policies of the journal
    #[arg(long, value_name = "FILE", env = "SPECTRA_SIGNATURE_POLICY")]
    signature_policy: Option<PathBuf>,
    #[command(flatten)]
    root: RootFlags,
}

impl SignatureFlags {
    /// The policies of the file, with their names; none without a file.
    pub(super) fn policies(&self) -> Result<Vec<(String, SignaturePolicy)>, Failure> {
        match &self.signature_policy {
            Some(path) => Ok(policy_file(path)?.policies),
            None => Ok(Vec::new()),
        }
    }

    /// Who checks certificates: for these policies, and for those of the journal.
    pub(super) fn certificates(
        &self,
        policies: &[(String, SignaturePolicy)],
    ) -> Result<Certificates, Failure> {
        self.root.certificates(policies)
    }
}

/// One rollout.
#[derive(Debug, Args)]
#[command(next_help_heading = "Rollout")]
pub(super) struct RequestFlags {
    /// Image to run, pinned: `REPOSITORY@sha256:…`; with `--spec`, for the rollouts there that name none
    #[arg(long, value_name = "PINNED", env = "SPECTRA_IMAGE", value_parser = pinned)]
    pub(super) image: Option<PinnedImage>,
    /// Deploy anew even if the image runs already: changed variables take effect with a new deployment only
    #[arg(long, env = "SPECTRA_REDEPLOY", conflicts_with = "spec", value_parser = BoolishValueParser::new())]
    redeploy: bool,
    /// Probe `/` on the service's own domain; the other health flags imply it
    #[arg(long, env = "SPECTRA_HEALTH", conflicts_with = "spec", value_parser = BoolishValueParser::new())]
    health: bool,
    /// Path to probe on the service's own domain
    #[arg(long, value_name = "PATH", env = "SPECTRA_HEALTH_PATH", conflicts_with = "spec")]
    health_path: Option<String>,
    /// URL to probe instead of the service's own domain
    #[arg(long, value_name = "URL", env = "SPECTRA_HEALTH_URL", conflicts_with_all = ["spec", "health_path"])]
    health_url: Option<String>,
    /// Status that counts as healthy [default: 200]
    #[arg(long, value_name = "STATUS", env = "SPECTRA_HEALTH_STATUS", conflicts_with = "spec", value_parser = clap::value_parser!(u16).range(100..=599))]
    health_status: Option<u16>,
    /// Time between two probes [default: 5s]
    #[arg(long, value_name = "DURATION", env = "SPECTRA_HEALTH_INTERVAL", conflicts_with = "spec")]
    health_interval: Option<HumanDuration>,
    /// How long one probe may take [default: 5s]
    #[arg(long, value_name = "DURATION", env = "SPECTRA_HEALTH_TIMEOUT", conflicts_with = "spec")]
    health_timeout: Option<HumanDuration>,
    /// Healthy answers in a row that make it healthy [default: 2]
    #[arg(long, value_name = "NUMBER", env = "SPECTRA_HEALTH_SUCCESSES", conflicts_with = "spec", value_parser = clap::value_parser!(u32).range(1..=1000))]
    health_successes: Option<u32>,
    /// Unhealthy answers in a row that make it unhealthy [default: 3]
    #[arg(long, value_name = "NUMBER", env = "SPECTRA_HEALTH_FAILURES", conflicts_with = "spec", value_parser = clap::value_parser!(u32).range(1..=1000))]
    health_failures: Option<u32>,
    /// How long it is watched once it serves [default: 0s]
    #[arg(long, value_name = "DURATION", env = "SPECTRA_BAKE", conflicts_with = "spec")]
    bake: Option<HumanDuration>,
    /// Longest time without progress of a deployment [default: 10m]
    #[arg(long, value_name = "DURATION", env = "SPECTRA_PROGRESS_DEADLINE", conflicts_with = "spec")]
    progress_deadline: Option<HumanDuration>,
    /// Longest time for everything up to the end [default: 30m]
    #[arg(long, value_name = "DURATION", env = "SPECTRA_TIMEOUT", conflicts_with = "spec")]
    timeout: Option<HumanDuration>,
    /// Longest time for the way back [default: 5m]
    #[arg(long, value_name = "DURATION", env = "SPECTRA_ABORT_TIMEOUT", conflicts_with = "spec")]
    abort_timeout: Option<HumanDuration>,
    /// Go on in spite of a freeze window, for this reason, which is recorded
    #[arg(long, value_name = "REASON", env = "SPECTRA_FREEZE_OVERRIDE", conflicts_with = "spec")]
    freeze_override: Option<String>,
    /// Somebody who may approve, with the Ed25519 public key that they sign with: `NAME=BASE64`
    #[arg(long, value_name = "NAME=KEY", env = "SPECTRA_APPROVER", value_delimiter = ',', conflicts_with = "spec", value_parser = approver)]
    approver: Vec<Approver>,
    /// How many have to approve before it begins [default: 1 where anybody is named]
    #[arg(long, value_name = "NUMBER", env = "SPECTRA_APPROVALS", conflicts_with = "spec")]
    approvals: Option<u32>,
    /// GitHub environment whose reviewers of this run count as approvers
    #[arg(long, value_name = "NAME", env = "SPECTRA_GITHUB_ENVIRONMENT", conflicts_with = "spec")]
    github_environment: Option<String>,
}

/// An image by its digest, or what to do about one without.
pub(super) fn pinned(text: &str) -> Result<PinnedImage, String> {
    let image: ImageRef = text.parse().map_err(|error: ImageRefError| error.to_string())?;
    let Some(digest) = image.digest().cloned() else {
        let (registry, repository) = (image.registry(), image.repository());
        return Err(format!(
            "`{image}` can mean another image at any time: give the digest, `{registry}/{repository}@sha256:…`, which \
             `railway-deployer image inspect {image}` and `image push --print image` print"
        ));
    };
    Ok(image.pin(digest))
}

fn approver(text: &str) -> Result<Approver, String> {
    match text.split_once('=') {
        Some((name, key)) if !name.trim().is_empty() && !key.is_empty() => {
            Ok(Approver { name: name.trim().to_owned(), public_key: key.to_owned() })
        }
        _ => Err("expected a name and a public key, such as `ada=BASE64`".to_owned()),
    }
}

impl RequestFlags {
    /// The request that the flags make.
    pub(super) fn request(&self, service: &PlaceFlags) -> Result<RolloutRequest, Failure> {
        let Some(image) = self.image.clone() else {
            return Err(Failure::usage(
                "what to roll out is not said: give `--image REPOSITORY@sha256:…`, or `--spec FILE`",
            ));
        };
        let mut request = RolloutRequest::new(service.place()?, image);
        request.adopt = if self.redeploy { Adopt::Never } else { Adopt::IfRunning };
        request.health = self.health();
        request.freeze_override.clone_from(&self.freeze_override);
        request.approval = self.approval();
        for (into, flag) in [
            (&mut request.bake, self.bake),
            (&mut request.progress_deadline, self.progress_deadline),
            (&mut request.timeout, self.timeout),
            (&mut request.abort_timeout, self.abort_timeout),
        ] {
            if let Some(duration) = flag {
                *into = duration.get();
            }
        }
        Ok(request)
    }

    fn health(&self) -> Option<HealthPolicy> {
        let asked = self.health
            || self.health_path.is_some()
            || self.health_url.is_some()
            || self.health_status.is_some()
            || self.health_interval.is_some()
            || self.health_timeout.is_some()
            || self.health_successes.is_some()
            || self.health_failures.is_some();
        let default = HealthPolicy::default();
        asked.then(|| HealthPolicy {
            path: self.health_path.clone().unwrap_or(default.path),
            url: self.health_url.clone(),
            expected_status: self.health_status.unwrap_or(default.expected_status),
            interval: self.health_interval.map_or(default.interval, HumanDuration::get),
            timeout: self.health_timeout.map_or(default.timeout, HumanDuration::get),
            success_threshold: self.health_successes.unwrap_or(default.success_threshold),
            failure_threshold: self.health_failures.unwrap_or(default.failure_threshold),
        })
    }

    fn approval(&self) -> Option<ApprovalRule> {
        let asked =
            !self.approver.is_empty() || self.approvals.is_some() || self.github_environment.is_some();
        asked.then(|| ApprovalRule {
            required: self.approvals.unwrap_or(1),
            before_start: true,
            approvers: self.approver.clone(),
            github_environment: self.github_environment.clone(),
        })
    }
}
