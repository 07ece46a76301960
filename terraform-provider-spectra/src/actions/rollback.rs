//! `action.spectra_rollback`: back to what ran before.

use std::time::Duration;

use spectra_delivery::{Delivery, Error};
use spectra_railway::InstanceRef;
use spectra_rollout::{Outcome, Place, RolloutRequest};
use spectra_types::{EnvironmentId, HumanDuration, PinnedImage, ProjectId, ServiceId};
use tfplugin::{Action, Attr, Diagnostic, Diagnostics, Model, Progress, Text};

use super::{RegistryCredentialsModel, check, instance};
use crate::errors::{UNCHANGED, known, sentence};
use crate::provider::{Clients, Cx};
use crate::resources::rollout::delivery;
use crate::resources::rollout::delivery::Terms;
use crate::resources::rollout::{HealthModel, report};

/// Brings a service in one environment back to the image that ran before, or to another one that is named.
///
/// That is the newest other image that was stable: by the journal, or, where it knows of none, by Railway's list of
/// deployments. One that failed, or that a rollback went away from, is passed by. It is rolled out like any other image,
/// by digest and with today's variables: observed, probed, watched, and undone if it fails. Migrations that the service
/// ran are not undone.
///
/// To an image that served as the stable one, and that nobody went back from since, it is an emergency exit: freeze
/// windows and policies do not hold it up. What they would have asked for is in the audit trail, and a warning says when the
/// image is of a repository that is not allowed. To any other image it is a rollout that they hold for.
///
/// A `spectra_rollout` that manages the service still asks for the image that was left; set its `image` to the one that
/// runs now, or the next apply rolls forward again.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct RollbackModel {
    /// The project.
    #[tf(required)]
    project_id: Attr<Text<ProjectId>>,
    /// The environment.
    #[tf(required)]
    environment_id: Attr<Text<EnvironmentId>>,
    /// The service.
    #[tf(required)]
    service_id: Attr<Text<ServiceId>>,
    /// The image to go back to, pinned to a digest; the one that was stable before when left out.
    #[tf(optional)]
    image: Attr<Text<PinnedImage>>,
    /// Why; recorded.
    #[tf(optional)]
    reason: Attr<String>,
    /// How Railway logs in to the registry of the image. Without it, Railway keeps the login that it has.
    #[tf(optional)]
    registry_credentials: Attr<RegistryCredentialsModel>,
    /// How the service is probed from outside, once Railway says it is up and during the bake.
    #[tf(optional)]
    health: Attr<HealthModel>,
    /// How long the image is watched before the rollback is complete.
    #[tf(optional, default = "0s")]
    bake: Attr<Text<HumanDuration>>,
    /// The longest time without any progress.
    #[tf(optional, default = "10m", validate(with = crate::validators::positive_duration))]
    progress_deadline: Attr<Text<HumanDuration>>,
    /// The longest time for everything up to the end of the bake.
    #[tf(optional, default = "30m", validate(with = crate::validators::positive_duration))]
    timeout: Attr<Text<HumanDuration>>,
    /// The longest time for undoing the rollback if it fails.
    #[tf(optional, default = "5m", validate(with = crate::validators::positive_duration))]
    abort_timeout: Attr<Text<HumanDuration>>,
}

/// The action.
pub(crate) struct Rollback;

impl Action for Rollback {
    type Model = RollbackModel;
    type Client = Clients;

    const TYPE: &'static str = "spectra_rollback";

    async fn plan(&self, cx: Option<&Cx>, config: &RollbackModel, diagnostics: &mut Diagnostics) {
        let Some(cx) = cx else { return };
        check(cx, &config.project_id, &config.environment_id, &config.service_id, diagnostics).await;
    }

