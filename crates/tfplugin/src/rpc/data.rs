//! Data sources by value instead of by type.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::ObjectInfo;
use crate::convert::NOT_KNOWN;
use crate::schema::Kind;
use crate::{AttributePath, Context, DataSource, Diagnostic, Diagnostics, FromValue as _, Value};

/// A data source of any type.
pub(crate) trait AnyDataSource<C>: Send + Sync {
    fn info(&self) -> &ObjectInfo;

    /// The author's check of a whole configuration.
    fn validate(&self, config: &Value) -> Diagnostics;

    fn read<'a>(&'a self, cx: &'a Context<C>, config: &'a Value)
    -> BoxFuture<'a, Result<Value, Diagnostics>>;
}

/// A data source of one type.
pub(crate) struct Data<D: DataSource> {
    data_source: D,
    info: ObjectInfo,
}

impl<D: DataSource> Data<D> {
    pub(crate) fn new(data_source: D) -> Self {
        Self { data_source, info: ObjectInfo::of::<D::Model>(D::TYPE, Kind::DataSource) }
    }

    fn model(value: &Value) -> Result<D::Model, Diagnostic> {
        D::Model::from_value(value, &AttributePath::root())
    }
}

impl<D: DataSource> AnyDataSource<D::Client> for Data<D> {
    fn info(&self) -> &ObjectInfo {
        &self.info
    }

    fn validate(&self, config: &Value) -> Diagnostics {
        let mut diagnostics = Diagnostics::new();
        match Self::model(config) {
            Ok(config) => self.data_source.validate(&config, &mut diagnostics),
            Err(diagnostic) if diagnostic.summary == NOT_KNOWN => {}
            Err(diagnostic) => diagnostics.push(diagnostic),
        }
        diagnostics
    }

    fn read<'a>(
        &'a self,
        cx: &'a Context<D::Client>,
        config: &'a Value,
    ) -> BoxFuture<'a, Result<Value, Diagnostics>> {
        async move {
            let model = self.data_source.read(cx, Self::model(config)?).await?;
            Ok(self.info.value(&model)?)
        }
        .boxed()
    }
}
