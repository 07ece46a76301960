//! Actions by value instead of by type.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::ObjectInfo;
use crate::convert::NOT_KNOWN;
use crate::schema::Kind;
use crate::{Action, AttributePath, Context, Diagnostic, Diagnostics, FromValue as _, Progress, Value};

/// An action of any type.
pub(crate) trait AnyAction<C>: Send + Sync {
    fn info(&self) -> &ObjectInfo;

    /// The author's check of a whole configuration.
    fn validate(&self, config: &Value) -> Diagnostics;

    fn plan<'a>(&'a self, cx: Option<&'a Context<C>>, config: &'a Value) -> BoxFuture<'a, Diagnostics>;

    fn invoke(
        self: Arc<Self>,
        cx: Context<C>,
        config: Value,
        progress: Progress,
    ) -> BoxFuture<'static, Result<Diagnostics, Diagnostics>>;
}

/// An action of one type.
pub(crate) struct Doing<A: Action> {
    action: A,
    info: ObjectInfo,
}

impl<A: Action> Doing<A> {
    pub(crate) fn new(action: A) -> Self {
        Self { action, info: ObjectInfo::of::<A::Model>(A::TYPE, Kind::Action) }
    }

    /// `None` for a configuration that a field cannot hold yet, because a value is not known.
    fn model(config: &Value) -> Result<Option<A::Model>, Diagnostic> {
        match A::Model::from_value(config, &AttributePath::root()) {
            Ok(config) => Ok(Some(config)),
            Err(diagnostic) if diagnostic.summary == NOT_KNOWN => Ok(None),
            Err(diagnostic) => Err(diagnostic),
        }
    }
}

impl<A: Action> AnyAction<A::Client> for Doing<A> {
    fn info(&self) -> &ObjectInfo {
        &self.info
    }

    fn validate(&self, config: &Value) -> Diagnostics {
        let mut diagnostics = Diagnostics::new();
        match Self::model(config) {
            Ok(Some(config)) => self.action.validate(&config, &mut diagnostics),
            Ok(None) => {}
            Err(diagnostic) => diagnostics.push(diagnostic),
        }
        diagnostics
    }

    fn plan<'a>(
        &'a self,
        cx: Option<&'a Context<A::Client>>,
        config: &'a Value,
    ) -> BoxFuture<'a, Diagnostics> {
        async move {
            let mut diagnostics = Diagnostics::new();
            match Self::model(config) {
                Ok(Some(config)) => self.action.plan(cx, &config, &mut diagnostics).await,
                Ok(None) => {}
                Err(diagnostic) => diagnostics.push(diagnostic),
            }
            diagnostics
        }
        .boxed()
    }

    fn invoke(
        self: Arc<Self>,
        cx: Context<A::Client>,
        config: Value,
        progress: Progress,
    ) -> BoxFuture<'static, Result<Diagnostics, Diagnostics>> {
        async move {
            let config = A::Model::from_value(&config, &AttributePath::root())?;
            self.action.invoke(&cx, config, &progress).await
        }
        .boxed()
    }
}
