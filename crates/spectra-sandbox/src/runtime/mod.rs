//! What runs a deployment's replicas: real HTTP servers that behave as the image's labels say, or containers.

mod behaviour;
mod engine;
mod server;
mod simulated;
mod usage;

pub(crate) use self::usage::MOST_REQUESTS;
pub use self::{
    behaviour::{Behaviour, LabelError, PREFIX},
    engine::{ContainerRuntime, EngineError, EngineKind},
    simulated::{ERROR_HEADER, LATENCY_HEADER, SimulatedRuntime},
    usage::Usage,
};
