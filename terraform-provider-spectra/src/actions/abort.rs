//! `action.spectra_abort`: a rollout goes back.

use spectra_delivery::{Aborted, Delivery, Standing};
use spectra_rollout::{Outcome, Place, Report};
use spectra_types::{EnvironmentId, ProjectId, ServiceId};
use tfplugin::{Action, Attr, Diagnostic, Diagnostics, Model, Progress, Text};

use super::{RegistryCredentialsModel, check, instance};
use crate::errors::{UNCHANGED, sentence};
use crate::provider::{Clients, Cx};
use crate::resources::rollout::delivery::{self, Terms};
use crate::resources::rollout::report;

/// Ends the open rollout of a service, and waits until what ran before is back.
///
/// If the process that runs it lives, it is asked to go back. If that process is gone, the way back is gone from here. With no
/// rollout open, nothing is done, and that is no error: it can be invoked whenever something seems wrong.
///
/// An apply of the same configuration has the state's lock for as long as its rollout runs; invoke this action from another
/// configuration, or with `-lock=false`.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct AbortModel {
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
    /// Why; recorded.
    #[tf(optional)]
    reason: Attr<String>,
    /// How Railway logs in to the registry of the rollout's image, where the way back is gone from here. Without it, Railway
    /// keeps the login that it has.
    #[tf(optional)]
    registry_credentials: Attr<RegistryCredentialsModel>,
}

/// The action.
pub(crate) struct Abort;

impl Action for Abort {
    type Model = AbortModel;
    type Client = Clients;

    const TYPE: &'static str = "spectra_abort";

    async fn plan(&self, cx: Option<&Cx>, config: &AbortModel, diagnostics: &mut Diagnostics) {
        let Some(cx) = cx else { return };
        check(cx, &config.project_id, &config.environment_id, &config.service_id, diagnostics).await;
    }

    async fn invoke(
        &self,
        cx: &Cx,
        config: AbortModel,
        progress: &Progress,
    ) -> Result<Diagnostics, Diagnostics> {
        let place: Place = instance(&config.project_id, &config.environment_id, &config.service_id)?.into();
        let id = config.rollout_id.known();
        let reason = config.reason.known().unwrap_or_default();
        let failed = |error| delivery::not_done("The rollout could not be aborted", &error);
        let journal = cx.client.journal().await?;
        let open = spectra_delivery::standing(journal, &place.subject()).await.map_err(failed)?;
        let registry = match (config.registry_credentials.as_known(), open) {
            (Some(login), Standing::Open { request, .. }) => Some(login.login(&request.candidate)?),
            _ => None,
        };
        let terms = Terms { registry, listener: Some(progress), ..Terms::default() };
        let work = async |delivery: &Delivery<'_>| {
            let by = delivery.holder.to_string();
            Box::pin(delivery.abort(&place, id.as_deref(), &by, &reason, &cx.cancel)).await
        };
        match delivery::with_delivery(cx, terms, work).await?.map_err(failed)? {
            Aborted::NothingOpen => {
                progress.say(format!("no rollout of {place} is open; nothing was done"));
                Ok(Diagnostics::new())
            }
            Aborted::Another { open } => Err(Diagnostic::error(
                "Another rollout is open",
                format!(
                    "Rollout `{}` is not open; `{open}` of {place} is, and it was asked nothing. {UNCHANGED}\n\nName that one, or \
                     leave `rollout_id` out.",
                    id.unwrap_or_default()
                ),
            )
            .into()),
            Aborted::Ended { rollout, outcome } => {
                progress.say(format!("rollout `{rollout}` ended: {outcome}"));
                ended(&rollout, &outcome, &place)
            }
            Aborted::Recovered(report) => {
                progress.say(format!("rollout `{}` was brought to an end from here: {}", report.rollout, report.outcome));
                recovered(&report, &place)
            }
            Aborted::Asked { rollout } => Err(Diagnostic::error(
                "Stopped",
                format!(
                    "Rollout `{rollout}` of {place} was asked to go back, and was not waited for. `railway-deployer rollout \
                     watch` follows it."
                ),
            )
            .into()),
        }
    }
}

/// Whether what ran before runs, which is what an abort is for.
const fn went_back(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::RolledBack { .. } | Outcome::Refused { .. })
}

/// What was done from here of a rollout whose process was gone. One that was as good as complete is completed.
fn recovered(report: &Report, place: &Place) -> Result<Diagnostics, Diagnostics> {
    match &report.outcome {
        outcome if went_back(outcome) => Ok(Diagnostics::new()),
        outcome @ Outcome::Complete { .. } => ended(&report.rollout, outcome, place),
        _ => Err(report::of_rollout(report, "Invoke the action again to try again.").into()),
    }
}

/// What another process did of the rollout that it was asked to end.
fn ended(rollout: &str, outcome: &Outcome, place: &Place) -> Result<Diagnostics, Diagnostics> {
    if went_back(outcome) {
        return Ok(Diagnostics::new());
    }
    let words = sentence(&outcome.to_string());
    match outcome {
        Outcome::Complete { .. } => Ok(Diagnostic::warning(
            "The rollout was complete before it could be aborted",
            format!("Rollout `{rollout}` of {place} ended: {words}. `spectra_rollback` brings the version before back."),
        )
        .into()),
        _ => Err(Diagnostic::error(
            "The rollout was not brought back",
            format!(
                "Rollout `{rollout}` of {place} ended: {words}. Look at the service on Railway; `railway-deployer rollout \
                 status` shows what the journal knows."
            ),
        )
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::rollout::report::tests::failed;

    /// Terraform takes an action that fails without an error for a mistake in the provider.
    #[test]
    fn a_rollout_that_was_completed_from_here_is_a_warning_and_no_failure() {
        let mut report = failed(format!("ghcr.io/team/web@sha256:{}", "a".repeat(64)).parse().unwrap());
        let place = report.place.clone();
        assert!(recovered(&report, &place).unwrap_err().has_errors());
        report.outcome = Outcome::Complete { deployment: "d-1".parse().unwrap() };
        let told = recovered(&report, &place).unwrap();
        assert!(!told.has_errors());
        assert_eq!(told.iter().count(), 1);
    }
}
