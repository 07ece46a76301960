//! Ephemeral resources, one a file: values of one run, which are in no plan and no state.

mod railway_project_token;
mod registry_token;

use tfplugin::Registry;

use crate::provider::Spectra;

pub(crate) fn register(registry: &mut Registry<Spectra>) {
    registry.ephemeral(railway_project_token::ProjectToken).ephemeral(registry_token::RegistryToken);
}
