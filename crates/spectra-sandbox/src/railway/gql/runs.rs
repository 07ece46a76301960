//! Reads about what runs: deployments, their events and logs, HTTP logs and metrics.

use async_graphql::{Context, ID, Object, Result};

use super::deployment::{
    Deployment, DeploymentEvent, DeploymentSnapshot, QueryDeploymentEventsConnection,
    QueryDeploymentsConnection,
};
use super::http_metrics::{HttpDurationMetricsResult, HttpMetricsByStatusResult, HttpMetricsResult, Series};
use super::inputs::DeploymentListInput;
use super::logs::{HttpLog, LINE_FIELDS, Log, Window, deployment_logs, environment_logs, http_logs};
use super::scalars::{DateTime, EnvironmentVariables};
use super::{Page, Request, request};
use crate::railway::filter::Filter;
use crate::railway::ops::deployments;
use crate::railway::refusal::Refusal;
use crate::store::rows::{self, Status, Step};

/// Deployments, logs and HTTP metrics.
#[derive(Default)]
pub(crate) struct Runs;

/// Refuses an environment that is out of reach or keeps its content to itself.
pub(super) fn readable(request: &Request, environment: &str) -> Result<(), Refusal> {
    request.who.environment(&request.world(), environment).map(drop)
}

#[Object]
impl Runs {
    async fn deployment(&self, ctx: &Context<'_>, id: String) -> Result<Deployment> {
        let request = request(ctx);
        Ok(Deployment(deployments::reach(&request.world(), &request.who, &id)?))
    }

