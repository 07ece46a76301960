//! The services the launcher expects beside the provider.

use futures::{StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::codegen::BoxStream as Boxed;
use tonic::{Request, Response, Status, Streaming};

use crate::proto::health::health_check_response::ServingStatus;
use crate::proto::health::health_server::Health;
use crate::proto::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use crate::proto::plugin::grpc_broker_server::GrpcBroker;
use crate::proto::plugin::grpc_controller_server::GrpcController;
use crate::proto::plugin::grpc_stdio_server::GrpcStdio;
use crate::proto::plugin::{ConnInfo, Empty, StdioData};

/// The services that are asked for by name: the server as a whole, and the launcher's own name for it.
const HEALTHY: [&str; 2] = ["", "plugin"];

/// Answers `Shutdown` and lets the server end.
pub(crate) struct Controller {
    /// Sent to once per `Shutdown`. Closed or full means that the end has begun.
    pub(crate) shutdown: mpsc::Sender<()>,
}

#[tonic::async_trait]
impl GrpcController for Controller {
    async fn shutdown(&self, _request: Request<Empty>) -> Result<Response<Empty>, Status> {
        // The reply still leaves: the server ends its open calls before its connections.
        let _ = self.shutdown.try_send(());
        Ok(Response::new(Empty {}))
    }
}

/// Keeps its streams open and silent. Terraform logs whatever comes over them as unexpected.
pub(crate) struct Stdio {
    pub(crate) exit: CancellationToken,
}

#[tonic::async_trait]
impl GrpcStdio for Stdio {
    async fn stream_stdio(&self, _request: Request<()>) -> Result<Response<Boxed<StdioData>>, Status> {
        Ok(Response::new(silent_until(&self.exit)))
    }
}

/// Announces no connection and accepts none: Terraform never asks.
pub(crate) struct Broker {
    pub(crate) exit: CancellationToken,
}

#[tonic::async_trait]
impl GrpcBroker for Broker {
    async fn start_stream(
        &self,
        _request: Request<Streaming<ConnInfo>>,
    ) -> Result<Response<Boxed<ConnInfo>>, Status> {
        Ok(Response::new(silent_until(&self.exit)))
    }
}

/// The process serves as long as it answers.
pub(crate) struct Healthy {
    pub(crate) exit: CancellationToken,
}

#[tonic::async_trait]
impl Health for Healthy {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if HEALTHY.contains(&service.as_str()) {
            Ok(Response::new(state(ServingStatus::Serving)))
        } else {
            Err(Status::not_found(format!("there is no service `{service}`")))
        }
    }

    async fn list(
        &self,
        _request: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        let statuses =
            HEALTHY.iter().map(|name| ((*name).to_owned(), state(ServingStatus::Serving))).collect();
        Ok(Response::new(HealthListResponse { statuses }))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Boxed<HealthCheckResponse>>, Status> {
        let known = HEALTHY.contains(&request.into_inner().service.as_str());
        let first = state(if known { ServingStatus::Serving } else { ServingStatus::ServiceUnknown });
        let stream = stream::once(async move { Ok(first) }).chain(silent_until(&self.exit));
        Ok(Response::new(Box::pin(stream)))
    }
}

fn state(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

/// Sends nothing and ends when the server does.
fn silent_until<T: Send + 'static>(exit: &CancellationToken) -> Boxed<T> {
    Box::pin(stream::pending().take_until(exit.clone().cancelled_owned()))
}
