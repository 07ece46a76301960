//! List resources by value instead of by type.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

use super::ObjectInfo;
use crate::convert::NOT_KNOWN;
use crate::list::Found;
use crate::schema::Kind;
use crate::{
    AttributePath, Context, Diagnostic, Diagnostics, Findings, FromValue as _, ListResource, Resource, Value,
};

/// How many findings may wait for the reader. Few: the search should end soon after the reader has.
const AHEAD: usize = 8;

/// A list resource of any type.
pub(crate) trait AnyList<C>: Send + Sync {
    /// The schema of the `config` block.
    fn info(&self) -> &ObjectInfo;

    /// The author's check of a whole configuration.
    fn validate(&self, config: &Value) -> Diagnostics;

    /// Searches. Findings go into `sender` as the object's state; the result comes when the search has ended.
    fn list(
        self: Arc<Self>,
        cx: Context<C>,
        config: Value,
        wanted: Wanted,
        sender: mpsc::Sender<Result<Found<Value>, Diagnostic>>,
    ) -> BoxFuture<'static, Result<Diagnostics, Diagnostics>>;
}

/// What is wanted of a search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) limit: usize,
    pub(crate) objects: bool,
}

/// A list resource of one type.
pub(crate) struct Listing<L: ListResource> {
    list: L,
    info: ObjectInfo,
    found: ObjectInfo,
}

impl<L: ListResource> Listing<L> {
    pub(crate) fn new(list: L) -> Self {
        let name = <L::Resource as Resource>::TYPE;
        Self {
            list,
            info: ObjectInfo::of::<L::Model>(name, Kind::List),
            found: ObjectInfo::of::<<L::Resource as Resource>::Model>(name, Kind::Resource),
        }
    }
}

impl<L: ListResource> AnyList<L::Client> for Listing<L> {
    fn info(&self) -> &ObjectInfo {
        &self.info
    }

    fn validate(&self, config: &Value) -> Diagnostics {
        let mut diagnostics = Diagnostics::new();
        match L::Model::from_value(config, &AttributePath::root()) {
            Ok(config) => self.list.validate(&config, &mut diagnostics),
            Err(diagnostic) if diagnostic.summary == NOT_KNOWN => {}
            Err(diagnostic) => diagnostics.push(diagnostic),
        }
        diagnostics
    }

    fn list(
        self: Arc<Self>,
        cx: Context<L::Client>,
        config: Value,
        wanted: Wanted,
        sender: mpsc::Sender<Result<Found<Value>, Diagnostic>>,
    ) -> BoxFuture<'static, Result<Diagnostics, Diagnostics>> {
        async move {
            let config = L::Model::from_value(&config, &AttributePath::root())?;
            let (typed, mut models) = mpsc::channel(AHEAD);
            let findings = Findings {
                sender: typed,
                limit: wanted.limit,
                sent: AtomicUsize::new(0),
                objects: wanted.objects,
            };
            let search = async {
                let outcome = self.list.list(&cx, config, &findings).await;
                drop(findings);
                outcome
            };
            let forward = async {
                while let Some(Found { display_name, state }) = models.recv().await {
                    let value = self.found.value(&state).map(|state| Found { display_name, state });
                    if sender.send(value).await.is_err() {
                        // Dropping the receiver is what tells the search.
                        models.close();
                        break;
                    }
                }
            };
            let (outcome, ()) = futures::join!(search, forward);
            outcome
        }
        .boxed()
    }
}
