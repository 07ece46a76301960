//! `EnvironmentConfig`: the environment as one document, read and patched.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::core::Draft;
use crate::railway::ops::{born, instances, new_id, triggers, variables, volumes};
use crate::railway::refusal::Refusal;
use crate::settings::Settings;
use crate::store::World;
use crate::store::rows::{Credentials, Environment, Instance, Variable, instance_key, variables_key};

/// How values appear in the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    /// Values as they are; sealed variables are left without one.
    Plain,
    /// Every value masked.
    Masked,
}

const MASK: &str = "*****";

fn variables_document(set: Option<&BTreeMap<String, Variable>>, values: Values) -> Value {
    let mut out = Map::new();
    for (name, row) in set.into_iter().flatten() {
        let mut entry = Map::new();
        match (row.sealed, values) {
            (true, _) => {}
            (false, Values::Plain) => {
                entry.insert("value".to_owned(), json!(row.value));
            }
            (false, Values::Masked) => {
                entry.insert("value".to_owned(), json!(MASK));
            }
        }
        if row.sealed {
            entry.insert("isSealed".to_owned(), json!(true));
        }
        if let Some(description) = &row.description {
            entry.insert("description".to_owned(), json!(description));
        }
        out.insert(name.clone(), Value::Object(entry));
    }
    Value::Object(out)
}

fn instance_document(world: &World, row: &Instance, values: Values) -> Value {
    let mut source = Map::new();
    for (key, value) in [("image", &row.image), ("repo", &row.repo), ("branch", &row.branch)] {
        if let Some(value) = value {
            source.insert(key.to_owned(), json!(value));
        }
    }
    for (key, value) in &row.source_extra {
        source.insert(key.clone(), value.clone());
    }
    let mut deploy: Map<String, Value> = row.deploy.clone().into_iter().collect();
    if let Some(limits) = &row.limits {
        deploy.insert("limitOverride".to_owned(), limits.clone());
    }
    if row.has_credentials {
        deploy.insert("registryCredentials".to_owned(), json!({ "username": MASK, "password": MASK }));
    }
    let build: Map<String, Value> = row.build.clone().into_iter().collect();
    let domains: Map<String, Value> = world
        .domains
        .iter()
        .filter(|domain| domain.times.live())
        .filter(|domain| domain.environment_id == row.environment_id && domain.service_id == row.service_id)
        .map(|domain| (domain.domain.clone(), json!({ "port": domain.target_port })))
        .collect();
    let set = world.variables.get(&variables_key(&row.environment_id, Some(&row.service_id)));
    let mut out = Map::new();
    let sections = [
        ("source", Value::Object(source)),
        ("deploy", Value::Object(deploy)),
        ("build", Value::Object(build)),
        ("variables", variables_document(set.map(|set| &set.variables), values)),
    ];
    for (key, section) in sections {
        if section.as_object().is_some_and(|section| !section.is_empty()) {
            out.insert(key.to_owned(), section);
        }
    }
    let customs: Map<String, Value> = world
        .custom_domains
        .iter()
        .filter(|domain| domain.times.live())
        .filter(|domain| domain.environment_id == row.environment_id && domain.service_id == row.service_id)
        .map(|domain| (domain.domain.clone(), json!({ "port": domain.target_port })))
        .collect();
    let proxies: Map<String, Value> = world
        .proxies
        .iter()
        .filter(|proxy| proxy.times.live())
        .filter(|proxy| proxy.environment_id == row.environment_id && proxy.service_id == row.service_id)
        .map(|proxy| (proxy.application_port.to_string(), json!({})))
        .collect();
    let mut networking = Map::new();
    for (key, section) in [("serviceDomains", domains), ("customDomains", customs), ("tcpProxies", proxies)] {
        if !section.is_empty() {
            networking.insert(key.to_owned(), Value::Object(section));
        }
    }
    if !networking.is_empty() {
        out.insert("networking".to_owned(), Value::Object(networking));
    }
    let mounts: Map<String, Value> = world
        .volume_instances
        .iter()
        .filter(|volume| volume.times.live() && volume.environment_id == row.environment_id)
        .filter(|volume| volume.service_id.as_deref() == Some(row.service_id.as_str()))
        .map(|volume| (volume.volume_id.clone(), json!({ "mountPath": volume.mount_path })))
        .collect();
    if !mounts.is_empty() {
        out.insert("volumeMounts".to_owned(), Value::Object(mounts));
    }
    Value::Object(out)
}

