//! The client: one call, its turn, its retries, and the caches beside it.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue};
use rand::Rng as _;
use serde::Serialize;
use spectra_types::{EnvironmentId, IdError, ProjectId, SafeUrl};
use tokio::sync::{Mutex, OnceCell};
use url::Url;

use crate::cache::SingleFlight;
use crate::company::{Seat, Table};
use crate::config::{Budget, ClientConfig};
use crate::environment::Environment;
use crate::error::{ConfigError, Error, ErrorKind, Result};
use crate::gql::{Access, Effect, Operation};
use crate::identity::{Credential, Identity, TokenKind, detect};
use crate::pace::Pacer;
use crate::project::Project;
use crate::service::Service;
use crate::snapshot::EnvironmentSnapshot;
use crate::subscribe::Hub;
use crate::time::Polling;
use crate::transport::{AuthHeader, Transport, read};
use crate::websocket::is_proxied;

/// How often a read is tried.
const READ_ATTEMPTS: u32 = 6;
/// How often a write is tried that was surely not executed.
const WRITE_ATTEMPTS: u32 = 4;

/// A client of Railway's API; cheap to clone, and clones share everything.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    guard: Option<Arc<dyn Guard>>,
}

/// Has a say in every change that a client asks for.
pub trait Guard: Send + Sync {
    /// Asked right before each request that may change something; an `Err` says why it must not be sent.
    fn may_change(&self) -> BoxFuture<'_, std::result::Result<(), String>>;
}

struct Inner {
    config: ClientConfig,
    polling: Polling,
    back_off: Duration,
    transport: Transport,
    pacer: Pacer,
    credential: OnceCell<Credential>,
    /// Projects and environments share one cooldown, so their creation is put in a row.
    creation: Mutex<()>,
    /// Staging and committing are two calls: another change of the same environment in between would take the staged
    /// edits for somebody else's.
    patches: std::sync::Mutex<HashMap<EnvironmentId, Arc<Mutex<()>>>>,
    snapshots: SingleFlight<EnvironmentId, EnvironmentSnapshot>,
    environments: SingleFlight<ProjectId, Vec<Environment>>,
    services: SingleFlight<ProjectId, Vec<Service>>,
    projects: SingleFlight<(), Vec<Project>>,
    hub: Hub,
    /// Rollouts that run at the moment.
    table: Table,
    /// Logs that are followed at the moment.
    logs: Table,
}

/// What a write makes stale.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Touches<'a> {
    Environment(&'a EnvironmentId),
    Everything,
}

