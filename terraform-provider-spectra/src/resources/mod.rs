//! Managed resources, one a file.

pub(crate) mod domain;
pub(crate) mod environment;
mod import_id;
mod managed_variables;
mod parents;
pub(crate) mod project;
pub(crate) mod rollout;
pub(crate) mod service;
pub(crate) mod setting;
pub(crate) mod variables;

use tfplugin::Registry;

use self::setting::SettingResource;
use self::setting::deployment_policy::DeploymentPolicyModel;
use self::setting::freeze_window::FreezeWindowModel;
use self::setting::notification_channel::NotificationChannelModel;
use crate::provider::Spectra;

pub(crate) fn register(registry: &mut Registry<Spectra>) {
    registry
        .resource(domain::Domain)
        .resource(environment::Environment)
        .resource(project::Project)
        .resource(rollout::Rollout)
        .resource(service::Service)
        .resource(SettingResource::<DeploymentPolicyModel>::new())
        .resource(SettingResource::<FreezeWindowModel>::new())
        .resource(SettingResource::<NotificationChannelModel>::new())
        .resource(variables::Variables);
}
