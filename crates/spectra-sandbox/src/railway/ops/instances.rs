//! Service instances: everything deployable about a service in one environment.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use spectra_types::ImageRef;

use crate::core::{Draft, Effect};
use crate::railway::auth::Identity;
use crate::railway::ops::{
    Place, audit, custom_domains, deployments, egress, new_id, private_networks, proxies, triggers, volumes,
};
use crate::railway::refusal::Refusal;
use crate::settings::Settings;
use crate::store::rows::{
    Cause, Credentials, Farewell, Instance, Status, Times, instance_key, variables_key,
};

/// Regions by key, with country and location, and the legacy spelling each absorbs.
pub(crate) const REGIONS: [(&str, &str, &str, &str); 4] = [
    ("us-west2", "US", "California, USA", "us-west1"),
    ("us-east4-eqdc4a", "US", "Virginia, USA", "us-east4"),
    ("europe-west4-drams3a", "NL", "Amsterdam, Netherlands", "europe-west4"),
    ("asia-southeast1-eqsg3a", "SG", "Singapore", "asia-southeast1"),
];

/// Where a service runs that names no region.
pub(crate) const DEFAULT_REGION: &str = "us-west2";

impl Instance {
    /// An instance with nothing set.
    pub(crate) fn blank(project: &str, environment: &str, service: &str, times: Times) -> Self {
        Self {
            id: new_id(),
            project_id: project.to_owned(),
            environment_id: environment.to_owned(),
            service_id: service.to_owned(),
            image: None,
            repo: None,
            branch: None,
            source_extra: BTreeMap::new(),
            deploy: BTreeMap::new(),
            build: BTreeMap::new(),
            limits: None,
            has_credentials: false,
            times,
        }
    }

