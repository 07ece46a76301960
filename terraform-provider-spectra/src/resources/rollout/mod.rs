//! `spectra_rollout`: this service in this environment runs this digest.

pub(crate) mod delivery;
mod metrics;
mod model;
pub(crate) mod report;
mod request;
mod steps;

use std::time::Duration;

use spectra_delivery::Delivered;
use spectra_railway::{Deployment, Instance, InstanceRef};
use spectra_rollout::{Adopt, Outcome, Phase, Place, Report};
use spectra_types::{Digest, EnvironmentId, HumanDuration, ImageRef, ProjectId, ServiceId};
use tfplugin::{Apply, Attr, Diagnostic, Diagnostics, Import, Operation, Plan, Resource, StateSlot, Text};

pub(crate) use self::model::{HealthModel, RolloutModel};
use self::model::{Inconclusive, OnDestroy};
use super::import_id::import_id;
use super::parents;
use crate::errors::{known, railway};
use crate::provider::{Clients, Cx};

/// The computed attributes that a rollout decides.
const DECIDED: [&str; 7] = [
    "running_digest",
    "stable_digest",
    "previous_digest",
    "phase",
    "rollout_id",
    "deployment_id",
    "schedule",
];

impl RolloutModel {
    /// What is known of a rollout before it is read: what the schema says where nothing else was said.
    pub(crate) fn imported(
        project_id: Attr<Text<ProjectId>>,
        environment_id: Attr<Text<EnvironmentId>>,
        service_id: Attr<Text<ServiceId>>,
    ) -> Self {
        let minutes =
            |minutes: u64| Attr::Known(Text::new(HumanDuration::new(Duration::from_secs(minutes * 60))));
        let id = match (environment_id.as_known(), service_id.as_known()) {
            (Some(environment), Some(service)) => Attr::Known(format!("{environment}/{service}")),
            _ => Attr::Null,
        };
        Self {
            id,
            project_id,
            environment_id,
            service_id,
            on_inconclusive: Inconclusive::Abort.into(),
            wait_for_lease: minutes(0),
            bake: minutes(0),
            progress_deadline: minutes(10),
            timeout: minutes(30),
            abort_timeout: minutes(5),
            on_destroy: OnDestroy::Retain.into(),
            ..Self::default()
        }
    }

    fn instance(&self) -> Result<InstanceRef, Diagnostics> {
        Ok(InstanceRef {
            project: known(&self.project_id, "project_id")?.into_inner(),
            environment: known(&self.environment_id, "environment_id")?.into_inner(),
            service: known(&self.service_id, "service_id")?.into_inner(),
        })
    }

    fn asked_digest(&self) -> Option<&Digest> {
        Some(self.image.as_known()?.digest())
    }
}

/// The resource.
pub(crate) struct Rollout;

impl Resource for Rollout {
    type Model = RolloutModel;
    type Client = Clients;

    const TYPE: &'static str = "spectra_rollout";
    const IMPORT_ID: &'static str = "`project/environment/service`, each an id";

    fn validate(&self, config: &RolloutModel, diagnostics: &mut Diagnostics) {
        for problem in config.problems() {
            diagnostics.push(problem);
        }
        if matches!(config.on_inconclusive, Attr::Known(Inconclusive::Hold)) && config.hold_for.is_null() {
            let detail = "`on_inconclusive = \"hold\"` waits for an approval; `hold_for` says for how long.";
            diagnostics.push(Diagnostic::error("A hold needs a time", detail).at("hold_for"));
        }
    }

    async fn plan(&self, cx: Option<&Cx>, plan: &mut Plan<RolloutModel>) {
        let Some(planned) = plan.planned.clone() else { return };
        if let (Some(cx), Operation::Create) = (cx, plan.operation) {
            parents::check_all(cx, plan, &planned.project_id, &planned.environment_id, &planned.service_id)
                .await;
        }
        if let Some(prior) = &plan.prior
            && !needs_rollout(prior, &planned)
        {
            for name in DECIDED {
                plan.keep_prior(name);
            }
            return;
        }
        for name in DECIDED {
            plan.set_unknown(name);
        }
        match planned.request(Adopt::IfRunning) {
            Ok(Some(request)) if planned.image.as_known().is_some() => {
                plan.set("schedule", request::schedule(&request));
                if let Some(cx) = cx {
                    for warning in request::warnings(cx, &request).await {
                        plan.diagnostics.push(warning);
                    }
                }
            }
            // Not all of it is known yet, or it was refused before.
            Ok(_) | Err(_) => plan.set_unknown("schedule"),
        }
        // What success means is known beforehand; anything else is an error, and state then says what really holds.
        if let Some(image) = planned.image.as_known() {
            plan.set("running_digest", image.digest().to_string());
            plan.set("stable_digest", image.digest().to_string());
            plan.set("phase", Phase::Complete.as_str().to_owned());
        }
    }

