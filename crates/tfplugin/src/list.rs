//! What a list resource implements.

use std::future::Future;

use tokio::sync::mpsc;

use crate::{Context, Diagnostics, Model, Resource};

/// Finds the objects of a managed resource that exist: `terraform query`.
pub trait ListResource: Send + Sync + 'static {
    /// The schema and the shape of the `config` block.
    type Model: Model;
    /// What is found. Its identity tells the objects apart.
    type Resource: Resource<Client = Self::Client>;
    /// The configured provider.
    type Client: Send + Sync + 'static;

    /// Checks the configuration as a whole, without I/O. Unknown values may be fine.
    fn validate(&self, _config: &Self::Model, _diagnostics: &mut Diagnostics) {}

    /// Finds, and hands over each object as it is found: stop as soon as [`Findings::found`] says so. Never gathers all of an account
    /// first.
    fn list(
        &self,
        cx: &Context<Self::Client>,
        config: Self::Model,
        findings: &Findings<<Self::Resource as Resource>::Model>,
    ) -> impl Future<Output = Result<Diagnostics, Diagnostics>> + Send;
}

/// Where a list resource puts what it finds.
#[derive(Debug)]
pub struct Findings<M> {
    pub(crate) sender: mpsc::Sender<Found<M>>,
    pub(crate) limit: usize,
    pub(crate) sent: std::sync::atomic::AtomicUsize,
    pub(crate) objects: bool,
}

/// One object.
#[derive(Clone, Debug)]
pub struct Found<M> {
    /// What a person calls it.
    pub display_name: String,
    /// Its state. Only the attributes of the identity are needed when [`Findings::wants_objects`] is false.
    pub state: M,
}

impl<M: Send> Findings<M> {
    /// Hands over one object. `false` when no more are wanted: the limit is reached, or nobody reads any longer.
    #[must_use = "what says `false` wants the search to end"]
    pub async fn found(&self, display_name: impl Into<String> + Send, state: M) -> bool {
        let before = self.sent.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if before >= self.limit {
            // What does not heed the answer and asks for ever would hold its thread for ever.
            tokio::task::yield_now().await;
            return false;
        }
        let found = Found { display_name: display_name.into(), state };
        self.sender.send(found).await.is_ok() && before + 1 < self.limit
    }

    /// How many objects are wanted at most.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Whether whole objects are wanted, or identities alone.
    #[must_use]
    pub const fn wants_objects(&self) -> bool {
        self.objects
    }
}