/// The whole environment.
pub(crate) fn export(world: &World, environment: &str, values: Values) -> Value {
    let services: Map<String, Value> = world
        .instances
        .iter()
        .filter(|row| row.environment_id == environment && row.times.live())
        .map(|row| (row.service_id.clone(), instance_document(world, row, values)))
        .collect();
    let shared = world.variables.get(&variables_key(environment, None));
    let volumes: Map<String, Value> = world
        .volume_instances
        .iter()
        .filter(|row| row.environment_id == environment && row.times.live())
        .map(|row| (row.volume_id.clone(), json!({ "sizeMB": row.size_mb, "region": row.region })))
        .collect();
    let shared = variables_document(shared.map(|set| &set.variables), values);
    let mut document = json!({ "services": services, "sharedVariables": shared });
    if !volumes.is_empty() {
        document["volumes"] = Value::Object(volumes);
    }
    document
}

/// Names the configuration of an environment as it is; every change gives another one.
pub(crate) fn etag(row: &Environment) -> String {
    format!("\"{}-{}\"", &row.id[..8], row.generation)
}

/// Replaces every variable value of a patch by the mask.
pub(crate) fn mask(patch: &Value) -> Value {
    let mut patch = patch.clone();
    let hide = |section: Option<&mut Value>| {
        for entry in section.and_then(Value::as_object_mut).into_iter().flat_map(|map| map.values_mut()) {
            if let Some(value) = entry.get_mut("value") {
                *value = json!(MASK);
            }
        }
    };
    hide(patch.get_mut("sharedVariables"));
    for service in
        patch.get_mut("services").and_then(Value::as_object_mut).into_iter().flat_map(|map| map.values_mut())
    {
        hide(service.get_mut("variables"));
        if let Some(credentials) =
            service.pointer_mut("/deploy/registryCredentials").filter(|value| !value.is_null())
        {
            *credentials = json!({ "username": MASK, "password": MASK });
        }
    }
    patch
}

/// Merge patch: objects merge, `null` stays as the wish to delete.
pub(crate) fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

const TOP: [&str; 2] = ["services", "sharedVariables"];
const SERVICE: [&str; 9] = [
    "isCreated",
    "isDeleted",
    "groupId",
    "configFile",
    "source",
    "networking",
    "variables",
    "deploy",
    "build",
];

/// Refuses a patch that names what cannot be patched, before anything is stored.
pub(crate) fn check(world: &World, project: &str, patch: &Value) -> Result<(), Refusal> {
    let bad = |what: String| Err(Refusal::input(format!("Invalid environment config: {what}")));
    let Some(top) = patch.as_object() else { return bad("not an object".to_owned()) };
    for key in top.keys() {
        if !TOP.contains(&key.as_str()) {
            return bad(format!("the sandbox cannot patch \"{key}\""));
        }
    }
    for (id, service) in patch["services"].as_object().into_iter().flatten() {
        if world.service(id).is_none_or(|row| row.project_id != project) {
            return bad(format!("service \"{id}\" does not exist in this project"));
        }
        for (key, section) in service.as_object().into_iter().flatten() {
            if !SERVICE.contains(&key.as_str()) {
                return bad(format!("the sandbox cannot patch \"services.{id}.{key}\""));
            }
            if key == "networking" && !section.is_null() {
                return bad("domains and proxies are not patchable".to_owned());
            }
        }
        if let Some(image) = service["source"]["image"].as_str() {
            instances::check_image(image)?;
        }
    }
    Ok(())
}

/// Applies a checked patch; returns the services whose instance differs from before and is to be deployed.
pub(crate) fn apply(
    draft: &mut Draft,
    settings: &Settings,
    environment: &str,
    patch: &Value,
) -> Result<BTreeSet<String>, Refusal> {
    let Some(project) = draft.world.environment(environment).map(|row| row.project_id.clone()) else {
        return Err(Refusal::not_found("Environment"));
    };
    let mut changed = BTreeSet::new();
    let shared_names = set_variables(draft, environment, None, &patch["sharedVariables"]);
    for (id, section) in patch["services"].as_object().into_iter().flatten() {
        if section["isDeleted"] == json!(true) {
            instances::remove(draft, environment, id);
            continue;
        }
        let key = instance_key(environment, id);
        let created = section["isCreated"] == json!(true);
        if draft.world.instance(environment, id).is_none() {
            if !created {
                return Err(Refusal::not_found("ServiceInstance"));
            }
            let blank = Instance::blank(&project, environment, id, born(draft));
            draft.world.instances.insert(&key, blank);
        }
        let Some(mut row) = draft.world.instance(environment, id).map(|row| (**row).clone()) else {
            continue;
        };
        let before = serde_json::to_value(&row).unwrap_or_default();
        apply_source(&mut row, &section["source"], created);
        apply_deploy(draft, settings, &mut row, &section["deploy"], created)?;
        for (name, value) in section["build"].as_object().into_iter().flatten() {
            if !(created && value.is_null()) {
                instances::set(&mut row.build, name, value);
            }
        }
        let names = set_variables(draft, environment, Some(id), &section["variables"]);
        if serde_json::to_value(&row).unwrap_or_default() != before || !names.is_empty() {
            changed.insert(id.clone());
        }
        volumes::check_replicas(&draft.world, &row)?;
        row.times.updated_at = draft.stamp;
        draft.world.instances.insert(&key, row);
        if !section["source"].is_null() {
            triggers::follow(draft, environment, id);
        }
    }
    if !shared_names.is_empty() {
        let users: Vec<_> = draft
            .world
            .variables
            .iter()
            .filter(|set| set.environment_id == environment)
            .filter(|set| {
                let mut values = set.variables.values();
                values
                    .any(|row| shared_names.iter().any(|name| row.value.contains(&format!("shared.{name}"))))
            })
            .filter_map(|set| set.service_id.clone())
            .collect();
        changed.extend(users);
    }
    Ok(changed)
}