    async fn invoke(
        &self,
        cx: &Cx,
        config: RollbackModel,
        progress: &Progress,
    ) -> Result<Diagnostics, Diagnostics> {
        let at = instance(&config.project_id, &config.environment_id, &config.service_id)?;
        let image = match config.image.as_known() {
            Some(image) => {
                progress.say(format!("rolling service `{}` back to {image}, as asked", at.service));
                image.get().clone()
            }
            None => find(cx, &at, progress).await?,
        };
        let duration = |attribute: &Attr<Text<HumanDuration>>, name: &str| -> Result<Duration, Diagnostics> {
            Ok(known(attribute, name)?.get().get())
        };
        let request = RolloutRequest {
            health: config.health.as_known().map(delivery::policy).transpose()?,
            bake: duration(&config.bake, "bake")?,
            progress_deadline: duration(&config.progress_deadline, "progress_deadline")?,
            timeout: duration(&config.timeout, "timeout")?,
            abort_timeout: duration(&config.abort_timeout, "abort_timeout")?,
            group: Some(cx.client.run_id().to_owned()),
            ..RolloutRequest::new(at.clone().into(), image.clone())
        };
        let registry = config.registry_credentials.as_known().map(|login| login.login(&image)).transpose()?;
        let reason = config.reason.as_str().unwrap_or_default();
        let terms = Terms { registry, listener: Some(progress), ..Terms::default() };
        let work = async |delivery: &Delivery<'_>| {
            Box::pin(delivery.go_back(request.clone(), reason, &cx.cancel)).await
        };
        let delivered =
            delivery::with_delivery(cx, terms, work).await?.map_err(|error| delivery::refused(&error))?;
        let mut diagnostics = report::others(&delivered);
        let report = &delivered.report;
        let Outcome::Complete { deployment } = &report.outcome else {
            let again = "Invoke the action again to try again, or name another `image`.";
            let failure = report::diagnostic(&image, &delivered, again);
            let summary = format!("The service could not be rolled back to {}", image.digest());
            diagnostics.push(if delivered.begun { Diagnostic { summary, ..failure } } else { failure });
            return Err(diagnostics);
        };
        progress.say(format!("deployment `{deployment}` serves {image}"));
        if report.snapshot.digest() == Some(image.digest()) {
            progress.say("it ran already, so nothing was deployed");
            return Ok(diagnostics);
        }
        let warning = Diagnostic::warning(
            "The service was rolled back",
            format!(
                "It runs {image} now. If a `spectra_rollout` manages it, set its `image` to that: as it stands, the next \
                 apply rolls forward again."
            ),
        );
        diagnostics.push(warning);
        Ok(diagnostics)
    }
}

