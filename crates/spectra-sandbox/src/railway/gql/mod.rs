//! The GraphQL surface: a subset of Railway's schema in which everything offered exists there under the same
//! name, type and nullability (`tests/schema.rs` proves it).

#![expect(clippy::unused_async, reason = "the schema macro calls every resolver with `.await`")]

pub(crate) mod activity;
pub(crate) mod change_sets;
pub(crate) mod deletion;
pub(crate) mod deployment;
pub(crate) mod egress;
pub(crate) mod environment;
pub(crate) mod http_metrics;
pub(crate) mod inputs;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod mutation;
pub(crate) mod network;
pub(crate) mod notifications;
pub(crate) mod private_networks;
pub(crate) mod project;
pub(crate) mod project_tokens;
pub(crate) mod query;
pub(crate) mod runs;
pub(crate) mod scalars;
pub(crate) mod service;
pub(crate) mod subscription;
pub(crate) mod triggers;
pub(crate) mod volumes;
pub(crate) mod workspace;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextParseQuery, NextValidation,
};
use async_graphql::parser::types::ExecutableDocument;
use async_graphql::{
    Context, ErrorExtensionValues, Schema, ServerError, ServerResult, SimpleObject, ValidationResult,
    Variables,
};
use futures::future::BoxFuture;

use crate::core::{Core, Draft};
use crate::railway::auth::Identity;
use crate::railway::refusal::Refusal;
use crate::settings::Settings;
use crate::store::World;
use crate::store::rows::Times;

/// The executable schema.
pub(crate) type RailwaySchema = Schema<query::Query, mutation::Mutation, subscription::Subscription>;

/// Builds the schema; it holds no state of its own.
pub(crate) fn schema() -> RailwaySchema {
    Schema::build(query::Query::default(), mutation::Mutation::default(), subscription::Subscription)
        .extension(Codes)
        .finish()
}

/// One request: who asks, the state it reads, what it changed.
pub(crate) struct Request {
    pub(crate) core: Arc<Core>,
    pub(crate) who: Identity,
    pub(crate) settings: Arc<Settings>,
    view: Mutex<Arc<World>>,
    pub(crate) mutated: AtomicBool,
    pub(crate) touched: Mutex<BTreeSet<String>>,
    /// Samples of metrics in the answer so far.
    points: AtomicUsize,
}

/// What the gateway says when it gives up on a request.
pub(crate) const PROBLEM: &str = "Problem processing request";
/// Most samples in one answer where the settings set no limit.
const POINTS: usize = 1_000_000;

impl Request {
    pub(crate) fn new(core: Arc<Core>, who: Identity, view: Arc<World>) -> Self {
        let settings = core.settings();
        Self {
            core,
            who,
            settings,
            view: Mutex::new(view),
            mutated: AtomicBool::new(false),
            touched: Mutex::default(),
            points: AtomicUsize::new(0),
        }
    }

    pub(crate) fn world(&self) -> Arc<World> {
        Arc::clone(&self.view.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets the rest of the request read the state as it is now.
    pub(crate) fn refresh(&self) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = self.core.world();
    }

    /// Whether an object is past its consistency tail.
    pub(crate) fn visible(&self, kind: &str, times: &Times) -> bool {
        let tail = u64::try_from(self.settings.tail(kind).as_millis()).unwrap_or(u64::MAX);
        self.core.clock.now() >= times.created_tick.saturating_add(tail)
    }

    /// Runs a mutation and lets the rest of the request read its result.
    pub(crate) fn mutate<T>(
        &self,
        environment: Option<&str>,
        change: impl FnOnce(&mut Draft, &Identity, &Settings) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let value = self.core.mutate(|draft| change(draft, &self.who, &self.settings))?;
        self.mutated.store(true, Ordering::Relaxed);
        if let Some(environment) = environment {
            self.touch(environment);
        }
        self.refresh();
        Ok(value)
    }

    fn most_points(&self) -> usize {
        self.settings.query_data_points.map_or(POINTS, |most| usize::try_from(most).unwrap_or(usize::MAX))
    }

    /// How many more samples the answer may hold.
    pub(crate) fn points_left(&self) -> usize {
        self.most_points().saturating_sub(self.points.load(Ordering::Relaxed))
    }

    /// Counts samples of the answer; refuses those that are too many.
    pub(crate) fn spend_points(&self, count: usize) -> Result<(), Refusal> {
        self.points.fetch_add(count, Ordering::Relaxed);
        if self.too_many_points() {
            return Err(Refusal { message: PROBLEM.to_owned(), code: None });
        }
        Ok(())
    }

    /// The answer would hold more samples than the gateway lets through.
    pub(crate) fn too_many_points(&self) -> bool {
        self.points.load(Ordering::Relaxed) > self.most_points()
    }

    pub(crate) fn touch(&self, environment: &str) {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).insert(environment.to_owned());
    }
}

