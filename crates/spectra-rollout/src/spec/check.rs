//! What can be known to be wrong before anything is done.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::policy::people;

use super::command::CommandSpec;
use super::health::HealthPolicy;
use super::metric::{Metric, MetricKind, OnNoData};
use super::migration::{Migration, MigrationPart, Runner};
use super::request::{OnInconclusive, RolloutRequest};
use super::schedule::schedule;
use super::step::{Analysis, Canary, Pause, Step, Wave};

/// What no clock of a rollout is set beyond.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// What a target can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ability {
    /// Run a copy of a service beside it.
    Sibling,
    /// Run a command before a deployment takes over.
    PreDeploy,
    /// Have measurements of each deployment.
    DeploymentMetrics,
}

/// Something that cannot work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which part of the request: `steps[2].metrics[0].max`.
    pub path: String,
    /// What is wrong with it, and what to do.
    pub message: String,
}

/// Everything that is wrong with a request for a target with these abilities; empty when it can be begun.
#[must_use]
pub fn check(request: &RolloutRequest, abilities: &[Ability]) -> Vec<Problem> {
    let mut problems = Problems { found: Vec::new(), names: BTreeSet::new() };
    problems.steps(request, abilities);
    for (index, metric) in request.metrics.iter().enumerate() {
        problems.metric(&format!("metrics[{index}]"), metric, request, abilities);
    }
    problems.background(request);
    problems.clocks(request);
    if let Some(health) = &request.health {
        problems.health(health);
    }
    if let Some(rule) = &request.approval {
        let (possible, required) = (people(&rule.approvers), rule.required);
        if rule.required == 0 {
            problems.add("approval.required", "an approval by nobody is none; leave `approval` out");
        } else if rule.github_environment.is_none() && possible < required {
            problems.add(
                "approval.approvers",
                format!(
                    "{required} have to approve, but only {possible} may: name more, or `github_environment`"
                ),
            );
        }
    }
    if request.freeze_override.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
        problems.add("freeze_override", "an override of a freeze window needs a reason");
    }
    problems.found
}

struct Problems {
    found: Vec<Problem>,
    names: BTreeSet<(&'static str, String)>,
}

impl Problems {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.found.push(Problem { path: path.into(), message: message.into() });
    }

    fn name(&mut self, path: &str, kind: &'static str, name: &str) {
        if name.trim().is_empty() {
            self.add(format!("{path}.name"), format!("a {kind} needs a name"));
        } else if !self.names.insert((kind, name.to_owned())) {
            self.add(format!("{path}.name"), format!("`{name}` is the name of two {kind}s of this rollout"));
        }
    }

