//! Ports in memory.

#![allow(dead_code, reason = "every test file uses its own part")]

pub(crate) mod platform;
pub(crate) mod requests;
pub(crate) mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use spectra_rollout::spec::{CommandSpec, Metric};
use spectra_rollout::{
    Approval, Clock, DeployOrder, DeploymentState, DiaryError, Effect, Entry, Gates, Measurement,
    MetricSource, News, Notifier, Observation, Place, Ports, Probe, RestoreOrder, RolloutRequest, RunContext,
    RunError, Runner, Sampled, Scope, SiblingOrder, Target, TargetError, Verdict, Wish,
};
use spectra_types::DeploymentId;
use tokio_util::sync::CancellationToken;

pub(crate) fn place(service: &str) -> Place {
    Place {
        project: "p-1".parse().unwrap(),
        environment: "e-1".parse().unwrap(),
        service: service.parse().unwrap(),
    }
}

/// A record in memory.
#[derive(Default)]
pub(crate) struct Diary {
    pub(crate) entries: Mutex<Vec<Entry>>,
    pub(crate) wishes: Mutex<Vec<Wish>>,
    /// Another process holds the lease.
    pub(crate) fenced: AtomicBool,
    /// The lease ran out, which only this process knows.
    pub(crate) expired: AtomicBool,
    /// The store cannot be written.
    pub(crate) unavailable: AtomicBool,
    /// What happens at which write.
    pub(crate) at: Mutex<Vec<(usize, Blow)>>,
    writes: AtomicUsize,
    /// The process is dead.
    pub(crate) crashed: CancellationToken,
}

/// What happens at a write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Blow {
    /// The process dies before it is written.
    CrashBefore,
    /// The process dies when it is written.
    CrashAfter,
    /// Another process has taken the lease.
    Fenced,
    /// The lease runs out, and nobody has taken it yet.
    Expired,
    /// This write fails.
    Unavailable,
    /// Somebody asks for something.
    Wish(Wish),
}

impl Diary {
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap().clone()
    }

    /// A record in which something happens at the n-th write, from 1 on.
    pub(crate) fn with(write: usize, blow: Blow) -> Self {
        let diary = Self::default();
        diary.at.lock().unwrap().push((write, blow));
        diary
    }

    /// The record as the next process finds it, by way of text.
    pub(crate) fn reopened(&self) -> Self {
        let read = |entry: &Entry| {
            let text = serde_json::to_string(entry).unwrap();
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            serde_json::from_value(value).unwrap()
        };
        Self { entries: Mutex::new(self.entries().iter().map(read).collect()), ..Self::default() }
    }

    pub(crate) fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }

    async fn die(&self) {
        self.crashed.cancel();
        std::future::pending::<()>().await;
    }
}

impl spectra_rollout::Diary for Diary {
    fn write<'a>(&'a self, entry: &'a Entry) -> BoxFuture<'a, Result<(), DiaryError>> {
        Box::pin(async move {
            let write = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
            let blows = self.at.lock().unwrap().clone();
            let mut after = false;
            for (_, blow) in blows.into_iter().filter(|(at, _)| *at == write) {
                match blow {
                    Blow::CrashBefore => self.die().await,
                    Blow::CrashAfter => after = true,
                    Blow::Fenced => self.fenced.store(true, Ordering::SeqCst),
                    Blow::Expired => self.expired.store(true, Ordering::SeqCst),
                    Blow::Unavailable => return Err(DiaryError::Unavailable("disk full".to_owned())),
                    Blow::Wish(wish) => self.wishes.lock().unwrap().push(wish),
                }
            }
            if self.fenced.load(Ordering::SeqCst) {
                return Err(DiaryError::Fenced("somebody else".to_owned()));
            }
            if self.unavailable.load(Ordering::SeqCst) {
                return Err(DiaryError::Unavailable("disk full".to_owned()));
            }
            self.entries.lock().unwrap().push(entry.clone());
            if after {
                self.die().await;
            }
            Ok(())
        })
    }

    fn may_act(&self) -> bool {
        !self.fenced.load(Ordering::SeqCst) && !self.expired.load(Ordering::SeqCst)
    }

