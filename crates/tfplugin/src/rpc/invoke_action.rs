//! `InvokeAction`: does it, and tells how far it is.
//!
//! Core takes the stream by its word: an event without content crashes it, one after the end too, a stream that stays
//! open after the end hangs it, and one that ends without an end counts as success. So the end is sent here, once, last,
//! whatever happened to the handler.

use std::convert::Infallible;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::Instrument as _;

use super::defaults::apply_defaults;
use super::list_resource::until_closed;
use super::messages::{decode, diagnostics, failure};
use super::text::harmless;
use super::{About, Call, Service};
use crate::proto::tfplugin6::invoke_action::event::{Completed, Progress as Line, Type};
use crate::proto::tfplugin6::invoke_action::{Event, Request};
use crate::server::{AfterStop, STOP_GRACE, answer_call};
use crate::{Diagnostics, Progress, Provider};

/// Tells the user, who has asked for a stop, what Terraform still waits for.
async fn waits(cancel: CancellationToken, progress: Progress, name: String) -> Infallible {
    cancel.cancelled().await;
    tokio::time::sleep(STOP_GRACE).await;
    progress.say(format!("asked to stop; waiting for `{name}` to end, so that it is known what it has done"));
    std::future::pending().await
}

impl<P: Provider> Service<P> {
    pub(crate) fn invoke_action(
        &self,
        call: Call,
        request: Request,
    ) -> BoxStream<'static, Result<Event, Status>> {
        let (sender, mut lines) = mpsc::unbounded_channel::<String>();
        let (events, stream) = mpsc::channel(1);
        let service = self.clone();
        let task = async move {
            let stop = service.stop_token().clone();
            let name = request.action_type.clone();
            let progress = Progress { sender };
            let watched = events.clone();
            // The handler is asked to stop when nobody reads any longer, and is not cut: what it has begun it also ends.
            let what = name.clone();
            let work = async move {
                let claim = call.claim.clone();
                answer_call(&stop, AfterStop::Wait, &claim, move |cancel| async move {
                    let overdue = waits(cancel.clone(), progress.clone(), request.action_type.clone());
                    let (cancel, _watch) = until_closed(&cancel, &watched);
                    tokio::select! {
                        biased;
                        outcome = service.do_action(Call { cancel, ..call }, request, progress) => outcome,
                        never = overdue => match never {},
                    }
                })
                .await
                .unwrap_or_else(|unfinished| Err(unfinished.into_diagnostic(&what).into()))
            };
            let progress = async |line: String| {
                let event = Event { r#type: Some(Type::Progress(Line { message: harmless(line) })) };
                let _ = events.send(Ok(event)).await;
            };
            let mut work = std::pin::pin!(work);
            let outcome = loop {
                tokio::select! {
                    outcome = &mut work => break outcome,
                    Some(line) = lines.recv() => progress(line).await,
                }
            };
            // What was said in time still goes out. A task that the handler has left behind with a `Progress` holds up nothing.
            lines.close();
            while let Some(line) = lines.recv().await {
                progress(line).await;
            }
            let messages = match outcome {
                Ok(messages) => diagnostics(messages),
                Err(messages) => failure(&name, messages),
            };
            let end = Completed { diagnostics: messages };
            let _ = events.send(Ok(Event { r#type: Some(Type::Completed(end)) })).await;
        };
        tokio::spawn(task.in_current_span());
        tokio_stream::wrappers::ReceiverStream::new(stream).boxed()
    }

    async fn do_action(
        &self,
        call: Call,
        request: Request,
        progress: Progress,
    ) -> Result<Diagnostics, Diagnostics> {
        let action = Arc::clone(self.action(&request.action_type)?);
        let info = action.info();
        let config = decode(request.config.as_ref(), &info.ty, "configuration")?;
        let mut filled = config.clone();
        apply_defaults(&info.schema.block, &mut filled, &config);
        let cx = self.context(&call, About::default())?;
        action.invoke(cx, filled, progress).await
    }
}
