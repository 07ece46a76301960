//! Egress gateways.

use std::sync::Arc;

use async_graphql::{Context, InputObject, Object, Result};
use rand::seq::SliceRandom as _;

use super::{Request, request};
use crate::railway::ops::egress as ops;
use crate::railway::refusal::Refusal;
use crate::store::rows;

pub(crate) struct EgressGateway(Arc<rows::EgressGateway>);

#[Object]
impl EgressGateway {
    async fn ipv4(&self) -> &str {
        &self.0.ipv4
    }

    async fn region(&self) -> &str {
        &self.0.region
    }

    /// Zones are of gateways that are kept twice, which the sandbox does not offer.
    async fn zone(&self) -> Option<&str> {
        None
    }
}

/// Rows come in no order; which one is first changes between reads.
fn gateways(
    request: &Request,
    environment: &str,
    service: &str,
    keep: impl Fn(&rows::EgressGateway) -> bool,
) -> Result<Vec<EgressGateway>, Refusal> {
    let world = request.world();
    request.who.environment(&world, environment)?;
    request.who.service(&world, service)?;
    let mut rows: Vec<_> = world
        .egress_gateways
        .iter()
        .filter(|row| row.environment_id == environment && row.service_id == service && keep(row))
        .cloned()
        .map(EgressGateway)
        .collect();
    if request.settings.unordered_rows {
        rows.shuffle(&mut rand::rng());
    } else {
        rows.sort_by(|a, b| a.0.region.cmp(&b.0.region));
    }
    Ok(rows)
}

/// Reads.
#[derive(Default)]
pub(crate) struct EgressGateways;

#[Object]
impl EgressGateways {
    async fn egress_gateways(
        &self,
        ctx: &Context<'_>,
        environment_id: String,
        service_id: String,
    ) -> Result<Vec<EgressGateway>> {
        let request = request(ctx);
        let visible = |row: &rows::EgressGateway| request.visible("egress_gateway", &row.times);
        Ok(gateways(request, &environment_id, &service_id, visible)?)
    }
}

#[derive(InputObject)]
struct EgressGatewayCreateInput {
    environment_id: String,
    region: Option<String>,
    service_id: String,
}

#[derive(InputObject)]
struct EgressGatewayServiceTargetInput {
    all_environments: Option<bool>,
    environment_id: String,
    service_id: String,
}

/// Writes.
#[derive(Default)]
pub(crate) struct EgressGatewayWrites;

#[Object]
impl EgressGatewayWrites {
    async fn egress_gateway_association_create(
        &self,
        ctx: &Context<'_>,
        input: EgressGatewayCreateInput,
    ) -> Result<Vec<EgressGateway>> {
        let request = request(ctx);
        let (environment, service) = (&input.environment_id, &input.service_id);
        request.mutate(Some(environment), |draft, who, _| {
            ops::create(draft, who, environment, service, input.region.as_deref())
        })?;
        Ok(gateways(request, environment, service, |_| true)?)
    }

    async fn egress_gateway_associations_clear(
        &self,
        ctx: &Context<'_>,
        input: EgressGatewayServiceTargetInput,
    ) -> Result<bool> {
        let request = request(ctx);
        let everywhere = input.all_environments.unwrap_or(false);
        let (environment, service) = (&input.environment_id, &input.service_id);
        let lost = request.mutate(Some(environment), |draft, who, _| {
            ops::clear(draft, who, environment, service, everywhere)
        })?;
        for environment in &lost {
            request.touch(environment);
        }
        Ok(true)
    }
}
