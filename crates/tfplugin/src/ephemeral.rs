//! What an ephemeral resource implements.

use std::future::Future;
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Context, Diagnostics, Model};

/// A value that exists for one run and is never stored: a token that is minted when it is needed and revoked after.
///
/// Terraform opens it in every walk that needs it, so once to plan and once to apply: opening must be harmless.
pub trait EphemeralResource: Send + Sync + 'static {
    /// The schema, and the shape of configuration and result.
    type Model: Model;
    /// The configured provider.
    type Client: Send + Sync + 'static;
    /// What renewing and closing need; `()` for nothing. It stays between this process and Terraform's memory.
    type Private: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// The full type name: `acme_token`.
    const TYPE: &'static str;

    /// Checks the configuration as a whole, without I/O. Unknown values may be fine.
    fn validate(&self, _config: &Self::Model, _diagnostics: &mut Diagnostics) {}

    /// Opens. The configuration is wholly known; the result must keep what it says. When this fails nothing may stay open, since
    /// Terraform closes only what was opened.
    fn open(
        &self,
        cx: &Context<Self::Client>,
        config: Self::Model,
    ) -> impl Future<Output = Result<Opened<Self::Model, Self::Private>, Diagnostics>> + Send;

    /// Keeps it open for longer; called only when [`Opened::renew_at`] said so. Terraform shows no message of a renewal
    /// that fails (up to 1.16), so it should be worth a log line.
    fn renew(
        &self,
        _cx: &Context<Self::Client>,
        _private: Self::Private,
    ) -> impl Future<Output = Result<Renewed<Self::Private>, Diagnostics>> + Send {
        async { Ok(Renewed::default()) }
    }

    /// Closes. Terraform hands over what [`open`](Self::open) returned, never what a renewal did: whatever closing needs must be in it. Also
    /// called after a failure and after an interrupt; already gone is success.
    fn close(
        &self,
        _cx: &Context<Self::Client>,
        _private: Self::Private,
    ) -> impl Future<Output = Result<Diagnostics, Diagnostics>> + Send {
        async { Ok(Diagnostics::new()) }
    }
}

/// What was opened.
#[derive(Clone, Debug)]
pub struct Opened<M, P> {
    /// The values, those of the configuration included.
    pub result: M,
    /// For renewing and closing.
    pub private: P,
    /// When it must be renewed. Leave a margin: a moment that has passed means at once.
    pub renew_at: Option<SystemTime>,
    /// Warnings.
    pub warnings: Diagnostics,
}

impl<M, P> Opened<M, P> {
    /// Open until it is closed.
    pub const fn new(result: M, private: P) -> Self {
        Self { result, private, renew_at: None, warnings: Diagnostics::new() }
    }

    /// To be renewed then.
    #[must_use]
    pub const fn renew_at(mut self, moment: SystemTime) -> Self {
        self.renew_at = Some(moment);
        self
    }
}

/// What a renewal came to.
#[derive(Clone, Debug)]
pub struct Renewed<P> {
    /// For the next renewal; the one before stays if there is none.
    pub private: Option<P>,
    /// When it must be renewed next; never again if absent.
    pub renew_at: Option<SystemTime>,
}

impl<P> Default for Renewed<P> {
    fn default() -> Self {
        Self { private: None, renew_at: None }
    }
}