#[derive(Serialize)]
struct Body<V> {
    #[serde(rename = "operationName")]
    operation_name: &'static str,
    query: &'static str,
    variables: V,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &SafeUrl::from(self.inner.config.endpoint.clone()))
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client. Nothing is sent yet; the token is looked at with the first call.
    pub fn new(config: ClientConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let loopback = SafeUrl::from(config.endpoint.clone()).is_loopback();
        let budget = config.budget.unwrap_or(if loopback { Budget::LOOPBACK } else { Budget::REMOTE });
        let polling = config.polling.unwrap_or(if loopback { Polling::LOOPBACK } else { Polling::REMOTE });
        let inner = Inner {
            transport: Transport::new(&config)?,
            pacer: Pacer::new(budget, config.clock.now()),
            polling,
            back_off: Duration::from_millis(if loopback { 50 } else { 500 }),
            credential: OnceCell::new(),
            creation: Mutex::new(()),
            patches: std::sync::Mutex::default(),
            snapshots: SingleFlight::default(),
            environments: SingleFlight::default(),
            services: SingleFlight::default(),
            projects: SingleFlight::default(),
            hub: Hub::new(is_proxied(&config.endpoint)),
            table: Table::default(),
            logs: Table::default(),
            config,
        };
        Ok(Self { inner: Arc::new(inner), guard: None })
    }

    /// The same client, which sends nothing that may change something unless `guard` allows it. One action is often several
    /// requests, and much can happen between two of them.
    #[must_use]
    pub fn guarded(&self, guard: Arc<dyn Guard>) -> Self {
        Self { inner: Arc::clone(&self.inner), guard: Some(guard) }
    }

    /// What Railway says about the token; asked once.
    pub async fn identity(&self) -> Result<&Identity> {
        Ok(&self.credential().await?.identity)
    }

    /// How patient the client is.
    #[must_use]
    pub fn polling(&self) -> Polling {
        self.inner.polling
    }

    /// How long to wait between two looks at something that changes: stretched as the request budget shrinks, so
    /// that watching leaves two thirds of it to others.
    #[must_use]
    pub fn watch_interval(&self) -> Duration {
        self.inner.polling.watch.max(self.inner.pacer.interval() * 3)
    }

    pub(crate) fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// With the query string that every request has.
    pub(crate) fn endpoint(&self) -> &Url {
        self.inner.transport.endpoint()
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.inner.hub
    }

    /// For as long as the seat is kept, a rollout of this client runs.
    pub(crate) fn sit_down(&self) -> Seat {
        self.inner.table.sit_down()
    }

    /// For as long as the seat is kept, a log is followed.
    pub(crate) fn read_a_log(&self) -> Seat {
        self.inner.logs.sit_down()
    }

    /// How many logs are followed.
    pub(crate) fn logs_read(&self) -> usize {
        self.inner.logs.seats()
    }

    /// Whether the budget has something left for what is no more than welcome.
    pub(crate) fn may_spare(&self) -> bool {
        self.inner.pacer.is_at_full_speed()
    }

    /// The least time between the beginnings of two reads of an environment: none for a rollout alone, and a third of a poll's
    /// at most, so that a look of two reads is over before the next one is due.
    /// In a large company one request in ten is such a read.
    pub(crate) fn spacing(&self) -> Duration {
        let seats = self.inner.table.seats();
        if seats < 2 {
            return Duration::ZERO;
        }
        let part = u32::try_from(seats).unwrap_or(u32::MAX);
        (self.inner.pacer.interval().saturating_mul(part) / 10).min(self.watch_interval() / 3)
    }

    /// Whether several rollouts of this client run.
    pub(crate) fn has_company(&self) -> bool {
        self.inner.table.seats() > 1
    }

    pub(crate) fn snapshots(&self) -> &SingleFlight<EnvironmentId, EnvironmentSnapshot> {
        &self.inner.snapshots
    }

    pub(crate) fn environment_lists(&self) -> &SingleFlight<ProjectId, Vec<Environment>> {
        &self.inner.environments
    }

    pub(crate) fn service_lists(&self) -> &SingleFlight<ProjectId, Vec<Service>> {
        &self.inner.services
    }

    pub(crate) fn project_lists(&self) -> &SingleFlight<(), Vec<Project>> {
        &self.inner.projects
    }

    /// The turn to change the configuration of an environment by a patch.
    pub(crate) fn patching(&self, environment: &EnvironmentId) -> Arc<Mutex<()>> {
        // Every write is one insertion, so a poisoned map is still whole.
        let mut patches = self.inner.patches.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(patches.entry(environment.clone()).or_default())
    }

    pub(crate) fn creation(&self) -> &Mutex<()> {
        &self.inner.creation
    }

    pub(crate) fn now(&self) -> Duration {
        self.inner.config.clock.now()
    }

    /// Time since the Unix epoch.
    pub(crate) fn wall(&self) -> Duration {
        self.inner.config.clock.wall()
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        if !duration.is_zero() {
            self.inner.config.clock.sleep(duration).await;
        }
    }

    async fn credential(&self) -> Result<&Credential> {
        self.inner.credential.get_or_try_init(|| Box::pin(detect(self))).await
    }

    /// The header that authenticates.
    pub(crate) async fn credential_pair(&self) -> Result<(&'static str, HeaderValue)> {
        Ok(self.credential().await?.header.pair())
    }

    /// Waits for a turn to send a request; `Err` with the wait if that would be too long.
    pub(crate) async fn turn(&self) -> Result<(), Duration> {
        let wait = self.inner.pacer.take_turn(self.now())?;
        self.sleep(wait).await;
        Ok(())
    }

    /// Nobody sends a request for this long.
    pub(crate) fn block(&self, wait: Duration) {
        self.inner.pacer.block(self.now(), wait);
    }

    /// Reads what an answer says of the budget.
    pub(crate) fn observe(&self, headers: &HeaderMap) {
        self.inner.pacer.observe(headers, self.now(), self.inner.config.clock.wall());
    }

    /// A read.
    pub(crate) async fn query<O: Operation>(&self, variables: O::Variables) -> Result<O::ResponseData> {
        debug_assert_eq!(O::EFFECT, Effect::Read);
        let credential = self.credential().await?;
        self.permit::<O>(credential)?;
        self.call_as::<O>(&credential.header, variables).await
    }

    /// A write; whatever comes of it, what it touches is read anew afterwards.
    pub(crate) async fn mutate<O: Operation>(
        &self,
        touches: Touches<'_>,
        variables: O::Variables,
    ) -> Result<O::ResponseData> {
        debug_assert_eq!(O::EFFECT, Effect::Write);
        let credential = self.credential().await?;
        self.permit::<O>(credential)?;
        let result = self.call_as::<O>(&credential.header, variables).await;
        self.forget(touches);
        result
    }

    pub(crate) fn forget(&self, touches: Touches<'_>) {
        match touches {
            Touches::Environment(id) => self.inner.snapshots.invalidate(id),
            Touches::Everything => {
                self.inner.snapshots.invalidate_all();
                self.inner.environments.invalidate_all();
                self.inner.services.invalidate_all();
                self.inner.projects.invalidate_all();
            }
        }
    }

    #[expect(clippy::unused_self, reason = "reads as a question to the client")]
    fn permit<O: Operation>(&self, credential: &Credential) -> Result<()> {
        if O::ACCESS == Access::Any || credential.identity.kind != TokenKind::Project {
            return Ok(());
        }
        let message = format!(
            "this needs an account or workspace token, but there is only the {}",
            credential.identity.describe()
        );
        Err(Error::new(ErrorKind::Forbidden, O::NAME, message)
            .hinting("set `RAILWAY_API_TOKEN` to an account or workspace token"))
    }

    /// A call with a header of the caller's choice: in turn, and repeated where that is safe.
    pub(crate) async fn call_as<O: Operation>(
        &self,
        header: &AuthHeader,
        variables: O::Variables,
    ) -> Result<O::ResponseData> {
        let query = O::build_query(variables);
        let body = Body { operation_name: O::NAME, query: query.query, variables: query.variables };
        let body = serde_json::to_vec(&body).map_err(|error| {
            Error::new(ErrorKind::BadInput, O::NAME, "the request cannot be written as JSON").because(error)
        })?;
        let attempts = match O::EFFECT {
            Effect::Read => READ_ATTEMPTS,
            Effect::Write => WRITE_ATTEMPTS,
        };
        let budget =
            self.inner.config.budget.map_or(Budget::REMOTE.longest_wait, |budget| budget.longest_wait);
        let start = self.now();
        let mut attempt = 1;
        loop {
            let wait = self.inner.pacer.take_turn(self.now()).map_err(|wait| {
                Error::new(ErrorKind::RateLimited, O::NAME, "the request budget is used up").after(Some(wait))
            })?;
            self.sleep(wait).await;
            if let (Effect::Write, Some(guard)) = (O::EFFECT, &self.guard) {
                guard.may_change().await.map_err(|why| Error::new(ErrorKind::Fenced, O::NAME, why))?;
            }
            let error = match self.exchange::<O>(header, body.clone()).await {
                Ok(data) => return Ok(data),
                Err(error) => error,
            };
            let again = match O::EFFECT {
                Effect::Read => matches!(error.kind(), ErrorKind::Transport | ErrorKind::RateLimited),
                // Refused before execution, or never sent. Everything else may have happened.
                Effect::Write => error.kind() == ErrorKind::RateLimited || error.never_sent(),
            };
            // A wish of zero seconds still leaves the server a moment.
            let pause = error.retry_after().unwrap_or_default().max(self.back_off(attempt));
            if error.kind() == ErrorKind::RateLimited {
                // Everybody waits, not this call alone.
                self.inner.pacer.block(self.now(), pause);
            }
            let spent = self.now().saturating_sub(start) + pause;
            if !again || attempt >= attempts || spent > budget {
                tracing::debug!(operation = O::NAME, kind = ?error.kind(), attempt, "railway call failed");
                return Err(error);
            }
            tracing::debug!(operation = O::NAME, kind = ?error.kind(), attempt, ?pause, "railway call is repeated");
            if error.kind() != ErrorKind::RateLimited {
                self.sleep(pause).await;
            }
            attempt += 1;
        }
    }

    async fn exchange<O: Operation>(&self, header: &AuthHeader, body: Vec<u8>) -> Result<O::ResponseData> {
        let reply = self.inner.transport.send(O::NAME, O::EFFECT, header, body).await?;
        let wall = self.inner.config.clock.wall();
        self.inner.pacer.observe(&reply.headers, self.now(), wall);
        tracing::trace!(operation = O::NAME, status = reply.status.as_u16(), "railway answered");
        read(O::NAME, O::EFFECT, &reply, wall)
    }

    /// Doubles with every attempt; between half and the whole of it, so that many clients spread.
    pub(crate) fn back_off(&self, attempt: u32) -> Duration {
        let full = self.inner.back_off.saturating_mul(1 << attempt.min(5)).min(Duration::from_secs(15));
        full.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Looks until there is something, at most for `within`; the first look is immediate.
    pub(crate) async fn look<T, F>(&self, within: Duration, mut look: impl FnMut() -> F) -> Result<Option<T>>
    where
        F: Future<Output = Result<Option<T>>>,
    {
        let deadline = self.now() + within;
        let mut pauses = self.inner.polling.pauses();
        loop {
            match look().await {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                Err(error) if matches!(error.kind(), ErrorKind::NotYet | ErrorKind::NotFound) => {}
                Err(error) => return Err(error),
            }
            let pause = pauses.next().unwrap_or(self.inner.polling.longest);
            if self.now() + pause > deadline {
                return Ok(None);
            }
            self.sleep(pause).await;
        }
    }

    /// Waits until a new object can be read, as long as [`Polling::visible_within`]. Reads that answer "not found"
    /// or "not yet" are repeated; other failures end the wait.
    pub async fn wait_until_visible<T, F>(&self, object: &str, mut read: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let within = self.inner.polling.visible_within;
        let found = self
            .look(within, || {
                let reading = read();
                async move { reading.await.map(Some) }
            })
            .await?;
        found.ok_or_else(|| {
            let message = format!("{object} exists but could not be read for {} s", within.as_secs());
            Error::new(ErrorKind::NotYet, "Read", message)
        })
    }

    /// Repeats a call that Railway puts off ("creating projects too quickly", "cannot redeploy yet"), which happens
    /// before anything is done, until it is let through or [`Polling::cooldown_within`] has passed.
    pub(crate) async fn out_wait_cooldown<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let deadline = self.now() + self.inner.polling.cooldown_within;
        let mut pauses = self.inner.polling.pauses();
        loop {
            let error = match call().await {
                Err(error) if error.kind() == ErrorKind::Cooldown => error,
                other => return other,
            };
            let pause = error
                .retry_after()
                .or_else(|| pauses.next().map(|pause| pause * 3))
                .unwrap_or(self.inner.polling.longest);
            if self.now() + pause > deadline {
                return Err(error);
            }
            self.sleep(pause).await;
        }
    }

    #[expect(clippy::unused_self, reason = "so that call sites read alike")]
    pub(crate) fn id<O: Operation, T: TryFrom<String, Error = IdError>>(&self, text: String) -> Result<T> {
        id::<O, T>(text)
    }
}

