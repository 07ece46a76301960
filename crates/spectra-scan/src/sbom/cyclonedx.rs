//! `CycloneDX` 1.6.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use spectra_types::Algorithm;

use super::{Generator, Subject, seconds};
use crate::inventory::{Inventory, Kind, Package};

pub(super) fn document(subject: &Subject, inventory: &Inventory, generator: Generator<'_>) -> Value {
    let root = root(subject);
    let root_ref = root["bom-ref"].clone();
    let references = references(&inventory.packages);
    let mut components: Vec<Value> = Vec::new();
    components.extend(inventory.system.as_ref().map(|system| {
        let mut component =
            json!({ "type": "operating-system", "name": system.id, "bom-ref": format!("os:{}", system.id) });
        set(&mut component, "version", system.version.clone());
        set(&mut component, "description", system.name.clone());
        component
    }));
    components.extend(inventory.packages.iter().zip(&references).map(|(package, id)| component(package, id)));
    let mut metadata = json!({
        "tools": { "components": [{ "type": "application", "name": generator.name, "version": generator.version }] },
        "component": root,
        "properties": inventory.notes.iter().map(|note| json!({ "name": "spectra:note", "value": note })).collect::<Vec<_>>(),
    });
    set(&mut metadata, "timestamp", subject.created.map(seconds));
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": metadata,
        "components": components,
        "dependencies": dependencies(&root_ref, &inventory.packages, &references),
    })
}

fn root(subject: &Subject) -> Value {
    let digest = subject.digest.to_string();
    let mut root = json!({
        "type": "container",
        "bom-ref": format!("image:{digest}"),
        "name": subject.name,
        "version": digest,
        "hashes": [{ "alg": match subject.digest.algorithm() {
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha512 => "SHA-512",
        }, "content": subject.digest.hex() }],
        "properties": [{ "name": "spectra:platform", "value": subject.platform }],
    });
    let purl = subject.repository.as_ref().map(|repository| {
        let name = repository.rsplit('/').next().unwrap_or(repository).to_ascii_lowercase();
        let repository = repository.replace(':', "%3A").replace('/', "%2F");
        format!("pkg:oci/{name}@{}?repository_url={repository}", digest.replace(':', "%3A"))
    });
    set(&mut root, "purl", purl);
    root
}

fn component(package: &Package, id: &str) -> Value {
    let mut properties = vec![
        json!({ "name": "spectra:location", "value": format!("/{}", package.path) }),
        json!({ "name": "spectra:layer", "value": package.layer.to_string() }),
    ];
    if package.kind != Kind::Cargo
        && let Some((name, version)) = &package.source
    {
        let source = version.as_ref().map_or_else(|| name.clone(), |version| format!("{name} {version}"));
        properties.push(json!({ "name": "spectra:source-package", "value": source }));
    }
    let mut component = json!({
        "type": "library",
        "bom-ref": id,
        "name": package.name,
        "version": package.version,
        "purl": &*package.purl,
        "properties": properties,
    });
    // As a name: it is the packager's text, which need not be an expression of SPDX.
    set(
        &mut component,
        "licenses",
        package.licence.as_ref().map(|text| json!([{ "license": { "name": text } }])),
    );
    set(&mut component, "supplier", package.supplier.as_ref().map(|name| json!({ "name": name })));
    component
}

/// One identifier a package: its package URL, with the place behind it where that is not enough.
pub(super) fn references(packages: &[Package]) -> Vec<String> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for package in packages {
        *seen.entry(&*package.purl).or_default() += 1;
    }
    let mut given = BTreeSet::new();
    packages
        .iter()
        .map(|package| {
            let mut id = package.purl.to_string();
            if seen[&*package.purl] > 1 {
                id = format!("{id}#{}", package.path);
            }
            // A damaged database may list one package twice with different details.
            let mut number = 1;
            let base = id.clone();
            while !given.insert(id.clone()) {
                number += 1;
                id = format!("{base}#{number}");
            }
            id
        })
        .collect()
}

fn dependencies(root: &Value, packages: &[Package], references: &[String]) -> Vec<Value> {
    let mut list = vec![json!({ "ref": root, "dependsOn": references })];
    let mut by_place: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for (package, id) in packages.iter().zip(references) {
        by_place.insert((&*package.path, &*package.purl), id);
    }
    for (package, id) in packages.iter().zip(references) {
        if package.kind == Kind::Cargo {
            let needs: BTreeSet<&str> = package
                .needs
                .iter()
                .filter_map(|purl| by_place.get(&(&*package.path, &**purl)).copied())
                .collect();
            list.push(json!({ "ref": id, "dependsOn": needs }));
        }
    }
    list
}

/// Sets a field if there is a value for it.
fn set(object: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        object.as_object_mut().get_or_insert(&mut Map::new()).insert(name.to_owned(), value.into());
    }
}
