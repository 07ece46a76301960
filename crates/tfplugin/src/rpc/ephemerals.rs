//! Ephemeral resources by value instead of by type.

use std::time::SystemTime;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;

use super::ObjectInfo;
use crate::convert::NOT_KNOWN;
use crate::schema::Kind;
use crate::{
    AttributePath, Context, Diagnostic, Diagnostics, EphemeralResource, FromValue as _, Opened, Renewed,
    Value,
};

/// An ephemeral resource of any type.
pub(crate) trait AnyEphemeral<C>: Send + Sync {
    fn info(&self) -> &ObjectInfo;

    /// The author's check of a whole configuration.
    fn validate(&self, config: &Value) -> Diagnostics;

    fn open<'a>(
        &'a self,
        cx: &'a Context<C>,
        config: &'a Value,
    ) -> BoxFuture<'a, Result<Opened<Value, Bytes>, Diagnostics>>;

    fn renew<'a>(
        &'a self,
        cx: &'a Context<C>,
        private: &'a [u8],
    ) -> BoxFuture<'a, Result<Renewed<Bytes>, Diagnostics>>;

    fn close<'a>(
        &'a self,
        cx: &'a Context<C>,
        private: &'a [u8],
    ) -> BoxFuture<'a, Result<Diagnostics, Diagnostics>>;
}

/// An ephemeral resource of one type.
pub(crate) struct Opening<E: EphemeralResource> {
    ephemeral: E,
    info: ObjectInfo,
}

impl<E: EphemeralResource> Opening<E> {
    pub(crate) fn new(ephemeral: E) -> Self {
        Self { ephemeral, info: ObjectInfo::of::<E::Model>(E::TYPE, Kind::Ephemeral) }
    }

    fn private<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, Diagnostic> {
        // `()` is written as nothing.
        let bytes = if bytes.is_empty() { b"null" } else { bytes };
        serde_json::from_slice(bytes).map_err(|error| {
            Diagnostic::error(
                format!("Cannot go on with ephemeral resource `{}`", self.info.name),
                format!("What was kept when it was opened cannot be read: {error}. It may still be open."),
            )
        })
    }

    fn bytes(&self, private: &E::Private) -> Result<Bytes, Diagnostic> {
        serde_json::to_vec(private).map(Into::into).map_err(|error| {
            Diagnostic::provider_bug(format!(
                "What ephemeral resource `{}` keeps cannot be written as JSON: {error}.",
                self.info.name
            ))
        })
    }
}

impl<E: EphemeralResource> AnyEphemeral<E::Client> for Opening<E> {
    fn info(&self) -> &ObjectInfo {
        &self.info
    }

    fn validate(&self, config: &Value) -> Diagnostics {
        let mut diagnostics = Diagnostics::new();
        match E::Model::from_value(config, &AttributePath::root()) {
            Ok(config) => self.ephemeral.validate(&config, &mut diagnostics),
            Err(diagnostic) if diagnostic.summary == NOT_KNOWN => {}
            Err(diagnostic) => diagnostics.push(diagnostic),
        }
        diagnostics
    }

    fn open<'a>(
        &'a self,
        cx: &'a Context<E::Client>,
        config: &'a Value,
    ) -> BoxFuture<'a, Result<Opened<Value, Bytes>, Diagnostics>> {
        async move {
            let config = E::Model::from_value(config, &AttributePath::root())?;
            let Opened { result, private, renew_at, warnings } = self.ephemeral.open(cx, config).await?;
            let converted = self
                .info
                .value(&result)
                .and_then(|result| Ok(Opened { result, private: self.bytes(&private)?, renew_at, warnings }));
            match converted {
                Ok(opened) => Ok(opened),
                // What cannot be handed over would stay open for ever.
                Err(diagnostic) => {
                    let mut diagnostics = Diagnostics::from(diagnostic);
                    let (Ok(more) | Err(more)) = self.ephemeral.close(cx, private).await;
                    diagnostics.extend(more);
                    Err(diagnostics)
                }
            }
        }
        .boxed()
    }

    fn renew<'a>(
        &'a self,
        cx: &'a Context<E::Client>,
        private: &'a [u8],
    ) -> BoxFuture<'a, Result<Renewed<Bytes>, Diagnostics>> {
        async move {
            let Renewed { private, renew_at } = self.ephemeral.renew(cx, self.private(private)?).await?;
            let private = private.map(|private| self.bytes(&private)).transpose()?;
            Ok(Renewed { private, renew_at })
        }
        .boxed()
    }

    fn close<'a>(
        &'a self,
        cx: &'a Context<E::Client>,
        private: &'a [u8],
    ) -> BoxFuture<'a, Result<Diagnostics, Diagnostics>> {
        async move { self.ephemeral.close(cx, self.private(private)?).await }.boxed()
    }
}

/// A moment as the protocol writes it; one that no calendar has is left out.
pub(super) fn timestamp(moment: SystemTime) -> Option<prost_types::Timestamp> {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let seconds = i64::try_from(since.as_secs()).ok()?;
    Some(prost_types::Timestamp { seconds, nanos: i32::try_from(since.subsec_nanos()).ok()? })
}
