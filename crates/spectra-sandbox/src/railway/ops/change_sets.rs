//! Change sets: what is wanted in names (`service.web`), turned into one patch of the environment and applied by
//! the same code as every other patch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::core::Draft;
use crate::railway::auth::Identity;
use crate::railway::ops::{Place, audit, born, config, new_id, patches, services};
use crate::railway::refusal::Refusal;
use crate::settings::Settings;
use crate::store::World;
use crate::store::rows::{ChangeSet, Environment, Patch, PatchStatus, PlannedChange, Service, Times};

/// Versions of the envelope whose changes mean what is read here.
const VERSIONS: [u64; 2] = [0, 1];
/// Sections of a service that a change set can set.
const SECTIONS: [&str; 3] = ["source", "build", "deploy"];
/// Keys of a resource that name it and change nothing.
const NAMING: [&str; 4] = ["address", "type", "kind", "name"];

/// A change set that was read: the patch it comes to, and what is wrong with it.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) patch: Value,
    pub(crate) changes: Vec<PlannedChange>,
    /// Services to be made, id and name.
    pub(crate) services: Vec<(String, String)>,
    pub(crate) diagnostics: Vec<Value>,
}

impl Plan {
    fn error(&mut self, path: &str, message: &str) {
        self.diagnostics.push(json!({ "severity": "error", "path": path, "message": message }));
    }

    /// The messages of all errors, or `None`.
    fn errors(&self) -> Option<String> {
        let errors: Vec<&str> = self
            .diagnostics
            .iter()
            .filter(|row| row["severity"] == "error")
            .map(|row| row["message"].as_str().unwrap_or("an error without a message"))
            .collect();
        (!errors.is_empty()).then(|| errors.join("; "))
    }
}

/// Reads a change set against an environment as it is. Whatever is not understood becomes an error diagnostic.
fn plan(world: &World, environment: &Environment, input: &Value) -> Plan {
    let mut plan = Plan { patch: json!({ "services": {} }), ..Plan::default() };
    if !input["version"].as_u64().is_some_and(|version| VERSIONS.contains(&version)) {
        let version =
            if input["version"].is_null() { "undefined".to_owned() } else { input["version"].to_string() };
        plan.error("version", &format!("Unsupported RailwayChangeSet version: {version}"));
        return plan;
    }
    for key in input.as_object().into_iter().flat_map(Map::keys) {
        if !["version", "changes", "diagnostics"].contains(&key.as_str()) {
            plan.error(key, &format!("Unknown key \"{key}\" of a change set"));
        }
    }
    // What the client found wrong itself stays wrong.
    plan.diagnostics.extend(input["diagnostics"].as_array().into_iter().flatten().cloned());
    let Some(changes) = input["changes"].as_array() else {
        plan.error("changes", "A change set needs the list \"changes\"");
        return plan;
    };
    let mut reader = Reader { world, environment, plan, ids: BTreeMap::new() };
    for (index, change) in changes.iter().enumerate() {
        let path = change["path"].as_str().map_or_else(|| format!("changes[{index}]"), str::to_owned);
        if let Err(message) = reader.change(change) {
            reader.plan.error(&path, &message);
        }
    }
    let mut plan = reader.plan;
    // The patch must be one that could be committed; new services exist for it already.
    let mut later = world.clone();
    insert_services(&mut later, environment, &plan.services, Times::default());
    if plan.errors().is_none()
        && let Err(refusal) = config::check(&later, &environment.project_id, &plan.patch)
    {
        plan.error("changes", &refusal.message);
    }
    plan
}

struct Reader<'a> {
    world: &'a World,
    environment: &'a Environment,
    plan: Plan,
    /// Service ids by name, those that this change set makes among them.
    ids: BTreeMap<String, String>,
}

