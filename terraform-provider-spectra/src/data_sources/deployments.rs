//! `data.spectra_deployments`: what was deployed to a service, newest first.

use spectra_railway::{Deployment, InstanceRef};
use spectra_types::{EnvironmentId, ProjectId, ServiceId};
use tfplugin::{Attr, DataSource, Diagnostics, Model, Text};

use crate::errors::{known, railway};
use crate::provider::{Clients, Cx};

/// The most deployments that are read.
const MOST: i64 = 100;

/// The deployments of a service in one environment, newest first.
#[derive(Clone, Debug, Model)]
pub(crate) struct DeploymentsModel {
    /// The project.
    #[tf(required)]
    project_id: Attr<Text<ProjectId>>,
    /// The environment.
    #[tf(required)]
    environment_id: Attr<Text<EnvironmentId>>,
    /// The service.
    #[tf(required)]
    service_id: Attr<Text<ServiceId>>,
    /// How many are read at most; 20 when left out.
    #[tf(optional, validate(range(1..=100)))]
    limit: Attr<i64>,
    /// The deployments.
    #[tf(computed)]
    deployments: Attr<Vec<DeploymentModel>>,
}

/// One deployment.
#[derive(Clone, Debug, Model)]
pub(crate) struct DeploymentModel {
    /// The deployment's id.
    #[tf(computed)]
    id: Attr<String>,
    /// Railway's word for where it stands: `SUCCESS`, `FAILED`, `REMOVED`, …
    #[tf(computed)]
    status: Attr<String>,
    /// When it was started, RFC 3339.
    #[tf(computed)]
    created_at: Attr<String>,
    /// The image it was made from; null for a build.
    #[tf(computed)]
    image: Attr<String>,
    /// The digest that it runs; null when Railway does not say.
    #[tf(computed)]
    digest: Attr<String>,
    /// Whether it serves now.
    #[tf(computed)]
    serving: Attr<bool>,
    /// Whether Railway still keeps what it was made from.
    #[tf(computed)]
    can_rollback: Attr<bool>,
}

impl From<Deployment> for DeploymentModel {
    fn from(deployment: Deployment) -> Self {
        Self {
            serving: deployment.is_serving().into(),
            id: deployment.id.to_string().into(),
            status: deployment.status.as_str().to_owned().into(),
            created_at: deployment.created_at.to_string().into(),
            image: deployment.image.into(),
            digest: deployment.digest.map(|digest| digest.to_string()).into(),
            can_rollback: deployment.can_roll_back.into(),
        }
    }
}

/// The data source.
pub(crate) struct Deployments;

impl DataSource for Deployments {
    type Model = DeploymentsModel;
    type Client = Clients;

    const TYPE: &'static str = "spectra_deployments";

    async fn read(&self, cx: &Cx, config: DeploymentsModel) -> Result<DeploymentsModel, Diagnostics> {
        let instance = InstanceRef {
            project: known(&config.project_id, "project_id")?.into_inner(),
            environment: known(&config.environment_id, "environment_id")?.into_inner(),
            service: known(&config.service_id, "service_id")?.into_inner(),
        };
        let client = cx.client.railway()?;
        let failed = |error: spectra_railway::Error| -> Diagnostics {
            railway(
                format!("The deployments of service `{}` could not be read", instance.service),
                &error,
                "Nothing was changed.",
            )
            .at("service_id")
            .into()
        };
        // A service that does not exist has an empty list of deployments, which must not look like an answer.
        client.instance(&instance).await.map_err(failed)?;
        let limit = u32::try_from(config.limit.clone().unwrap_or(20).clamp(1, MOST)).unwrap_or(20);
        let deployments = client.recent_deployments(&instance, limit).await.map_err(failed)?;
        let deployments: Vec<DeploymentModel> = deployments.into_iter().map(Into::into).collect();
        Ok(DeploymentsModel { deployments: deployments.into(), ..config })
    }
}
