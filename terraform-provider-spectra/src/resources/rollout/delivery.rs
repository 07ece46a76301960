//! One image on its way to one service: for the resource, and for whatever else brings an image out.

use std::time::Duration;

use spectra_delivery::{Delivered, Delivery, Error, Signatures, Waiting};
use spectra_journal::{Held, Holder};
use spectra_probe::HttpProbe;
use spectra_railway::{Client, InstanceRef};
use spectra_rollout::{HealthPolicy, Place, RolloutRequest};
use spectra_types::error_chain;
use tfplugin::{Attr, Diagnostic, Diagnostics, Progress};

use super::model::HealthModel;
use crate::errors::{UNCHANGED, known, railway, sentence};
use crate::provider::{Cx, PROGRAM};

/// Where the post-mortems of rollouts that fail are written, below the working directory.
const POSTMORTEMS: &str = ".spectra/postmortems";

/// Brings an image out, or what ran before back. Each step is told to `listener` as it is taken.
pub(crate) async fn roll_out(
    cx: &Cx,
    mut request: RolloutRequest,
    wait: Duration,
    listener: Option<&Progress>,
) -> Result<Delivered, Diagnostics> {
    request.group = Some(cx.client.run_id().to_owned());
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
        signatures: Signatures { source: Some(cx.client.registry()), policies: &[] },
        registry: None,
        listener: &|heard| say(heard.line),
        waiting: Waiting { at_most: wait, told: &told, ..Waiting::NO },
        postmortems: Some(POSTMORTEMS.into()),
    };
    delivery.deliver(request, &cx.cancel).await.map_err(|error| refused(&error))
}

/// A rollout that was not begun.
pub(crate) fn refused(error: &Error) -> Diagnostics {
    let hint = error.hint().map(|hint| format!("\n\n{}.", sentence(hint))).unwrap_or_default();
    let detail = format!("{} [{}]. {UNCHANGED}{hint}", sentence(&error_chain(error)), error.code());
    let attribute = match error {
        Error::Probe(_) => "health",
        _ => "image",
    };
    Diagnostic::error("The rollout was not begun", detail).at(attribute).into()
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
