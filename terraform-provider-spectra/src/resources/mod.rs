//! Managed resources, one a file.

mod domain;
mod environment;
mod import_id;
mod managed_variables;
mod parents;
mod project;
mod rollout;
mod service;
mod variables;

use tfplugin::Registry;

use crate::provider::Spectra;

pub(crate) fn register(registry: &mut Registry<Spectra>) {
    registry
        .resource(domain::Domain)
        .resource(environment::Environment)
        .resource(project::Project)
        .resource(rollout::Rollout)
        .resource(service::Service)
        .resource(variables::Variables);
}
