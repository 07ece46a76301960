//! Variables: writing them, and rendering `${{…}}` references and the names the platform supplies.

use std::collections::BTreeMap;

use crate::core::{Core, Draft};
use crate::railway::auth::Identity;
use crate::railway::ops::{Place, audit, deployments, label, new_id, private_networks};
use crate::railway::refusal::Refusal;
use crate::settings::Settings;
use crate::store::World;
use crate::store::rows::{Cause, Deployment, Variable, VariableSet, variables_key};

type Plain = BTreeMap<String, String>;

/// Sets variables without asking who; sealed ones stay sealed.
pub(crate) fn write(draft: &mut Draft, environment: &str, service: Option<&str>, values: &Plain) {
    let stamp = draft.stamp;
    let set = edit(draft, environment, service);
    for (name, value) in values {
        let old = set.variables.get(name);
        let row = Variable {
            value: value.clone(),
            sealed: old.is_some_and(|old| old.sealed),
            description: old.and_then(|old| old.description.clone()),
            created_at: old.map_or(stamp, |old| old.created_at),
            updated_at: stamp,
            id: old.map_or_else(new_id, |old| old.id.clone()),
        };
        set.variables.insert(name.clone(), row);
    }
}

/// The set of a scope, made when missing.
#[expect(clippy::expect_used, reason = "inserted just above when it was missing")]
pub(crate) fn edit<'a>(
    draft: &'a mut Draft,
    environment: &str,
    service: Option<&str>,
) -> &'a mut VariableSet {
    let key = variables_key(environment, service);
    if draft.world.variables.get(&key).is_none() {
        let set = VariableSet {
            environment_id: environment.to_owned(),
            service_id: service.map(str::to_owned),
            variables: BTreeMap::new(),
        };
        draft.world.variables.insert(&key, set);
    }
    draft.world.variables.get_mut(&key).expect("variable set exists")
}

/// What a variable mutation names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) project: &'a str,
    pub(crate) environment: &'a str,
    pub(crate) service: Option<&'a str>,
}

impl Scope<'_> {
    fn check(&self, world: &World, who: &Identity) -> Result<(), Refusal> {
        let environment = who.environment(world, self.environment)?;
        if environment.project_id != self.project {
            return Err(Refusal::not_authorized());
        }
        if let Some(service) = self.service {
            who.instance(world, self.environment, service)?;
        }
        Ok(())
    }
}

/// Upserts (or replaces all, or deletes) and deploys unless told not to.
pub(crate) fn change(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    scope: Scope<'_>,
    change: Change,
    skip_deploys: bool,
) -> Result<(), Refusal> {
    scope.check(&draft.world, who)?;
    let Scope { project, environment, service } = scope;
    let before =
        draft.world.variables.get(&variables_key(environment, service)).map(|set| set.variables.clone());
    let deploys =
        !skip_deploys && service.is_some_and(|service| deployed(&draft.world, environment, service));
    if deploys && let Some(service) = service {
        deployments::not_building(&draft.world, environment, service)?;
    }
    match change {
        Change::Upsert(values) => {
            check_names(&values)?;
            write(draft, environment, service, &values);
        }
        Change::Replace(values) => {
            check_names(&values)?;
            edit(draft, environment, service).variables.retain(|name, _| values.contains_key(name));
            write(draft, environment, service, &values);
        }
        Change::Delete(name) => {
            if edit(draft, environment, service).variables.remove(&name).is_none() {
                return Err(Refusal::not_found("Variable"));
            }
        }
    }
    audit(
        draft,
        who,
        "variable",
        "update",
        service.unwrap_or(environment),
        Place { project: Some(project), environment: Some(environment) },
    );
    let after = draft.world.variables.get(&variables_key(environment, service)).map(|set| &set.variables);
    let values = |set: Option<&BTreeMap<String, Variable>>| {
        set.map(|set| set.iter().map(|(name, row)| (name.clone(), row.value.clone())).collect::<Plain>())
            .unwrap_or_default()
    };
    let changed = values(before.as_ref()) != values(after);
    if deploys
        && changed
        && let Some(service) = service
    {
        deployments::create(draft, who, settings, environment, service, Cause::Deploy)?;
    }
    Ok(())
}

/// What happens to a set.
#[derive(Debug)]
pub(crate) enum Change {
    Upsert(Plain),
    Replace(Plain),
    Delete(String),
}

fn check_names(values: &Plain) -> Result<(), Refusal> {
    for name in values.keys() {
        if name.is_empty() || name.contains(['=', '\0']) || name.chars().any(char::is_whitespace) {
            return Err(Refusal::input(format!("Invalid variable name \"{name}\"")));
        }
    }
    Ok(())
}

/// Whether a change of variables starts a deployment: the service has run before and still has a source.
pub(crate) fn deployed(world: &World, environment: &str, service: &str) -> bool {
    world.instance(environment, service).is_some_and(|row| row.image.is_some() || row.repo.is_some())
        && !world.deployments_of(environment, service).is_empty()
}

