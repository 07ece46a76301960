//! What a rollout does through the world.

use std::time::Duration;

use futures::future::BoxFuture;
use spectra_rollout::spec::{CommandSpec, Metric};
use spectra_rollout::{
    Approval, DeployOrder, DeploymentState, Effect, Gates, Measurement, MetricSource, News, Notifier,
    Observation, Place, Probe, RestoreOrder, RolloutRequest, RunContext, RunError, Runner, Running, Sampled,
    Scope, SiblingOrder, Target, TargetError, Verdict,
};
use spectra_types::DeploymentId;
use tokio_util::sync::CancellationToken;

use super::{Fate, RISE, Service, State, World, good};
use crate::support::place;

fn target_error((message, effect): (String, Effect)) -> TargetError {
    TargetError { message, effect, source: None }
}

impl Target for World {
    fn observe<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<Observation, TargetError>> {
        Box::pin(async {
            self.change(|inner| {
                if inner.unreadable > 0 {
                    inner.unreadable -= 1;
                    return Err(TargetError::unchanged("reading the service failed: HTTP 503"));
                }
                let service = inner
                    .services
                    .get(place.service.as_str())
                    .ok_or_else(|| TargetError::unchanged("there is no such service"))?;
                let running = service.active().map(|deployment| Running {
                    deployment: deployment.id.clone(),
                    image: Some(deployment.image.to_string()),
                    digest: Some(deployment.shown()),
                    all_replicas_running: true,
                });
                let rising = service.deployments.iter().rev().find(|one| one.state == State::Rising);
                Ok(Observation {
                    running,
                    in_flight: rising.map(|deployment| deployment.id.clone()),
                    setting: service.setting.clone(),
                    pre_deploy: service.pre_deploy.clone(),
                })
            })
        })
    }

    fn deploy<'a>(
        &'a self,
        place: &'a Place,
        order: &'a DeployOrder,
    ) -> BoxFuture<'a, Result<DeploymentId, TargetError>> {
        Box::pin(async {
            let name = place.service.as_str();
            let call = format!("deploy {name}");
            let started = self.mutate(&call, |inner| {
                let service = inner.services.get_mut(name).unwrap();
                service.setting = Some(order.image.to_string());
                if let Some(lines) = &order.pre_deploy {
                    service.pre_deploy = Some(lines.clone());
                }
                let lines = service.pre_deploy.clone().unwrap_or_default();
                let fate = inner.fates.get(name).copied().unwrap_or(Fate::Serves);
                inner.start(name, &order.image, fate, lines)
            });
            started.map_err(target_error)
        })
    }

    fn deployment<'a>(
        &'a self,
        place: &'a Place,
        id: &'a DeploymentId,
    ) -> BoxFuture<'a, Result<DeploymentState, TargetError>> {
        Box::pin(async {
            self.change(|inner| {
                let service = inner.services.get(place.service.as_str());
                let deployment =
                    service.and_then(|service| service.deployments.iter().find(|one| one.id == *id));
                // What went with its service is gone.
                let Some(deployment) = deployment else { return Ok(DeploymentState::Removed) };
                Ok(match (&deployment.state, deployment.fate) {
                    (State::Rising, Fate::NeedsApproval) => DeploymentState::NeedsApproval,
                    (State::Rising, Fate::Oscillates) => {
                        let odd = deployment.since.elapsed().as_secs() / 2 % 2 == 1;
                        let status = if odd { "INITIALIZING" } else { "DEPLOYING" };
                        DeploymentState::Pending(status.to_owned())
                    }
                    (State::Rising, _) => DeploymentState::Pending("DEPLOYING".to_owned()),
                    (State::Active, _) => DeploymentState::Active,
                    (State::Gone(state), _) => state.clone(),
                })
            })
        })
    }

    fn restore<'a>(
        &'a self,
        place: &'a Place,
        order: &'a RestoreOrder,
    ) -> BoxFuture<'a, Result<Option<DeploymentId>, TargetError>> {
        Box::pin(async {
            let name = place.service.as_str();
            self.mutate(&format!("restore {name}"), |inner| inner.restore(name, order)).map_err(target_error)
        })
    }

    fn create_sibling<'a>(
        &'a self,
        at: &'a Place,
        order: &'a SiblingOrder,
    ) -> BoxFuture<'a, Result<Place, TargetError>> {
        Box::pin(async {
            let name = order.name.clone().unwrap_or_else(|| format!("{}-canary", at.service));
            let made = self.mutate("create_sibling", |inner| {
                let service = inner.services.entry(name.clone()).or_default();
                service.sibling_of = Some(order.rollout.clone());
                place(&name)
            });
            made.map_err(target_error)
        })
    }

    fn remove_sibling<'a>(
        &'a self,
        at: &'a Place,
        order: &'a SiblingOrder,
    ) -> BoxFuture<'a, Result<(), TargetError>> {
        Box::pin(async {
            let known = order.place.as_ref().map(|place| place.service.to_string());
            let name =
                known.or_else(|| order.name.clone()).unwrap_or_else(|| format!("{}-canary", at.service));
            let removed = self.mutate("remove_sibling", |inner| {
                inner.services.retain(|at, service| *at != name || service.sibling_of.is_none());
            });
            removed.map_err(target_error)
        })
    }

    fn changed<'a>(&'a self, _: &'a Place, _: &'a DeploymentId, at_most: Duration) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if self.change(|inner| inner.deaf) {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(at_most).await;
        })
    }

    fn poll_interval(&self) -> Duration {
        Duration::from_secs(2)
    }
}

