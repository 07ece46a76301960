//! One image on its way to one service: for the resource, and for whatever else brings an image out.

use std::time::Duration;

use spectra_delivery::{Delivered, Delivery, Error, Logged, Signatures, Waiting, tidy_leases};
use spectra_journal::{Held, Holder};
use spectra_probe::HttpProbe;
use spectra_railway::{Client, InstanceRef, RegistryCredentials, RegistryLogin};
use spectra_rollout::{HealthPolicy, Place, RolloutRequest};
use spectra_types::{PinnedImage, Secret, error_chain};
use tfplugin::{Attr, Diagnostic, Diagnostics, Progress, Sensitive};

use super::model::HealthModel;
use crate::errors::{UNCHANGED, known, railway, sentence};
use crate::provider::{Cx, PROGRAM};

/// Where the post-mortems of rollouts that fail are written, below the working directory.
const POSTMORTEMS: &str = ".spectra/postmortems";

/// A line of a deployment's log, in Terraform's own.
fn log(logged: &Logged<'_>) {
    tracing::debug!(
        rollout = logged.rollout,
        service = %logged.place.service,
        deployment = %logged.deployment,
        log = ?logged.kind,
        line = logged.line,
        "a deployment printed"
    );
}

/// What one delivery is told beside the request.
#[derive(Default)]
pub(crate) struct Terms<'a> {
    /// How long another process that acts on the service is waited for.
    pub(crate) wait: Duration,
    /// What Railway is to pull the image with.
    pub(crate) registry: Option<RegistryLogin>,
    /// Hears each step as it is taken.
    pub(crate) listener: Option<&'a Progress>,
}

/// Brings an image out, or what ran before back.
pub(crate) async fn roll_out(
    cx: &Cx,
    mut request: RolloutRequest,
    terms: Terms<'_>,
) -> Result<Delivered, Diagnostics> {
    request.group = Some(cx.client.run_id().to_owned());
    let work = async |delivery: &Delivery<'_>| delivery.deliver(request.clone(), &cx.cancel).await;
    with_delivery(cx, terms, work).await?.map_err(|error| refused(&error))
}

/// Does something about rollouts, through the one journal.
pub(crate) async fn with_delivery<T>(
    cx: &Cx,
    terms: Terms<'_>,
    work: impl AsyncFnOnce(&Delivery<'_>) -> T,
) -> Result<T, Diagnostics> {
    let Terms { wait, registry, listener } = terms;
    let say = |line: &str| {
        if let Some(listener) = listener {
            listener.say(line);
        }
    };
    let told = |held: &Held| {
        tracing::warn!(subject = held.subject, holder = %held.holder, "waiting for the lease");
        say(&format!("waiting for the lease of `{}`, which {} has", held.subject, held.holder));
    };
    let delivery = Delivery {
        client: cx.client.railway()?,
        journal: cx.client.journal().await?,
        holder: Holder::of_this_process(PROGRAM),
        channels: &[],
        signatures: Signatures {
            source: Some(cx.client.registry()),
            certificates: crate::signatures::certificates_if_needed(),
            policies: &[],
        },
        registry,
        listener: &|heard| say(heard.line),
        // Followed where somebody reads it alone: `TF_LOG=debug`.
        logs: tracing::enabled!(tracing::Level::DEBUG).then_some(&log),
        waiting: Waiting { at_most: wait, told: &told, ..Waiting::NO },
        postmortems: Some(POSTMORTEMS.into()),
    };
    Ok(work(&delivery).await)
}

/// The login that an attribute gives, for the registry of that image. `Err` when it is not known.
pub(crate) fn login(
    username: &Attr<String>,
    password: &Attr<Sensitive<String>>,
    image: &PinnedImage,
) -> Result<RegistryLogin, Diagnostics> {
    let username = known(username, "registry_credentials")?;
    // Registered, so that it shows nowhere.
    let password = Secret::new(known(password, "registry_credentials")?.into_inner());
    let credentials = RegistryCredentials { username, password };
    Ok(RegistryLogin { registry: image.registry().to_owned(), credentials })
}

/// Frees leases of processes that are gone and left nothing open, such as a provider that was killed after its rollout had
/// ended: with nothing more to do, nobody else would. A read does not fail for it.
pub(crate) async fn tidy(cx: &Cx) {
    match cx.client.journal_if_there().await {
        Ok(Some(journal)) => tidy_leases(journal, &Holder::of_this_process(PROGRAM)).await,
        Ok(None) => {}
        Err(error) => tracing::warn!(error = error_chain(&error), "the journal could not be looked at"),
    }
}

/// A rollout that was not begun.
pub(crate) fn refused(error: &Error) -> Diagnostics {
    let attribute = match error.cause() {
        Error::Probe(_) => "health",
        _ => "image",
    };
    said("The rollout was not begun", error).at(attribute).into()
}

/// Something about a rollout that could not be done.
pub(crate) fn not_done(summary: &str, error: &Error) -> Diagnostics {
    said(summary, error).into()
}

fn said(summary: &str, error: &Error) -> Diagnostic {
    let hint = error.hint().map(|hint| format!("\n\n{}.", sentence(hint))).unwrap_or_default();
    let left = if error.changed_nothing() { format!(" {UNCHANGED}") } else { String::new() };
    let detail = format!("{} [{}].{left}{hint}", sentence(&error_chain(error)), error.code());
    Diagnostic::error(summary, detail)
}

/// How probes are made and judged.
pub(crate) fn policy(health: &HealthModel) -> Result<HealthPolicy, Diagnostics> {
    let threshold = |attribute: &Attr<i64>, name: &str| -> Result<u32, Diagnostics> {
        Ok(u32::try_from(known(attribute, name)?).unwrap_or(u32::MAX))
    };
    Ok(HealthPolicy {
        path: health.path.as_str().unwrap_or("/").to_owned(),
        url: health.url.as_str().map(str::to_owned),
        expected_status: u16::try_from(known(&health.expected_status, "expected_status")?).unwrap_or(200),
        interval: known(&health.interval, "interval")?.get().get(),
        timeout: known(&health.timeout, "timeout")?.get().get(),
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
    let place = Place::from(instance.clone());
    spectra_delivery::http_probe(client, &place, &policy(health)?).await.map_err(|error| match error {
        Error::Railway(error) => {
            railway(format!("The service `{}` could not be read", instance.service), &error, UNCHANGED).into()
        }
        error => {
            let detail = format!("{}. {UNCHANGED}", sentence(&error_chain(&error)));
            Diagnostic::error("The service cannot be probed", detail).at("health").into()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_before_a_failure_is_not_denied() {
        let source = || Box::new(Error::Probe("it has no domain".to_owned()));
        let outcome = spectra_rollout::Outcome::Complete { deployment: "d-1".parse().unwrap() };
        let recovered = vec![("ro-earlier".to_owned(), outcome)];
        let after_recovery = refused(&Error::AfterRecovery { recovered, source: source() });
        let after_wish =
            not_done("It failed", &Error::AfterWish { rollout: "ro-earlier".to_owned(), source: source() });
        for told in [after_recovery, after_wish].iter().flat_map(Diagnostics::iter) {
            assert!(told.detail.contains("ollout `ro-earlier`"), "{}", told.detail);
            assert!(told.detail.contains("it has no domain"), "{}", told.detail);
            assert!(!told.detail.contains(UNCHANGED), "{}", told.detail);
        }
        let before = refused(&source());
        assert!(before.iter().all(|told| told.detail.contains(UNCHANGED)));
    }
}
