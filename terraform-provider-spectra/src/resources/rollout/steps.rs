//! The schema of the steps of `spectra_rollout`. The names are those of `spectra_rollout::spec`: what is written here is
//! handed on as it is, see `request.rs`.

use std::collections::BTreeMap;

use spectra_types::{HumanDuration, ServiceId};
use tfplugin::{Attr, Model, Text, TfEnum};

use super::metrics::MetricModel;

/// One step: exactly one of its attributes.
#[derive(Clone, Debug, Default, Model)]
#[tf(exactly_one_of("migrate", "hook", "canary", "pause", "analysis", "swap", "wave"))]
pub(crate) struct StepModel {
    /// Changes the database schema.
    #[tf(optional)]
    pub(crate) migrate: Attr<MigrateModel>,
    /// Runs a program.
    #[tf(optional)]
    pub(crate) hook: Attr<HookModel>,
    /// Runs the candidate beside stable, as a service of its own with stable's placement and variables.
    #[tf(optional)]
    pub(crate) canary: Attr<CanaryModel>,
    /// Waits. What is up is watched meanwhile, and what is measured is judged.
    #[tf(optional)]
    pub(crate) pause: Attr<PauseModel>,
    /// Measures and judges.
    #[tf(optional)]
    pub(crate) analysis: Attr<AnalysisModel>,
    /// Replaces stable by the candidate: `swap = true`. Added at the end when no step moves traffic.
    #[tf(optional, validate(with = only_true))]
    pub(crate) swap: Attr<bool>,
    /// Brings the candidate to several services, one after the other.
    #[tf(optional)]
    pub(crate) wave: Attr<WaveModel>,
}

/// A change of a database schema and its way back.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct MigrateModel {
    /// Its name, unique in the rollout.
    #[tf(required)]
    pub(crate) name: Attr<String>,
    /// `expand` runs before traffic and must be safe for the old version; `contract` runs after the bake.
    #[tf(required)]
    pub(crate) part: Attr<Part>,
    /// Where it runs: `local` on this machine with the service's variables in its environment, `pre_deploy` on Railway as
    /// the pre-deploy command of the candidate's deployment.
    #[tf(optional, default = "local")]
    pub(crate) runner: Attr<RunnerKind>,
    /// What applies it. It is run again after a crash.
    #[tf(required)]
    pub(crate) up: Attr<CommandModel>,
    /// What takes it back, also after `up` stopped half way.
    #[tf(optional)]
    pub(crate) down: Attr<CommandModel>,
    /// Acknowledges that there is no way back. An irreversible `expand` stays applied after a rollback; an irreversible
    /// `contract` is the point of no return.
    #[tf(optional, default = false)]
    pub(crate) irreversible: Attr<bool>,
}

/// When a migration runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TfEnum)]
pub(crate) enum Part {
    /// Before traffic.
    Expand,
    /// After the bake.
    Contract,
}

/// Where a migration runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TfEnum)]
pub(crate) enum RunnerKind {
    /// On this machine.
    Local,
    /// On Railway, before the deployment takes over.
    PreDeploy,
}

/// A program, run without a shell.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct CommandModel {
    /// The program and its arguments. Not for secrets: those are in the service's variables.
    #[tf(required)]
    pub(crate) command: Attr<Vec<String>>,
    /// Further environment variables. Not for secrets.
    #[tf(optional)]
    pub(crate) environment: Attr<BTreeMap<String, String>>,
    /// Whether it gets the variables of the service, references rendered.
    #[tf(optional, default = true)]
    pub(crate) service_variables: Attr<bool>,
    /// The folder it runs in.
    #[tf(optional)]
    pub(crate) directory: Attr<String>,
    /// The longest it may take.
    #[tf(optional, default = "10m", validate(with = crate::validators::positive_duration))]
    pub(crate) timeout: Attr<Text<HumanDuration>>,
}

/// A program that is run once.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct HookModel {
    /// Its name, unique in the rollout.
    #[tf(required)]
    pub(crate) name: Attr<String>,
    /// What it does. It is run again after a crash.
    #[tf(required)]
    pub(crate) run: Attr<CommandModel>,
    /// What undoes it, also after it stopped half way.
    #[tf(optional)]
    pub(crate) undo: Attr<CommandModel>,
}

/// A sibling service with the candidate.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct CanaryModel {
    /// The name of the sibling; `SERVICE-canary` when left out.
    #[tf(optional)]
    pub(crate) name: Attr<String>,
    /// How many replicas it has; as many as stable when left out.
    #[tf(optional, validate(range(1..=50)))]
    pub(crate) replicas: Attr<i64>,
    /// How long it is watched and measured at least.
    #[tf(optional, default = "0s")]
    pub(crate) duration: Attr<Text<HumanDuration>>,
    /// What is measured of it.
    #[tf(optional)]
    pub(crate) metrics: Attr<Vec<MetricModel>>,
}

/// A wait: exactly one of its attributes.
#[derive(Clone, Debug, Default, Model)]
#[tf(exactly_one_of("duration", "approval"))]
pub(crate) struct PauseModel {
    /// For this long.
    #[tf(optional, validate(with = crate::validators::positive_duration))]
    pub(crate) duration: Attr<Text<HumanDuration>>,
    /// Until the rollout is approved, at most for this long.
    #[tf(optional, validate(with = crate::validators::positive_duration))]
    pub(crate) approval: Attr<Text<HumanDuration>>,
}

/// Measurements that decide whether it goes on.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct AnalysisModel {
    /// How long it lasts at least.
    #[tf(optional, default = "0s")]
    pub(crate) duration: Attr<Text<HumanDuration>>,
    /// What is measured.
    #[tf(required)]
    pub(crate) metrics: Attr<Vec<MetricModel>>,
}

/// Services of the same environment that get the candidate, in order.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct WaveModel {
    /// The services. The rollout's own may be among them.
    #[tf(required)]
    pub(crate) services: Attr<Vec<Text<ServiceId>>>,
    /// How long each is watched before the next.
    #[tf(optional, default = "0s")]
    pub(crate) pause: Attr<Text<HumanDuration>>,
}

/// What is switched on by being there.
pub(crate) fn only_true(value: &tfplugin::Value) -> Result<(), String> {
    if matches!(value, tfplugin::Value::Bool(false)) {
        return Err("set it to `true`, or leave it out".to_owned());
    }
    Ok(())
}