/// An id out of a reply.
pub(crate) fn id<O: Operation, T: TryFrom<String, Error = IdError>>(text: String) -> Result<T> {
    T::try_from(text).map_err(|error| {
        Error::new(ErrorKind::SchemaMismatch, O::NAME, "the reply holds an id that is none").because(error)
    })
}

/// A boolean mutation that answered `false` without errors did something unknown.
pub(crate) fn confirmed<O: Operation>(answer: bool) -> Result<()> {
    if answer {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Ambiguous,
            O::NAME,
            "Railway did not confirm the change: it answered `false`",
        ))
    }
}

/// Objects of all pages.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<String>,
}

impl<T> Page<T> {
    /// A page that promises more without saying where is refused: treating it as the last would make objects vanish.
    pub(crate) fn new<O: Operation>(items: Vec<T>, has_next: bool, cursor: Option<String>) -> Result<Self> {
        if has_next && cursor.as_deref().is_none_or(str::is_empty) {
            let message = "the list has more pages but no cursor to the next one";
            return Err(Error::new(ErrorKind::SchemaMismatch, O::NAME, message));
        }
        Ok(Self { items, next: cursor.filter(|_| has_next) })
    }
}

/// Follows cursors to the end.
pub(crate) async fn all_pages<O: Operation, T, F>(mut page: impl FnMut(Option<String>) -> F) -> Result<Vec<T>>
where
    F: Future<Output = Result<Page<T>>>,
{
    let (mut items, mut after) = (Vec::new(), None);
    loop {
        let Page { items: more, next } = page(after.clone()).await?;
        items.extend(more);
        match next {
            None => return Ok(items),
            Some(_) if next == after => {
                let message = "the list repeats a page";
                return Err(Error::new(ErrorKind::SchemaMismatch, O::NAME, message));
            }
            Some(_) => after = next,
        }
    }
}