impl Probe for World {
    fn measure<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Measurement> {
        Box::pin(async {
            let healthy = self.change(|inner| {
                let active = inner.services.get(place.service.as_str()).and_then(Service::active);
                active.is_some_and(|active| {
                    let after = inner.unhealthy.get(active.image.digest());
                    after.is_none_or(|after| active.since.elapsed() < RISE + Duration::from_secs(*after))
                })
            });
            let (answer, verdict) =
                if healthy { ("HTTP 200", Verdict::Healthy) } else { ("HTTP 503", Verdict::Unhealthy) };
            let subject = format!("GET http://{}/healthz", place.service);
            Measurement { subject, answer: answer.to_owned(), verdict }
        })
    }
}

impl MetricSource for World {
    fn sample<'a>(&'a self, metric: &'a Metric, _: &'a Scope) -> BoxFuture<'a, Sampled> {
        Box::pin(async {
            let now = self.began.elapsed().as_secs();
            self.change(|inner| {
                let script = inner.metrics.get(&metric.name);
                let current = script.and_then(|script| script.iter().rev().find(|(from, _)| *from <= now));
                current.map_or_else(|| good(0.0), |(_, sampled)| sampled.clone())
            })
        })
    }
}

impl Runner for World {
    fn run<'a>(
        &'a self,
        _: &'a Place,
        command: &'a CommandSpec,
        _: &'a RunContext,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<String, RunError>> {
        Box::pin(async {
            let line = command.words();
            tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    // Told to end in the middle.
                    self.change(|inner| inner.database.run(&line, true));
                    return Err(RunError { message: "it was told to end".to_owned(), effect: Effect::Possible });
                }
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
            match self.mutate(&line, |inner| inner.database.run(&line, false)) {
                Ok(()) => Ok(format!("{line}: ok")),
                Err((message, effect)) => Err(RunError { message, effect }),
            }
        })
    }
}

impl Gates for World {
    fn frozen<'a>(&'a self, _: &'a RolloutRequest) -> BoxFuture<'a, Result<Option<String>, String>> {
        Box::pin(async {
            self.change(|inner| {
                if inner.gates_down > 0 {
                    inner.gates_down -= 1;
                    return Err("the journal could not be read".to_owned());
                }
                Ok(inner.frozen.clone())
            })
        })
    }

    fn approval<'a>(&'a self, _: &'a RolloutRequest) -> BoxFuture<'a, Result<Approval, String>> {
        Box::pin(async {
            let after = self.change(|inner| inner.approved_after);
            let given = after.is_some_and(|after| self.began.elapsed().as_secs() >= after);
            let by = || vec!["ada".to_owned()];
            let missing = || "one more has to approve".to_owned();
            Ok(if given { Approval::Given { by: by() } } else { Approval::Missing { message: missing() } })
        })
    }
}

impl Notifier for World {
    fn tell<'a>(&'a self, news: &'a News) -> BoxFuture<'a, Vec<String>> {
        Box::pin(async {
            self.change(|inner| inner.told.push(news.event));
            if self.change(|inner| inner.deaf) {
                std::future::pending::<()>().await;
            }
            Vec::new()
        })
    }
}
