//! `rollout history`.

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;
use spectra_railway::{Client, ClientConfig, Deployment, InstanceRef};
use spectra_types::{EnvironmentId, ExitCode, ProjectId, ServiceId};

use crate::{failure::Failure, printer::Printer};

/// Arguments of `rollout history`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Project id
    #[arg(long, env = "RAILWAY_PROJECT_ID")]
    project: ProjectId,
    /// Environment id
    #[arg(long, env = "RAILWAY_ENVIRONMENT_ID")]
    environment: EnvironmentId,
    /// Service id
    #[arg(long, env = "RAILWAY_SERVICE_ID")]
    service: ServiceId,
    /// How many to list
    #[arg(long, env = "SPECTRA_LIMIT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
}

pub(super) async fn run(arguments: Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    let client = Client::new(ClientConfig::from_env()?)?;
    let instance = InstanceRef {
        project: arguments.project,
        environment: arguments.environment,
        service: arguments.service,
    };
    let deployments = client.recent_deployments(&instance, arguments.limit).await?;
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
    printer.data("rollout.history", &value, &text(&deployments))?;
    Ok(ExitCode::Done)
}

fn text(deployments: &[Deployment]) -> String {
    if deployments.is_empty() {
        return "no deployments".to_owned();
    }
    let mut output = String::new();
    for deployment in deployments {
        let digest = deployment.digest.as_ref().map_or_else(|| "-".to_owned(), spectra_types::Digest::short);
        // The running one is marked by a word, not by colour alone.
        let serving = if deployment.is_serving() { "  serving" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(
            output,
            "{}  {:<13} {}  {digest}{serving}",
            deployment.id,
            deployment.status.as_str(),
            deployment.created_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        );
    }
    output
}
