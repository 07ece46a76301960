//! A typed client of Railway's public API.
//!
//! - One request reads everything about an environment; whoever asks within a moment shares it
//!   ([`Client::environment_snapshot`]), so that a plan costs a few requests, however many objects it reads.
//! - Writes are never repeated blindly. A write whose answer was lost is settled by looking the object up by its
//!   natural key and taking it over; where that is impossible the error says [`ErrorKind::Ambiguous`].
//! - "Not Authorized" is Railway's word for three things. An object is [`ErrorKind::NotFound`] only after a listing
//!   of its parent said so.
//! - What was changed is read back, and what reads differently is an error.
//! - Requests are paced: below the edge's limit, slower as the hourly budget shrinks, not at all while the server
//!   asks to wait.
//!
//! Facts about the API that this is built on are in the comments beside the code that needs them.

mod cache;
mod canary;
mod classify;
mod client;
mod company;
mod config;
mod deployment;
mod deployment_log;
mod domain;
mod environment;
mod error;
mod follow;
mod gql;
mod http_logs;
mod http_metrics;
mod identity;
mod instance;
mod metric_source;
mod pace;
mod patch;
mod project;
mod project_token;
mod region;
mod registry_login;
mod resource_usage;
mod restart;
mod rollback;
mod run_token;
mod service;
mod snapshot;
mod stream_logs;
mod subscribe;
mod target;
mod time;
mod transport;
mod variables;
mod volume;
mod websocket;
mod window;
mod wire_enum;

pub use crate::canary::{CANARY_OF_VARIABLE, ClonedService, FoundCanary, NewCanary, ROLLOUT_VARIABLE};
pub use crate::client::{Client, Guard};
pub use crate::config::{
    API_TOKEN_VARIABLE, BUDGET_VARIABLE, Budget, ClientConfig, DEFAULT_ENDPOINT, ENDPOINT_VARIABLE,
    TOKEN_VARIABLE, TokenKindHint, TokenOrigin, endpoint_from_env,
};
pub use crate::deployment::{Deployment, DeploymentStatus, InstanceRef, Replica, ReplicaStatus, StatusClass};
pub use crate::deployment_log::{DeploymentEvent, LogLine};
pub use crate::domain::ServiceDomain;
pub use crate::environment::{Environment, InitialDeploys, NewEnvironment};
pub use crate::error::{ConfigError, Error, ErrorKind, Result};
pub use crate::follow::{DeploymentFeed, FeedChange};
pub use crate::http_logs::{HttpRequest, HttpRequests};
pub use crate::http_metrics::{CountSample, DurationSample, HttpStatusCounts};
pub use crate::identity::{Identity, ProjectScope, TokenKind, Workspace};
pub use crate::instance::{
    Change, FieldDifference, Instance, InstanceUpdate, Placement, RegistryCredentials, RestartPolicy,
    RestartPolicyType,
};
pub use crate::metric_source::RailwayMetrics;
pub use crate::patch::{Deploys, Patch};
pub use crate::project::{NewProject, Project, ProjectChanges};
pub use crate::project_token::ProjectToken;
pub use crate::region::{Region, normalise as normalise_region};
pub use crate::registry_login::RegistryLogin;
pub use crate::resource_usage::{CpuSample, DeploymentUsage, MemorySample};
pub use crate::restart::{RestartWatch, Restarting, restartable};
pub use crate::rollback::{has_served, rollback_candidate};
pub use crate::run_token::{RunToken, Swept};
pub use crate::service::{FanOut, NewService, Service};
pub use crate::snapshot::EnvironmentSnapshot;
pub use crate::stream_logs::{LogKind, LogNews, LogStream};
pub use crate::target::RailwayTarget;
pub use crate::time::{Clock, Polling, SystemClock};
pub use crate::variables::{Variable, VariableChanges, VariableScope, VariableValue};
pub use crate::volume::VolumeMount;
