//! Handlers run in tasks of their own: a panic becomes a report, and a lost connection does not cut an apply.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use tracing::instrument::WithSubscriber as _;

use super::StopToken;
use crate::logging::panics;

/// A handler panicked. Its text belongs in an error diagnostic that asks for a bug report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at {location}, report {report_id})")]
pub struct PanicReport {
    /// What the panic said.
    pub message: String,
    /// Where: `file:line:column`.
    pub location: String,
    /// Finds the backtrace in the log, where the same id stands as `report_id`.
    pub report_id: String,
}

tokio::task_local! {
    static SLOT: Slot;
}

/// What the panic hook saw during a call.
#[derive(Clone, Default)]
struct Slot(Arc<Mutex<Option<PanicReport>>>);

/// How long a call may take to come to an end of its own after `StopProvider`. Two seconds are what a person waits without
/// wondering.
pub(crate) const STOP_GRACE: Duration = Duration::from_millis(1500);

/// What becomes of a call that goes on for longer than [`STOP_GRACE`] after a stop. Terraform waits for the answers to all calls
/// in flight before it ends; the process ends when Terraform says so, whatever still runs in it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterStop {
    /// It is waited for, however long it takes: an answer without what it is doing would lose state.
    Wait,
    /// It is answered with an error, and goes on by itself. What it makes and nobody learns of, it undoes; see [`Claim`].
    Leave,
}

/// Settles who has the last word in a call that may be left: its handler or a stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claim(Arc<AtomicU8>);

impl Claim {
    const OPEN: u8 = 0;
    const HELD: u8 = 1;
    const LEFT: u8 = 2;

    /// For handlers that have made something: from here on the answer is waited for. `false` when the call was answered for
    /// already: what was made must be undone.
    #[must_use]
    pub(crate) fn hold(&self) -> bool {
        self.settle(Self::HELD)
    }

    fn leave(&self) -> bool {
        self.settle(Self::LEFT)
    }

    /// Whoever comes first. Coming again changes nothing.
    fn settle(&self, state: u8) -> bool {
        match self.0.compare_exchange(Self::OPEN, state, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(settled) => settled == state,
        }
    }
}

/// Why a handler has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unfinished {
    /// It panicked.
    Panicked(PanicReport),
    /// It did not heed a stop, and goes on by itself.
    Left,
}

/// Runs a handler to its end.
///
/// The handler runs in its own task, with a token that trips on `StopProvider`. Dropping the returned future, as
/// the transport does when the connection breaks, leaves the handler running; the process waits for it within
/// bounds before it exits. A panic is logged and returned; the process goes on. (Needs `panic = "unwind"`, the
/// default.) The current tracing span and subscriber go along.
pub async fn run_call<T, H, F>(stop: &StopToken, handler: H) -> Result<T, PanicReport>
where
    H: FnOnce(CancellationToken) -> F + Send + 'static,
    F: Future<Output = T> + Send,
    T: Send + 'static,
{
    let (task, slot, _) = start(stop, handler);
    task.await.map_err(|error| slot.report(error))
}

/// The same for a call that Terraform waits for: not longer than [`STOP_GRACE`] after a stop, if it may be left.
pub(crate) async fn answer_call<T, H, F>(
    stop: &StopToken,
    after: AfterStop,
    claim: &Claim,
    handler: H,
) -> Result<T, Unfinished>
where
    H: FnOnce(CancellationToken) -> F + Send + 'static,
    F: Future<Output = T> + Send,
    T: Send + 'static,
{
    let (task, slot, cancel) = start(stop, handler);
    let overdue = async {
        cancel.cancelled().await;
        tokio::time::sleep(STOP_GRACE).await;
        if after == AfterStop::Leave && claim.leave() {
            tracing::warn!("the call was asked to stop and goes on: it is left to itself");
        } else {
            tracing::warn!(
                "the call was asked to stop and goes on: it is waited for, so that nothing is lost"
            );
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        outcome = task => outcome.map_err(|error| Unfinished::Panicked(slot.report(error))),
        () = overdue => Err(Unfinished::Left),
    }
}

/// Starts a handler in a task of its own.
fn start<T, H, F>(stop: &StopToken, handler: H) -> (JoinHandle<T>, Slot, CancellationToken)
where
    H: FnOnce(CancellationToken) -> F + Send + 'static,
    F: Future<Output = T> + Send,
    T: Send + 'static,
{
    panics::install();
    let call = stop.begin();
    let cancel = call.cancel().clone();
    let slot = Slot::default();
    // The call ends with the task, however that ends.
    let task = async move { handler(call.cancel().clone()).await };
    let task = SLOT.scope(slot.clone(), task).in_current_span().with_current_subscriber();
    (stop.spawn(task), slot, cancel)
}

impl Slot {
    /// What the panic hook saw; else what the task itself says.
    fn report(&self, error: JoinError) -> PanicReport {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match error.try_into_panic() {
            Ok(payload) => seen.unwrap_or_else(|| report(&*payload, "an unknown place")),
            Err(error) => report(&format!("the call did not finish: {error}"), "the end of the process"),
        }
    }
}

/// For the panic hook: whether the panic is inside a call, which then gets the report.
pub(crate) fn record(message: &str, location: &dyn fmt::Display) -> Option<PanicReport> {
    SLOT.try_with(|slot| {
        let report = report(&message.to_owned(), &location.to_string());
        *slot.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(report.clone());
        report
    })
    .ok()
}

fn report(payload: &(dyn Any + Send), location: &str) -> PanicReport {
    PanicReport {
        message: panics::message(payload).to_owned(),
        location: location.to_owned(),
        report_id: uuid::Uuid::new_v4().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_result_passes_through() {
        assert_eq!(run_call(&StopToken::new(), |_| async { 7 }).await, Ok(7));
    }

    #[tokio::test]
    async fn a_panic_becomes_a_report_with_its_place() {
        let stop = StopToken::new();
        let object = "acme_widget";
        let report = run_call::<(), _, _>(&stop, move |_| async move {
            tokio::task::yield_now().await;
            panic!("cannot decode `{object}`")
        })
        .await
        .unwrap_err();
        assert_eq!(report.message, "cannot decode `acme_widget`");
        assert!(report.location.contains("call.rs:"), "{report}");
        assert_eq!(report.report_id.len(), 36);
        stop.idle().await;
        // The next call is not affected.
        assert_eq!(run_call(&stop, |_| async { "fine" }).await, Ok("fine"));
    }

    #[tokio::test]
    async fn a_panic_before_the_first_await_is_caught_too() {
        let stop = StopToken::new();
        let report =
            run_call::<(), _, std::future::Ready<()>>(&stop, |_| panic!("made badly")).await.unwrap_err();
        assert_eq!(report.message, "made badly");
        stop.idle().await;
    }

    #[tokio::test]
    async fn a_dropped_future_leaves_the_handler_running() {
        let stop = StopToken::new();
        let (started, on_start) = oneshot::channel();
        let (go, on_go) = oneshot::channel::<()>();
        let (finished, on_finish) = oneshot::channel();
        let caller = stop.clone();
        let call = tokio::spawn(async move {
            run_call(&caller, |cancel| async move {
                started.send(()).unwrap();
                on_go.await.unwrap();
                finished.send(cancel.is_cancelled()).unwrap();
            })
            .await
        });
        on_start.await.unwrap();
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        assert_eq!(stop.calls_in_flight(), 1);
        stop.stop();
        go.send(()).unwrap();
        assert!(on_finish.await.unwrap(), "the handler saw the stop");
        stop.idle().await;
    }
}
