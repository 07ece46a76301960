//! Every knob of the sandbox: what `GET /_sandbox/settings` shows and `PUT` changes.
//!
//! Durations are in sandbox time, so they shrink with `time_scale`.

mod signals;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spectra_types::HumanDuration;

pub(crate) use self::signals::{Gap, Profile};
use crate::registry::Quirks;

/// Plan of the sandbox's workspace: it sets the API budget and how long a removed deployment can be rolled back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PlanName {
    /// 100 requests an hour, one day of retention.
    Free,
    /// 1 000 an hour, 10 a second, three days.
    Hobby,
    /// 10 000 an hour, 50 a second, five days.
    Pro,
    /// No budget, fifteen days.
    Enterprise,
}

impl PlanName {
    /// Requests per hour and per second.
    #[must_use]
    pub(crate) const fn budget(self) -> (Option<u32>, Option<u32>) {
        match self {
            Self::Free => (Some(100), None),
            Self::Hobby => (Some(1_000), Some(10)),
            Self::Pro => (Some(10_000), Some(50)),
            Self::Enterprise => (None, None),
        }
    }

    /// How long after its removal a deployment can be rolled back to.
    #[must_use]
    pub(crate) const fn retention(self) -> Duration {
        Duration::from_secs(
            3600 * match self {
                Self::Free => 24,
                Self::Hobby => 72,
                Self::Pro => 120,
                Self::Enterprise => 360,
            },
        )
    }

    /// How long the audit log shows a row.
    #[must_use]
    pub(crate) const fn audit_retention(self) -> Duration {
        const DAY: u64 = 24 * 3600;
        Duration::from_secs(match self {
            Self::Free | Self::Hobby => 2 * DAY,
            Self::Pro => 30 * DAY,
            // Eighteen months.
            Self::Enterprise => 548 * DAY,
        })
    }
}