impl Reader<'_> {
    fn change(&mut self, change: &Value) -> Result<(), String> {
        let kind = change["kind"].as_str().ok_or("A change needs a \"kind\"")?;
        let address = change["address"].as_str().ok_or("A change needs an \"address\"")?;
        let name = match address.split_once('.') {
            Some(("service", name)) if !name.is_empty() => name,
            _ => return Err(format!("The sandbox cannot change \"{address}\"; it knows service.<name>")),
        };
        let service = match kind {
            "resource.create" => self.create(name, &change["resource"])?,
            "resource.update" => self.update(name, change)?,
            "resource.delete" => {
                let id = self.service(name)?;
                self.section(&id).insert("isDeleted".to_owned(), json!(true));
                id
            }
            "variable.set" => {
                let id = self.service(name)?;
                let (variable, value) = (variable(change)?, variable_config(&change["after"])?);
                self.put_variable(&id, variable, &value);
                id
            }
            "variable.delete" => {
                let id = self.service(name)?;
                self.put_variable(&id, variable(change)?, &Value::Null);
                id
            }
            other => return Err(format!("Unsupported change kind: {other}")),
        };
        self.plan.changes.push(PlannedChange {
            kind: kind.to_owned(),
            address: address.to_owned(),
            path: change["path"].as_str().map(str::to_owned),
            summary: change["summary"].as_str().map(str::to_owned),
            service_id: service,
        });
        Ok(())
    }

    /// The id behind a name: of a service with an instance here, or one that this change set makes.
    fn service(&self, name: &str) -> Result<String, String> {
        if let Some(id) = self.ids.get(name) {
            return Ok(id.clone());
        }
        self.identity(name)
            .filter(|id| self.world.instance(&self.environment.id, id).is_some())
            .ok_or_else(|| format!("There is no service \"{name}\" in this environment"))
    }

    /// The id of the project's service of that name.
    fn identity(&self, name: &str) -> Option<String> {
        self.world
            .services
            .iter()
            .find(|row| row.project_id == self.environment.project_id && row.times.live() && row.name == name)
            .map(|row| row.id.clone())
    }

    fn section(&mut self, id: &str) -> &mut Map<String, Value> {
        let slot = &mut self.plan.patch["services"][id];
        if !slot.is_object() {
            *slot = json!({});
        }
        #[expect(clippy::expect_used, reason = "made an object just above when it was none")]
        slot.as_object_mut().expect("a service section is an object")
    }

    fn merge(&mut self, id: &str, key: &str, value: &Value) {
        let slot = self.section(id).entry(key).or_insert_with(|| json!({}));
        config::merge(slot, value);
    }

    fn put_variable(&mut self, id: &str, name: &str, value: &Value) {
        self.merge(id, "variables", &json!({ name: value }));
    }

    /// A service that other environments have keeps its identity and gets an instance here.
    fn create(&mut self, name: &str, resource: &Value) -> Result<String, String> {
        let resource = resource.as_object().ok_or("\"resource.create\" needs a \"resource\"")?;
        if self.service(name).is_ok() {
            return Err(format!("A service named \"{name}\" already exists in this environment"));
        }
        let kind = resource.get("type").and_then(Value::as_str).unwrap_or("service");
        if kind != "service" {
            return Err(format!("The sandbox cannot create a \"{kind}\"; it knows \"service\""));
        }
        let mut sections = Vec::new();
        let mut variables = Map::new();
        for (key, value) in resource {
            match key.as_str() {
                "source" => sections.push((key, source(value)?)),
                "build" | "deploy" if value.is_object() => sections.push((key, value.clone())),
                "variables" => {
                    for (name, value) in value.as_object().ok_or("\"variables\" must be an object")? {
                        variables.insert(name.clone(), variable_config(value)?);
                    }
                }
                key if NAMING.contains(&key) => {}
                _ => return Err(format!("The sandbox cannot set \"{key}\" of a service in a change set")),
            }
        }
        let id = if let Some(id) = self.identity(name) {
            id
        } else {
            let project = &self.environment.project_id;
            services::check_name(self.world, project, name, None).map_err(|refusal| refusal.message)?;
            let id = new_id();
            self.plan.services.push((id.clone(), name.to_owned()));
            id
        };
        self.ids.insert(name.to_owned(), id.clone());
        self.section(&id).insert("isCreated".to_owned(), json!(true));
        for (key, value) in sections {
            self.merge(&id, key, &value);
        }
        if !variables.is_empty() {
            self.merge(&id, "variables", &Value::Object(variables));
        }
        Ok(id)
    }

    /// `after` takes the place of `before`: keys that are gone from it are cleared.
    fn update(&mut self, name: &str, change: &Value) -> Result<String, String> {
        let id = self.service(name)?;
        let field = change["field"].as_str().ok_or("\"resource.update\" needs a \"field\"")?;
        if !SECTIONS.contains(&field) {
            return Err(format!("The sandbox cannot update \"{field}\"; it knows {}", SECTIONS.join(", ")));
        }
        let read = |value: &Value| match field {
            _ if value.is_null() => Ok(json!({})),
            "source" => source(value),
            _ if value.is_object() => Ok(value.clone()),
            _ => Err(format!("\"{field}\" must be an object")),
        };
        if change.get("after").is_none() {
            return Err("\"resource.update\" needs \"after\"".to_owned());
        }
        let (before, after) = (read(&change["before"])?, read(&change["after"])?);
        let mut patch = replacing(&before, &after);
        // A patch merges regions too, so those that are gone have to be named as well.
        if let Some(slot) = patch.get_mut("multiRegionConfig").filter(|slot| slot.is_object()) {
            *slot = Value::Object(replacing(&before["multiRegionConfig"], slot));
        }
        self.merge(&id, field, &Value::Object(patch));
        Ok(id)
    }
}

