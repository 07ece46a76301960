//! A Terraform plugin server framework for Rust: protocol 6 over tonic and prost.
//!
//! A provider is a set of plain structs. One struct per resource is its schema, its documentation and its
//! conversion ([`Model`]); a small trait implementation is its behaviour ([`Resource`], [`DataSource`],
//! [`Function`]). The framework speaks the wire protocol, computes plans, and checks locally everything
//! Terraform core would check, so that a provider author cannot produce an inconsistent plan or result.

pub mod check;
pub mod codec;
pub mod convert;
mod diagnostics;
pub mod logging;
mod path;
#[doc(hidden)]
pub mod proto;
pub mod schema;
pub mod server;
mod ty;
pub mod value;

mod action;
mod data_source;
mod deferral;
mod ephemeral;
mod function;
mod history;
mod list;
mod private_state;
mod provider;
mod resource;
mod rpc;
mod run;
mod state_store;
pub mod testing;
mod timeouts;

// Derived code names the crate from outside, and models of its own are derived inside.
extern crate self as tfplugin;

#[doc(hidden)]
pub use crate::convert::private as __private;

pub use crate::action::{Action, Progress};
pub use crate::convert::{Attr, AttributeShape, BlockShape, FromValue, Model, Sensitive, Set, Text, ToValue};
pub use crate::data_source::DataSource;
pub use crate::deferral::Deferral;
pub use crate::diagnostics::{Diagnostic, Diagnostics, Severity};
pub use crate::ephemeral::{EphemeralResource, Opened, Renewed};
pub use crate::function::{Function, FunctionError};
pub use crate::history::{History, MoveFrom, MoveSource};
pub use crate::list::{Findings, Found, ListResource};
pub use crate::path::{AttributePath, PathStep};
pub use crate::private_state::PrivateState;
pub use crate::provider::{Configure, Context, Provider, Registry};
pub use crate::resource::{Apply, Import, Operation, Plan, Resource, StateSlot};
pub use crate::run::{run, serve_embedded};
pub use crate::state_store::{Locking, StateLock, StateStore, Unlocking};
pub use crate::timeouts::{Timeout, TimeoutError, Timeouts};
pub use crate::ty::{Type, TypeError};
pub use crate::value::{Number, Unknown, Value};
pub use tfplugin_macros::{Model, TfEnum};
