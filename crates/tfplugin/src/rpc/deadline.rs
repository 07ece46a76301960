//! Enforces the timeouts that the user has set.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::ObjectInfo;
use crate::timeouts::{ATTRIBUTE, Timeout, declared};
use crate::{AttributePath, Context, Diagnostic, Diagnostics, Value};

/// How long a handler may go on after it was asked to stop.
const GRACE: Duration = Duration::from_secs(5);

/// What is done to an object.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    Create,
    Read,
    Update,
    Delete,
}

impl Operation {
    /// The name of its timeout, and what it is about in words.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Create => ("create", "creating"),
            Self::Read => ("read", "reading"),
            Self::Update => ("update", "changing"),
            Self::Delete => ("delete", "deleting"),
        }
    }
}

/// The end of the time that an operation has.
pub(super) struct Deadline {
    object: &'static str,
    operation: Operation,
    length: Timeout,
    cancel: CancellationToken,
}

/// How an operation with a deadline went.
pub(super) enum Ended<T> {
    /// It has ended; after the deadline with what to say of it, should it have failed.
    Done(T, Option<Diagnostic>),
    /// It has not, long after it was asked to.
    StillRuns(Diagnostic),
}

impl Deadline {
    /// The deadline of an operation, if `object`, a plan or state, sets one. From here on the token of the context
    /// trips at the deadline too.
    pub(super) fn of<C>(
        info: &ObjectInfo,
        operation: Operation,
        object: &Value,
        cx: &mut Context<C>,
    ) -> Option<Self> {
        if !declared(&info.schema.block) {
            return None;
        }
        let text = object.get(ATTRIBUTE)?.get(operation.names().0)?.as_str()?;
        // Validation has refused what does not parse; state of an older provider may hold anything.
        let length = text
            .parse()
            .inspect_err(|error| tracing::warn!(timeout = text, %error, "a timeout in state is ignored"))
            .ok()?;
        cx.cancel = cx.cancel.child_token();
        Some(Self { object: info.name, operation, length, cancel: cx.cancel.clone() })
    }

    /// Runs an operation: asks it to stop when its time is up, and waits a little for it to do so. What still runs
    /// then is dropped here: what must not be cut off runs in a task of its own.
    pub(super) async fn run<T>(deadline: Option<Self>, work: impl Future<Output = T>) -> Ended<T> {
        let Some(deadline) = deadline else { return Ended::Done(work.await, None) };
        let mut work = pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return Ended::Done(done, None),
            () = sleep(deadline.length.get()) => {}
        }
        tracing::warn!(timeout = %deadline.length, operation = ?deadline.operation, "the time is up");
        deadline.cancel.cancel();
        tokio::select! {
            biased;
            done = &mut work => Ended::Done(done, Some(deadline.passed(
                "It was asked to stop and did so; what it said follows.",
            ))),
            () = sleep(GRACE) => Ended::StillRuns(deadline.passed(&format!(
                "It was asked to stop, and has not done so within {} seconds. {}",
                GRACE.as_secs(),
                match deadline.operation {
                    Operation::Read => "Nothing was learned about the object, and the state is as it was.",
                    Operation::Create | Operation::Update | Operation::Delete => {
                        "The state holds what was known by then; what happens from now on is not in it. Check what \
                         really exists before the next apply."
                    }
                }
            ))),
        }
    }

    fn passed(&self, then: &str) -> Diagnostic {
        let (name, doing) = self.operation.names();
        let path = AttributePath::from(ATTRIBUTE).attribute(name);
        Diagnostic::error(
            format!("Timeout of {} has passed", self.length),
            format!(
                "`{path}` allows {} for {doing} `{}`, which was not done by then. {then} Give it more time if it needs \
                 it.",
                self.length, self.object
            ),
        )
        .at(path)
    }
}

/// A failure with what came before it.
pub(super) fn preceded(late: Option<Diagnostic>, errors: Diagnostics) -> Diagnostics {
    late.into_iter().chain(errors).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::schema::Kind;
    use crate::{Attr, Model, Timeouts, ToValue as _};

    #[derive(Clone, Model)]
    struct Job {
        #[tf(optional)]
        timeouts: Attr<Timeouts>,
    }

    fn context(cancel: &CancellationToken) -> Context<()> {
        Context { cancel: cancel.clone(), ..Context::new(Arc::new(())) }
    }

    fn job(create: &str) -> Value {
        let timeouts = Value::object([("create", Value::from(create))]);
        Value::object([("timeouts", timeouts)])
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_of_terraform_before_the_deadline_is_no_timeout() {
        let info = ObjectInfo::of::<Job>("job", Kind::Resource);
        let stop = CancellationToken::new();
        let mut cx = context(&stop);
        let deadline = Deadline::of(&info, Operation::Create, &job("5m"), &mut cx);
        assert!(deadline.is_some());
        let stopped = async {
            sleep(Duration::from_mins(1)).await;
            stop.cancel();
        };
        let (ended, ()) = tokio::join!(Deadline::run(deadline, cx.cancel.cancelled()), stopped);
        assert!(matches!(ended, Ended::Done((), None)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_stops_its_own_call_alone() {
        let info = ObjectInfo::of::<Job>("job", Kind::Resource);
        let stop = CancellationToken::new();
        let mut cx = context(&stop);
        let deadline = Deadline::of(&info, Operation::Create, &job("5m"), &mut cx);
        let ended = Deadline::run(deadline, cx.cancel.cancelled()).await;
        assert!(matches!(ended, Ended::Done((), Some(_))));
        assert!(cx.cancel.is_cancelled() && !stop.is_cancelled());
    }

    #[test]
    fn what_an_older_provider_left_in_state_is_no_deadline() {
        let info = ObjectInfo::of::<Job>("job", Kind::Resource);
        let mut cx = context(&CancellationToken::new());
        for object in [job("soon"), Job { timeouts: Attr::Null }.to_value(), Value::Null] {
            assert!(Deadline::of(&info, Operation::Create, &object, &mut cx).is_none());
        }
        assert!(Deadline::of(&info, Operation::Delete, &job("5m"), &mut cx).is_none());
    }
}
