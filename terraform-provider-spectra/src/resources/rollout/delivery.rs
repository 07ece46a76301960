//! One image on its way to one service: for the resource, and for whatever else brings an image out.

use std::time::Duration;

use spectra_delivery::{Delivered, Delivery, Error, Waiting};
use spectra_journal::{Held, Holder};
use spectra_railway::{Client, HttpProbe, InstanceRef};
use spectra_rollout::{Adopt, HealthPolicy, Place, RolloutRequest};
use spectra_types::{HumanDuration, PinnedImage, error_chain};
use tfplugin::{Attr, Diagnostic, Diagnostics, Progress, Text};

use super::model::HealthModel;
use crate::errors::{UNCHANGED, known, railway, sentence};
use crate::provider::{Cx, PROGRAM};

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
    /// Why it goes on in spite of a freeze window.
    pub(crate) freeze_override: Option<String>,
}

impl Order<'_> {
    fn request(self, place: Place) -> Result<RolloutRequest, Diagnostics> {
        let duration = |attribute: &Attr<Text<HumanDuration>>, name: &str| -> Result<Duration, Diagnostics> {
            Ok(known(attribute, name)?.get().get())
        };
        Ok(RolloutRequest {
            adopt: self.adopt,
            health: self.health.map(policy).transpose()?,
            bake: duration(self.bake, "bake")?,
            progress_deadline: duration(self.progress_deadline, "progress_deadline")?,
            timeout: duration(self.timeout, "timeout")?,
            abort_timeout: duration(self.abort_timeout, "abort_timeout")?,
            freeze_override: self.freeze_override,
            ..RolloutRequest::new(place, self.image)
        })
    }
}

/// Brings it out, or what ran before back. Each step is told to `listener` as it is taken.
pub(crate) async fn roll_out(
    cx: &Cx,
    order: Order<'_>,
    instance: &InstanceRef,
    listener: Option<&Progress>,
) -> Result<Delivered, Diagnostics> {
    let request = order.request(instance.clone().into())?;
    let say = |line: &str| {
        if let Some(listener) = listener {
            listener.say(line);
        }
    };
    let told =
        |held: &Held| say(&format!("waiting for the lease of `{}`, which {} has", held.subject, held.holder));
    let delivery = Delivery {
        client: cx.client.railway()?,
        journal: cx.client.journal().await?,
        holder: Holder::of_this_process(PROGRAM),
        channels: &[],
        registry: None,
        listener: &say,
        waiting: Waiting { told: &told, ..Waiting::NO },
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