    /// A text of the deploy section; empty counts as unset.
    pub(crate) fn deploy_text(&self, key: &str) -> Option<String> {
        self.deploy.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// A whole number of the deploy section.
    pub(crate) fn deploy_number(&self, key: &str) -> Option<u64> {
        self.deploy.get(key).and_then(Value::as_u64)
    }

    /// The region of each replica.
    pub(crate) fn placement(&self) -> Vec<String> {
        let regions =
            self.deploy.get("multiRegionConfig").and_then(Value::as_object).filter(|map| !map.is_empty());
        let Some(regions) = regions else {
            let count = self.deploy_number("numReplicas").unwrap_or(1);
            return vec![DEFAULT_REGION.to_owned(); usize::try_from(count).unwrap_or(1)];
        };
        regions
            .iter()
            .flat_map(|(region, value)| {
                let count = value.get("numReplicas").and_then(Value::as_u64).unwrap_or(1);
                std::iter::repeat_n(region.clone(), usize::try_from(count).unwrap_or(0))
            })
            .collect()
    }
}

/// Refuses text that is no image reference.
pub(crate) fn check_image(image: &str) -> Result<(), Refusal> {
    image
        .parse::<ImageRef>()
        .map(drop)
        .map_err(|error| Refusal::input(format!("Invalid image name \"{image}\": {error}")))
}

/// A multi-region value with known regions under their present names; `null` entries drop a region.
pub(crate) fn regions(value: &Value, most: u32) -> Result<Map<String, Value>, Refusal> {
    let map = value.as_object().ok_or_else(|| Refusal::input("multiRegionConfig must be an object"))?;
    let mut out = Map::new();
    let mut total = 0;
    for (name, entry) in map {
        let known = REGIONS
            .iter()
            .find(|(key, _, _, legacy)| name == key || name == legacy)
            .ok_or_else(|| Refusal::input(format!("Invalid region \"{name}\"")))?;
        if entry.is_null() {
            out.insert(known.0.to_owned(), Value::Null);
            continue;
        }
        let count = match entry.get("numReplicas") {
            None | Some(Value::Null) => 1,
            Some(count) => count
                .as_u64()
                .filter(|count| *count >= 1)
                .ok_or_else(|| Refusal::input(format!("Invalid numReplicas for region \"{name}\"")))?,
        };
        total += count;
        out.insert(known.0.to_owned(), json!({ "numReplicas": count }));
    }
    if total > u64::from(most) {
        return Err(Refusal {
            message: format!("Your plan allows at most {most} replicas per service"),
            code: Some("PLAN_LIMIT"),
        });
    }
    Ok(out)
}

/// A partial update: an absent key stays, `null` clears what can be cleared.
#[derive(Debug, Default)]
pub(crate) struct InstanceChange {
    /// `Some((None, None))` detaches the source.
    pub(crate) source: Option<(Option<String>, Option<String>)>,
    pub(crate) credentials: Option<Option<Credentials>>,
    pub(crate) deploy: BTreeMap<&'static str, Value>,
    pub(crate) build: BTreeMap<&'static str, Value>,
}

fn check(change: &InstanceChange, settings: &Settings) -> Result<(), Refusal> {
    if let Some((Some(image), _)) = &change.source {
        check_image(image)?;
    }
    if let Some(commands) = change.deploy.get("preDeployCommand").and_then(Value::as_array)
        && commands.len() > 1
    {
        return Err(Refusal::input("Error in preDeployCommand - Invalid input"));
    }
    if change.deploy.contains_key("numReplicas") && change.deploy.contains_key("multiRegionConfig") {
        return Err(Refusal::input("Cannot set both numReplicas and multiRegionConfig"));
    }
    if let Some(count) = change.deploy.get("numReplicas").filter(|value| !value.is_null()) {
        let valid =
            count.as_u64().is_some_and(|count| count >= 1 && count <= u64::from(settings.max_replicas));
        if !valid {
            return Err(Refusal::input(format!("Invalid numReplicas: use 1 to {}", settings.max_replicas)));
        }
    }
    for key in ["healthcheckTimeout", "overlapSeconds", "drainingSeconds", "restartPolicyMaxRetries"] {
        if change.deploy.get(key).is_some_and(|value| !value.is_null() && value.as_u64().is_none()) {
            return Err(Refusal::input(format!("Invalid {key}: must not be negative")));
        }
    }
    Ok(())
}

/// Changes one instance, or all of the service when no environment is named. Deploys nothing, but for the knob
/// that makes it deploy now and then.
pub(crate) fn update(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    environment: Option<&str>,
    service: &str,
    change: &InstanceChange,
    dice: f64,
) -> Result<(), Refusal> {
    check(change, settings)?;
    let targets = if let Some(environment) = environment {
        who.instance(&draft.world, environment, service)?;
        vec![environment.to_owned()]
    } else {
        who.admin()?;
        who.service(&draft.world, service)?;
        draft
            .world
            .instances
            .iter()
            .filter(|row| row.service_id == service && row.times.live())
            .filter(|row| who.environment(&draft.world, &row.environment_id).is_ok())
            .map(|row| row.environment_id.clone())
            .collect()
    };
    for environment in targets {
        let key = instance_key(&environment, service);
        let stamp = draft.stamp;
        let Some(row) = draft.world.instances.get_mut(&key) else { continue };
        row.times.updated_at = stamp;
        apply(row, change, settings)?;
        let row = row.clone();
        volumes::check_replicas(&draft.world, &row)?;
        let project = row.project_id.clone();
        match &change.credentials {
            Some(Some(credentials)) => draft.world.credentials.insert(&key, credentials.clone()),
            Some(None) => draft.world.credentials.remove(&key),
            None => {}
        }
        if change.source.is_some() {
            triggers::follow(draft, &environment, service);
        }
        let place = Place { project: Some(&project), environment: Some(&environment) };
        audit(draft, who, "service_instance", "update", service, place);
        // Where there is nothing to deploy, not even the knob can.
        let deployable = draft
            .world
            .instance(&environment, service)
            .is_some_and(|row| row.image.is_some() || row.repo.is_some());
        if dice < settings.update_deploys_probability && deployable {
            deployments::create(draft, who, settings, &environment, service, Cause::Deploy)?;
        }
    }
    Ok(())
}

fn apply(row: &mut Instance, change: &InstanceChange, settings: &Settings) -> Result<(), Refusal> {
    if let Some((image, repo)) = &change.source {
        row.image.clone_from(image);
        row.repo.clone_from(repo);
    }
    if let Some(credentials) = &change.credentials {
        row.has_credentials = credentials.is_some();
    }
    for (key, value) in &change.build {
        set(&mut row.build, key, value);
    }
    for (key, value) in &change.deploy {
        match *key {
            // Ignored by the platform, seen live.
            "region" => {}
            "startCommand" if value.is_null() => {}
            "multiRegionConfig" if !value.is_null() => {
                let mut map = regions(value, settings.max_replicas)?;
                map.retain(|_, entry| !entry.is_null());
                row.deploy.insert((*key).to_owned(), Value::Object(map));
                row.deploy.remove("numReplicas");
            }
            "numReplicas" => {
                row.deploy.remove("multiRegionConfig");
                set(&mut row.deploy, key, value);
            }
            _ => set(&mut row.deploy, key, value),
        }
    }
    if change.source.as_ref().is_some_and(|(image, _)| image.is_some()) {
        let absent = |key: &str| !change.deploy.contains_key(key);
        if settings.replica_loss && absent("multiRegionConfig") && absent("numReplicas") {
            row.deploy.remove("multiRegionConfig");
            row.deploy.insert("numReplicas".to_owned(), json!(1));
        }
        if settings.healthcheck_loss && absent("healthcheckPath") {
            row.deploy.remove("healthcheckPath");
        }
        if settings.zero_value_loss {
            for key in ["overlapSeconds", "drainingSeconds", "ipv6EgressEnabled"] {
                if absent(key) {
                    row.deploy.remove(key);
                }
            }
        }
    }
    Ok(())
}

/// Null and the empty string clear a key.
pub(crate) fn set(map: &mut BTreeMap<String, Value>, key: &str, value: &Value) {
    if value.is_null() || value.as_str() == Some("") {
        map.remove(key);
    } else {
        map.insert(key.to_owned(), value.clone());
    }
}

/// What a replica of an instance may use: the plan's limits, and over them what is set.
pub(crate) fn limits_of(row: &Instance) -> Value {
    let mut limits = json!({ "containers": { "cpu": 32, "memoryBytes": 32_000_000_000_u64 } });
    for (key, value) in row.limits.iter().filter_map(|limits| limits["containers"].as_object()).flatten() {
        limits["containers"][key] = value.clone();
    }
    limits
}

/// Explicit limits, merged into what is set.
pub(crate) fn limits(
    draft: &mut Draft,
    who: &Identity,
    environment: &str,
    service: &str,
    cpu: Option<f64>,
    memory_gb: Option<f64>,
) -> Result<(), Refusal> {
    let row = who.instance(&draft.world, environment, service)?;
    if cpu.is_some_and(|cpu| cpu <= 0.0) || memory_gb.is_some_and(|memory| memory <= 0.0) {
        return Err(Refusal::input("Invalid limits: must be positive"));
    }
    let mut containers =
        row.limits.as_ref().and_then(|limits| limits["containers"].as_object().cloned()).unwrap_or_default();
    if let Some(cpu) = cpu {
        containers.insert("cpu".to_owned(), json!(cpu));
    }
    if let Some(memory) = memory_gb {
        containers.insert("memoryBytes".to_owned(), json!(memory * 1e9));
    }
    if let Some(row) = draft.world.instances.get_mut(&instance_key(environment, service)) {
        row.limits = Some(json!({ "containers": containers }));
    }
    let place = Place { project: Some(&row.project_id), environment: Some(environment) };
    audit(draft, who, "service_instance", "limits", service, place);
    Ok(())
}

/// Takes an instance away: deployments, domains, variables and credentials go with it.
pub(crate) fn remove(draft: &mut Draft, environment: &str, service: &str) {
    for deployment in draft.world.deployments_of(environment, service) {
        let gone = matches!(deployment.status, Status::Removed | Status::Failed | Status::Skipped);
        if !gone {
            if let Some(row) = draft.world.deployments.get_mut(&deployment.id) {
                row.farewell = Some(Farewell::Removed);
            }
            draft.effects.push(Effect::Farewell(deployment.id.clone(), Farewell::Removed));
        }
    }
    let stamp = draft.stamp;
    let domains: Vec<_> = draft
        .world
        .domains
        .iter()
        .filter(|row| row.environment_id == environment && row.service_id == service && row.times.live())
        .cloned()
        .collect();
    for domain in domains {
        draft.effects.push(Effect::DropDomain(domain.domain.clone()));
        if let Some(row) = draft.world.domains.get_mut(&domain.id) {
            row.times.deleted_at = Some(stamp);
        }
    }
    custom_domains::remove_of(draft, environment, service);
    proxies::remove_of(draft, environment, service);
    private_networks::remove_of(draft, environment, service);
    egress::remove_of(draft, environment, service);
    volumes::detach_of(draft, environment, service);
    triggers::remove_of(draft, environment, service);
    let key = instance_key(environment, service);
    draft.world.variables.remove(&variables_key(environment, Some(service)));
    draft.world.credentials.remove(&key);
    if let Some(row) = draft.world.instances.get_mut(&key) {
        row.times.deleted_at = Some(stamp);
    }
}
