//! Subscriptions: each stream sleeps until the state (or a log) changes, looks again, and says what is new.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use async_graphql::{Context, Result, Subscription as Subscriptions};
use futures::StreamExt as _;
use futures::stream::{BoxStream, unfold};
use tokio::sync::watch;

use super::Request;
use super::deployment::{Deployment, DeploymentEvent};
use super::logs::{HttpLog, LINE_FIELDS, Log, Window, Written, http_filter, http_log, http_logs_from, log};
use super::runs::readable;
use crate::railway::filter::Filter;
use crate::railway::ops::deployments::reach;
use crate::store::{World, rows};

pub(crate) struct Subscription;

/// Follows one deployment, or one environment, for as long as its reader may see it.
struct Follower {
    request: Arc<Request>,
    /// Of the deployment or the environment.
    id: String,
    changes: watch::Receiver<u64>,
    written: watch::Receiver<u64>,
}

impl Follower {
    /// Fails where the query of the same deployment would.
    fn new(context: &Context<'_>, id: String) -> Result<Self> {
        let follower = Self::unchecked(context, id);
        reach(&follower.request.world(), &follower.request.who, &follower.id)?;
        Ok(follower)
    }

    /// Follows an environment; fails where the query of its logs would.
    fn of_environment(context: &Context<'_>, id: String) -> Result<Self> {
        let follower = Self::unchecked(context, id);
        readable(&follower.request, &follower.id)?;
        Ok(follower)
    }

    fn unchecked(context: &Context<'_>, id: String) -> Self {
        let request = Arc::clone(context.data_unchecked::<Arc<Request>>());
        let changes = request.core.changes();
        let written = request.core.traffic.written();
        Self { request, id, changes, written }
    }

    /// The state as it is now; nothing once the credential is gone.
    fn world(&mut self) -> Option<Arc<World>> {
        // Marked as seen before the look, so that no change is missed between the two.
        self.changes.mark_unchanged();
        self.written.mark_unchanged();
        self.request.refresh();
        let world = self.request.world();
        self.request.who.live(&world).then_some(world)
    }

    /// The deployment as it is now; nothing once it is out of the reader's reach, which ends the subscription.
    fn look(&mut self) -> Option<Arc<rows::Deployment>> {
        let world = self.world()?;
        reach(&world, &self.request.who, &self.id).ok()
    }

    /// The deployments of the environment, likewise.
    fn deployments(&mut self) -> Option<Vec<Arc<rows::Deployment>>> {
        let world = self.world()?;
        readable(&self.request, &self.id).ok()?;
        Some(world.deployments.iter().filter(|row| row.environment_id == self.id).cloned().collect())
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
        Filter::parse(filter.as_deref(), LINE_FIELDS)?;
        let _ = limit;
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
        let filter = Filter::parse(filter.as_deref(), LINE_FIELDS)?;
        let first = Some(usize::try_from(limit.unwrap_or(100)).unwrap_or(100));
        let stream =
            unfold((follower, filter, 0, first), |(mut follower, filter, mut next, mut most)| async move {
                loop {
                    let row = follower.look()?;
                    let (mut lines, end) = follower.request.core.traffic.lines_from(&row.id, next);
                    next = end;
                    lines.retain(|line| filter.passes(&Written { row: &row, line }));
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

    /// The requests of the window in one batch, then batches of new ones; never an empty batch. The window bounds the first
    /// batch alone.
    #[expect(clippy::too_many_arguments, reason = "the schema's arguments")]
    async fn http_logs(
        &self,
        ctx: &Context<'_>,
        after_date: Option<String>,
        after_limit: Option<i32>,
        anchor_date: Option<String>,
        before_date: Option<String>,
        before_limit: Option<i32>,
        deployment_id: String,
        filter: Option<String>,
    ) -> Result<BoxStream<'static, Vec<HttpLog>>> {
        let follower = Follower::new(ctx, deployment_id)?;
        let filter = http_filter(filter.as_deref())?;
        let window = Window {
            after: after_date,
            after_limit,
            anchor: anchor_date,
            before: before_date,
            before_limit,
            ..Window::default()
        };
        // A window that means nothing is refused at once.
        window.cut(Vec::<u64>::new(), |at| *at)?;
        let state = (follower, filter, 0, Some(window));
        let stream = unfold(state, |(mut follower, filter, mut next, mut window)| async move {
            loop {
                let row = follower.look()?;
                let (mut seen, end) = http_logs_from(&follower.request, &row, &filter, next);
                next = end;
                if let Some(window) = window.take() {
                    seen = window.cut(seen, |seen| seen.at).ok()?;
                }
                if !seen.is_empty() {
                    let batch = seen.into_iter().map(|seen| http_log(&row, seen)).collect();
                    return Some((batch, (follower, filter, next, window)));
                }
                follower.changed_or_written().await?;
            }
        });
        Ok(stream.boxed())
    }

    /// The lines of the window in one batch, then batches of new ones of every deployment of the environment, also of
    /// those that are yet to come. The window bounds the first batch alone.
    #[expect(clippy::too_many_arguments, reason = "the schema's arguments")]
    async fn environment_logs(
        &self,
        ctx: &Context<'_>,
        after_date: Option<String>,
        after_limit: Option<i32>,
        anchor_date: Option<String>,
        before_date: Option<String>,
        before_limit: Option<i32>,
        environment_id: String,
        filter: Option<String>,
    ) -> Result<BoxStream<'static, Vec<Log>>> {
        let follower = Follower::of_environment(ctx, environment_id)?;
        let filter = Filter::parse(filter.as_deref(), LINE_FIELDS)?;
        let window = Window {
            after: after_date,
            after_limit,
            anchor: anchor_date,
            before: before_date,
            before_limit,
            ..Window::default()
        };
        // A window that means nothing is refused at once.
        window.cut(Vec::<u64>::new(), |at| *at)?;
        let tail = Tail { follower, filter, window: Some(window), next: HashMap::new() };
        Ok(unfold(tail, |mut tail| async move { Some((tail.batch().await?, tail)) }).boxed())
    }
}

/// The logs of an environment as they grow.
struct Tail {
    follower: Follower,
    filter: Filter,
    /// Not yet told.
    window: Option<Window>,
    /// The number of the next line of each deployment.
    next: HashMap<String, u64>,
}

impl Tail {
    /// The next batch that is not empty; nothing once the environment is out of reach or the sandbox stops.
    async fn batch(&mut self) -> Option<Vec<Log>> {
        loop {
            let mut lines = Vec::new();
            for row in self.follower.deployments()? {
                let next = self.next.entry(row.id.clone()).or_default();
                let (mut new, end) = self.follower.request.core.traffic.lines_from(&row.id, *next);
                *next = end;
                new.retain(|line| self.filter.passes(&Written { row: &row, line }));
                lines.extend(new.into_iter().map(|line| (Arc::clone(&row), line)));
            }
            // Stable, so that lines of one deployment stay in the order in which they were written.
            lines.sort_by_key(|(_, line)| line.at);
            if let Some(window) = self.window.take() {
                lines = window.cut(lines, |(_, line)| line.at).ok()?;
            }
            if !lines.is_empty() {
                return Some(lines.into_iter().map(|(row, line)| log(&row, line)).collect());
            }
            self.follower.changed_or_written().await?;
        }
    }
}