/// The request of a resolver's context.
pub(crate) fn request<'a>(context: &'a Context<'_>) -> &'a Request {
    context.data_unchecked::<Arc<Request>>()
}

/// Relay's page description.
#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct PageInfo {
    pub(crate) end_cursor: Option<String>,
    pub(crate) has_next_page: bool,
    pub(crate) has_previous_page: bool,
    pub(crate) start_cursor: Option<String>,
}

/// Relay's arguments.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page {
    pub(crate) after: Option<String>,
    pub(crate) before: Option<String>,
    pub(crate) first: Option<i32>,
    pub(crate) last: Option<i32>,
}

impl Page {
    pub(crate) fn new(
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        last: Option<i32>,
    ) -> Self {
        Self { after, before, first, last }
    }

    /// Cuts `rows` (cursor and node) to the page; `most` is the sandbox's own page limit.
    pub(crate) fn cut<T>(&self, rows: Vec<(String, T)>, most: Option<usize>) -> (Vec<(String, T)>, PageInfo) {
        let total = rows.len();
        let at = |cursor: &Option<String>| {
            cursor.as_ref().and_then(|cursor| rows.iter().position(|(other, _)| other == cursor))
        };
        let mut start = at(&self.after).map_or(0, |at| at + 1);
        let mut end = at(&self.before).unwrap_or(total).max(start);
        let wish = |count: Option<i32>| count.and_then(|count| usize::try_from(count).ok());
        let limit = most.unwrap_or(usize::MAX);
        if let Some(last) = wish(self.last) {
            start = start.max(end.saturating_sub(last.min(limit)));
        } else {
            end = end.min(start.saturating_add(wish(self.first).unwrap_or(usize::MAX).min(limit)));
        }
        let rows: Vec<_> = rows.into_iter().skip(start).take(end - start).collect();
        let info = PageInfo {
            end_cursor: rows.last().map(|(cursor, _)| cursor.clone()),
            has_next_page: end < total,
            has_previous_page: start > 0,
            start_cursor: rows.first().map(|(cursor, _)| cursor.clone()),
        };
        (rows, info)
    }
}

/// Declares a connection and its edge under the names the schema has for them.
macro_rules! connection {
    ($name:ident, $edge:ident, $node:ty) => {
        #[derive(async_graphql::SimpleObject)]
        pub(crate) struct $edge {
            cursor: String,
            node: $node,
        }

        #[derive(async_graphql::SimpleObject)]
        pub(crate) struct $name {
            edges: Vec<$edge>,
            page_info: $crate::railway::gql::PageInfo,
        }

        impl $name {
            pub(crate) fn page(
                request: &$crate::railway::gql::Request,
                rows: Vec<(String, $node)>,
                page: &$crate::railway::gql::Page,
            ) -> Self {
                let (rows, page_info) = page.cut(rows, request.settings.page_size);
                Self {
                    edges: rows.into_iter().map(|(cursor, node)| $edge { cursor, node }).collect(),
                    page_info,
                }
            }
        }
    };
}
pub(crate) use connection;

/// Gives parse and validation errors the codes by which clients tell them from business errors.
struct Codes;

impl ExtensionFactory for Codes {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

fn coded(mut error: ServerError, code: &str) -> ServerError {
    error.extensions.get_or_insert_with(ErrorExtensionValues::default).set("code", code);
    error
}

/// Code of a document that does not fit the schema.
pub(crate) const VALIDATION: &str = "GRAPHQL_VALIDATION_FAILED";
/// Code of a document that is no GraphQL.
pub(crate) const PARSE: &str = "GRAPHQL_PARSE_FAILED";

impl Extension for Codes {
    fn parse_query<'life0, 'life1, 'life2, 'life3, 'life4, 'life5, 'async_trait>(
        &'life0 self,
        context: &'life1 ExtensionContext<'life2>,
        query: &'life3 str,
        variables: &'life4 Variables,
        next: NextParseQuery<'life5>,
    ) -> BoxFuture<'async_trait, ServerResult<ExecutableDocument>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        'life3: 'async_trait,
        'life4: 'async_trait,
        'life5: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(
            async move { next.run(context, query, variables).await.map_err(|error| coded(error, PARSE)) },
        )
    }

    fn validation<'life0, 'life1, 'life2, 'life3, 'async_trait>(
        &'life0 self,
        context: &'life1 ExtensionContext<'life2>,
        next: NextValidation<'life3>,
    ) -> BoxFuture<'async_trait, Result<ValidationResult, Vec<ServerError>>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        'life3: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            next.run(context)
                .await
                .map_err(|errors| errors.into_iter().map(|error| coded(error, VALIDATION)).collect())
        })
    }
}