    async fn create(
        &self,
        cx: &Cx,
        apply: Apply<RolloutModel>,
        state: &StateSlot<RolloutModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let planned = apply.planned;
        let instance = planned.instance()?;
        let id = format!("{}/{}", instance.environment, instance.service);
        let planned = RolloutModel { id: id.into(), ..planned };
        // A login that is given is used: what runs already may have been pulled with another one.
        let adopt = if planned.registry_credentials.is_null() { Adopt::IfRunning } else { Adopt::Never };
        let delivered = roll_out(cx, &planned, &apply.config, adopt).await?;
        let mut diagnostics = report::others(&delivered);
        // A rollout that never succeeded is no object: there is nothing to keep, and nothing to taint.
        if let Some(diagnostic) = failure(&planned, &delivered, Operation::Create) {
            diagnostics.push(diagnostic);
            return Err(diagnostics);
        }
        state.save(complete(planned, &delivered.report));
        Ok(diagnostics)
    }

    async fn read(&self, cx: &Cx, state: RolloutModel) -> Result<Option<RolloutModel>, Diagnostics> {
        let instance = state.instance()?;
        delivery::tidy(cx).await;
        match cx.client.railway()?.instance(&instance).await {
            Ok(found) => Ok(Some(read(state, &found))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => {
                let summary = format!("The service `{}` could not be read", instance.service);
                Err(railway(summary, &error, "State is unchanged.").into())
            }
        }
    }

    async fn update(
        &self,
        cx: &Cx,
        apply: Apply<RolloutModel>,
        state: &StateSlot<RolloutModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let Apply { prior, planned, config } = apply;
        let Some(prior) = prior else {
            return Err(
                Diagnostic::error("There is no prior state", "An update has a state to start from.").into()
            );
        };
        // A rollout that the plan shows is made, also where what was unknown then turns out to be as before.
        if !needs_rollout(&prior, &planned) && !planned.rollout_id.is_unknown() {
            // Other settings matter to the next rollout only.
            state.save(planned);
            return Ok(Diagnostics::new());
        }
        let anew = prior.triggers != planned.triggers || new_login(&prior, &planned);
        let adopt = if anew { Adopt::Never } else { Adopt::IfRunning };
        let delivered = roll_out(cx, &planned, &config, adopt).await?;
        let mut diagnostics = report::others(&delivered);
        if let Some(diagnostic) = failure(&planned, &delivered, Operation::Update) {
            if tells_of(&planned, &delivered)? {
                state.save(failed(prior, &delivered.report));
            }
            diagnostics.push(diagnostic);
            return Err(diagnostics);
        }
        state.save(complete(planned, &delivered.report));
        Ok(diagnostics)
    }

    async fn delete(
        &self,
        cx: &Cx,
        prior: RolloutModel,
        _: &StateSlot<RolloutModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        if prior.on_destroy != Attr::Known(OnDestroy::Remove) {
            return Ok(Diagnostics::new());
        }
        let (client, instance) = (cx.client.railway()?, prior.instance()?);
        let failed = |error: spectra_railway::Error| -> Diagnostics {
            let summary = format!("The deployment of service `{}` could not be removed", instance.service);
            railway(summary, &error, "The rollout is still in state, and the service may still run.").into()
        };
        let found = match client.fresh_instance(&instance).await {
            Ok(found) => found,
            Err(error) if error.is_not_found() => return Ok(Diagnostics::new()),
            Err(error) => return Err(failed(error)),
        };
        for deployment in found.active_deployments.iter().filter(|deployment| deployment.is_serving()) {
            client.remove_deployment(&instance, &deployment.id).await.map_err(failed)?;
        }
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Cx, import: Import) -> Result<RolloutModel, Diagnostics> {
        let [project, environment, service] = import_id(&import.id, ["project", "environment", "service"])?;
        Ok(RolloutModel::imported(project.parse()?, environment.parse()?, service.parse()?))
    }

    async fn import_identity(&self, _: &Cx, identity: RolloutModel) -> Result<RolloutModel, Diagnostics> {
        Ok(RolloutModel::imported(identity.project_id, identity.environment_id, identity.service_id))
    }
}

/// Whether getting from `prior` to `planned` takes a rollout. Drift does: what runs is not what was asked for. After a
/// rollout that was rolled back, asking for what runs again is nothing to do; after a failed way back it is looked at.
fn needs_rollout(prior: &RolloutModel, planned: &RolloutModel) -> bool {
    let asked = planned.asked_digest();
    let same_image = match (prior.image.as_known(), planned.image.as_known()) {
        (Some(before), Some(after)) => before.get() == after.get(),
        _ => false,
    };
    !same_image
        || prior.running_digest.as_known().map(Text::get) != asked
        || !settled(prior)
        || prior.triggers != planned.triggers
        || new_login(prior, planned)
}

/// Whether there is another login to the registry than before, or may be. That it works is seen by pulling with it. The
/// password is not in state: another one shows by its version.
fn new_login(prior: &RolloutModel, planned: &RolloutModel) -> bool {
    let planned = match &planned.registry_credentials {
        Attr::Null => return false,
        Attr::Unknown => return true,
        Attr::Known(login) => login,
    };
    prior.registry_credentials.as_known().is_none_or(|prior| {
        prior.username != planned.username || prior.password_wo_version != planned.password_wo_version
    })
}

/// Whether the report of a delivery is about the resource's own service. An earlier rollout that could not be brought to an
/// end may be another one's: of a service that takes part in both.
fn tells_of(planned: &RolloutModel, delivered: &Delivered) -> Result<bool, Diagnostics> {
    Ok(delivered.begun || delivered.report.place == Place::from(planned.instance()?))
}

/// Whether the last rollout left the service as state says it was asked for: it completed, or it failed and what ran
/// before was seen to run again. Anything else is looked at anew even where the digest is the right one.
fn settled(prior: &RolloutModel) -> bool {
    [Phase::Complete, Phase::RolledBack, Phase::Refused]
        .iter()
        .any(|phase| prior.phase.as_str() == Some(phase.as_str()))
}

async fn roll_out(
    cx: &Cx,
    planned: &RolloutModel,
    config: &RolloutModel,
    adopt: Adopt,
) -> Result<Delivered, Diagnostics> {
    let wait = known(&planned.wait_for_lease, "wait_for_lease")?.get().get();
    let request = planned.request(adopt).map_err(|error| not_known(&error))?;
    let request = request.ok_or_else(|| not_known("something is still unknown when it is applied"))?;
    let registry = match config.registry_credentials.as_known() {
        Some(login) => Some(delivery::login(&login.username, &login.password_wo, &request.candidate)?),
        None => None,
    };
    delivery::roll_out(cx, request, delivery::Terms { wait, registry, listener: None }).await
}

fn not_known(problem: &str) -> Diagnostic {
    Diagnostic::error(
        "The rollout cannot be read",
        format!(
            "The attributes make no request of the engine: {problem}. Nothing was changed. This is a mistake in the \
                 provider."
        ),
    )
}

fn failure(planned: &RolloutModel, delivered: &Delivered, action: Operation) -> Option<Diagnostic> {
    let again = match action {
        Operation::Create => "The rollout is not in state; applying again tries it again.",
        Operation::Update | Operation::Delete => {
            "State says what runs; the next plan shows the change again."
        }
    };
    match (&delivered.report.outcome, planned.image.as_known()) {
        (Outcome::Complete { .. }, _) | (_, None) => None,
        (_, Some(image)) => Some(report::diagnostic(image.get(), delivered, again)),
    }
}

fn schedule_of(planned: &RolloutModel) -> Attr<Vec<String>> {
    match planned.request(Adopt::IfRunning) {
        Ok(Some(request)) => request::schedule(&request).into(),
        Ok(None) | Err(_) => Attr::Null,
    }
}

fn complete(planned: RolloutModel, report: &Report) -> RolloutModel {
    let digest: Attr<Text<Digest>> = planned.asked_digest().cloned().map(Text::new).into();
    RolloutModel {
        running_digest: digest.clone(),
        stable_digest: digest,
        previous_digest: report.snapshot.digest().cloned().map(Text::new).into(),
        phase: report.phase.as_str().to_owned().into(),
        rollout_id: report.rollout.clone().into(),
        deployment_id: report.deployment.clone().map(Text::new).into(),
        schedule: match planned.schedule {
            Attr::Unknown => schedule_of(&planned),
            known => known,
        },
        ..planned
    }
}

/// What really holds after a failed update: what was asked for before, and what was seen to run at the end. The new
/// configuration differs from it, so the next plan shows the change again.
fn failed(prior: RolloutModel, report: &Report) -> RolloutModel {
    let (running_digest, deployment_id) = match &report.observed {
        Some(observed) => (
            observed.running_digest().cloned().map(Text::new).into(),
            observed.running.as_ref().map(|running| Text::new(running.deployment.clone())).into(),
        ),
        // It could not be read; the next refresh will tell.
        None => (prior.running_digest, prior.deployment_id),
    };
    RolloutModel {
        running_digest,
        deployment_id,
        previous_digest: report.snapshot.digest().cloned().map(Text::new).into(),
        phase: report.phase.as_str().to_owned().into(),
        rollout_id: report.rollout.clone().into(),
        ..prior
    }
}

/// What runs now. Another deployment of the same digest is no drift: Railway moves services between hosts by itself.
fn read(state: RolloutModel, found: &Instance) -> RolloutModel {
    let serving = serving(found);
    let digest: Attr<Text<Digest>> =
        serving.and_then(|deployment| deployment.digest.clone()).map(Text::new).into();
    let state = RolloutModel {
        running_digest: digest.clone(),
        deployment_id: serving.map(|deployment| Text::new(deployment.id.clone())).into(),
        ..state
    };
    // After an import nothing was asked for yet: what runs is adopted.
    let Some(image) = serving.and_then(pinned).filter(|_| state.image.is_null()) else { return state };
    RolloutModel {
        image: image.into(),
        stable_digest: digest,
        phase: Phase::Complete.as_str().to_owned().into(),
        ..state
    }
}

fn serving(found: &Instance) -> Option<&Deployment> {
    found
        .active_deployments
        .iter()
        .filter(|deployment| deployment.is_serving())
        .max_by_key(|one| one.created_at)
}

/// Whether the service runs a digest that is known: there is a rollout to be adopted.
pub(crate) fn runs(found: &Instance) -> bool {
    serving(found).and_then(pinned).is_some()
}

fn pinned(deployment: &Deployment) -> Option<Text<spectra_types::PinnedImage>> {
    let image: ImageRef = deployment.image.as_deref()?.parse().ok()?;
    Some(Text::new(image.pin(deployment.digest.clone()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn configured() -> RolloutModel {
        RolloutModel {
            project_id: Attr::Known("p-1".parse().unwrap()),
            environment_id: Attr::Known("e-1".parse().unwrap()),
            service_id: Attr::Known("s-1".parse().unwrap()),
            image: Attr::Known(format!("ghcr.io/team/app@{DIGEST}").parse().unwrap()),
            ..RolloutModel::default()
        }
    }

    fn deployment(image: &str) -> Deployment {
        Deployment {
            id: "d-1".parse().unwrap(),
            environment: "e-1".parse().unwrap(),
            service: Some("s-1".parse().unwrap()),
            status: spectra_railway::DeploymentStatus::Success,
            created_at: jiff::Timestamp::UNIX_EPOCH,
            status_updated_at: None,
            stopped: false,
            can_redeploy: true,
            can_roll_back: true,
            image: Some(image.to_owned()),
            digest: Some(DIGEST.parse().unwrap()),
            url: None,
            replicas: Vec::new(),
        }
    }

    fn running(image: &str) -> Instance {
        Instance {
            id: "i-1".to_owned(),
            service: "s-1".parse().unwrap(),
            service_name: "web".to_owned(),
            environment: "e-1".parse().unwrap(),
            image: Some(image.to_owned()),
            repository: None,
            healthcheck_path: None,
            healthcheck_timeout: None,
            start_command: None,
            pre_deploy_command: None,
            overlap: None,
            draining: None,
            replicas: Some(1),
            regions: std::collections::BTreeMap::new(),
            restart_policy: spectra_railway::RestartPolicy {
                condition: spectra_railway::RestartPolicyType::OnFailure,
                max_retries: 10,
            },
            variables: std::collections::BTreeMap::new(),
            domains: Vec::new(),
            latest_deployment: None,
            active_deployments: vec![deployment(image)],
        }
    }

    fn refused(config: &RolloutModel) -> Vec<String> {
        let mut diagnostics = Diagnostics::new();
        Rollout.validate(config, &mut diagnostics);
        diagnostics.iter().map(|one| one.attribute.as_ref().unwrap().to_string()).collect()
    }

    #[test]
    fn a_bake_is_held_against_the_default_of_the_timeout_too() {
        let bake = |text: &str| RolloutModel { bake: Attr::Known(text.parse().unwrap()), ..configured() };
        assert_eq!(refused(&bake("30m")), ["bake"]);
        assert_eq!(refused(&bake("29m")), Vec::<String>::new());
        assert_eq!(refused(&RolloutModel { timeout: Attr::Unknown, ..bake("45m") }), Vec::<String>::new());
        let longer = RolloutModel { timeout: Attr::Known("1h".parse().unwrap()), ..bake("45m") };
        assert_eq!(refused(&longer), Vec::<String>::new());
        assert_eq!(refused(&configured()), Vec::<String>::new());
    }

    /// What is left out of a configuration is checked with the engine's defaults, and applied with the schema's.
    #[test]
    fn the_defaults_of_the_schema_are_the_engines() {
        use tfplugin::Model as _;
        let request = configured().request(Adopt::IfRunning).unwrap().unwrap();
        let schema = RolloutModel::block();
        for (name, engine) in [
            ("timeout", request.timeout),
            ("progress_deadline", request.progress_deadline),
            ("abort_timeout", request.abort_timeout),
            ("bake", request.bake),
        ] {
            let default = schema.attribute(name).unwrap().default.clone();
            assert_eq!(
                default,
                Some(tfplugin::Value::from(HumanDuration::new(engine).to_string())),
                "{name}"
            );
        }
    }

    #[test]
    fn an_imported_rollout_needs_none() {
        for image in [format!("ghcr.io/team/app@{DIGEST}"), format!("ghcr.io/team/app:1@{DIGEST}")] {
            let imported = read(RolloutModel { image: Attr::Null, ..configured() }, &running(&image));
            assert!(!needs_rollout(&imported, &configured()), "{imported:?}");
        }
    }

    #[test]
    fn going_back_to_the_image_that_a_rollback_restored_needs_no_rollout() {
        let imported = read(
            RolloutModel { image: Attr::Null, ..configured() },
            &running(&format!("ghcr.io/team/app@{DIGEST}")),
        );
        let ended =
            |phase: Phase| RolloutModel { phase: phase.as_str().to_owned().into(), ..imported.clone() };
        for (phase, needs) in [
            (Phase::Complete, false),
            (Phase::RolledBack, false),
            (Phase::Refused, false),
            (Phase::RollbackFailed, true),
            (Phase::Superseded, true),
        ] {
            assert_eq!(needs_rollout(&ended(phase), &configured()), needs, "{phase}");
        }
        let other = RolloutModel {
            image: Attr::Known(format!("ghcr.io/team/app@sha256:{}", "b".repeat(64)).parse().unwrap()),
            ..configured()
        };
        assert!(needs_rollout(&ended(Phase::RolledBack), &other), "the change is shown again");
    }

    #[test]
    fn what_runs_instead_needs_a_rollout() {
        let imported = read(
            RolloutModel { image: Attr::Null, ..configured() },
            &running(&format!("ghcr.io/team/app@{DIGEST}")),
        );
        let mut found = running("ghcr.io/team/app:2");
        found.active_deployments[0].digest = Some(format!("sha256:{}", "b".repeat(64)).parse().unwrap());
        assert!(needs_rollout(&read(imported.clone(), &found), &configured()));
        found.active_deployments.clear();
        assert!(needs_rollout(&read(imported, &found), &configured()));
    }

    #[test]
    fn a_login_that_was_never_sent_needs_a_rollout() {
        let login = |username: &str, version: Attr<i64>| {
            Attr::Known(model::RegistryCredentialsModel {
                username: username.into(),
                password_wo: Attr::Null,
                password_wo_version: version,
            })
        };
        let with = |login| RolloutModel { registry_credentials: login, ..configured() };
        for (prior, planned, new) in [
            (Attr::Null, login("team", Attr::Null), true),
            (Attr::Null, Attr::Unknown, true),
            (Attr::Null, Attr::Null, false),
            (login("team", Attr::Null), login("team", Attr::Null), false),
            (login("team", Attr::Null), login("other", Attr::Null), true),
            (login("team", Attr::Known(1)), login("team", Attr::Known(2)), true),
            (login("team", Attr::Known(1)), login("team", Attr::Known(1)), false),
            (login("team", Attr::Known(1)), Attr::Null, false),
        ] {
            let context = format!("{prior:?} {planned:?}");
            assert_eq!(new_login(&with(prior), &with(planned)), new, "{context}");
        }
    }

    #[test]
    fn the_failed_rollout_of_another_service_says_nothing_of_the_own_one() {
        let image = format!("ghcr.io/team/app@{DIGEST}").parse().unwrap();
        let mut earlier = report::tests::delivered(report::tests::failed(image), false);
        assert!(tells_of(&configured(), &earlier).unwrap());
        earlier.report.place.service = "s-2".parse().unwrap();
        assert!(!tells_of(&configured(), &earlier).unwrap());
        earlier.begun = true;
        assert!(tells_of(&configured(), &earlier).unwrap());
    }
}
