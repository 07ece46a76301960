//! The list of crates that `cargo auditable` and newer versions of Cargo put into a program.

use std::{collections::BTreeSet, io::Read as _};

use serde::Deserialize;

use super::package::{Kind, Package, Place, name};

/// A list with more bytes is an attack or a mistake: a thousand crates need about a hundred kilobytes.
const MAX_LIST: u64 = 4 * 1024 * 1024;
/// What a list may have; the largest programs have some thousand crates.
const MAX_CRATES: usize = 50_000;
/// How many needs of its crates a list may have, each counted once.
const MAX_EDGES: usize = 500_000;

#[derive(Deserialize)]
struct List {
    packages: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    version: String,
    #[serde(default)]
    kind: Use,
    #[serde(default)]
    dependencies: BTreeSet<usize>,
}

#[derive(Deserialize, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Use {
    #[default]
    Runtime,
    #[serde(other)]
    Build,
}

/// Decompresses the section of a program.
pub(super) fn inflate(section: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut json = Vec::new();
    let mut decoder = flate2::read::ZlibDecoder::new(section).take(MAX_LIST + 1);
    decoder.read_to_end(&mut json)?;
    if json.len() as u64 > MAX_LIST {
        return Err(std::io::Error::other("the list is larger than 4 MiB"));
    }
    Ok(json)
}

/// The crates that are linked in. Those that only the build needed are not in the image.
pub(super) fn parse(json: &[u8], place: &Place<'_>) -> Result<Vec<Package>, String> {
    let list: List = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let edges: usize = list.packages.iter().map(|entry| entry.dependencies.len()).sum();
    if list.packages.len() > MAX_CRATES || edges > MAX_EDGES {
        return Err(format!("it has {} crates and {edges} dependencies", list.packages.len()));
    }
    for entry in &list.packages {
        name(&entry.name)?;
        name(&entry.version)?;
    }
    let packages: Vec<Package> = list
        .packages
        .iter()
        .map(|entry| Package::new(Kind::Cargo, &entry.name, &entry.version, place).with_purl(None))
        .collect();
    let linked = |index: &usize| list.packages.get(*index).is_some_and(|entry| entry.kind == Use::Runtime);
    let found = list.packages.iter().zip(&packages).filter(|(entry, _)| entry.kind == Use::Runtime);
    Ok(found
        .map(|(entry, package)| {
            let needed = entry.dependencies.iter().filter(|index| linked(index));
            let mut needs: Vec<_> = needed.map(|index| packages[*index].purl.clone()).collect();
            needs.sort();
            needs.dedup();
            Package { needs, ..package.clone() }
        })
        .collect())
}
