//! Actions, one a file: things to do that leave no object behind.

mod notify;
mod restart;
mod rollback;

use spectra_railway::InstanceRef;
use spectra_types::{EnvironmentId, ProjectId, ServiceId};
use tfplugin::{Attr, Diagnostics, Registry, Text};

use crate::errors::known;
use crate::provider::Spectra;

pub(crate) fn register(registry: &mut Registry<Spectra>) {
    registry.action(notify::Notify).action(restart::Restart).action(rollback::Rollback);
}

/// The service in the environment that an action is about.
fn instance(
    project: &Attr<Text<ProjectId>>,
    environment: &Attr<Text<EnvironmentId>>,
    service: &Attr<Text<ServiceId>>,
) -> Result<InstanceRef, Diagnostics> {
    Ok(InstanceRef {
        project: known(project, "project_id")?.into_inner(),
        environment: known(environment, "environment_id")?.into_inner(),
        service: known(service, "service_id")?.into_inner(),
    })
}
