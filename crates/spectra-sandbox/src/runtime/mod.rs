//! What runs a deployment's replicas: real HTTP servers that behave as the image's labels say, or containers.

mod behaviour;
mod engine;
mod server;
mod simulated;

pub use self::{
    behaviour::{Behaviour, LabelError, PREFIX},
    engine::{ContainerRuntime, EngineError, EngineKind},
    simulated::SimulatedRuntime,
};
