//! Data sources, one a file.

mod audit_events;
mod deployments;
mod image;

use tfplugin::Registry;

use crate::provider::Spectra;

pub(crate) fn register(registry: &mut Registry<Spectra>) {
    registry
        .data_source(audit_events::AuditEvents)
        .data_source(deployments::Deployments)
        .data_source(image::Image);
}
