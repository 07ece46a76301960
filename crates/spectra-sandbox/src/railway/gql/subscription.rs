//! Subscriptions: each stream sleeps until the state (or a log) changes, looks again, and says what is new.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use async_graphql::{Context, Result, Subscription as Subscriptions};
use futures::StreamExt as _;
use futures::stream::{BoxStream, unfold};
use tokio::sync::watch;

use super::Request;
use super::deployment::{Deployment, DeploymentEvent};
use super::logs::{Filter, Log, log};
use crate::railway::ops::deployments::reach;
use crate::store::rows;

pub(crate) struct Subscription;

/// Follows one deployment for as long as its reader may see it.
struct Follower {
    request: Arc<Request>,
    id: String,
    changes: watch::Receiver<u64>,
    written: watch::Receiver<u64>,
}

impl Follower {
    /// Fails where the query of the same deployment would.
    fn new(context: &Context<'_>, id: String) -> Result<Self> {
        let request = Arc::clone(context.data_unchecked::<Arc<Request>>());
        let changes = request.core.changes();
        let written = request.core.traffic.written();
        reach(&request.world(), &request.who, &id)?;
        Ok(Self { request, id, changes, written })
    }

    /// The deployment as it is now; nothing once it is out of the reader's reach, which ends the subscription.
    fn look(&mut self) -> Option<Arc<rows::Deployment>> {
        // Marked as seen before the look, so that no change is missed between the two.
        self.changes.mark_unchanged();
        self.written.mark_unchanged();
        self.request.refresh();
        let world = self.request.world();
        if !self.request.who.live(&world) {
            return None;
        }
        reach(&world, &self.request.who, &self.id).ok()
    }

    /// Sleeps until there may be something new; nothing once the sandbox stops.
    async fn changed(&mut self) -> Option<()> {
        tokio::select! {
            changed = self.changes.changed() => changed.ok(),
            () = self.request.core.shutdown.cancelled() => None,
        }
    }

    /// As [`changed`](Self::changed), and for lines of logs too.
    async fn changed_or_written(&mut self) -> Option<()> {
        tokio::select! {
            changed = self.changes.changed() => changed.ok(),
            written = self.written.changed() => written.ok(),
            () = self.request.core.shutdown.cancelled() => None,
        }
    }
}

/// What a reader has been told of an event.
type Told = (Option<u64>, Option<i32>, Option<String>);

#[Subscriptions]
impl Subscription {
    /// Nothing is ever built here, so that nothing is ever said; it ends when the deployment is out of reach.
    async fn build_logs(
        &self,
        ctx: &Context<'_>,
        deployment_id: String,
        filter: Option<String>,
        limit: Option<i32>,
    ) -> Result<BoxStream<'static, Vec<Log>>> {
        let _ = (filter, limit);
        let follower = Follower::new(ctx, deployment_id)?;
        let stream = unfold(follower, |mut follower| async move {
            loop {
                follower.look()?;
                follower.changed().await?;
            }
        });
        Ok(stream.boxed())
    }

    /// The deployment at once, and again after every change. Changes that follow each other faster than the reader
    /// reads are told as one.
    async fn deployment(&self, ctx: &Context<'_>, id: String) -> Result<BoxStream<'static, Deployment>> {
        let state = (Follower::new(ctx, id)?, None::<Arc<rows::Deployment>>);
        let stream = unfold(state, |(mut follower, last)| async move {
            loop {
                let row = follower.look()?;
                if last.as_ref().is_none_or(|last| !Arc::ptr_eq(last, &row)) {
                    return Some((Deployment(Arc::clone(&row)), (follower, Some(row))));
                }
                follower.changed().await?;
            }
        });
        Ok(stream.boxed())
    }

    /// Every event so far, then each as it begins, makes progress and ends. None is left out.
    async fn deployment_events(
        &self,
        ctx: &Context<'_>,
        id: String,
    ) -> Result<BoxStream<'static, DeploymentEvent>> {
        let told: HashMap<String, Told> = HashMap::new();
        let state = (Follower::new(ctx, id)?, told, VecDeque::new());
        let stream = unfold(state, |(mut follower, mut told, mut waiting)| async move {
            loop {
                if let Some(event) = waiting.pop_front() {
                    return Some((DeploymentEvent(event), (follower, told, waiting)));
                }
                let row = follower.look()?;
                for event in &row.events {
                    let now: Told = (event.completed_at, event.attempt, event.error.clone());
                    if told.get(&event.id) != Some(&now) {
                        told.insert(event.id.clone(), now);
                        waiting.push_back(event.clone());
                    }
                }
                if waiting.is_empty() {
                    follower.changed().await?;
                }
            }
        });
        Ok(stream.boxed())
    }

    /// The newest `limit` (100) lines in one batch, then batches of new ones.
    async fn deployment_logs(
        &self,
        ctx: &Context<'_>,
        deployment_id: String,
        filter: Option<String>,
        limit: Option<i32>,
    ) -> Result<BoxStream<'static, Vec<Log>>> {
        let follower = Follower::new(ctx, deployment_id)?;
        let filter = Filter::new(filter.as_deref());
        let first = Some(usize::try_from(limit.unwrap_or(100)).unwrap_or(100));
        let stream =
            unfold((follower, filter, 0, first), |(mut follower, filter, mut next, mut most)| async move {
                loop {
                    let row = follower.look()?;
                    let (mut lines, end) = follower.request.core.traffic.lines_from(&row.id, next);
                    next = end;
                    lines.retain(|line| filter.passes(line));
                    if let Some(most) = most.take() {
                        lines.drain(..lines.len().saturating_sub(most));
                    }
                    if !lines.is_empty() {
                        let batch = lines.into_iter().map(|line| log(&row, line)).collect();
                        return Some((batch, (follower, filter, next, most)));
                    }
                    follower.changed_or_written().await?;
                }
            });
        Ok(stream.boxed())
    }
}
