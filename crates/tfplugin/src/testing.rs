//! For the tests of providers.

use crate::rpc::Service;
use crate::schema::conform;
use crate::server::StopToken;
use crate::{AttributePath, Diagnostic, Model, Provider, Value};

/// What is wrong with the schemas of a provider; empty when they are sound. A unit test asserts just that.
pub fn lint<P: Provider>(provider: P) -> Vec<String> {
    Service::new(provider, StopToken::new()).problems().to_vec()
}

/// A model as the value that its schema describes.
pub fn to_value<M: Model>(model: &M) -> Result<Value, Diagnostic> {
    conform(&model.to_value(), &M::block().implied_type(), &AttributePath::root())
}
