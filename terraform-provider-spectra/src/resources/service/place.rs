//! Getting a service into an environment: made, placed, or taken over from a fork.

use spectra_railway::{FanOut, Instance, InstanceRef, NewService};
use spectra_types::ServiceId;
use tfplugin::{Attr, Diagnostic, Diagnostics};

use super::model::ServiceModel;
use crate::errors::{LEFT_BEHIND, UNCHANGED, known, railway};
use crate::provider::Cx;

/// The service could not be had.
pub(super) struct Unplaced {
    /// What exists now all the same.
    pub(super) left: Option<ServiceId>,
    /// Why.
    pub(super) why: Diagnostics,
}

impl<D: Into<Diagnostics>> From<D> for Unplaced {
    fn from(why: D) -> Self {
        Self { left: None, why: why.into() }
    }
}

/// Creates the service, or places the one that the project has already into this environment.
///
/// Terraform applies several at once: the same name in two environments is one service, which only one of them may
/// create. So they go one by one.
pub(super) async fn place(cx: &Cx, planned: &ServiceModel, name: &str) -> Result<Instance, Unplaced> {
    let client = cx.client.railway()?;
    let project = known(&planned.project_id, "project_id")?.into_inner();
    let environment = known(&planned.environment_id, "environment_id")?.into_inner();
    let allowed = planned.allow_fan_out == Attr::Known(true);
    let mut placed = cx.client.placing().await;

    let existing =
        client.service_by_name(&project, name).await.map_err(|error| failed(name, &error, None))?;
    let Some(existing) = existing else {
        let fan_out = if allowed { FanOut::Allow } else { FanOut::Refuse };
        let new = NewService { project, environment: environment.clone(), name: name.to_owned(), fan_out };
        let (service, instance) = client
            .create_service(&new)
            .await
            .map_err(|error| failed(name, &error, error.left_behind().and_then(|id| id.parse().ok())))?;
        placed.insert((environment, service.id));
        return Ok(instance);
    };
    let reference = InstanceRef { project, environment, service: existing.id };
    let key = (reference.environment.clone(), reference.service.clone());
    let instance = match client.fresh_instance(&reference).await {
        Ok(found) => {
            let home = client
                .environment(&reference.project, &reference.environment)
                .await
                .map_err(|error| failed(name, &error, None))?;
            // A fork has copies of its source's services, and a root those that fan out. Nobody has deployed them.
            let copied = !home.is_root() || allowed;
            if !copied || was_deployed(&found) || placed.contains(&key) {
                return Err(taken(name, &reference).into());
            }
            found
        }
        Err(error) if error.is_not_found() => client.create_instance(&reference).await.map_err(|error| {
            let left = (!error.changed_nothing()).then(|| reference.service.clone());
            failed(name, &error, left)
        })?,
        Err(error) => return Err(failed(name, &error, None)),
    };
    placed.insert(key);
    Ok(instance)
}

fn was_deployed(instance: &Instance) -> bool {
    instance.latest_deployment.is_some() || !instance.active_deployments.is_empty()
}

fn taken(name: &str, reference: &InstanceRef) -> Diagnostic {
    Diagnostic::error(
        format!("The service `{name}` is in this environment already"),
        format!(
            "Somebody else created service `{}`. {UNCHANGED}\n\nImport it with the id `{}/{}/{}`, or choose another name.",
            reference.service, reference.project, reference.environment, reference.service
        ),
    )
    .at("name")
}

fn failed(name: &str, error: &spectra_railway::Error, left: Option<ServiceId>) -> Unplaced {
    let what = match (&left, error.changed_nothing()) {
        (Some(_), _) => LEFT_BEHIND,
        (None, true) => UNCHANGED,
        (None, false) => {
            "The service may have been created: look for it on Railway, and import or delete it before applying again."
        }
    };
    Unplaced { left, why: railway(format!("The service `{name}` could not be created"), error, what).into() }
}