/// The knobs. `PUT` takes any subset of the keys; the others keep their value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of a settings document")]
pub(crate) struct Settings {
    /// Sandbox seconds per real second.
    pub(crate) time_scale: f64,
    /// Time moves only by `POST /_sandbox/clock`.
    pub(crate) manual_clock: bool,
    /// Plan of the workspace.
    pub(crate) plan: PlanName,
    /// Counts requests against the plan's budget and answers 429 beyond it.
    pub(crate) rate_limit: bool,
    /// Replaces the plan's requests per hour.
    pub(crate) requests_per_hour: Option<u32>,
    /// Replaces the plan's requests per second.
    pub(crate) requests_per_second: Option<u32>,
    /// Blocks URLs without a query string above 10 requests a second with body `error code: 1015`.
    pub(crate) query_string_rule: bool,
    /// Refuses requests without `User-Agent` with 403 `error code: 1010`.
    pub(crate) require_user_agent: bool,
    /// Between two `projectCreate`.
    pub(crate) project_cooldown: HumanDuration,
    /// Between two `environmentCreate`.
    pub(crate) environment_cooldown: HumanDuration,
    /// How long a new object stays out of reads, by kind: `project`, `environment`, `service`,
    /// `service_instance`, `deployment`, `domain`, `variables`; `default` for the others.
    pub(crate) consistency_tail: BTreeMap<String, HumanDuration>,
    /// `INITIALIZING` lasts this long.
    pub(crate) init_duration: HumanDuration,
    /// From `DEPLOYING` to a started container.
    pub(crate) image_deploy_duration: HumanDuration,
    /// `BUILDING` of a repository source lasts this long.
    pub(crate) build_duration: HumanDuration,
    /// From the attempt to pull to `FAILED` when there is no such image.
    pub(crate) pull_error_duration: HumanDuration,
    /// Between two health probes of a starting deployment.
    pub(crate) health_interval: HumanDuration,
    /// Health check timeout where the service sets none.
    pub(crate) health_timeout: HumanDuration,
    /// `REMOVING` lasts this long after overlap and draining.
    pub(crate) remove_duration: HumanDuration,
    /// Between a crash and the next start of the instance.
    pub(crate) restart_delay: HumanDuration,
    /// A service with `sleepApplication` sleeps after this long without a request.
    pub(crate) sleep_after: HumanDuration,
    /// `latestDeployment` shows the previous deployment for this long.
    pub(crate) latest_deployment_lag: HumanDuration,
    /// A committed patch stays `APPLYING` for this long.
    pub(crate) patch_apply_duration: HumanDuration,
    /// `lastAppliedError` of the next patches, instead of applying them.
    pub(crate) patch_error: Option<String>,
    /// Probability (0 to 1) that `serviceInstanceUpdate` starts a deployment by itself.
    pub(crate) update_deploys_probability: f64,
    /// An image update without `multiRegionConfig` falls back to one replica in the default region.
    pub(crate) replica_loss: bool,
    /// An image update without `healthcheckPath` forgets the health check path.
    pub(crate) healthcheck_loss: bool,
    /// An image update without them resets `overlapSeconds`, `drainingSeconds` and `ipv6EgressEnabled`.
    pub(crate) zero_value_loss: bool,
    /// `deploymentRollback` also rewrites the service's `source.image`.
    pub(crate) rollback_moves_pin: bool,
    /// New deployments wait here before they start: `QUEUED`, `WAITING` or `NEEDS_APPROVAL`.
    pub(crate) hold_deployments: Option<HoldStatus>,
    /// DNS records and egress gateways come in another order with every read.
    pub(crate) unordered_rows: bool,
    /// How long `QUEUED` and `WAITING` hold; `NEEDS_APPROVAL` waits for `deploymentApprove`.
    pub(crate) hold_duration: HumanDuration,
    /// What becomes of a deployment that waited: it starts, or it is `SKIPPED`.
    pub(crate) waiting_is_skipped: bool,
    /// `FAILED` and `SKIPPED` become `REMOVED` after this long; `null`: never.
    pub(crate) failed_retention: Option<HumanDuration>,
    /// A deleted environment still answers `environment(id)`.
    pub(crate) deleted_environment_readable: bool,
    /// Largest page of any connection; smaller pages than asked for make clients page.
    pub(crate) page_size: Option<usize>,
    /// Guardrail: image deployments are refused for everybody.
    pub(crate) restrict_image_deploys: bool,
    /// Environments (by id) that answer `canAccess: false` and keep their content to themselves.
    pub(crate) restricted_environments: Vec<String>,
    /// Most replicas a service may have.
    pub(crate) max_replicas: u32,
    /// A custom domain, a TCP proxy or a private endpoint is `CREATING`, `UPDATING` or `DELETING` for this long.
    pub(crate) network_sync_duration: HumanDuration,
    /// For this long after its last change a custom domain or a TCP proxy cannot be deleted.
    pub(crate) network_busy_duration: HumanDuration,
    /// `privateNetworkEndpoint` is null, without an error, for this long after an endpoint was made.
    pub(crate) private_endpoint_null_window: HumanDuration,
    /// After this long the DNS records of a custom domain are there and its ownership is verified.
    pub(crate) domain_verify_duration: HumanDuration,
    /// From the verification to a valid certificate.
    pub(crate) domain_certificate_duration: HumanDuration,
    /// `certificateErrorMessage` of domains whose certificate is due, instead of a valid certificate.
    pub(crate) domain_certificate_error: Option<String>,
    /// Probability (0 to 1) that a read of a TCP proxy shows its domain with a dot at the end.
    pub(crate) tcp_proxy_dot_probability: f64,
    /// Between two `volumeCreate`.
    pub(crate) volume_cooldown: HumanDuration,
    /// Names that the platform gives to volumes lack the part that keeps them apart.
    pub(crate) volume_names_collide: bool,
    /// For this long after its creation a volume cannot be renamed.
    pub(crate) volume_rename_delay: HumanDuration,
    /// A volume instance is `UPDATING` for this long after a change, and `DELETING` before it is `DELETED`.
    pub(crate) volume_sync_duration: HumanDuration,
    /// Deleted volumes stay listed for this long.
    pub(crate) volume_tombstone: HumanDuration,
    /// Making, restoring and deleting a backup takes this long.
    pub(crate) workflow_duration: HumanDuration,
    /// What the next workflows end with, instead of doing their work.
    pub(crate) workflow_error: Option<String>,
    /// The newest samples of HTTP and resource metrics stay out of sight for this long.
    pub(crate) metrics_lag: HumanDuration,
    /// No samples of HTTP and resource metrics exist in this window of wall time.
    pub(crate) metrics_gap: Option<Gap>,
    /// Probability (0 to 1) that a sample of HTTP or resource metrics does not exist.
    pub(crate) metrics_gap_probability: f64,
    /// Requests that the sandbox itself sends to services.
    pub(crate) traffic: Vec<Profile>,
    /// Most that the root fields of one request may cost together.
    pub(crate) query_breadth: Option<u32>,
    /// Most root fields with an alias in one request.
    pub(crate) query_aliases: Option<u32>,
    /// Most samples of metrics in one answer.
    pub(crate) query_data_points: Option<u32>,
    /// Change sets are accepted and reported as applied, and nothing is changed.
    pub(crate) change_set_ignored: bool,
    /// From `projectScheduleDelete` to the deletion.
    pub(crate) project_delete_grace: HumanDuration,
    /// Longest wait for the answer of a webhook's target, in real time.
    pub(crate) webhook_timeout: HumanDuration,
    /// From a failed attempt of a delivery to the next one; it doubles with every attempt.
    pub(crate) webhook_backoff: HumanDuration,
    /// Deliveries are held for a random while up to this, so that they come out of order.
    pub(crate) webhook_jitter: HumanDuration,
    /// Probability (0 to 1) that a delivery that succeeded is sent once more.
    pub(crate) webhook_duplicate_probability: f64,
    /// So many failed attempts within 6 h suspend a target for 24 h; `null`: never.
    pub(crate) webhook_failure_limit: Option<u32>,
    /// Images of other registries than this sandbox are pulled from where their name says.
    pub(crate) allow_remote_registries: bool,
    /// What the registry does otherwise than a good one.
    pub(crate) registry: Quirks,
}