/// The image to go back to.
async fn find(cx: &Cx, at: &InstanceRef, progress: &Progress) -> Result<PinnedImage, Diagnostics> {
    let place = Place::from(at.clone());
    let work = async |delivery: &Delivery<'_>| Box::pin(delivery.version_before(&place)).await;
    let image = delivery::with_delivery(cx, Terms::default(), work).await?.map_err(|error| match error {
        Error::NothingBefore { .. } => Diagnostic::error(
            format!("There is nothing to roll service `{}` back to", at.service),
            format!("{}. {UNCHANGED}\n\nName the `image` to go back to.", sentence(&error.to_string())),
        )
        .at("image")
        .into(),
        error => delivery::refused(&error),
    })?;
    progress.say(format!("rolling service `{}` back to {image}, which was stable before", at.service));
    Ok(image)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use spectra_journal::{Draft, Journal};
    use spectra_rollout::{Entry, Failure, FailureReason, Phase};

    use super::*;
    use crate::fake::{Fake, instance as service, list, snapshot};

    fn config() -> RollbackModel {
        RollbackModel {
            project_id: Attr::Known("p-1".parse().unwrap()),
            environment_id: Attr::Known("e-1".parse().unwrap()),
            service_id: Attr::Known("s-1".parse().unwrap()),
            ..RollbackModel::default()
        }
    }

    fn deployment(id: &str, status: &str, letter: &str) -> Value {
        let image = format!("ghcr.io/team/web@sha256:{}", letter.repeat(64));
        json!({ "id": id, "status": status, "createdAt": "2026-01-01T00:00:00Z", "statusUpdatedAt": null,
            "deploymentStopped": false, "canRedeploy": true, "canRollback": status == "SUCCESS", "environmentId": "e-1",
            "serviceId": "s-1", "url": null, "meta": { "image": image },
            "instances": [{ "id": "r-1", "status": "RUNNING" }] })
    }

    async fn railway(active: &[Value], recent: &[Value]) -> Fake {
        let fake = Fake::start().await;
        let set = active.first().map_or(&Value::Null, |deployment| &deployment["meta"]["image"]);
        let web = service(&json!({ "activeDeployments": active, "source": { "image": set, "repo": null } }));
        fake.answer("EnvironmentSnapshot", snapshot(&[web], &json!({})));
        fake.answer("DeploymentList", json!({ "deployments": list(recent) }));
        fake
    }

    #[tokio::test]
    async fn without_an_earlier_image_nothing_is_changed_and_the_image_is_asked_for() {
        let serving = deployment("d-1", "SUCCESS", "a");
        let failed = deployment("d-0", "FAILED", "b");
        let fake = railway(std::slice::from_ref(&serving), &[serving.clone(), failed]).await;
        let refused = fake.core().await.invoke::<Rollback>(&config()).await.unwrap_err();
        let error = refused.to_string();
        assert!(error.contains("nothing to roll service `s-1` back to"), "{error}");
        assert!(error.contains("Name the `image`"), "{error}");
        let wrote = fake.seen().iter().any(|operation| operation.starts_with("ServiceInstance"));
        assert!(!wrote, "{:?}", fake.seen());
    }

    #[tokio::test]
    async fn what_the_journal_says_of_a_version_counts_more_than_that_railway_lists_it_as_served() {
        let serving = deployment("d-1", "SUCCESS", "a");
        let failed = deployment("d-0", "SUCCESS", "b");
        let fake = railway(std::slice::from_ref(&serving), &[failed, serving.clone()]).await;
        let place = Place::from(InstanceRef {
            project: "p-1".parse().unwrap(),
            environment: "e-1".parse().unwrap(),
            service: "s-1".parse().unwrap(),
        });
        let image = format!("ghcr.io/team/web@sha256:{}", "b".repeat(64)).parse().unwrap();
        let failure = Failure {
            phase: Phase::Baking,
            step: None,
            reason: FailureReason::Unhealthy { failures: 3 },
            last_measurement: None,
        };
        let entries = [
            Entry::Begun { request: Box::new(RolloutRequest::new(place.clone(), image)) },
            Entry::Finished { outcome: Outcome::RolledBack { failure, deployment: None } },
        ];
        let journal = Journal::open(&fake.journal().parse().unwrap()).await.unwrap();
        for entry in &entries {
            let draft = Draft {
                subject: place.subject(),
                rollout: Some("r-1".to_owned()),
                kind: entry.kind().to_owned(),
                body: serde_json::to_value(entry).unwrap(),
            };
            journal.append(draft).await.unwrap();
        }
        let refused = fake.core().await.invoke::<Rollback>(&config()).await.unwrap_err().to_string();
        assert!(refused.contains("nothing to roll service `s-1` back to"), "{refused}");
        assert!(!fake.seen().iter().any(|operation| operation.starts_with("ServiceInstance")));
    }

    #[tokio::test]
    async fn an_image_that_runs_already_is_adopted_and_nothing_is_deployed() {
        let serving = deployment("d-1", "SUCCESS", "a");
        let fake = railway(std::slice::from_ref(&serving), std::slice::from_ref(&serving)).await;
        fake.answer("DeploymentGet", json!({ "deployment": serving }));
        let image = format!("ghcr.io/team/web@sha256:{}", "a".repeat(64));
        let named = RollbackModel { image: Attr::Known(image.parse().unwrap()), ..config() };
        let lines = fake.core().await.invoke::<Rollback>(&named).await.unwrap();
        assert_eq!(lines.last().unwrap(), "it ran already, so nothing was deployed");
        assert!(!fake.seen().iter().any(|operation| operation.starts_with("ServiceInstance")));
    }
}
