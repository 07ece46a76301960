//! `list "spectra_freeze_window"`, `list "spectra_deployment_policy"`, `list "spectra_notification_channel"`: the settings
//! of the journal.

use std::marker::PhantomData;

use tfplugin::{Attr, Diagnostics, Findings, ListResource, Model};

use super::search;
use crate::provider::{Clients, Cx};
use crate::resources::setting::{self, SettingModel, SettingResource};

/// Finds settings of the journal. Asks Railway nothing.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct SettingQuery {
    /// Only those whose name begins like this.
    #[tf(optional, validate(length(1..=128)))]
    pub(crate) name_prefix: Attr<String>,
}

/// The list resource.
pub(crate) struct SettingsOf<M>(PhantomData<fn() -> M>);

impl<M> SettingsOf<M> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<M: SettingModel> ListResource for SettingsOf<M> {
    type Model = SettingQuery;
    type Resource = SettingResource<M>;
    type Client = Clients;

    async fn list(
        &self,
        cx: &Cx,
        config: SettingQuery,
        findings: &Findings<M>,
    ) -> Result<Diagnostics, Diagnostics> {
        for found in setting::all::<M>(cx).await? {
            let name = found.name().as_str().unwrap_or_default().to_owned();
            if search::matches(&config.name_prefix, &name) && !findings.found(name, found).await {
                break;
            }
        }
        Ok(Diagnostics::new())
    }
}
