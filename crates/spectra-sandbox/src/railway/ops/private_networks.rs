//! Private networks and the endpoints of services in them: names and addresses alone, no bytes pass.

use std::sync::Arc;

use crate::core::Draft;
use crate::railway::auth::{Identity, found};
use crate::railway::ops::{Place, audit, born, label, new_id};
use crate::railway::refusal::Refusal;
use crate::store::World;
use crate::store::rows::{PrivateEndpoint, PrivateNetwork};

/// What a client asks for.
#[derive(Debug)]
pub(crate) struct NewNetwork {
    pub(crate) project_id: String,
    pub(crate) environment_id: String,
    pub(crate) name: String,
    pub(crate) tags: Vec<String>,
}

/// What a client asks for.
#[derive(Debug)]
pub(crate) struct NewEndpoint {
    pub(crate) environment_id: String,
    pub(crate) network_id: String,
    pub(crate) service_id: String,
    pub(crate) service_name: String,
    pub(crate) tags: Vec<String>,
}

/// The network of this name in the environment; made when there is none. Returns its public id.
pub(crate) fn create_or_get(draft: &mut Draft, who: &Identity, new: &NewNetwork) -> Result<String, Refusal> {
    let environment = who.environment(&draft.world, &new.environment_id)?;
    if environment.project_id != new.project_id {
        return Err(Refusal::not_found("Project"));
    }
    let dns_name = label(&new.name);
    if dns_name.is_empty() {
        return Err(Refusal::input("Invalid private network name"));
    }
    let twin = draft
        .world
        .private_networks
        .iter()
        .find(|row| row.times.live() && row.environment_id == new.environment_id && row.name == new.name);
    if let Some(twin) = twin {
        return Ok(twin.id.clone());
    }
    let id = new_id();
    let times = born(draft);
    let number = draft.next();
    let row = PrivateNetwork {
        id: id.clone(),
        number,
        project_id: new.project_id.clone(),
        environment_id: new.environment_id.clone(),
        name: new.name.clone(),
        dns_name,
        tags: new.tags.clone(),
        times,
    };
    draft.world.private_networks.insert(&id, row);
    let place = Place { project: Some(&new.project_id), environment: Some(&new.environment_id) };
    audit(draft, who, "private_network", "create", &id, place);
    Ok(id)
}

/// The live network `id` of an environment, if it is within reach.
pub(crate) fn reach(
    world: &World,
    who: &Identity,
    environment: &str,
    id: &str,
) -> Result<Arc<PrivateNetwork>, Refusal> {
    who.environment(world, environment)?;
    let row = found(world.private_networks.get(id), "PrivateNetwork", |row| row.times.live())?;
    if row.environment_id != environment {
        return Err(Refusal::not_found("PrivateNetwork"));
    }
    Ok(row)
}

/// The live endpoint of a service in a network.
pub(crate) fn endpoint_of<'a>(
    world: &'a World,
    network: &str,
    service: &str,
) -> Option<&'a Arc<PrivateEndpoint>> {
    let mut live = world.private_endpoints.iter().filter(|row| row.times.live());
    live.find(|row| row.network_id == network && row.service_id == service)
}

/// Whether no endpoint of the network has the name; what is no name is never available.
pub(crate) fn available(world: &World, network: &str, name: &str) -> bool {
    let mut live = world.private_endpoints.iter().filter(|row| row.times.live());
    is_name(name) && !live.any(|row| row.network_id == network && row.dns_name == name)
}

/// One label of a host name, lower case.
fn is_name(name: &str) -> bool {
    (1..=63).contains(&name.len()) && label(name) == name
}

/// The endpoint of a service in a network; made when there is none. Returns its public id.
pub(crate) fn endpoint_create_or_get(
    draft: &mut Draft,
    who: &Identity,
    new: &NewEndpoint,
) -> Result<String, Refusal> {
    let network = reach(&draft.world, who, &new.environment_id, &new.network_id)?;
    let instance = who.instance(&draft.world, &new.environment_id, &new.service_id)?;
    if let Some(row) = endpoint_of(&draft.world, &network.id, &new.service_id) {
        return Ok(row.id.clone());
    }
    let base = label(&new.service_name);
    if !is_name(&base) {
        return Err(Refusal::input(format!("Invalid service name \"{}\"", new.service_name)));
    }
    let mut dns_name = base.clone();
    while !available(&draft.world, &network.id, &dns_name) {
        dns_name = format!("{}-{:04x}", &base[..base.len().min(58)], rand::random::<u16>());
    }
    let id = new_id();
    let times = born(draft);
    let row = PrivateEndpoint {
        id: id.clone(),
        network_id: network.id.clone(),
        environment_id: new.environment_id.clone(),
        service_id: new.service_id.clone(),
        instance_id: instance.id.clone(),
        dns_name,
        old_name: None,
        tags: new.tags.clone(),
        address: address(network.number),
        updated_tick: draft.tick,
        times,
    };
    draft.world.private_endpoints.insert(&id, row);
    let place = Place { project: Some(&network.project_id), environment: Some(&new.environment_id) };
    audit(draft, who, "private_network_endpoint", "create", &id, place);
    Ok(id)
}

