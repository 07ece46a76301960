//! Actions, one a file: things to do that leave no object behind.

mod abort;
mod notify;
mod promote;
mod restart;
mod rollback;

use spectra_railway::{InstanceRef, RegistryLogin};
use spectra_types::{EnvironmentId, PinnedImage, ProjectId, ServiceId};
use tfplugin::{Attr, Diagnostics, Model, Registry, Sensitive, Text};

use crate::errors::{UNCHANGED, known, railway};
use crate::provider::{Cx, Spectra};
use crate::resources::rollout::delivery;

pub(crate) fn register(registry: &mut Registry<Spectra>) {
    registry
        .action(abort::Abort)
        .action(notify::Notify)
        .action(promote::Promote)
        .action(restart::Restart)
        .action(rollback::Rollback);
}

/// A login to a registry, for an image that is pulled anew.
#[derive(Clone, Debug, Model)]
pub(crate) struct RegistryCredentialsModel {
    /// The user name.
    #[tf(required, validate(length(1..=256)))]
    username: Attr<String>,
    /// The password or token: write-only. Railway alone stores it.
    #[tf(required, write_only, sensitive)]
    password_wo: Attr<Sensitive<String>>,
}

impl RegistryCredentialsModel {
    /// The login, for the registry of that image.
    fn login(&self, image: &PinnedImage) -> Result<RegistryLogin, Diagnostics> {
        delivery::login(&self.username, &self.password_wo, image)
    }
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

/// Refuses at plan what is not there, so that a wrong id stops the run before it begins. Ids that are not known yet are
/// passed over.
async fn check(
    cx: &Cx,
    project: &Attr<Text<ProjectId>>,
    environment: &Attr<Text<EnvironmentId>>,
    service: &Attr<Text<ServiceId>>,
    diagnostics: &mut Diagnostics,
) {
    let client = match cx.client.railway() {
        Ok(client) => client,
        Err(why) => return diagnostics.extend(why),
    };
    let (Some(project), Some(environment)) = (project.as_known(), environment.as_known()) else { return };
    let (error, attribute) = match client.environment_snapshot(project, environment).await {
        Err(error) => (error, "environment_id"),
        Ok(snapshot) => match service.as_known().map(|service| snapshot.instance(service)) {
            Some(Err(error)) => (error, "service_id"),
            Some(Ok(_)) | None => return,
        },
    };
    let summary = "What the action is about cannot be found";
    diagnostics.push(railway(summary, &error, UNCHANGED).at(attribute));
}
