//! For the tests of providers: Terraform core in small, in the same process.
//!
//! [`Core`] does with one resource at a time what Terraform does: it validates, proposes, plans, replaces, applies
//! with a second plan, refreshes, imports and destroys; it encodes every message as it is on the wire, keeps state
//! the way Terraform keeps it after errors, and holds every answer against the rules of Terraform core. It knows no
//! expressions and no dependencies: what depends on something unknown is written as [`Attr::Unknown`](crate::Attr).
//!
//! A provider's tests run some hundred times faster with it than through the real Terraform, which remains the judge.

mod core;
mod messages;
mod offers;
mod outcome;

pub use self::core::Core;
pub use self::offers::{Listed, Open};
pub use self::outcome::{Changed, Failed, Outcome};
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
    let block = M::block();
    conform(&model.to_value(), &block.implied_type(), &AttributePath::root())
        .map(|value| block.complete(value))
}
