//! The list of crates that `cargo auditable` and newer versions of Cargo put into a program.

use std::io::Read as _;

use serde::Deserialize;

use super::package::{Kind, Package, Place};

/// A list with more bytes is an attack or a mistake: a thousand crates need about a hundred kilobytes.
const MAX_LIST: u64 = 16 * 1024 * 1024;

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
    dependencies: Vec<usize>,
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
        return Err(std::io::Error::other("the list is larger than 16 MiB"));
    }
    Ok(json)
}

/// The crates that are linked in. Those that only the build needed are not in the image.
pub(super) fn parse(json: &[u8], place: &Place<'_>) -> Result<Vec<Package>, serde_json::Error> {
    let list: List = serde_json::from_slice(json)?;
    let packages: Vec<Package> = list
        .packages
        .iter()
        .map(|entry| Package::new(Kind::Cargo, &entry.name, &entry.version, place).with_purl(None))
        .collect();
    let linked = |index: &usize| list.packages.get(*index).is_some_and(|entry| entry.kind == Use::Runtime);
    let found = list.packages.iter().zip(&packages).filter(|(entry, _)| entry.kind == Use::Runtime);
    Ok(found
        .map(|(entry, package)| {
            let mut needs: Vec<String> = entry
                .dependencies
                .iter()
                .filter(|index| linked(index))
                .map(|index| packages[*index].purl.clone())
                .collect();
            needs.sort();
            needs.dedup();
            Package { needs, ..package.clone() }
        })
        .collect())
}