fn apply_source(row: &mut Instance, source: &Value, created: bool) {
    if source.is_null() {
        return;
    }
    for (key, value) in source.as_object().into_iter().flatten() {
        if created && value.is_null() {
            continue;
        }
        let text = value.as_str().map(str::to_owned);
        match key.as_str() {
            "image" => {
                row.image = text;
                if row.image.is_some() {
                    row.repo = None;
                }
            }
            "repo" => row.repo = text,
            "branch" => row.branch = text,
            _ => instances::set(&mut row.source_extra, key, value),
        }
    }
}

fn apply_deploy(
    draft: &mut Draft,
    settings: &Settings,
    row: &mut Instance,
    deploy: &Value,
    created: bool,
) -> Result<(), Refusal> {
    for (key, value) in deploy.as_object().into_iter().flatten() {
        // Nulls sent together with `isCreated` are not applied, seen live.
        if created && value.is_null() {
            continue;
        }
        match key.as_str() {
            "registryCredentials" => {
                let store = instance_key(&row.environment_id, &row.service_id);
                let text = |name: &str| value[name].as_str().map(str::to_owned);
                if let (Some(username), Some(password)) = (text("username"), text("password")) {
                    if password != MASK {
                        draft.world.credentials.insert(&store, Credentials { username, password });
                        row.has_credentials = true;
                    }
                } else {
                    draft.world.credentials.remove(&store);
                    row.has_credentials = false;
                }
            }
            "limitOverride" => row.limits = (!value.is_null()).then(|| value.clone()),
            "multiRegionConfig" if !value.is_null() => {
                let change = instances::regions(value, settings.max_replicas)?;
                let mut regions = row
                    .deploy
                    .get("multiRegionConfig")
                    .and_then(Value::as_object)
                    .cloned()
                    .unwrap_or_default();
                regions.extend(change);
                regions.retain(|_, entry| !entry.is_null());
                row.deploy.insert(key.clone(), Value::Object(regions));
                row.deploy.remove("numReplicas");
            }
            "numReplicas" => {
                row.deploy.remove("multiRegionConfig");
                instances::set(&mut row.deploy, key, value);
            }
            _ => instances::set(&mut row.deploy, key, value),
        }
    }
    Ok(())
}

/// Applies the variables section of a patch; returns the names that differ from before.
fn set_variables(
    draft: &mut Draft,
    environment: &str,
    service: Option<&str>,
    section: &Value,
) -> BTreeSet<String> {
    let mut changed = BTreeSet::new();
    let Some(section) = section.as_object().filter(|section| !section.is_empty()) else { return changed };
    let stamp = draft.stamp;
    let set = variables::edit(draft, environment, service);
    for (name, entry) in section {
        if entry.is_null() {
            if set.variables.remove(name).is_some() {
                changed.insert(name.clone());
            }
            continue;
        }
        let old = set.variables.get(name).cloned();
        let text = entry["value"].as_str().or_else(|| entry["defaultValue"].as_str()).map(str::to_owned);
        let value = text.or_else(|| old.as_ref().map(|old| old.value.clone())).unwrap_or_default();
        // A sealed variable cannot be unsealed.
        let sealed = entry["isSealed"] == json!(true) || old.as_ref().is_some_and(|old| old.sealed);
        if old.as_ref().is_none_or(|old| old.value != value || old.sealed != sealed) {
            changed.insert(name.clone());
        }
        let row = Variable {
            value,
            sealed,
            description: entry["description"]
                .as_str()
                .map(str::to_owned)
                .or_else(|| old.as_ref().and_then(|old| old.description.clone())),
            created_at: old.as_ref().map_or(stamp, |old| old.created_at),
            updated_at: stamp,
            id: old.map_or_else(new_id, |old| old.id),
        };
        set.variables.insert(name.clone(), row);
    }
    changed
}
