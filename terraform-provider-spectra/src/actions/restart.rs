//! `action.spectra_restart`: new processes for what runs.

use std::time::Duration;

use spectra_probe::HttpProbe;
use spectra_railway::{Client, Deployment, InstanceRef, RestartWatch, Restarting, restartable};
use spectra_rollout::{Clock, HealthPolicy, TokioClock, Verdict};
use spectra_types::{EnvironmentId, HumanDuration, ProjectId, Redactor, ServiceId};
use tfplugin::{Action, Attr, Diagnostic, Diagnostics, Model, Progress, Text};

use super::{check, instance};
use crate::errors::{UNCHANGED, known, railway};
use crate::provider::{Clients, Cx};
use crate::resources::rollout::{HealthModel, delivery};

/// Restarts what a service runs in one environment, and waits until it is healthy again: every replica runs, seen
/// twice in a row, and the probe answers if there is one.
///
/// Image and variables stay as they were deployed: changed variables take effect with a new deployment only, which is
/// `spectra_rollout`'s business. The service is down while its processes start. A deployment that crashed or was
/// stopped is started again.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct RestartModel {
    /// The project.
    #[tf(required)]
    project_id: Attr<Text<ProjectId>>,
    /// The environment.
    #[tf(required)]
    environment_id: Attr<Text<EnvironmentId>>,
    /// The service.
    #[tf(required)]
    service_id: Attr<Text<ServiceId>>,
    /// How the service is probed from outside once its replicas run.
    #[tf(optional)]
    health: Attr<HealthModel>,
    /// The longest time for all of it.
    #[tf(optional, default = "5m", validate(with = crate::validators::positive_duration))]
    timeout: Attr<Text<HumanDuration>>,
}

/// The action.
pub(crate) struct Restart;

impl Action for Restart {
    type Model = RestartModel;
    type Client = Clients;

    const TYPE: &'static str = "spectra_restart";

    async fn plan(&self, cx: Option<&Cx>, config: &RestartModel, diagnostics: &mut Diagnostics) {
        let Some(cx) = cx else { return };
        check(cx, &config.project_id, &config.environment_id, &config.service_id, diagnostics).await;
    }

    async fn invoke(
        &self,
        cx: &Cx,
        config: RestartModel,
        progress: &Progress,
    ) -> Result<Diagnostics, Diagnostics> {
        let client = cx.client.railway()?;
        let at = instance(&config.project_id, &config.environment_id, &config.service_id)?;
        let timeout = known(&config.timeout, "timeout")?.get().get();
        let health = match config.health.as_known() {
            Some(health) => {
                Some((delivery::http_probe(client, health, &at).await?, delivery::policy(health)?))
            }
            None => None,
        };
        let before = find(client, &at, progress).await?;
        // Looking may have taken long; what was not begun before a stop is not begun after it.
        if cx.cancel.is_cancelled() {
            return Err(Diagnostic::error(
                "Stopped",
                format!("Deployment `{}` was not restarted. {UNCHANGED}", before.id),
            )
            .into());
        }
        let clock = TokioClock::start();
        client.restart_deployment(&at, &before.id).await.map_err(|error| {
            let left = if error.changed_nothing() { UNCHANGED } else { "It may have been restarted." };
            railway(format!("Deployment `{}` could not be restarted", before.id), &error, left)
        })?;
        let wait = Wait { cx, client, clock, timeout, deployment: &before, progress };
        wait.until_it_runs().await?;
        if let Some((probe, policy)) = &health {
            wait.until_it_answers(probe, policy).await?;
        }
        progress.say(format!("deployment `{}` is restarted and healthy", before.id));
        Ok(Diagnostics::new())
    }
}

/// What to restart.
async fn find(client: &Client, at: &InstanceRef, progress: &Progress) -> Result<Deployment, Diagnostics> {
    let failed = |error: spectra_railway::Error| -> Diagnostics {
        railway(format!("The service `{}` could not be read", at.service), &error, UNCHANGED).into()
    };
    let found = client.fresh_instance(at).await.map_err(failed)?;
    let recent = client.recent_deployments(at, 5).await.map_err(failed)?;
    if let Some(coming) = recent.iter().find(|deployment| deployment.status.is_in_flight()) {
        return Err(Diagnostic::error(
            format!("Service `{}` is being deployed", found.service_name),
            format!(
                "Deployment `{}` is on its way ({}) and starts new processes by itself. {UNCHANGED}\n\nWait until it \
                 is done, then restart if that is still needed.",
                coming.id, coming.status
            ),
        )
        .at("service_id")
        .into());
    }
    let Some(chosen) = restartable(&found.active_deployments, found.latest_deployment.as_ref()) else {
        return Err(Diagnostic::error(
            format!("Service `{}` runs nothing that could be restarted", found.service_name),
            format!(
                "In environment `{}` no deployment serves, and the latest neither crashed nor was stopped. \
                 {UNCHANGED}\n\nRoll an image out with `spectra_rollout`.",
                at.environment
            ),
        )
        .at("service_id")
        .into());
    };
    progress.say(format!(
        "restarting deployment `{}` of service `{}` (replicas: {})",
        chosen.id,
        found.service_name,
        chosen.replicas.len()
    ));
    Ok(chosen.clone())
}

