//! What an action implements.

use std::future::Future;

use tokio::sync::mpsc;

use crate::{Context, Diagnostics, Model};

/// Something to do that leaves no object behind: restart, notify, roll back. Triggered by the life of resources, or
/// by `terraform apply -invoke`.
pub trait Action: Send + Sync + 'static {
    /// The schema, and the shape of the configuration.
    type Model: Model;
    /// The configured provider.
    type Client: Send + Sync + 'static;

    /// The full type name: `acme_restart`.
    const TYPE: &'static str;

    /// Checks the configuration as a whole, without I/O. Unknown values may be fine.
    fn validate(&self, _config: &Self::Model, _diagnostics: &mut Diagnostics) {}

    /// Refuses or warns while planning. The configuration may hold unknown values; `cx` is `None` when the provider's
    /// own configuration is not known yet.
    fn plan(
        &self,
        _cx: Option<&Context<Self::Client>>,
        _config: &Self::Model,
        _diagnostics: &mut Diagnostics,
    ) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Does it. The configuration is wholly known, write-only values included. A long one watches `cx.cancel`, says what it
    /// does by `progress`, and goes on to a clean end when nobody listens any longer.
    fn invoke(
        &self,
        cx: &Context<Self::Client>,
        config: Self::Model,
        progress: &Progress,
    ) -> impl Future<Output = Result<Diagnostics, Diagnostics>> + Send;
}

/// Tells the person who waits how far an action is.
#[derive(Clone, Debug)]
pub struct Progress {
    pub(crate) sender: mpsc::UnboundedSender<String>,
}

impl Progress {
    /// Says one line. No secrets: it is shown and logged. What is said after [`Action::invoke`] has returned is lost.
    pub fn say(&self, line: impl Into<String>) {
        // Nobody listens any longer: the action goes on.
        let _ = self.sender.send(line.into());
    }
}