/// The merge patch that puts `after` into the place of `before`.
fn replacing(before: &Value, after: &Value) -> Map<String, Value> {
    let gone = before.as_object().into_iter().flat_map(Map::keys).map(|key| (key.clone(), Value::Null));
    gone.chain(after.as_object().cloned().unwrap_or_default()).collect()
}

fn variable(change: &Value) -> Result<&str, String> {
    let name = change["variable"].as_str().filter(|name| !name.is_empty());
    name.ok_or_else(|| "A change of a variable needs its name under \"variable\"".to_owned())
}

/// A value as `EnvironmentConfig` writes it.
fn variable_config(value: &Value) -> Result<Value, String> {
    let text =
        |key: &str| value[key].as_str().ok_or_else(|| format!("A variable of this type needs \"{key}\""));
    match value["type"].as_str() {
        Some("literal") => Ok(json!({ "value": text("value")? })),
        Some("reference") => {
            let resource = text("resource")?;
            let name = resource.split_once('.').map_or(resource, |(_, name)| name);
            Ok(json!({ "value": format!("${{{{{name}.{}}}}}", text("output")?) }))
        }
        Some("raw") if value["value"].is_object() => Ok(value["value"].clone()),
        Some("raw") => Err("A raw variable needs an object under \"value\"".to_owned()),
        Some(other) => Err(format!("Unsupported variable type: {other}")),
        None => Err("A variable needs a \"type\"".to_owned()),
    }
}

/// A source as `EnvironmentConfig` writes it.
fn source(value: &Value) -> Result<Value, String> {
    let mut source = value.as_object().ok_or("\"source\" must be an object")?.clone();
    match source.remove("type").as_ref().map(|kind| kind.as_str().unwrap_or_default()) {
        None | Some("image" | "github") => Ok(Value::Object(source)),
        Some(other) => Err(format!("Unsupported source type: {other}")),
    }
}

/// Adds the identities of new services; their instances come with the patch.
fn insert_services(world: &mut World, environment: &Environment, rows: &[(String, String)], times: Times) {
    for (id, name) in rows {
        let row = Service {
            id: id.clone(),
            project_id: environment.project_id.clone(),
            name: name.clone(),
            icon: None,
            times,
        };
        world.services.insert(id, row);
    }
}

fn of_patch(world: &World, patch: &str) -> Option<Arc<ChangeSet>> {
    world.change_sets.iter().find(|row| row.patch_id == patch).cloned()
}

/// Notes which deployment a change set started first.
pub(crate) fn note_deployment(draft: &mut Draft, patch: &str, deployment: &str) {
    if let Some(set) = of_patch(&draft.world, patch).filter(|set| set.deployment_id.is_none())
        && let Some(row) = draft.world.change_sets.get_mut(&set.id)
    {
        row.deployment_id = Some(deployment.to_owned());
    }
}

/// Makes the identities of a change set's new services as its patch is applied. Somebody may have taken a name.
pub(crate) fn make_services(draft: &mut Draft, patch: &Patch) -> Result<(), Refusal> {
    let Some(set) = of_patch(&draft.world, &patch.id) else { return Ok(()) };
    let Some(environment) = draft.world.environment(&patch.environment_id).cloned() else {
        return Err(Refusal::not_found("Environment"));
    };
    for (id, name) in &set.services {
        services::check_name(&draft.world, &environment.project_id, name, Some(id))?;
    }
    let times = born(draft);
    insert_services(&mut draft.world, &environment, &set.services, times);
    Ok(())
}