/// A unique local address: the network in the upper half, the endpoint in the lower one.
fn address(network: u64) -> String {
    let bits = (0xfd12_u128 << 112)
        | (u128::from(network & 0xffff_ffff) << 64)
        | (0x1000_u128 << 48)
        | (u128::from(rand::random::<u64>()) & 0xffff_ffff_ffff);
    std::net::Ipv6Addr::from_bits(bits).to_string()
}

/// The live endpoint `id`, if it is within reach.
fn reach_endpoint(world: &World, who: &Identity, id: &str) -> Result<Arc<PrivateEndpoint>, Refusal> {
    who.known()?;
    if id.is_empty() {
        return Err(Refusal::not_authorized());
    }
    let row = found(world.private_endpoints.get(id), "PrivateNetworkEndpoint", |row| row.times.live())?;
    who.environment(world, &row.environment_id)?;
    Ok(row)
}

pub(crate) fn rename(
    draft: &mut Draft,
    who: &Identity,
    network: &str,
    id: &str,
    name: &str,
) -> Result<(), Refusal> {
    let row = reach_endpoint(&draft.world, who, id)?;
    if row.network_id != network {
        return Err(Refusal::not_found("PrivateNetworkEndpoint"));
    }
    if !is_name(name) {
        return Err(Refusal::input(format!("\"{name}\" is not a valid endpoint name")));
    }
    if row.dns_name == name {
        return Ok(());
    }
    if !available(&draft.world, network, name) {
        return Err(Refusal::input(format!("The endpoint name \"{name}\" is already taken")));
    }
    let (stamp, tick) = (draft.stamp, draft.tick);
    if let Some(row) = draft.world.private_endpoints.get_mut(id) {
        row.old_name = Some(std::mem::replace(&mut row.dns_name, name.to_owned()));
        row.updated_tick = tick;
        row.times.updated_at = stamp;
    }
    tell(draft, who, &row, "update");
    Ok(())
}

pub(crate) fn delete_endpoint(draft: &mut Draft, who: &Identity, id: &str) -> Result<(), Refusal> {
    let row = reach_endpoint(&draft.world, who, id)?;
    bury(draft, |other| other.id == id);
    tell(draft, who, &row, "delete");
    Ok(())
}

fn tell(draft: &mut Draft, who: &Identity, row: &PrivateEndpoint, action: &str) {
    let project = draft.world.environments.get(&row.environment_id).map(|row| row.project_id.clone());
    let place = Place { project: project.as_deref(), environment: Some(&row.environment_id) };
    audit(draft, who, "private_network_endpoint", action, &row.id, place);
}

/// All networks of an environment and every endpoint in them: there is no smaller delete.
pub(crate) fn delete_all(draft: &mut Draft, who: &Identity, environment: &str) -> Result<(), Refusal> {
    let row = who.environment(&draft.world, environment)?;
    remove_environment(draft, environment);
    let place = Place { project: Some(&row.project_id), environment: Some(environment) };
    audit(draft, who, "private_network", "delete", environment, place);
    Ok(())
}

fn bury(draft: &mut Draft, wanted: impl Fn(&PrivateEndpoint) -> bool) {
    let stamp = draft.stamp;
    let live = draft.world.private_endpoints.iter().filter(|row| row.times.live() && wanted(row));
    let ids: Vec<_> = live.map(|row| row.id.clone()).collect();
    for id in ids {
        if let Some(row) = draft.world.private_endpoints.get_mut(&id) {
            row.times.deleted_at = Some(stamp);
        }
    }
}

/// An environment takes its networks along.
pub(crate) fn remove_environment(draft: &mut Draft, environment: &str) {
    bury(draft, |row| row.environment_id == environment);
    let stamp = draft.stamp;
    let live = draft.world.private_networks.iter().filter(|row| row.times.live());
    let ids: Vec<_> =
        live.filter(|row| row.environment_id == environment).map(|row| row.id.clone()).collect();
    for id in ids {
        if let Some(row) = draft.world.private_networks.get_mut(&id) {
            row.times.deleted_at = Some(stamp);
        }
    }
}

/// An instance takes its endpoints along.
pub(crate) fn remove_of(draft: &mut Draft, environment: &str, service: &str) {
    bury(draft, |row| row.environment_id == environment && row.service_id == service);
}

/// The name of a service inside its environment: that of its oldest endpoint, else its own.
pub(crate) fn name_of(world: &World, environment: &str, service: &str) -> Option<String> {
    let live = world.private_endpoints.iter().filter(|row| row.times.live());
    live.filter(|row| row.environment_id == environment && row.service_id == service)
        .min_by_key(|row| (row.times.created_tick, row.id.as_str()))
        .map(|row| row.dns_name.clone())
}