    fn requests(&self) -> BoxFuture<'_, Vec<Wish>> {
        Box::pin(async { std::mem::take(&mut *self.wishes.lock().unwrap()) })
    }
}

/// Nothing is there: whoever asks gets an error, and gates stand open.
pub(crate) struct Nothing;

static NOTHING: Nothing = Nothing;

pub(crate) fn ports(diary: &Diary) -> Ports<'_> {
    Ports {
        target: &NOTHING,
        probe: &NOTHING,
        metrics: &NOTHING,
        runner: &NOTHING,
        gates: &NOTHING,
        notifier: &NOTHING,
        diary,
        clock: &NOTHING,
    }
}

fn nothing<T: Send>() -> BoxFuture<'static, Result<T, TargetError>> {
    Box::pin(async { Err(TargetError::unchanged("there is no platform")) })
}

impl Target for Nothing {
    fn observe<'a>(&'a self, _: &'a Place) -> BoxFuture<'a, Result<Observation, TargetError>> {
        nothing()
    }

    fn deploy<'a>(
        &'a self,
        _: &'a Place,
        _: &'a DeployOrder,
    ) -> BoxFuture<'a, Result<DeploymentId, TargetError>> {
        nothing()
    }

    fn deployment<'a>(
        &'a self,
        _: &'a Place,
        _: &'a DeploymentId,
    ) -> BoxFuture<'a, Result<DeploymentState, TargetError>> {
        nothing()
    }

    fn restore<'a>(
        &'a self,
        _: &'a Place,
        _: &'a RestoreOrder,
    ) -> BoxFuture<'a, Result<Option<DeploymentId>, TargetError>> {
        nothing()
    }

    fn create_sibling<'a>(
        &'a self,
        _: &'a Place,
        _: &'a SiblingOrder,
    ) -> BoxFuture<'a, Result<Place, TargetError>> {
        nothing()
    }

    fn remove_sibling<'a>(
        &'a self,
        _: &'a Place,
        _: &'a SiblingOrder,
    ) -> BoxFuture<'a, Result<(), TargetError>> {
        nothing()
    }

    fn changed<'a>(&'a self, _: &'a Place, _: &'a DeploymentId, at_most: Duration) -> BoxFuture<'a, ()> {
        Box::pin(tokio::time::sleep(at_most))
    }

    fn poll_interval(&self) -> Duration {
        Duration::from_secs(2)
    }
}

impl Probe for Nothing {
    fn measure<'a>(&'a self, _: &'a Place) -> BoxFuture<'a, Measurement> {
        Box::pin(async {
            Measurement {
                subject: "nothing".to_owned(),
                answer: "there is no probe".to_owned(),
                verdict: Verdict::Unhealthy,
            }
        })
    }
}

impl MetricSource for Nothing {
    fn sample<'a>(&'a self, metric: &'a Metric, _: &'a Scope) -> BoxFuture<'a, Sampled> {
        Box::pin(async {
            Sampled { query: metric.name.clone(), answer: Err("there is no source".to_owned()) }
        })
    }
}

impl Runner for Nothing {
    fn run<'a>(
        &'a self,
        _: &'a Place,
        _: &'a CommandSpec,
        _: &'a RunContext,
        _: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<String, RunError>> {
        Box::pin(async { Err(RunError { message: "there is no runner".to_owned(), effect: Effect::None }) })
    }
}

impl Gates for Nothing {
    fn frozen<'a>(&'a self, _: &'a RolloutRequest) -> BoxFuture<'a, Result<Option<String>, String>> {
        Box::pin(async { Ok(None) })
    }

    fn approval<'a>(&'a self, _: &'a RolloutRequest) -> BoxFuture<'a, Result<Approval, String>> {
        Box::pin(async { Ok(Approval::Given { by: vec!["nobody".to_owned()] }) })
    }
}

impl Notifier for Nothing {
    fn tell<'a>(&'a self, _: &'a News) -> BoxFuture<'a, Vec<String>> {
        Box::pin(async { Vec::new() })
    }
}

impl Clock for Nothing {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}
