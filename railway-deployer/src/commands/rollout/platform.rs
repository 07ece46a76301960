//! `rollout history --platform`: the deployments as Railway lists them.

use serde_json::json;
use spectra_railway::{Client, ClientConfig, Deployment, InstanceRef};
use spectra_rollout::Place;
use spectra_types::ExitCode;

use crate::{failure::Failure, lines::Lines, printer::Printer};

pub(super) async fn run(place: Place, limit: u32, printer: Printer) -> Result<ExitCode, Failure> {
    let client = Client::new(ClientConfig::from_env()?)?;
    let instance = InstanceRef::from(&place);
    let deployments = client.recent_deployments(&instance, limit).await?;
    let list: Vec<_> = deployments
        .iter()
        .map(|deployment| {
            json!({
                "id": deployment.id,
                "status": deployment.status.as_str(),
                "serving": deployment.is_serving(),
                "created_at": deployment.created_at.to_string(),
                "image": deployment.image,
                "digest": deployment.digest,
                "can_roll_back": deployment.can_roll_back,
            })
        })
        .collect();
    let value = json!({
        "project_id": instance.project,
        "environment_id": instance.environment,
        "service_id": instance.service,
        "deployments": list,
    });
    printer.data("rollout.deployments", &value, text(&deployments))?;
    Ok(ExitCode::Done)
}

fn text(deployments: &[Deployment]) -> Lines {
    if deployments.is_empty() {
        return "no deployments".into();
    }
    let mut output = Lines::default();
    for deployment in deployments {
        let digest = deployment.digest.as_ref().map_or_else(|| "-".to_owned(), spectra_types::Digest::short);
        // The running one is marked by a word, not by colour alone.
        let serving = if deployment.is_serving() { "  serving" } else { "" };
        output.push(&format!(
            "{}  {:<13} {}  {digest}{serving}",
            deployment.id,
            deployment.status.as_str(),
            deployment.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        ));
    }
    output
}
