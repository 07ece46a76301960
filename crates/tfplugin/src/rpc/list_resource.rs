//! `ListResource`: what exists, as a stream.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;
use tracing::Instrument as _;

use super::defaults::apply_defaults;
use super::lists::Wanted;
use super::messages::{decode, diagnostics, encode, failure};
use super::{About, Call, ObjectInfo, Service, write_only};
use crate::list::Found;
use crate::proto::tfplugin6::list_resource::{Event, Request};
use crate::server::{AfterStop, answer_call};
use crate::{Diagnostic, Diagnostics, Provider, Value, check};

/// Results when the user does not say how many; core sends the same number.
const LIMIT: usize = 100;
/// How long a search that is over may go on before it is cut. It only looks, so nothing is left half done.
const UNWIND: Duration = Duration::from_secs(5);
/// How long the last event that is wanted waits for what the search has to say at its end.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl<P: Provider> Service<P> {
    pub(crate) fn list_resource(
        &self,
        call: Call,
        request: Request,
    ) -> BoxStream<'static, Result<Event, Status>> {
        let (events, stream) = mpsc::channel(1);
        let service = self.clone();
        let limit = limit(&request);
        // In a task of its own, which ends when the reader goes: it cannot send any more then.
        let task = async move {
            let stop = service.stop_token().clone();
            let name = request.type_name.clone();
            let claim = call.claim.clone();
            // The search has no hold on the stream itself, which must end also when the search does not.
            let (found, mut findings) = mpsc::channel(1);
            let search = answer_call(&stop, AfterStop::Leave, &claim, move |cancel| async move {
                let (cancel, _watch) = until_closed(&cancel, &found);
                service.search(Call { cancel, ..call }, request, &found).await
            });
            let mut search = std::pin::pin!(search);
            let (mut sent, mut last) = (0, None);
            let outcome = loop {
                tokio::select! {
                    Some(event) = findings.recv() => {
                        sent += 1;
                        if sent == limit {
                            last = Some(event);
                            break tokio::select! {
                                outcome = &mut search => Some(outcome),
                                () = tokio::time::sleep(LAST_WORDS) => None,
                                () = events.closed() => None,
                            };
                        }
                        if events.send(event).await.is_err() {
                            findings.close();
                        }
                    }
                    () = events.closed(), if !findings.is_closed() => findings.close(),
                    outcome = &mut search => break Some(outcome),
                }
            };
            // What was found just before the end; one that was left finds nobody any more.
            findings.close();
            while let Some(event) = findings.recv().await {
                sent += 1;
                if sent == limit {
                    last = Some(event);
                } else {
                    let _ = events.send(event).await;
                }
            }
            let messages = match outcome {
                None => Vec::new(),
                Some(Ok(Ok(messages))) => diagnostics(messages),
                Some(Ok(Err(messages))) => failure(&name, messages),
                Some(Err(unfinished)) => failure(&name, unfinished.into_diagnostic(&name).into()),
            };
            if let Some(last) = last {
                // Core reads nothing after it.
                let last =
                    last.map(|event| Event { diagnostic: [event.diagnostic, messages].concat(), ..event });
                let _ = events.send(last).await;
            } else if !messages.is_empty() {
                // An event with messages alone: core shows them.
                let event = Event { diagnostic: messages, ..Event::default() };
                let _ = events.send(Ok(event)).await;
            }
        };
        tokio::spawn(task.in_current_span());
        // It ends with the last event that is wanted, whatever the search does then.
        tokio_stream::wrappers::ReceiverStream::new(stream).take(limit).boxed()
    }

    async fn search(
        &self,
        call: Call,
        request: Request,
        events: &mpsc::Sender<Result<Event, Status>>,
    ) -> Result<Diagnostics, Diagnostics> {
        let list = Arc::clone(self.list(&request.type_name)?);
        let resource = self.resource(&request.type_name)?;
        let mut config = decode(request.config.as_ref(), &list.info().ty, "configuration")?;
        if config.is_null() {
            config = list.info().schema.block.empty_value();
        }
        let written = config.clone();
        apply_defaults(&list.info().schema.block, &mut config, &written);
        let cx = self.context(&call, About::default())?;
        let cancel = call.cancel.clone();
        let wanted = Wanted { limit: limit(&request), objects: request.include_resource_object };
        let (sender, mut findings) = mpsc::channel(1);
        let search = list.list(cx, config, wanted, sender);
        let forward = async {
            while let Some(found) = findings.recv().await {
                let event = found.and_then(|found| event(resource.info(), found, wanted.objects));
                let event = event.unwrap_or_else(|diagnostic| Event {
                    diagnostic: diagnostics(diagnostic.into()),
                    ..Event::default()
                });
                if events.send(Ok(event)).await.is_err() || cancel.is_cancelled() {
                    findings.close();
                    break;
                }
            }
        };
        let over = async {
            cancel.cancelled().await;
            tokio::time::sleep(UNWIND).await;
        };
        tokio::select! {
            (outcome, ()) = async { futures::join!(search, forward) } => outcome,
            () = over => {
                // Whoever read has gone, or was told when the call was left: there is nobody to tell.
                tracing::warn!(list = request.type_name, "a search that was asked to stop was cut");
                Ok(Diagnostics::new())
            }
        }
    }
}

/// How many results are wanted at most.
fn limit(request: &Request) -> usize {
    usize::try_from(request.limit).ok().filter(|limit| *limit > 0).unwrap_or(LIMIT)
}

/// A token that trips with `cancel`, and when the reader of a stream goes; the guard ends the watch.
pub(super) fn until_closed<T: Send + 'static>(
    cancel: &CancellationToken,
    events: &mpsc::Sender<T>,
) -> (CancellationToken, DropGuard) {
    let (token, over) = (cancel.child_token(), CancellationToken::new());
    let (gone, watched, ended) = (events.clone(), token.clone(), over.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = gone.closed() => watched.cancel(),
            () = ended.cancelled() => {}
        }
    });
    (token, over.drop_guard())
}

fn event(info: &ObjectInfo, found: Found<Value>, object: bool) -> Result<Event, Diagnostic> {
    let Found { display_name, mut state } = found;
    write_only::strip(&info.schema.block, &mut state);
    let identity = info.identity.as_ref().and_then(|identity| identity.stored(&state)).ok_or_else(|| {
        Diagnostic::provider_bug(format!(
            "`{}` found `{display_name}`, whose identity is not complete.",
            info.name
        ))
    })?;
    let resource_object = if object {
        if let Some(violation) = check::read_valid(&info.schema, &state).into_iter().next() {
            return Err(Diagnostic::provider_bug(format!(
                "`{}` found `{display_name}`, whose state cannot be stored: {violation}.",
                info.name
            )));
        }
        Some(encode(&state, &info.ty, "found object")?)
    } else {
        None
    };
    Ok(Event { identity: Some(identity), display_name, resource_object, diagnostic: Vec::new() })
}