    fn steps(&mut self, request: &RolloutRequest, abilities: &[Ability]) {
        let mut traffic: Option<usize> = None;
        let mut contract: Option<usize> = None;
        let mut canaries = 0;
        let mut reached = BTreeSet::new();
        for (index, step) in request.steps.iter().enumerate() {
            let path = format!("steps[{index}]");
            let is_contract =
                matches!(step, Step::Migrate(migration) if migration.part == MigrationPart::Contract);
            if let Some(contract) = contract.filter(|_| !is_contract) {
                self.add(
                    &path,
                    format!(
                        "it stands after `steps[{contract}]`, a `contract` migration; those run after the bake, so they \
                         stand last"
                    ),
                );
            }
            match step {
                Step::Migrate(migration) => {
                    self.migration(&path, migration, abilities);
                    if is_contract {
                        contract.get_or_insert(index);
                    } else if let Some(traffic) = traffic {
                        self.add(
                            &path,
                            format!(
                                "an `expand` migration runs before traffic, but `steps[{traffic}]` moves it"
                            ),
                        );
                    }
                }
                Step::Hook(hook) => {
                    self.name(&path, "hook", &hook.name);
                    self.command(&format!("{path}.run"), &hook.run);
                    if let Some(undo) = &hook.undo {
                        self.command(&format!("{path}.undo"), undo);
                    }
                }
                Step::Canary(canary) => {
                    canaries += 1;
                    if canaries > 1 {
                        self.add(&path, "there is one canary in a rollout; lengthen the first one");
                    }
                    if let Some(traffic) = traffic {
                        self.add(
                            &path,
                            format!("a canary comes before traffic is moved by `steps[{traffic}]`"),
                        );
                    }
                    self.canary(&path, canary, request, abilities);
                }
                Step::Pause(pause) => self.pause(&path, pause, request),
                Step::Analysis(analysis) => {
                    if traffic.is_none() && canaries == 0 {
                        self.add(
                            &path,
                            "nothing of the candidate runs yet: put it after a `canary` or a `swap`",
                        );
                    }
                    self.analysis(&path, analysis, request, abilities);
                }
                Step::Swap => {
                    if reached.contains(&request.place.service) {
                        self.add(&path, "the service has the candidate already by an earlier step");
                    }
                    reached.insert(request.place.service.clone());
                    traffic.get_or_insert(index);
                }
                Step::Wave(wave) => {
                    self.wave(&path, wave);
                    for service in &wave.services {
                        if !reached.insert(service.clone()) {
                            self.add(
                                format!("{path}.services"),
                                format!("service `{service}` has the candidate already by an earlier step"),
                            );
                        }
                    }
                    traffic.get_or_insert(index);
                }
            }
        }
        if traffic.is_some() && !reached.contains(&request.place.service) {
            self.add(
                "steps",
                "no step brings the candidate to the rollout's own service: add a `swap`, or put the service into a wave",
            );
        }
    }

    fn migration(&mut self, path: &str, migration: &Migration, abilities: &[Ability]) {
        self.name(path, "migration", &migration.name);
        self.command(&format!("{path}.up"), &migration.up);
        match (&migration.down, migration.irreversible) {
            (None, false) => self.add(
                format!("{path}.down"),
                "a migration needs `down`, or `irreversible = true` to acknowledge that there is no way back",
            ),
            (Some(_), true) => {
                self.add(format!("{path}.irreversible"), "it has a `down`, so it is not irreversible");
            }
            (Some(down), false) => self.command(&format!("{path}.down"), down),
            (None, true) => {}
        }
        if migration.runner == Runner::PreDeploy {
            if !abilities.contains(&Ability::PreDeploy) {
                self.add(format!("{path}.runner"), "the target has no pre-deploy commands: use `local`");
            }
            if migration.part == MigrationPart::Contract {
                self.add(
                    format!("{path}.runner"),
                    "a pre-deploy command runs before traffic, so it is no `contract`: use `local`",
                );
            }
        }
    }

    fn command(&mut self, path: &str, command: &CommandSpec) {
        if command.command.first().is_none_or(|program| program.trim().is_empty()) {
            self.add(format!("{path}.command"), "there is no program to run");
        }
        if command.timeout.is_zero() {
            self.add(format!("{path}.timeout"), "it has no time to run");
        }
    }

    fn canary(&mut self, path: &str, canary: &Canary, request: &RolloutRequest, abilities: &[Ability]) {
        if !abilities.contains(&Ability::Sibling) {
            self.add(path, "the target cannot run a sibling of a service");
        }
        if canary.replicas == Some(0) {
            self.add(format!("{path}.replicas"), "a canary without replicas shows nothing");
        }
        if request.health.is_none() && canary.metrics.is_empty() {
            self.add(
                path,
                "nothing is asked of the canary: give the rollout `health`, or the canary `metrics`",
            );
        }
        for (index, metric) in canary.metrics.iter().enumerate() {
            let path = format!("{path}.metrics[{index}]");
            self.metric(&path, metric, request, abilities);
            self.lasts(&path, metric, "canary", canary.duration);
        }
    }

