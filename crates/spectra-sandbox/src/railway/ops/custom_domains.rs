//! Domains of the user's own. Nobody edits DNS here: records appear, ownership is verified and the certificate
//! is issued as sandbox time passes. From its verification on a domain carries traffic.

use std::sync::Arc;

use crate::clock::Tick;
use crate::core::{Draft, Effect};
use crate::railway::auth::{Identity, found};
use crate::railway::ops::domains::{SUFFIX, check_port};
use crate::railway::ops::{Place, audit, born, new_id};
use crate::railway::refusal::Refusal;
use crate::settings::{Settings, ticks};
use crate::store::World;
use crate::store::rows::CustomDomain;

/// What a client asks for.
#[derive(Debug)]
pub(crate) struct NewCustomDomain {
    pub(crate) project_id: String,
    pub(crate) environment_id: String,
    pub(crate) service_id: String,
    pub(crate) domain: String,
    pub(crate) target_port: Option<i32>,
}

/// Said to whoever deletes while the platform is still busy with the last change.
pub(crate) fn in_progress() -> Refusal {
    Refusal::internal("Cannot proceed, an operation is already in progress")
}

/// A host name with at least one dot that is none of the platform's own; lower case.
fn host(domain: &str) -> Option<String> {
    let host = domain.to_ascii_lowercase();
    let labels: Vec<_> = host.split('.').collect();
    // A wildcard stands in front only.
    let rest = if labels.first() == Some(&"*") { labels.get(1..)? } else { &labels[..] };
    // An address is no name.
    let numeric = rest.last().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    let fits = |label: &&str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (host.len() <= 253 && rest.len() >= 2 && rest.iter().all(fits) && !numeric && !host.ends_with(SUFFIX))
        .then_some(host)
}

/// Whether a domain may be registered, in the words that the API has for it.
pub(crate) fn available(world: &World, domain: &str) -> Result<String, Refusal> {
    let Some(host) = host(domain) else {
        return Err(Refusal::input(format!("\"{domain}\" is not a valid domain")));
    };
    if world.custom_domains.iter().any(|row| row.times.live() && row.domain == host) {
        return Err(Refusal::input(format!("The domain \"{domain}\" is already taken")));
    }
    Ok(host)
}

pub(crate) fn create(draft: &mut Draft, who: &Identity, new: &NewCustomDomain) -> Result<String, Refusal> {
    let instance = who.instance(&draft.world, &new.environment_id, &new.service_id)?;
    if instance.project_id != new.project_id {
        return Err(Refusal::not_found("Project"));
    }
    check_port(new.target_port)?;
    let domain = available(&draft.world, &new.domain)?;
    let id = new_id();
    let times = born(draft);
    let row = CustomDomain {
        id: id.clone(),
        project_id: new.project_id.clone(),
        environment_id: new.environment_id.clone(),
        service_id: new.service_id.clone(),
        domain,
        target_port: new.target_port,
        cname: format!("{:08x}.{SUFFIX}", rand::random::<u32>()),
        verification: format!("railway-verify={:016x}", rand::random::<u64>()),
        updated_tick: draft.tick,
        deleted_tick: None,
        times,
    };
    draft.world.custom_domains.insert(&id, row);
    draft.effects.push(Effect::Routes(new.environment_id.clone(), new.service_id.clone()));
    let place = Place { project: Some(&new.project_id), environment: Some(&new.environment_id) };
    audit(draft, who, "custom_domain", "create", &id, place);
    Ok(id)
}

/// Whether the records of a domain were seen and its owner is known.
pub(crate) fn verified(row: &CustomDomain, settings: &Settings, now: Tick) -> bool {
    now >= row.times.created_tick.saturating_add(ticks(settings.domain_verify_duration))
}

/// The live domain that answers for `host`: its own, else the wildcard one label up.
pub(crate) fn of_host<'a>(world: &'a World, host: &str) -> Option<&'a Arc<CustomDomain>> {
    let named = |name: &str| world.custom_domains.iter().find(|row| row.times.live() && row.domain == name);
    named(host).or_else(|| named(&format!("*.{}", host.split_once('.')?.1)))
}

/// The live domain `id`, if it is within reach.
pub(crate) fn reach(world: &World, who: &Identity, id: &str) -> Result<Arc<CustomDomain>, Refusal> {
    who.known()?;
    if id.is_empty() {
        return Err(Refusal::not_authorized());
    }
    let row = found(world.custom_domains.get(id), "CustomDomain", |row| row.times.live())?;
    who.environment(world, &row.environment_id)?;
    Ok(row)
}

/// Only the port can change; without one it goes back to the platform's choice.
pub(crate) fn update(
    draft: &mut Draft,
    who: &Identity,
    environment: &str,
    id: &str,
    target_port: Option<i32>,
) -> Result<(), Refusal> {
    let row = reach(&draft.world, who, id)?;
    if row.environment_id != environment {
        return Err(Refusal::not_found("CustomDomain"));
    }
    check_port(target_port)?;
    let (stamp, tick) = (draft.stamp, draft.tick);
    if let Some(row) = draft.world.custom_domains.get_mut(id) {
        row.target_port = target_port;
        row.updated_tick = tick;
        row.times.updated_at = stamp;
    }
    let place = Place { project: Some(&row.project_id), environment: Some(environment) };
    audit(draft, who, "custom_domain", "update", id, place);
    Ok(())
}

pub(crate) fn delete(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    id: &str,
) -> Result<(), Refusal> {
    let row = reach(&draft.world, who, id)?;
    if draft.tick < row.updated_tick.saturating_add(ticks(settings.network_busy_duration)) {
        return Err(in_progress());
    }
    bury(draft, id);
    let place = Place { project: Some(&row.project_id), environment: Some(&row.environment_id) };
    audit(draft, who, "custom_domain", "delete", id, place);
    Ok(())
}

fn bury(draft: &mut Draft, id: &str) {
    let (stamp, tick) = (draft.stamp, draft.tick);
    if let Some(row) = draft.world.custom_domains.get_mut(id) {
        row.times.deleted_at = Some(stamp);
        row.deleted_tick = Some(tick);
        let domain = row.domain.clone();
        draft.effects.push(Effect::DropDomain(domain));
    }
}

/// Takes away what belongs to an instance that goes.
pub(crate) fn remove_of(draft: &mut Draft, environment: &str, service: &str) {
    let ids: Vec<_> = draft
        .world
        .custom_domains
        .iter()
        .filter(|row| row.environment_id == environment && row.service_id == service && row.times.live())
        .map(|row| row.id.clone())
        .collect();
    for id in ids {
        bury(draft, &id);
    }
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn names() {
        for good in ["example.com", "a.b.example.com", "*.example.com", "Shop.Example.com", "x-1.example.io"]
        {
            assert_eq!(host(good), Some(good.to_ascii_lowercase()), "{good}");
        }
        let bad = [
            "",
            "example",
            "a..b",
            "-a.example.com",
            "a-.example.com",
            "a b.com",
            "*.com",
            "x.*.com",
            "a.com.",
            "127.0.0.1",
        ];
        for bad in bad {
            assert_eq!(host(bad), None, "{bad}");
        }
        assert_eq!(host("web-1.up.railway.localhost"), None, "the platform's own");
    }
}
