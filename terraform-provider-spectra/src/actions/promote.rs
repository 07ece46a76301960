//! `action.spectra_promote`: a rollout goes on.

use spectra_delivery::{Promoted, promote};
use spectra_journal::Holder;
use spectra_rollout::{Outcome, Place};
use spectra_types::{EnvironmentId, ProjectId, ServiceId};
use tfplugin::{Action, Attr, Diagnostic, Diagnostics, Model, Progress, Text};

use super::{check, instance};
use crate::errors::{UNCHANGED, sentence};
use crate::provider::{Clients, Cx, PROGRAM};
use crate::resources::rollout::delivery;

/// Lets the running rollout of a service end the wait that it is in: a pause, an analysis, the bake. It is waited until the
/// rollout has heard, not until it ends.
///
/// The rollout runs in another process with the same journal: a job of a pipeline, or another apply. An apply of the same
/// configuration has the state's lock for as long as its rollout runs; invoke this action from another configuration, or with
/// `-lock=false`. What a rollout needs an approval for is not passed by this.
#[derive(Clone, Debug, Default, Model)]
#[expect(clippy::struct_field_names, reason = "the names of the attributes")]
pub(crate) struct PromoteModel {
    /// The project.
    #[tf(required)]
    project_id: Attr<Text<ProjectId>>,
    /// The environment.
    #[tf(required)]
    environment_id: Attr<Text<EnvironmentId>>,
    /// The service.
    #[tf(required)]
    service_id: Attr<Text<ServiceId>>,
    /// The only rollout that is meant; without it, the one that is open.
    #[tf(optional)]
    rollout_id: Attr<String>,
}

/// The action.
pub(crate) struct Promote;

impl Action for Promote {
    type Model = PromoteModel;
    type Client = Clients;

    const TYPE: &'static str = "spectra_promote";

    async fn plan(&self, cx: Option<&Cx>, config: &PromoteModel, diagnostics: &mut Diagnostics) {
        let Some(cx) = cx else { return };
        check(cx, &config.project_id, &config.environment_id, &config.service_id, diagnostics).await;
    }

    async fn invoke(
        &self,
        cx: &Cx,
        config: PromoteModel,
        progress: &Progress,
    ) -> Result<Diagnostics, Diagnostics> {
        let place: Place = instance(&config.project_id, &config.environment_id, &config.service_id)?.into();
        let id = config.rollout_id.known();
        let journal = cx.client.journal().await?;
        let by = Holder::of_this_process(PROGRAM).to_string();
        progress.say(format!("asking the rollout of {place} to go on"));
        let asked = tokio::select! {
            asked = promote(journal, &place, id.as_deref(), &by) => asked,
            () = cx.cancel.cancelled() => {
                let detail = "The rollout may have been asked to go on, and was not waited for. Nothing else was changed.";
                return Err(Diagnostic::error("Stopped", detail).into());
            }
        };
        match asked.map_err(|error| delivery::not_done("The rollout could not be promoted", &error))? {
            Promoted::Heard { rollout } => {
                progress.say(format!(
                    "the wish is written down for rollout `{rollout}`; a pause or an analysis ends by it, a wait for an approval \
                     or a freeze does not"
                ));
                Ok(Diagnostics::new())
            }
            Promoted::Ended { rollout, outcome } if matches!(*outcome, Outcome::Complete { .. }) => {
                progress.say(format!("rollout `{rollout}` ended before it heard: {outcome}"));
                Ok(Diagnostics::new())
            }
            Promoted::Ended { rollout, outcome } => Err(Diagnostic::error(
                "The rollout ended before it could be promoted",
                format!("Rollout `{rollout}` of {place} ended: {}.", sentence(&outcome.to_string())),
            )
            .into()),
            Promoted::NothingRuns => Err(Diagnostic::error(
                "No rollout runs",
                format!(
                    "No process runs {} of {place}, as far as this journal knows. {UNCHANGED}\n\nCheck `journal` and the ids; \
                     `railway-deployer rollout status` shows how things stand.",
                    id.map_or_else(|| "a rollout".to_owned(), |id| format!("rollout `{id}`"))
                ),
            )
            .into()),
        }
    }
}