    fn analysis(&mut self, path: &str, analysis: &Analysis, request: &RolloutRequest, abilities: &[Ability]) {
        if analysis.metrics.is_empty() {
            self.add(format!("{path}.metrics"), "an analysis without a metric decides nothing");
        }
        for (index, metric) in analysis.metrics.iter().enumerate() {
            let path = format!("{path}.metrics[{index}]");
            self.metric(&path, metric, request, abilities);
            self.lasts(&path, metric, "analysis", analysis.duration);
        }
    }

    fn pause(&mut self, path: &str, pause: &Pause, request: &RolloutRequest) {
        if pause.at_most().is_zero() {
            self.add(path, "it lasts no time");
        }
        if matches!(pause, Pause::Approval(_)) && request.approval.is_none() {
            self.add(path, "it waits for an approval, but `approval` does not say whose");
        }
    }

    fn wave(&mut self, path: &str, wave: &Wave) {
        if wave.services.is_empty() {
            self.add(format!("{path}.services"), "a wave needs services");
        }
    }

    fn metric(&mut self, path: &str, metric: &Metric, request: &RolloutRequest, abilities: &[Ability]) {
        self.name(path, "metric", &metric.name);
        if metric.interval.is_zero() {
            self.add(format!("{path}.interval"), "it is measured without a pause");
        }
        if metric.min.is_none() && metric.max.is_none() && metric.compare.is_none() {
            self.add(path, "nothing is expected of it: give `min`, `max` or `compare`");
        }
        for (name, value) in [("min", metric.min), ("max", metric.max)] {
            if value.is_some_and(|value| !value.is_finite()) {
                self.add(format!("{path}.{name}"), "it is not a finite number");
            }
        }
        if let (Some(min), Some(max)) = (metric.min, metric.max)
            && min > max
        {
            self.add(format!("{path}.min"), format!("{min} is above `max`, {max}: nothing would be good"));
        }
        if metric.count == Some(0) {
            self.add(format!("{path}.count"), "no measurement decides nothing");
        } else if let Some(count) = metric.count.filter(|count| *count <= metric.failure_limit) {
            self.add(
                format!("{path}.failure_limit"),
                format!("{count} measurements cannot be bad more than {} times", metric.failure_limit),
            );
        }
        if metric.consecutive_success_limit == Some(0) {
            self.add(format!("{path}.consecutive_success_limit"), "no measurement decides nothing");
        }
        if let Some(compare) = &metric.compare {
            self.comparison(path, metric, abilities);
            if compare.max_ratio.is_none() && compare.max_increase.is_none() {
                self.add(format!("{path}.compare"), "it allows nothing: give `max_ratio` or `max_increase`");
            }
            for (name, value) in [("max_ratio", compare.max_ratio), ("max_increase", compare.max_increase)] {
                if value.is_some_and(|value| !value.is_finite() || value < 0.0) {
                    self.add(format!("{path}.compare.{name}"), "it is no finite number from 0 on");
                }
            }
        }
        if metric.source == MetricKind::Probe && request.health.is_none() {
            self.add(format!("{path}.source"), "the rollout has no `health` to probe with");
        }
        if metric.shadow && metric.on_no_data != OnNoData::Inconclusive {
            self.add(format!("{path}.on_no_data"), "a shadow decides nothing, so nothing counts for it");
        }
        match &metric.source {
            MetricKind::Command { run } => self.command(&format!("{path}.source.run"), run),
            MetricKind::Prometheus { address, query, .. } => {
                if !(address.starts_with("http://") || address.starts_with("https://")) {
                    self.add(
                        format!("{path}.source.address"),
                        format!("`{address}` is no http or https URL"),
                    );
                }
                if query.trim().is_empty() {
                    self.add(format!("{path}.source.query"), "it asks nothing");
                }
            }
            _ => {}
        }
    }

