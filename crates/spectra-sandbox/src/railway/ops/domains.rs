//! Railway domains of services.

use crate::core::{Draft, Effect};
use crate::railway::auth::{Identity, found};
use crate::railway::ops::{Place, audit, born, label, new_id};
use crate::railway::refusal::Refusal;
use crate::store::World;
use crate::store::rows::Domain;

/// What every generated name ends with; below `.localhost`, so it always means this machine.
pub(crate) const SUFFIX: &str = "up.railway.localhost";

/// A port that a client may name.
pub(crate) fn check_port(port: Option<i32>) -> Result<(), Refusal> {
    match port {
        Some(port) if !(1..=65_535).contains(&port) => {
            Err(Refusal::input(format!("Invalid target port {port}")))
        }
        _ => Ok(()),
    }
}

pub(crate) fn create(
    draft: &mut Draft,
    who: &Identity,
    environment: &str,
    service: &str,
    target_port: Option<i32>,
    port: u16,
) -> Result<String, Refusal> {
    let instance = who.instance(&draft.world, environment, service)?;
    check_port(target_port)?;
    let name = |id: Option<&str>| label(id.unwrap_or_default());
    let base = format!(
        "{}-{}",
        name(draft.world.services.get(service).map(|row| row.name.as_str())),
        name(draft.world.environments.get(environment).map(|row| row.name.as_str()))
    );
    if base.len() > 63 - 5 {
        return Err(Refusal::internal("Failed to create service domain, please try again"));
    }
    let mut domain = String::new();
    // Four hexadecimal digits collide now and then; names must be unique.
    for _ in 0..64 {
        domain = format!("{base}-{:04x}.{SUFFIX}:{port}", rand::random::<u16>());
        if !draft.world.domains.iter().any(|row| row.times.live() && row.domain == domain) {
            break;
        }
    }
    let id = new_id();
    let times = born(draft);
    draft.world.domains.insert(
        &id,
        Domain {
            id: id.clone(),
            project_id: instance.project_id.clone(),
            environment_id: environment.to_owned(),
            service_id: service.to_owned(),
            domain,
            target_port,
            times,
        },
    );
    draft.effects.push(Effect::Routes(environment.to_owned(), service.to_owned()));
    let place = Place { project: Some(&instance.project_id), environment: Some(environment) };
    audit(draft, who, "domain", "create", &id, place);
    Ok(id)
}

fn reach(world: &World, who: &Identity, id: &str) -> Result<std::sync::Arc<Domain>, Refusal> {
    who.known()?;
    if id.is_empty() {
        return Err(Refusal::not_authorized());
    }
    let row = found(world.domains.get(id), "ServiceDomain", |row| row.times.live())?;
    who.environment(world, &row.environment_id)?;
    Ok(row)
}

/// A changed name must keep the suffix; the sandbox's port stays whatever the client wrote.
pub(crate) fn update(
    draft: &mut Draft,
    who: &Identity,
    id: &str,
    domain: &str,
    target_port: Option<Option<i32>>,
    port: u16,
) -> Result<(), Refusal> {
    let row = reach(&draft.world, who, id)?;
    check_port(target_port.flatten())?;
    let host = domain.split_once(':').map_or(domain, |(host, _)| host).to_ascii_lowercase();
    let head = host.strip_suffix(SUFFIX).and_then(|head| head.strip_suffix('.')).unwrap_or_default();
    if head.is_empty() || head.len() > 63 || label(head) != head {
        return Err(Refusal::input(format!("\"{domain}\" is not a valid domain")));
    }
    let wanted = format!("{host}:{port}");
    if draft.world.domains.iter().any(|other| other.times.live() && other.id != id && other.domain == wanted)
    {
        return Err(Refusal::input(format!("The domain \"{domain}\" is already taken")));
    }
    let stamp = draft.stamp;
    if row.domain != wanted {
        draft.effects.push(Effect::DropDomain(row.domain.clone()));
    }
    if let Some(row) = draft.world.domains.get_mut(id) {
        row.domain = wanted;
        if let Some(port) = target_port {
            row.target_port = port;
        }
        row.times.updated_at = stamp;
    }
    draft.effects.push(Effect::Routes(row.environment_id.clone(), row.service_id.clone()));
    let place = Place { project: Some(&row.project_id), environment: Some(&row.environment_id) };
    audit(draft, who, "domain", "update", id, place);
    Ok(())
}

pub(crate) fn delete(draft: &mut Draft, who: &Identity, id: &str) -> Result<(), Refusal> {
    let row = reach(&draft.world, who, id)?;
    let stamp = draft.stamp;
    draft.effects.push(Effect::DropDomain(row.domain.clone()));
    if let Some(row) = draft.world.domains.get_mut(id) {
        row.times.deleted_at = Some(stamp);
    }
    let place = Place { project: Some(&row.project_id), environment: Some(&row.environment_id) };
    audit(draft, who, "domain", "delete", id, place);
    Ok(())
}
