//! A project with services on the sandbox, for figures: made through the API, at a speed that no figure is taken at.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::error::Error;
use crate::image::Image;
use crate::sandbox::Sandbox;

/// How long everything may take to serve.
const SERVING: Duration = Duration::from_mins(3);

/// An environment with services that serve.
pub(crate) struct Place {
    pub(crate) project: String,
    pub(crate) environment: String,
    /// The id of each service, and a URL that it serves.
    pub(crate) services: Vec<(String, String)>,
}

/// Makes `count` services that run `image` and waits until all of them serve. Afterwards the sandbox's time is this
/// machine's, and its budget is that of `plan`, unused.
pub(crate) async fn make(sandbox: &Sandbox, image: &Image, count: u32, plan: &str) -> Result<Place, Error> {
    sandbox.set(&json!({ "time_scale": 2000.0, "plan": "enterprise" })).await?;
    let create =
        "mutation($input: ProjectCreateInput!) { projectCreate(input: $input) { id primaryEnvironmentId } }";
    let input = json!({ "input": { "name": "bench", "workspaceId": sandbox.workspace } });
    let made = sandbox.call(create, &input).await?;
    let project = text(&made, "/projectCreate/id")?;
    let environment = text(&made, "/projectCreate/primaryEnvironmentId")?;
    for number in 0..count {
        let query = "mutation($input: ServiceCreateInput!) { serviceCreate(input: $input) { id } }";
        let input = json!({ "input": { "projectId": project, "name": format!("service-{number}") } });
        let made = sandbox.call(query, &input).await?;
        let service = text(&made, "/serviceCreate/id")?;
        let query = "mutation($service: String!, $environment: String!, $image: String!) {
            serviceInstanceUpdate(serviceId: $service, environmentId: $environment, input: { source: { image: $image } })
            serviceDomainCreate(input: { serviceId: $service, environmentId: $environment }) { domain }
            serviceInstanceDeployV2(serviceId: $service, environmentId: $environment)
        }";
        let variables = json!({ "service": service, "environment": environment, "image": image.pinned });
        sandbox.call(query, &variables).await?;
    }
    let deadline = Instant::now() + SERVING;
    let services = loop {
        let rows = sandbox.services().await?;
        let serving: Vec<_> = rows.iter().filter(|row| row["running_digest"] == image.digest).collect();
        if u32::try_from(serving.len()).is_ok_and(|serving| serving == count) {
            let row = |row: &&Value| Ok((text(row, "/service_id")?, text(row, "/urls/0")?));
            break serving.iter().map(row).collect::<Result<_, Error>>()?;
        }
        if Instant::now() >= deadline {
            let found = format!("{} of {count} services serve", serving.len());
            return Err(Error::unexpected("the sandbox", found));
        }
        sleep(Duration::from_millis(50)).await;
    };
    sandbox.set(&json!({ "time_scale": 1.0, "plan": plan })).await?;
    Ok(Place { project, environment, services })
}

fn text(value: &Value, pointer: &str) -> Result<String, Error> {
    let found = value.pointer(pointer).and_then(Value::as_str).map(ToOwned::to_owned);
    found.ok_or_else(|| Error::unexpected("the sandbox", format!("no `{pointer}` in {value}")))
}
