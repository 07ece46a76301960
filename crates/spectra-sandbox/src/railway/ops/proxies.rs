//! TCP proxies of services. The bytes are carried elsewhere (`services::TcpForwarder`).

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::core::{Draft, Effect};
use crate::railway::auth::{Identity, found};
use crate::railway::ops::custom_domains::in_progress;
use crate::railway::ops::domains::check_port;
use crate::railway::ops::{Place, audit, born};
use crate::railway::refusal::Refusal;
use crate::settings::{Settings, ticks};
use crate::store::World;
use crate::store::rows::{Deployment, TcpProxy};

/// The name that every proxy is reached under; the port tells them apart.
const DOMAIN: &str = "proxy.railway.localhost";

/// Ports of live proxies, those that could not be bound included: their owners have been told them.
pub(crate) fn taken(world: &World) -> BTreeSet<u16> {
    let live = world.proxies.iter().filter(|row| row.times.live());
    live.filter_map(|row| u16::try_from(row.proxy_port).ok()).collect()
}

/// Whether a deployment carries a proxy: it becomes effective with the next one after its creation.
pub(crate) fn carries(deployment: &Deployment, row: &TcpProxy) -> bool {
    row.times.live()
        && row.environment_id == deployment.environment_id
        && row.service_id == deployment.service_id
        && row.sequence < deployment.sequence
}

/// Application ports of the proxies that a deployment carries.
pub(crate) fn ports(world: &World, deployment: &Deployment) -> Vec<u16> {
    let rows = world.proxies.iter().filter(|row| carries(deployment, row));
    rows.filter_map(|row| u16::try_from(row.application_port).ok()).collect()
}

/// A proxy `id` on `port`, which it listens on already.
pub(crate) fn create(
    draft: &mut Draft,
    who: &Identity,
    environment: &str,
    service: &str,
    application_port: i32,
    (id, port): (&str, u16),
) -> Result<(), Refusal> {
    let instance = who.instance(&draft.world, environment, service)?;
    check_port(Some(application_port))?;
    // The environment's configuration has one entry for each port, so there is one proxy for each.
    let twin = draft.world.proxies.iter().filter(|row| row.times.live()).any(|row| {
        row.environment_id == environment
            && row.service_id == service
            && row.application_port == application_port
    });
    if twin {
        return Err(Refusal::internal(format!(
            "A TCP proxy for port {application_port} already exists for this service"
        )));
    }
    let times = born(draft);
    let sequence = draft.next();
    let row = TcpProxy {
        id: id.to_owned(),
        project_id: instance.project_id.clone(),
        environment_id: environment.to_owned(),
        service_id: service.to_owned(),
        domain: DOMAIN.to_owned(),
        application_port,
        proxy_port: i32::from(port),
        sequence,
        deleted_tick: None,
        times,
    };
    draft.world.proxies.insert(id, row);
    draft.effects.push(Effect::Routes(environment.to_owned(), service.to_owned()));
    let place = Place { project: Some(&instance.project_id), environment: Some(environment) };
    audit(draft, who, "tcp_proxy", "create", id, place);
    Ok(())
}

fn reach(world: &World, who: &Identity, id: &str) -> Result<Arc<TcpProxy>, Refusal> {
    who.known()?;
    if id.is_empty() {
        return Err(Refusal::not_authorized());
    }
    let row = found(world.proxies.get(id), "TCPProxy", |row| row.times.live())?;
    who.environment(world, &row.environment_id)?;
    Ok(row)
}

pub(crate) fn delete(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    id: &str,
) -> Result<(), Refusal> {
    let row = reach(&draft.world, who, id)?;
    if draft.tick < row.times.created_tick.saturating_add(ticks(settings.network_busy_duration)) {
        return Err(in_progress());
    }
    bury(draft, id);
    let place = Place { project: Some(&row.project_id), environment: Some(&row.environment_id) };
    audit(draft, who, "tcp_proxy", "delete", id, place);
    Ok(())
}

fn bury(draft: &mut Draft, id: &str) {
    let (stamp, tick) = (draft.stamp, draft.tick);
    if let Some(row) = draft.world.proxies.get_mut(id) {
        row.times.deleted_at = Some(stamp);
        row.deleted_tick = Some(tick);
    }
    draft.effects.push(Effect::DropProxy(id.to_owned()));
}

/// Takes away what belongs to an instance that goes.
pub(crate) fn remove_of(draft: &mut Draft, environment: &str, service: &str) {
    let ids: Vec<_> = draft
        .world
        .proxies
        .iter()
        .filter(|row| row.environment_id == environment && row.service_id == service && row.times.live())
        .map(|row| row.id.clone())
        .collect();
    for id in ids {
        bury(draft, &id);
    }
}