/// Where a deployment can be held before it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum HoldStatus {
    /// No capacity.
    Queued,
    /// CI check suites.
    Waiting,
    /// A person.
    NeedsApproval,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            time_scale: 20.0,
            manual_clock: false,
            plan: PlanName::Pro,
            rate_limit: true,
            requests_per_hour: None,
            requests_per_second: None,
            query_string_rule: true,
            require_user_agent: false,
            project_cooldown: seconds(30),
            environment_cooldown: seconds(30),
            consistency_tail: BTreeMap::from([("default".to_owned(), seconds(3))]),
            init_duration: seconds(3),
            image_deploy_duration: seconds(30),
            build_duration: seconds(120),
            pull_error_duration: seconds(2),
            health_interval: seconds(2),
            health_timeout: seconds(300),
            remove_duration: seconds(5),
            restart_delay: seconds(1),
            sleep_after: seconds(600),
            latest_deployment_lag: seconds(2),
            patch_apply_duration: seconds(2),
            patch_error: None,
            update_deploys_probability: 0.0,
            replica_loss: false,
            healthcheck_loss: false,
            zero_value_loss: false,
            rollback_moves_pin: false,
            hold_deployments: None,
            unordered_rows: true,
            hold_duration: seconds(10),
            waiting_is_skipped: false,
            failed_retention: None,
            deleted_environment_readable: true,
            page_size: None,
            restrict_image_deploys: false,
            restricted_environments: Vec::new(),
            max_replicas: 42,
            network_sync_duration: seconds(2),
            network_busy_duration: seconds(0),
            private_endpoint_null_window: seconds(30),
            domain_verify_duration: seconds(30),
            domain_certificate_duration: seconds(30),
            domain_certificate_error: None,
            tcp_proxy_dot_probability: 0.0,
            volume_cooldown: seconds(3),
            volume_names_collide: false,
            volume_rename_delay: seconds(0),
            volume_sync_duration: seconds(2),
            volume_tombstone: seconds(48 * 3600),
            workflow_duration: seconds(10),
            workflow_error: None,
            metrics_lag: seconds(0),
            metrics_gap: None,
            metrics_gap_probability: 0.0,
            traffic: Vec::new(),
            query_breadth: Some(500),
            query_aliases: Some(20),
            query_data_points: Some(50_000),
            change_set_ignored: false,
            project_delete_grace: seconds(48 * 3600),
            webhook_timeout: seconds(30),
            webhook_backoff: seconds(10),
            webhook_jitter: seconds(0),
            webhook_duplicate_probability: 0.0,
            webhook_failure_limit: Some(100),
            allow_remote_registries: false,
            registry: Quirks::default(),
        }
    }
}

impl Settings {
    /// The tail of `kind`, at most 90 s.
    #[must_use]
    pub(crate) fn tail(&self, kind: &str) -> Duration {
        self.consistency_tail
            .get(kind)
            .or_else(|| self.consistency_tail.get("default"))
            .map_or(Duration::ZERO, |tail| tail.get().min(Duration::from_secs(90)))
    }

    /// Says what is wrong with a value, naming the key.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !(self.time_scale.is_finite() && (0.001..=100_000.0).contains(&self.time_scale)) {
            return Err(format!("`time_scale` cannot be `{}`: use 0.001 to 100000", self.time_scale));
        }
        if !(0.0..=1.0).contains(&self.update_deploys_probability) {
            return Err(format!(
                "`update_deploys_probability` cannot be `{}`: use 0 to 1",
                self.update_deploys_probability
            ));
        }
        if !(0.0..=1.0).contains(&self.tcp_proxy_dot_probability) {
            return Err(format!(
                "`tcp_proxy_dot_probability` cannot be `{}`: use 0 to 1",
                self.tcp_proxy_dot_probability
            ));
        }
        if !(0.0..=1.0).contains(&self.metrics_gap_probability) {
            return Err(format!(
                "`metrics_gap_probability` cannot be `{}`: use 0 to 1",
                self.metrics_gap_probability
            ));
        }
        signals::check_profiles(&self.traffic)?;
        self.registry.check()?;
        if !(0.0..=1.0).contains(&self.webhook_duplicate_probability) {
            return Err(format!(
                "`webhook_duplicate_probability` cannot be `{}`: use 0 to 1",
                self.webhook_duplicate_probability
            ));
        }
        if self.webhook_failure_limit == Some(0) {
            return Err("`webhook_failure_limit` cannot be `0`: use at least 1, or null".to_owned());
        }
        if self.page_size == Some(0) {
            return Err("`page_size` cannot be `0`: use at least 1, or null".to_owned());
        }
        Ok(())
    }
}

/// A knob in milliseconds, as ticks count.
pub(crate) fn ticks(duration: HumanDuration) -> u64 {
    span(duration.get())
}

/// A duration in milliseconds, as ticks count.
pub(crate) fn span(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn seconds(count: u64) -> HumanDuration {
    HumanDuration::new(Duration::from_secs(count))
}