    async fn deployments(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        input: DeploymentListInput,
        last: Option<i32>,
    ) -> Result<QueryDeploymentsConnection> {
        let request = request(ctx);
        let world = request.world();
        request.who.known()?;
        if let Some(id) = &input.project_id {
            request.who.project(&world, id)?;
        }
        if let Some(id) = &input.environment_id {
            request.who.environment(&world, id)?;
        }
        if let Some(id) = &input.service_id {
            request.who.service(&world, id)?;
        }
        let matches = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|id| id == value);
        let status = |row: &rows::Deployment| {
            let Some(filter) = &input.status else { return true };
            filter
                .any_of
                .as_ref()
                .is_none_or(|list| list.iter().any(|status| Status::from(*status) == row.status))
                && !filter.not_in.iter().flatten().any(|status| Status::from(*status) == row.status)
        };
        let mut rows: Vec<_> = world
            .deployments
            .iter()
            .filter(|row| matches(&input.project_id, &row.project_id))
            .filter(|row| matches(&input.environment_id, &row.environment_id))
            .filter(|row| matches(&input.service_id, &row.service_id))
            .filter(|row| request.who.environment(&world, &row.environment_id).is_ok())
            .filter(|row| status(row))
            .cloned()
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.sequence));
        let rows = rows.into_iter().map(|row| (row.id.clone(), Deployment(row))).collect();
        Ok(QueryDeploymentsConnection::page(request, rows, &Page::new(after, before, first, last)))
    }

    async fn deployment_events(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        id: String,
        last: Option<i32>,
    ) -> Result<QueryDeploymentEventsConnection> {
        let request = request(ctx);
        let row = deployments::reach(&request.world(), &request.who, &id)?;
        let rows =
            row.events.iter().map(|event| (event.id.clone(), DeploymentEvent(event.clone()))).collect();
        Ok(QueryDeploymentEventsConnection::page(request, rows, &Page::new(after, before, first, last)))
    }

    async fn deployment_snapshot(
        &self,
        ctx: &Context<'_>,
        deployment_id: String,
    ) -> Result<Option<DeploymentSnapshot>> {
        let request = request(ctx);
        let world = request.world();
        let row = deployments::reach(&world, &request.who, &deployment_id)?;
        Ok(world.snapshots.get(&row.id).map(|snapshot| DeploymentSnapshot {
            created_at: DateTime(row.times.created_at),
            id: ID(row.snapshot_id.clone()),
            updated_at: DateTime(row.times.created_at),
            variables: EnvironmentVariables(
                snapshot
                    .own
                    .iter()
                    .filter(|(_, variable)| !variable.sealed)
                    .map(|(name, variable)| (name.clone(), variable.value.clone()))
                    .collect(),
            ),
        }))
    }

    /// Image deployments build nothing and have no build log.
    async fn build_logs(
        &self,
        ctx: &Context<'_>,
        deployment_id: String,
        end_date: Option<DateTime>,
        filter: Option<String>,
        limit: Option<i32>,
        start_date: Option<DateTime>,
    ) -> Result<Vec<Log>> {
        let request = request(ctx);
        let row = deployments::reach(&request.world(), &request.who, &deployment_id)?;
        Filter::parse(filter.as_deref(), LINE_FIELDS)?;
        let _ = (end_date, limit, start_date);
        let build = row.events.iter().any(|event| event.step == Step::BuildImage);
        tracing::debug!(deployment = %row.id, build, "build log asked for");
        Ok(Vec::new())
    }

    async fn deployment_logs(
        &self,
        ctx: &Context<'_>,
        deployment_id: String,
        end_date: Option<DateTime>,
        filter: Option<String>,
        limit: Option<i32>,
        start_date: Option<DateTime>,
    ) -> Result<Vec<Log>> {
        let request = request(ctx);
        let row = deployments::reach(&request.world(), &request.who, &deployment_id)?;
        let (from, to) = (start_date.map(|date| date.0), end_date.map(|date| date.0));
        Ok(deployment_logs(request, &row, filter.as_deref(), limit, from, to)?)
    }

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
    ) -> Result<Vec<Log>> {
        let request = request(ctx);
        readable(request, &environment_id)?;
        let window = Window {
            after: after_date,
            after_limit,
            anchor: anchor_date,
            before: before_date,
            before_limit,
            limit: None,
            filter,
        };
        Ok(environment_logs(request, &environment_id, &window)?)
    }

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
        limit: Option<i32>,
    ) -> Result<Vec<HttpLog>> {
        let request = request(ctx);
        let row = deployments::reach(&request.world(), &request.who, &deployment_id)?;
        let window = Window {
            after: after_date,
            after_limit,
            anchor: anchor_date,
            before: before_date,
            before_limit,
            limit,
            filter,
        };
        Ok(http_logs(request, &row, &window)?)
    }

    #[expect(clippy::too_many_arguments, reason = "the schema's arguments")]
    async fn http_metrics(
        &self,
        ctx: &Context<'_>,
        end_date: DateTime,
        environment_id: String,
        method: Option<String>,
        path: Option<String>,
        service_id: String,
        start_date: DateTime,
        status_code: Option<i32>,
        step_seconds: Option<i32>,
    ) -> Result<HttpMetricsResult> {
        let request = request(ctx);
        request.who.instance(&request.world(), &environment_id, &service_id)?;
        let series = Series {
            environment: environment_id,
            service: service_id,
            from: start_date.0,
            to: end_date.0,
            step: step_seconds,
            method,
            path,
            status: status_code,
        };
        Ok(series.counts(request)?)
    }

    #[expect(clippy::too_many_arguments, reason = "the schema's arguments")]
    async fn http_metrics_grouped_by_status(
        &self,
        ctx: &Context<'_>,
        end_date: DateTime,
        environment_id: String,
        method: Option<String>,
        path: Option<String>,
        service_id: String,
        start_date: DateTime,
        step_seconds: Option<i32>,
    ) -> Result<Vec<HttpMetricsByStatusResult>> {
        let request = request(ctx);
        request.who.instance(&request.world(), &environment_id, &service_id)?;
        let series = Series {
            environment: environment_id,
            service: service_id,
            from: start_date.0,
            to: end_date.0,
            step: step_seconds,
            method,
            path,
            status: None,
        };
        Ok(series.by_status(request)?)
    }

    #[expect(clippy::too_many_arguments, reason = "the schema's arguments")]
    async fn http_duration_metrics(
        &self,
        ctx: &Context<'_>,
        end_date: DateTime,
        environment_id: String,
        method: Option<String>,
        path: Option<String>,
        service_id: String,
        start_date: DateTime,
        status_code: Option<i32>,
        step_seconds: Option<i32>,
    ) -> Result<HttpDurationMetricsResult> {
        let request = request(ctx);
        request.who.instance(&request.world(), &environment_id, &service_id)?;
        let series = Series {
            environment: environment_id,
            service: service_id,
            from: start_date.0,
            to: end_date.0,
            step: step_seconds,
            method,
            path,
            status: status_code,
        };
        Ok(series.durations(request)?)
    }
}
