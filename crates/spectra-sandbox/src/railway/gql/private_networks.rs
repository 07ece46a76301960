//! Private networks and endpoints.

use std::sync::Arc;

use async_graphql::{Context, Enum, InputObject, Object, Result};

use super::network::{Sync, listed};
use super::scalars::{BigInt, DateTime};
use super::{Request, request};
use crate::railway::ops::private_networks as ops;
use crate::railway::refusal::Refusal;
use crate::settings::ticks;
use crate::store::rows;

pub(crate) struct PrivateNetwork(Arc<rows::PrivateNetwork>);

#[Object]
impl PrivateNetwork {
    async fn public_id(&self) -> &str {
        &self.0.id
    }

    async fn network_id(&self) -> BigInt {
        BigInt(self.0.number)
    }

    async fn project_id(&self) -> &str {
        &self.0.project_id
    }

    async fn environment_id(&self) -> &str {
        &self.0.environment_id
    }

    async fn name(&self) -> &str {
        &self.0.name
    }

    async fn dns_name(&self) -> &str {
        &self.0.dns_name
    }

    async fn tags(&self) -> &[String] {
        &self.0.tags
    }

    async fn created_at(&self) -> Option<DateTime> {
        Some(DateTime(self.0.times.created_at))
    }

    async fn deleted_at(&self) -> Option<DateTime> {
        self.0.times.deleted_at.map(DateTime)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "Sync")]
enum PrivateNetworkEndpointSyncStatus {
    Creating,
    Updating,
    Active,
    Deleting,
    Deleted,
}

pub(crate) struct PrivateNetworkEndpoint {
    row: Arc<rows::PrivateEndpoint>,
    sync: Sync,
}

impl PrivateNetworkEndpoint {
    fn new(request: &Request, row: Arc<rows::PrivateEndpoint>) -> Self {
        let sync = listed(request, &row.times, row.updated_tick, None).unwrap_or(Sync::Active);
        Self { row, sync }
    }

    /// The name that still holds while a rename is on its way.
    fn old_name(&self) -> Option<&str> {
        self.row.old_name.as_deref().filter(|_| self.sync == Sync::Updating)
    }
}

#[Object]
impl PrivateNetworkEndpoint {
    async fn public_id(&self) -> &str {
        &self.row.id
    }

    async fn service_instance_id(&self) -> &str {
        &self.row.instance_id
    }

    async fn dns_name(&self) -> &str {
        self.old_name().unwrap_or(&self.row.dns_name)
    }

    async fn new_dns_name(&self) -> Option<&str> {
        self.old_name().map(|_| self.row.dns_name.as_str())
    }

    async fn private_ips(&self) -> Vec<&str> {
        vec![&self.row.address]
    }

    async fn sync_status(&self) -> PrivateNetworkEndpointSyncStatus {
        self.sync.into()
    }

    async fn tags(&self) -> &[String] {
        &self.row.tags
    }

    async fn created_at(&self) -> Option<DateTime> {
        Some(DateTime(self.row.times.created_at))
    }

    async fn deleted_at(&self) -> Option<DateTime> {
        self.row.times.deleted_at.map(DateTime)
    }
}

/// Reads.
#[derive(Default)]
pub(crate) struct PrivateNetworks;

#[Object]
impl PrivateNetworks {
    async fn private_networks(
        &self,
        ctx: &Context<'_>,
        environment_id: String,
    ) -> Result<Vec<PrivateNetwork>> {
        let request = request(ctx);
        let world = request.world();
        request.who.environment(&world, &environment_id)?;
        let mut rows: Vec<_> = world
            .private_networks
            .iter()
            .filter(|row| row.environment_id == environment_id && row.times.live())
            .filter(|row| request.visible("private_network", &row.times))
            .cloned()
            .collect();
        rows.sort_by_key(|row| row.number);
        Ok(rows.into_iter().map(PrivateNetwork).collect())
    }