/// The names the platform supplies for a service in an environment (or for the environment alone).
fn supplied(world: &World, environment: &str, service: Option<&str>) -> Plain {
    let mut out = Plain::new();
    let Some(row) = world.environments.get(environment) else { return out };
    let mut put = |name: &str, value: &str| {
        out.insert(format!("RAILWAY_{name}"), value.to_owned());
    };
    put("ENVIRONMENT", &row.name);
    put("ENVIRONMENT_ID", &row.id);
    put("ENVIRONMENT_NAME", &row.name);
    put("PROJECT_ID", &row.project_id);
    if let Some(project) = world.projects.get(&row.project_id) {
        put("PROJECT_NAME", &project.name);
    }
    if let Some(service) = service.and_then(|id| world.services.get(id)) {
        put("SERVICE_ID", &service.id);
        put("SERVICE_NAME", &service.name);
        let inside = private_networks::name_of(world, environment, &service.id);
        let inside = inside.unwrap_or_else(|| label(&service.name));
        put("PRIVATE_DOMAIN", &format!("{inside}.railway.internal"));
        let domain = world.domains.iter().find(|domain| {
            domain.environment_id == environment && domain.service_id == service.id && domain.times.live()
        });
        if let Some(domain) = domain {
            put("PUBLIC_DOMAIN", &domain.domain);
            put("STATIC_URL", &domain.domain);
        }
        let proxy = world.proxies.iter().filter(|proxy| {
            proxy.environment_id == environment && proxy.service_id == service.id && proxy.times.live()
        });
        if let Some(proxy) = proxy.min_by_key(|proxy| proxy.sequence) {
            put("TCP_PROXY_DOMAIN", &proxy.domain);
            put("TCP_PROXY_PORT", &proxy.proxy_port.to_string());
            put("TCP_APPLICATION_PORT", &proxy.application_port.to_string());
        }
    }
    out
}

fn plain(set: &BTreeMap<String, Variable>, keep_sealed: bool) -> Plain {
    set.iter()
        .filter(|(_, row)| keep_sealed || !row.sealed)
        .map(|(name, row)| (name.clone(), row.value.clone()))
        .collect()
}

fn stored(world: &World, environment: &str, service: Option<&str>, keep_sealed: bool) -> Plain {
    world
        .variables
        .get(&variables_key(environment, service))
        .map(|set| plain(&set.variables, keep_sealed))
        .unwrap_or_default()
}

/// What `variables` answers. Sealed values never leave.
pub(crate) fn read(world: &World, environment: &str, service: Option<&str>, unrendered: bool) -> Plain {
    let own = stored(world, environment, service, false);
    if unrendered {
        return own;
    }
    let all = merge(supplied(world, environment, service), own);
    let shared = stored(world, environment, None, false);
    Renderer { world, environment, shared: &shared, all: &all, sealed: false }.render_all()
}

/// What the container of a service would get now; sealed values are left out of what a client reads.
pub(crate) fn for_service(world: &World, environment: &str, service: &str) -> Plain {
    read(world, environment, Some(service), false)
}

/// What a replica of `deployment` gets: its own snapshot, sealed values included.
pub(crate) fn of_deployment(
    core: &Core,
    world: &World,
    deployment: &Deployment,
    replica: Option<u32>,
) -> Plain {
    let (own, shared) = world
        .snapshots
        .get(&deployment.id)
        .map(|snapshot| (plain(&snapshot.own, true), plain(&snapshot.shared, true)))
        .unwrap_or_default();
    let environment = &deployment.environment_id;
    let mut all = merge(supplied(world, environment, Some(&deployment.service_id)), own);
    all.insert("RAILWAY_DEPLOYMENT_ID".to_owned(), deployment.id.clone());
    all.insert("RAILWAY_SNAPSHOT_ID".to_owned(), deployment.snapshot_id.clone());
    all.insert("RAILWAY_SANDBOX_API".to_owned(), core.info.endpoint.clone());
    if let Some(row) = replica.and_then(|number| deployment.replicas.iter().find(|row| row.number == number))
    {
        all.insert("RAILWAY_REPLICA_ID".to_owned(), row.id.clone());
        all.insert("RAILWAY_REPLICA_REGION".to_owned(), row.region.clone());
    }
    Renderer { world, environment, shared: &shared, all: &all, sealed: true }.render_all()
}

fn merge(mut base: Plain, over: Plain) -> Plain {
    base.extend(over);
    base
}

struct Renderer<'a> {
    world: &'a World,
    environment: &'a str,
    shared: &'a Plain,
    all: &'a Plain,
    sealed: bool,
}

/// References may point at references; a circle ends here.
const DEPTH: u8 = 8;

impl Renderer<'_> {
    fn render_all(&self) -> Plain {
        self.all.iter().map(|(name, value)| (name.clone(), self.render(value, DEPTH))).collect()
    }

    fn render(&self, text: &str, depth: u8) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${{") {
            out.push_str(before);
            let Some((reference, tail)) = after.split_once("}}") else {
                out.push_str("${{");
                rest = after;
                continue;
            };
            if depth > 0 {
                out.push_str(&self.resolve(reference.trim(), depth - 1));
            }
            rest = tail;
        }
        out.push_str(rest);
        out
    }

    /// An unknown reference renders as nothing, as on the platform.
    fn resolve(&self, reference: &str, depth: u8) -> String {
        let Some((scope, name)) = reference.rsplit_once('.') else {
            return self.all.get(reference).map(|value| self.render(value, depth)).unwrap_or_default();
        };
        let (scope, name) = (scope.trim().trim_matches('"'), name.trim());
        if scope == "shared" {
            return self.shared.get(name).map(|value| self.render(value, depth)).unwrap_or_default();
        }
        let service = self.world.services.iter().find(|row| {
            row.name == scope && row.times.live() && self.world.instance(self.environment, &row.id).is_some()
        });
        let Some(service) = service else { return String::new() };
        let all = merge(
            supplied(self.world, self.environment, Some(&service.id)),
            stored(self.world, self.environment, Some(&service.id), self.sealed),
        );
        let other = Renderer {
            world: self.world,
            environment: self.environment,
            shared: self.shared,
            all: &all,
            sealed: self.sealed,
        };
        all.get(name).map(|value| other.render(value, depth)).unwrap_or_default()
    }
}