    fn comparison(&mut self, path: &str, metric: &Metric, abilities: &[Ability]) {
        let message = match &metric.source {
            MetricKind::HttpLogStatus { .. }
            | MetricKind::HttpLogDuration { .. }
            | MetricKind::Cpu
            | MetricKind::Memory
                if abilities.contains(&Ability::DeploymentMetrics) =>
            {
                return;
            }
            MetricKind::Prometheus { stable_query: Some(_), .. } => return,
            MetricKind::Prometheus { .. } => "give `stable_query`, which asks the same of stable",
            MetricKind::HttpStatus { .. } | MetricKind::HttpDuration { .. } => {
                "these metrics mix the deployments of a service: use `http_log_status` or `http_log_duration`"
            }
            _ => "this source knows nothing of stable",
        };
        self.add(format!("{path}.compare"), message);
    }

    /// A metric without a count is measured as long as what it belongs to lasts: once at least.
    fn lasts(&mut self, path: &str, metric: &Metric, what: &str, duration: Duration) {
        let first = metric.initial_delay.saturating_add(metric.interval);
        if metric.count.is_none() && !metric.shadow && first > duration {
            self.add(
                format!("{path}.count"),
                format!(
                    "it is first measured after {first:?}, when the {what} of {duration:?} is over: give `count`, or the \
                     {what} more time"
                ),
            );
        }
    }

    /// Steps may be skipped, so that the bake alone is sure to measure.
    fn background(&mut self, request: &RolloutRequest) {
        for (index, metric) in request.metrics.iter().enumerate() {
            self.lasts(&format!("metrics[{index}]"), metric, "bake", request.bake);
        }
    }

    fn health(&mut self, health: &HealthPolicy) {
        for (name, threshold) in
            [("success_threshold", health.success_threshold), ("failure_threshold", health.failure_threshold)]
        {
            if threshold == 0 {
                self.add(format!("health.{name}"), "no probe decides nothing: give at least 1");
            }
        }
        if health.interval.is_zero() {
            self.add("health.interval", "it is probed without a pause");
        }
        if health.timeout.is_zero() {
            self.add("health.timeout", "it has no time to answer");
        }
        if !(100..600).contains(&health.expected_status) {
            self.add(
                "health.expected_status",
                format!("{} is no status that HTTP knows", health.expected_status),
            );
        }
        if !health.path.starts_with('/') {
            self.add("health.path", format!("`{}` does not begin with `/`", health.path));
        }
    }

    fn clocks(&mut self, request: &RolloutRequest) {
        for (name, duration) in [
            ("progress_deadline", request.progress_deadline),
            ("timeout", request.timeout),
            ("abort_timeout", request.abort_timeout),
        ] {
            if duration.is_zero() {
                self.add(name, "it leaves no time");
            }
        }
        if let Some((name, _)) =
            [("timeout", request.timeout), ("abort_timeout", request.abort_timeout), ("bake", request.bake)]
                .into_iter()
                .chain([("progress_deadline", request.progress_deadline)])
                .find(|(_, duration)| *duration > LONGEST)
        {
            self.add(name, "it lasts more than a year");
        }
        let approvals = request.steps.iter().filter_map(|step| match step {
            Step::Pause(Pause::Approval(deadline)) => Some(*deadline),
            _ => None,
        });
        let declared = approvals.fold(schedule(request).at_least, Duration::saturating_add);
        if let OnInconclusive::Hold(deadline) = request.on_inconclusive {
            if deadline.is_zero() {
                self.add("on_inconclusive", "a hold needs time");
            }
            if request.approval.is_none() {
                self.add(
                    "on_inconclusive",
                    "a hold waits for an approval, but `approval` does not say whose",
                );
            }
        }
        if !request.timeout.is_zero() && declared >= request.timeout {
            self.add(
                if declared == request.bake { "bake" } else { "timeout" },
                format!(
                    "the declared waits and the bake take {declared:?} already, and the timeout, which includes them, is \
                     {:?}: raise it",
                    request.timeout
                ),
            );
        }
    }
}
