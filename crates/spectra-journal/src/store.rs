//! What a store is asked, and the queue before it.
//!
//! Each journal has one worker with one connection. Writes that wait at the same time share a transaction, so
//! that many appenders cost one synchronisation with the disk, or one round trip, together.

use std::collections::VecDeque;

use tokio::sync::{mpsc, oneshot};

use crate::{
    error::Error,
    operation::{Answer, LeaseRow, Operation, Write},
    record::{Query, Row},
    verify::Summary,
};

/// So many writes share a transaction at most.
const BATCH: usize = 256;

/// So many requests wait at most; further ones wait in front of the queue.
pub(crate) const QUEUE: usize = 1024;

pub(crate) enum Request {
    Write(Write, Reply),
    Records(Query, oneshot::Sender<Result<Vec<Row>, Error>>),
    Summary(oneshot::Sender<Result<Summary, Error>>),
    /// The leases, of one subject or all, and the time by the journal's clock.
    Leases(Option<String>, oneshot::Sender<Result<(Vec<LeaseRow>, jiff::Timestamp), Error>>),
}

/// Who waits for a write. `None` is the worker itself.
pub(crate) type Reply = Option<oneshot::Sender<Result<Answer, Error>>>;

/// A write with who waits for it.
pub(crate) type Waiting = (Write, Reply);

/// What a worker does next.
pub(crate) enum Work {
    /// Writes for one transaction.
    Writes(Vec<Waiting>),
    /// A request that only reads.
    Read(Request),
}

/// The requests of one journal, in their order.
pub(crate) struct Inbox {
    receiver: mpsc::Receiver<Request>,
    waiting: VecDeque<Request>,
}

impl Inbox {
    pub(crate) const fn new(receiver: mpsc::Receiver<Request>) -> Self {
        Self { receiver, waiting: VecDeque::new() }
    }

    /// Waits for work; `None` when every handle of the journal is gone.
    pub(crate) async fn next(&mut self) -> Option<Work> {
        if self.waiting.is_empty() {
            let request = self.receiver.recv().await?;
            self.waiting.push_back(request);
        }
        while self.waiting.len() < BATCH {
            let Ok(request) = self.receiver.try_recv() else { break };
            self.waiting.push_back(request);
        }
        let mut writes = Vec::new();
        loop {
            match self.waiting.pop_front() {
                Some(Request::Write(write, reply)) => {
                    // Nobody waits for it any more, and it was not begun.
                    if !reply.as_ref().is_some_and(oneshot::Sender::is_closed) {
                        writes.push((write, reply));
                    }
                }
                Some(read) if writes.is_empty() => return Some(Work::Read(read)),
                other => {
                    if let Some(read) = other {
                        self.waiting.push_front(read);
                    }
                    return Some(Work::Writes(writes));
                }
            }
        }
    }

    /// Tells a waiting caller what its write came to. Who asked for a lease and is gone would block its
    /// subject for as long as this process lives, so that lease is released.
    pub(crate) fn answer(&mut self, write: &Write, reply: Reply, answer: Result<Answer, Error>) {
        let Some(reply) = reply else { return };
        let Err(Ok(Answer::Leased { fence })) = reply.send(answer) else { return };
        let (Operation::Acquire { subject, .. } | Operation::Steal { subject, .. }) = &write.operation else {
            return;
        };
        let release = Write::new(Operation::Release { subject: subject.clone(), fence });
        self.waiting.push_back(Request::Write(release, None));
    }
}