    /// `null`, without an error, where there is none, and for a while after it was made.
    async fn private_network_endpoint(
        &self,
        ctx: &Context<'_>,
        environment_id: String,
        private_network_id: String,
        service_id: String,
    ) -> Result<Option<PrivateNetworkEndpoint>> {
        let request = request(ctx);
        let world = request.world();
        let network = ops::reach(&world, &request.who, &environment_id, &private_network_id)?;
        request.who.service(&world, &service_id)?;
        let window = ticks(request.settings.private_endpoint_null_window);
        let row = ops::endpoint_of(&world, &network.id, &service_id)
            .filter(|row| request.core.clock.now() >= row.times.created_tick.saturating_add(window));
        Ok(row.map(|row| PrivateNetworkEndpoint::new(request, Arc::clone(row))))
    }

    async fn private_network_endpoint_name_available(
        &self,
        ctx: &Context<'_>,
        environment_id: String,
        prefix: String,
        private_network_id: String,
    ) -> Result<bool> {
        let request = request(ctx);
        let world = request.world();
        let network = ops::reach(&world, &request.who, &environment_id, &private_network_id)?;
        Ok(ops::available(&world, &network.id, &prefix))
    }
}

#[derive(InputObject)]
struct PrivateNetworkCreateOrGetInput {
    environment_id: String,
    name: String,
    project_id: String,
    tags: Vec<String>,
}

#[derive(InputObject)]
struct PrivateNetworkEndpointCreateOrGetInput {
    environment_id: String,
    private_network_id: String,
    service_id: String,
    service_name: String,
    tags: Vec<String>,
}

/// Writes.
#[derive(Default)]
pub(crate) struct PrivateNetworkWrites;

/// Where an endpoint lives.
fn place(request: &Request, id: &str) -> Option<String> {
    request.world().private_endpoints.get(id).map(|row| row.environment_id.clone())
}

#[Object]
impl PrivateNetworkWrites {
    async fn private_network_create_or_get(
        &self,
        ctx: &Context<'_>,
        input: PrivateNetworkCreateOrGetInput,
    ) -> Result<PrivateNetwork> {
        let request = request(ctx);
        let new = ops::NewNetwork {
            project_id: input.project_id,
            environment_id: input.environment_id,
            name: input.name,
            tags: input.tags,
        };
        let id = request
            .mutate(Some(&new.environment_id), |draft, who, _| ops::create_or_get(draft, who, &new))?;
        let row = request.world().private_networks.get(&id).cloned();
        Ok(row.map(PrivateNetwork).ok_or_else(|| Refusal::not_found("PrivateNetwork"))?)
    }

    async fn private_network_endpoint_create_or_get(
        &self,
        ctx: &Context<'_>,
        input: PrivateNetworkEndpointCreateOrGetInput,
    ) -> Result<PrivateNetworkEndpoint> {
        let request = request(ctx);
        let new = ops::NewEndpoint {
            environment_id: input.environment_id,
            network_id: input.private_network_id,
            service_id: input.service_id,
            service_name: input.service_name,
            tags: input.tags,
        };
        let id = request.mutate(Some(&new.environment_id), |draft, who, _| {
            ops::endpoint_create_or_get(draft, who, &new)
        })?;
        let row = request.world().private_endpoints.get(&id).cloned();
        let row = row.ok_or_else(|| Refusal::not_found("PrivateNetworkEndpoint"))?;
        Ok(PrivateNetworkEndpoint::new(request, row))
    }

    async fn private_network_endpoint_rename(
        &self,
        ctx: &Context<'_>,
        dns_name: String,
        id: String,
        private_network_id: String,
    ) -> Result<bool> {
        let request = request(ctx);
        request.mutate(place(request, &id).as_deref(), |draft, who, _| {
            ops::rename(draft, who, &private_network_id, &id, &dns_name)
        })?;
        Ok(true)
    }

    async fn private_network_endpoint_delete(&self, ctx: &Context<'_>, id: String) -> Result<bool> {
        let request = request(ctx);
        request
            .mutate(place(request, &id).as_deref(), |draft, who, _| ops::delete_endpoint(draft, who, &id))?;
        Ok(true)
    }

    async fn private_networks_for_environment_delete(
        &self,
        ctx: &Context<'_>,
        environment_id: String,
    ) -> Result<bool> {
        request(ctx)
            .mutate(Some(&environment_id), |draft, who, _| ops::delete_all(draft, who, &environment_id))?;
        Ok(true)
    }
}
