//! The wire types, generated from `proto/*.proto`.
//!
//! Not part of the public contract: conversions live in the framework, providers never see these.

use std::fmt;

/// The compiled descriptors of every file below, as an encoded `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The provider protocol.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated; the shape of the protocol decides"
)]
pub mod tfplugin6 {
    tonic::include_proto!("tfplugin6");
}

/// What the launcher expects beside the provider: controller, stdio, broker.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated; the shape of the protocol decides"
)]
pub mod plugin {
    tonic::include_proto!("plugin");
}

/// The standard health service.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated; the shape of the protocol decides"
)]
pub mod health {
    tonic::include_proto!("grpc.health.v1");
}

/// Sizes only: the value may hold secrets.
impl fmt::Debug for tfplugin6::DynamicValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DynamicValue(msgpack: {} bytes, json: {} bytes)", self.msgpack.len(), self.json.len())
    }
}

/// Sizes only: the state may hold secrets.
impl fmt::Debug for tfplugin6::RawState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawState(json: {} bytes, flatmap: {} keys)", self.json.len(), self.flatmap.len())
    }
}
