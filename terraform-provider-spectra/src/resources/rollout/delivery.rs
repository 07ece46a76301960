//! One image on its way to one service: for the resource, and for whatever else brings an image out.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spectra_railway::{Client, HttpProbe, InstanceRef, RailwayTarget, service_url};
use spectra_rollout::{
    Adopt, DeploymentState, HealthPolicy, Measurement, Observation, Probe, Report, RolloutRequest, Snapshot,
    Target, TargetError, TokioClock, Verdict, run,
};
use spectra_types::{DeploymentId, HumanDuration, PinnedImage};
use tfplugin::{Attr, Diagnostic, Diagnostics, Progress, Text};
use url::Url;

use super::model::HealthModel;
use crate::errors::{UNCHANGED, known, railway};
use crate::provider::Cx;

/// What is to be brought out, and how it is judged. Durations are known by the time of an apply.
pub(crate) struct Order<'a> {
    /// The image.
    pub(crate) image: PinnedImage,
    /// What to do where it runs already.
    pub(crate) adopt: Adopt,
    /// How the service is probed from outside.
    pub(crate) health: Option<&'a HealthModel>,
    /// How long it is watched.
    pub(crate) bake: &'a Attr<Text<HumanDuration>>,
    /// The longest time without progress.
    pub(crate) progress_deadline: &'a Attr<Text<HumanDuration>>,
    /// The longest time for all of it.
    pub(crate) timeout: &'a Attr<Text<HumanDuration>>,
    /// The longest time for the way back.
    pub(crate) abort_timeout: &'a Attr<Text<HumanDuration>>,
}

/// Brings it out, or what ran before back. Each step is told to `listener` as it is taken.
pub(crate) async fn roll_out(
    cx: &Cx,
    order: Order<'_>,
    instance: &InstanceRef,
    listener: Option<&Progress>,
) -> Result<Report, Diagnostics> {
    let client = cx.client.railway()?;
    let duration = |attribute: &Attr<Text<HumanDuration>>, name: &str| -> Result<Duration, Diagnostics> {
        Ok(known(attribute, name)?.get().get())
    };
    let probe = match order.health {
        Some(health) => Prober::Http(Box::new(http_probe(client, health, instance).await?)),
        None => Prober::None,
    };
    let request = RolloutRequest {
        candidate: order.image,
        adopt: order.adopt,
        health: order.health.map(policy).transpose()?,
        bake: duration(order.bake, "bake")?,
        progress_deadline: duration(order.progress_deadline, "progress_deadline")?,
        timeout: duration(order.timeout, "timeout")?,
        abort_timeout: duration(order.abort_timeout, "abort_timeout")?,
    };
    let told = Told { listener, last: Mutex::default() };
    let target = Telling { inner: RailwayTarget::new(client.clone(), instance.clone()), told: &told };
    let probe = Telling { inner: probe, told: &told };
    Ok(run(request, &target, &probe, &TokioClock::start(), &cx.cancel).await)
}

/// How probes are judged.
pub(crate) fn policy(health: &HealthModel) -> Result<HealthPolicy, Diagnostics> {
    let threshold = |attribute: &Attr<i64>, name: &str| -> Result<u32, Diagnostics> {
        Ok(u32::try_from(known(attribute, name)?).unwrap_or(u32::MAX))
    };
    Ok(HealthPolicy {
        interval: known(&health.interval, "interval")?.get().get(),
        success_threshold: threshold(&health.success_threshold, "success_threshold")?,
        failure_threshold: threshold(&health.failure_threshold, "failure_threshold")?,
    })
}

/// The probe of a service: of its own domain, where no URL is given.
pub(crate) async fn http_probe(
    client: &Client,
    health: &HealthModel,
    instance: &InstanceRef,
) -> Result<HttpProbe, Diagnostics> {
    let refuse = |summary: &str, detail: String| -> Diagnostics {
        Diagnostic::error(summary, format!("{detail} {UNCHANGED}")).at("health").into()
    };
    let url = if let Some(url) = health.url.as_str() {
        Url::parse(url).map_err(|error| refuse("The probe's URL is none", format!("`{url}`: {error}.")))?
    } else {
        let found = client.fresh_instance(instance).await.map_err(|error| {
            railway(format!("The service `{}` could not be read", instance.service), &error, UNCHANGED)
        })?;
        let Some(domain) = found.domains.first() else {
            return Err(refuse(
                "The service cannot be probed",
                format!(
                    "Service `{}` has no domain, so there is nothing to ask. Give it a `spectra_domain` and let the \
                         rollout depend on it, or give `health.url`.",
                    found.service_name
                ),
            ));
        };
        let path = health.path.as_str().unwrap_or("/");
        service_url(&domain.domain).and_then(|url| url.join(path)).map_err(|error| {
            refuse("The probe's URL is none", format!("`{}` with `{path}`: {error}.", domain.domain))
        })?
    };
    let expected = u16::try_from(known(&health.expected_status, "expected_status")?).unwrap_or(200);
    let timeout = known(&health.timeout, "timeout")?.get().get();
    HttpProbe::new(url, expected, timeout).map_err(|error| {
        refuse("The service cannot be probed", format!("{}.", spectra_types::error_chain(&error)))
    })
}

