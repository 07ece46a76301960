//! List resources, one a file: what exists, found by `terraform query`.

mod domain;
mod environment;
mod project;
mod rollout;
mod search;
mod service;
mod setting;
#[cfg(test)]
mod tests;
mod variables;

#[cfg(test)]
pub(crate) use self::setting::{SettingQuery, SettingsOf};
use tfplugin::Registry;

use crate::provider::Spectra;
use crate::resources::setting::deployment_policy::DeploymentPolicyModel;
use crate::resources::setting::freeze_window::FreezeWindowModel;
use crate::resources::setting::notification_channel::NotificationChannelModel;

pub(crate) fn register(registry: &mut Registry<Spectra>) {
    registry
        .list(domain::Domains)
        .list(environment::Environments)
        .list(project::Projects)
        .list(rollout::Rollouts)
        .list(service::Services)
        .list(setting::SettingsOf::<DeploymentPolicyModel>::new())
        .list(setting::SettingsOf::<FreezeWindowModel>::new())
        .list(setting::SettingsOf::<NotificationChannelModel>::new())
        .list(variables::VariableSets);
}
