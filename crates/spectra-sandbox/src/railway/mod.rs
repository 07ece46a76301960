//! The Railway-compatible API.

pub(crate) mod auth;
pub(crate) mod breadth;
pub(crate) mod engine;
pub(crate) mod filter;
pub(crate) mod gql;
pub(crate) mod http;
pub(crate) mod limits;
pub(crate) mod load;
pub(crate) mod metrics;
pub(crate) mod ops;
pub(crate) mod refusal;
pub(crate) mod socket;
pub(crate) mod traffic;
pub(crate) mod webhooks;
