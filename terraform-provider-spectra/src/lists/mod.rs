//! List resources, one a file: what exists, found by `terraform query`.

mod domain;
mod environment;
mod project;
mod rollout;
mod search;
mod service;
#[cfg(test)]
mod tests;
mod variables;

use tfplugin::Registry;

use crate::provider::Spectra;

pub(crate) fn register(registry: &mut Registry<Spectra>) {
    registry
        .list(domain::Domains)
        .list(environment::Environments)
        .list(project::Projects)
        .list(rollout::Rollouts)
        .list(service::Services)
        .list(variables::VariableSets);
}