/// A rollout without a `health` attribute asks nothing; the machine then does not ask for measurements.
enum Prober {
    Http(Box<HttpProbe>),
    None,
}

impl Probe for Prober {
    async fn measure(&self) -> Measurement {
        match self {
            Self::Http(probe) => probe.measure().await,
            Self::None => Measurement {
                subject: "nothing".to_owned(),
                answer: "no probe is configured".to_owned(),
                verdict: Verdict::Unhealthy,
            },
        }
    }
}

/// Says what happens, and what goes on once: a bake of an hour looks hundreds of times.
struct Told<'a> {
    listener: Option<&'a Progress>,
    last: Mutex<Last>,
}

/// What was said last of things that are looked at again and again.
#[derive(Default)]
struct Last {
    deployment: String,
    verdict: Option<Verdict>,
}

impl Told<'_> {
    fn say(&self, line: &str) {
        if let Some(listener) = self.listener {
            // A probe's answer may quote the service's body, and the platform's reasons its log.
            listener.say(spectra_types::Redactor::global().redact(line));
        }
    }

    fn deployment(&self, line: String) {
        if self.last().deployment != line {
            self.say(&line);
            self.last().deployment = line;
        }
    }

    /// Every unhealthy answer is worth a line, and the first healthy one.
    fn measured(&self, measurement: &Measurement) {
        let before = self.last().verdict.replace(measurement.verdict);
        let word = match measurement.verdict {
            Verdict::Healthy if before == Some(Verdict::Healthy) => return,
            Verdict::Healthy => "healthy",
            Verdict::Unhealthy => "unhealthy",
        };
        self.say(&format!("{word}: {} answered {}", measurement.subject, measurement.answer));
    }

    /// Every change is one assignment, so a poisoned lock holds nothing half written.
    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A target or a probe whose doings are told.
struct Telling<'a, T> {
    inner: T,
    told: &'a Told<'a>,
}

impl<T: Target> Target for Telling<'_, T> {
    async fn observe(&self) -> Result<Observation, TargetError> {
        self.inner.observe().await
    }

    async fn deploy(
        &self,
        candidate: &PinnedImage,
        baseline: &Observation,
    ) -> Result<DeploymentId, TargetError> {
        self.told.say(&format!("deploying {candidate}"));
        let started = self.inner.deploy(candidate, baseline).await;
        if let Ok(id) = &started {
            self.told.say(&format!("deployment `{id}` is started"));
        }
        started
    }

    async fn deployment(&self, id: &DeploymentId) -> Result<DeploymentState, TargetError> {
        let state = self.inner.deployment(id).await;
        match &state {
            Ok(DeploymentState::Pending(status)) => {
                self.told.deployment(format!("deployment `{id}`: {status}"));
            }
            Ok(DeploymentState::Active) => self.told.deployment(format!("deployment `{id}` is up")),
            Ok(DeploymentState::Failed { status, reason }) => {
                self.told.deployment(format!("deployment `{id}` failed ({status}): {reason}"));
            }
            // The outcome says the rest.
            Ok(_) | Err(_) => {}
        }
        state
    }

    async fn restore(
        &self,
        snapshot: &Snapshot,
        failed: Option<&DeploymentId>,
    ) -> Result<Option<DeploymentId>, TargetError> {
        self.told.say("bringing back what ran before");
        let restored = self.inner.restore(snapshot, failed).await;
        if let Ok(Some(id)) = &restored {
            self.told.say(&format!("deployment `{id}` brings it back"));
        }
        restored
    }

    fn poll_interval(&self) -> Duration {
        self.inner.poll_interval()
    }
}

impl<P: Probe> Probe for Telling<'_, P> {
    async fn measure(&self) -> Measurement {
        let measurement = self.inner.measure().await;
        self.told.measured(&measurement);
        measurement
    }
}