/// What a change set would come to; nothing is changed.
pub(crate) fn preview(
    world: &World,
    who: &Identity,
    settings: &Settings,
    environment: &str,
    input: &Value,
) -> Result<(Value, Vec<Value>, Value), Refusal> {
    let row = who.environment(world, environment)?;
    let mut plan = plan(world, &row, input);
    let mut deployed = BTreeSet::new();
    if plan.errors().is_none() {
        // Applied to a copy: what changes there is what would change.
        let mut draft = Draft { world: world.clone(), effects: Vec::new(), stamp: 0, tick: 0 };
        insert_services(&mut draft.world, &row, &plan.services, Times::default());
        match config::apply(&mut draft, settings, environment, &plan.patch) {
            Ok(changed) => {
                deployed
                    .extend(changed.into_iter().filter(|id| patches::deploys(&draft.world, environment, id)));
            }
            Err(refusal) => plan.error("changes", &refusal.message),
        }
    }
    let effects: Vec<Value> = plan
        .changes
        .iter()
        .map(|change| {
            let effect = if deployed.contains(&change.service_id) { "deploy" } else { "none" };
            let severity = if change.kind.ends_with(".delete") { "destructive" } else { "safe" };
            json!({ "address": change.address, "path": change.path, "severity": severity, "deployEffect": effect })
        })
        .collect();
    // As it was sent, values included: clients apply what they get back.
    let mut set = input.clone();
    if set.is_object() {
        set["diagnostics"] = Value::Array(plan.diagnostics.clone());
    }
    Ok((set, plan.diagnostics, Value::Array(effects)))
}

/// Accepts a change set: its patch is `APPLYING` from now on. Returns the change set's id. Refuses, and changes
/// nothing, when the environment is not the one it was made for or when anything in it is not understood.
pub(crate) fn accept(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    environment: &str,
    input: &Value,
    base: Option<&str>,
    message: Option<String>,
) -> Result<String, Refusal> {
    let row = who.environment(&draft.world, environment)?;
    if base.is_some_and(|base| base != config::etag(&row)) {
        return Err(Refusal {
            message: "The environment has changed since this change set was made".to_owned(),
            code: Some("STALE_ENVIRONMENT_BASE"),
        });
    }
    let mut plan = plan(&draft.world, &row, input);
    if let Some(errors) = plan.errors() {
        return Err(Refusal::input(errors));
    }
    if settings.change_set_ignored {
        plan.patch = json!({});
        plan.services.clear();
    }
    let patch_id = patches::enqueue(draft, who, settings, environment, plan.patch, message);
    let id = new_id();
    let times = born(draft);
    draft.world.change_sets.insert(
        &id,
        ChangeSet {
            id: id.clone(),
            environment_id: environment.to_owned(),
            patch_id,
            changes: plan.changes,
            services: plan.services,
            diagnostics: Value::Array(plan.diagnostics),
            deployment_id: None,
            times,
        },
    );
    let place = Place { project: Some(&row.project_id), environment: Some(environment) };
    audit(draft, who, "environment", "apply_change_set", &id, place);
    Ok(id)
}

/// How far a change set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Applying,
    Applied,
    Failed,
}

impl Progress {
    pub(crate) fn of(patch: &Patch) -> Self {
        match (patch.status, &patch.last_error) {
            (PatchStatus::Committed, _) => Self::Applied,
            (_, Some(_)) => Self::Failed,
            _ => Self::Applying,
        }
    }

    /// The word of the API.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Applying => "applying",
            Self::Applied => "applied",
            Self::Failed => "failed",
        }
    }
}

/// The change set and its patch, if both lie within reach.
pub(crate) fn reach(
    world: &World,
    who: &Identity,
    environment: &str,
    id: &str,
) -> Result<(Arc<ChangeSet>, Arc<Patch>), Refusal> {
    who.environment(world, environment)?;
    let row = world.change_sets.get(id).filter(|row| row.environment_id == environment);
    let row = row.ok_or_else(|| Refusal::not_found("ChangeSet"))?;
    let patch = world.patches.get(&row.patch_id).ok_or_else(|| Refusal::not_found("EnvironmentPatch"))?;
    Ok((Arc::clone(row), Arc::clone(patch)))
}