/// What came after Railway has confirmed the restart: whatever fails here, it was asked for.
struct Wait<'a> {
    cx: &'a Cx,
    client: &'a Client,
    clock: TokioClock,
    timeout: Duration,
    deployment: &'a Deployment,
    progress: &'a Progress,
}

impl Wait<'_> {
    async fn until_it_runs(&self) -> Result<(), Diagnostics> {
        let mut watch = RestartWatch::new(self.deployment);
        let mut last = String::new();
        loop {
            // A platform that cannot be read is no verdict; only the time limit is.
            let words = match self.client.deployment(&self.deployment.id).await {
                Ok(now) => match watch.see(&now) {
                    Restarting::Done => return Ok(()),
                    Restarting::Failed(why) => return Err(self.failed(&why)),
                    Restarting::Waiting(words) => words,
                },
                Err(error) => spectra_types::error_chain(&error),
            };
            if words != last {
                self.progress.say(Redactor::global().redact(&words));
                last = words;
            }
            if !watch.has_begun() && self.clock.now() > self.client.polling().settled_within {
                self.progress.say("the restart was confirmed, but its beginning was not seen");
                watch.assume_begun();
            }
            self.pause(self.client.watch_interval(), &last).await?;
        }
    }

    async fn until_it_answers(&self, probe: &HttpProbe, policy: &HealthPolicy) -> Result<(), Diagnostics> {
        let (mut healthy, mut unhealthy) = (0, 0);
        loop {
            let measurement = probe.measure().await;
            let words = format!("{} answered {}", measurement.subject, measurement.answer);
            let words = Redactor::global().redact(&words).into_owned();
            self.progress.say(words.clone());
            (healthy, unhealthy) = match measurement.verdict {
                Verdict::Healthy => (healthy + 1, 0),
                Verdict::Unhealthy => (0, unhealthy + 1),
            };
            if healthy >= policy.success_threshold {
                return Ok(());
            }
            if unhealthy >= policy.failure_threshold {
                return Err(self.failed(&format!(
                    "its replicas run, but {unhealthy} probes in a row were not as expected: {words}"
                )));
            }
            self.pause(policy.interval, &words).await?;
        }
    }

    async fn pause(&self, pause: Duration, last: &str) -> Result<(), Diagnostics> {
        if self.clock.now() + pause > self.timeout {
            return Err(self.failed(&format!(
                "it was not healthy within {}; the last look: {last}",
                HumanDuration::new(self.timeout)
            )));
        }
        tokio::select! {
            biased;
            () = self.cx.cancel.cancelled() => Err(Diagnostic::error(
                "Stopped while waiting for the restart",
                format!(
                    "Deployment `{}` was told to restart and does so; whether it becomes healthy was not awaited. The \
                     last look: {last}.",
                    self.deployment.id
                ),
            )
            .into()),
            () = self.clock.sleep(pause) => Ok(()),
        }
    }

    fn failed(&self, why: &str) -> Diagnostics {
        let detail = format!(
            "Deployment `{}` was restarted, and {why}.\n\nNothing was brought back, since nothing was deployed: look at its \
             log, or go back to another image with `spectra_rollback`.",
            self.deployment.id
        );
        Diagnostic::error("The restart did not end well", Redactor::global().redact(&detail).into_owned())
            .at("service_id")
            .into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fake::{Fake, instance as service, list, snapshot};

    fn config() -> RestartModel {
        RestartModel {
            project_id: Attr::Known("p-1".parse().unwrap()),
            environment_id: Attr::Known("e-1".parse().unwrap()),
            service_id: Attr::Known("s-1".parse().unwrap()),
            ..RestartModel::default()
        }
    }

    fn deployment(status: &str, replica: &str) -> Value {
        json!({ "id": "d-1", "status": status, "createdAt": "2026-01-01T00:00:00Z", "statusUpdatedAt": null,
            "deploymentStopped": false, "canRedeploy": true, "canRollback": true, "environmentId": "e-1",
            "serviceId": "s-1", "url": null, "meta": null,
            "instances": [{ "id": replica, "status": if status == "SUCCESS" { "RUNNING" } else { "CRASHED" } }] })
    }

    async fn railway(active: &[Value], recent: &[Value]) -> Fake {
        let fake = Fake::start().await;
        let web = service(&json!({ "activeDeployments": active }));
        fake.answer("EnvironmentSnapshot", snapshot(&[web], &json!({})));
        fake.answer("DeploymentList", json!({ "deployments": list(recent) }));
        fake.answer("DeploymentRestart", json!({ "deploymentRestart": true }));
        fake
    }

    #[tokio::test]
    async fn it_is_done_when_new_replicas_run() {
        let before = deployment("SUCCESS", "r-1");
        let fake = railway(std::slice::from_ref(&before), std::slice::from_ref(&before)).await;
        fake.answer("DeploymentGet", json!({ "deployment": deployment("SUCCESS", "r-2") }));
        let lines = fake.core().await.invoke::<Restart>(&config()).await.unwrap();
        assert_eq!(lines.first().unwrap(), "restarting deployment `d-1` of service `web` (replicas: 1)");
        assert_eq!(lines.last().unwrap(), "deployment `d-1` is restarted and healthy");
    }

    #[tokio::test]
    async fn a_crash_after_it_is_an_error_that_says_what_was_done() {
        let before = deployment("SUCCESS", "r-1");
        let fake = railway(std::slice::from_ref(&before), std::slice::from_ref(&before)).await;
        fake.answer("DeploymentGet", json!({ "deployment": deployment("CRASHED", "r-1") }));
        let error = fake.core().await.invoke::<Restart>(&config()).await.unwrap_err().to_string();
        assert!(error.contains("CRASHED") && error.contains("was restarted"), "{error}");
    }

    #[tokio::test]
    async fn what_is_being_deployed_or_runs_nothing_is_left_alone() {
        let coming = json!({ "id": "d-2", "status": "DEPLOYING", "createdAt": "2026-01-02T00:00:00Z",
            "statusUpdatedAt": null, "deploymentStopped": true, "canRedeploy": false, "canRollback": false,
            "environmentId": "e-1", "serviceId": "s-1", "url": null, "meta": null, "instances": [] });
        for (active, recent, expected) in [
            (vec![deployment("SUCCESS", "r-1")], vec![coming], "`d-2` is on its way"),
            (vec![], vec![], "runs nothing"),
        ] {
            let fake = railway(&active, &recent).await;
            let error = fake.core().await.invoke::<Restart>(&config()).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!fake.seen().iter().any(|operation| operation == "DeploymentRestart"));
        }
    }

    #[tokio::test]
    async fn a_stop_ends_the_wait_and_says_that_the_restart_goes_on() {
        let before = deployment("SUCCESS", "r-1");
        let fake = railway(std::slice::from_ref(&before), std::slice::from_ref(&before)).await;
        fake.answer("DeploymentGet", json!({ "deployment": before }));
        let core = fake.core().await;
        let asked = config();
        let invoked = core.invoke::<Restart>(&asked);
        let stopped = async {
            while !fake.seen().iter().any(|operation| operation == "DeploymentGet") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            core.interrupt();
        };
        let (outcome, ()) = tokio::join!(invoked, stopped);
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("was told to restart and does so"), "{error}");
    }

    #[tokio::test]
    async fn a_service_that_is_not_there_is_refused_at_plan() {
        let fake = railway(&[], &[]).await;
        let other = RestartModel { service_id: Attr::Known("s-9".parse().unwrap()), ..config() };
        let refused = fake.core().await.invoke::<Restart>(&other).await.unwrap_err().diagnostics();
        assert_eq!(refused.iter().next().unwrap().attribute.as_ref().unwrap().to_string(), "service_id");
    }

    #[tokio::test]
    async fn it_does_not_wait_for_ever() {
        let before = deployment("SUCCESS", "r-1");
        let fake = railway(std::slice::from_ref(&before), std::slice::from_ref(&before)).await;
        fake.answer("DeploymentGet", json!({ "deployment": before }));
        let short = RestartModel { timeout: Attr::Known("300ms".parse().unwrap()), ..config() };
        let error = fake.core().await.invoke::<Restart>(&short).await.unwrap_err().to_string();
        assert!(error.contains("not healthy within 300ms"), "{error}");
    }
}
