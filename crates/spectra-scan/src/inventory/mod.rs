//! Which packages an image holds, read from the databases that package managers leave in its layers.
//!
//! Read are the databases of dpkg and apk, and the list of crates that `cargo auditable` puts into programs. Everything else is
//! not seen, and the [`Inventory`] says so in its notes: an inventory that is silent about what it cannot see is taken for whole.

mod apk;
mod cargo;
mod dpkg;
mod elf;
mod os;
mod package;
mod tree;

use std::sync::Arc;

pub use os::OperatingSystem;
pub use package::{Kind, Package};
pub use tree::{LayerInput, Opened};

use tree::{Content, Tree};

#[cfg(test)]
mod tests;

use crate::{Error, text::plain};

/// What was found in an image.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// What `/etc/os-release` says, if there is one.
    pub system: Option<OperatingSystem>,
    /// The packages, sorted, each once a place.
    pub packages: Vec<Package>,
    /// What was not or could not be read.
    pub notes: Vec<String>,
}

/// What is always missing from an inventory made here.
const SCOPE: &str = "read were the package databases of dpkg and apk, and what `cargo auditable` left in programs; packages of other \
                     managers and languages are not listed";

/// How many packages an image may have. The largest have some thousand of a distribution, and some hundred for each program in Rust;
/// each takes about six kilobytes until it is written.
const MAX_PACKAGES: u64 = 50_000;
/// How many needs crates may have together.
const MAX_NEEDS: u64 = 500_000;

/// What an image may still have.
struct Left {
    packages: u64,
    needs: u64,
}

impl Left {
    const ALL: Self = Self { packages: MAX_PACKAGES, needs: MAX_NEEDS };

    fn take(&mut self, packages: &[Package]) -> Result<(), Error> {
        let take = |left: &mut u64, count: usize, limit, what| {
            *left = left.checked_sub(count as u64).ok_or(Error::TooLarge { what, limit })?;
            Ok(())
        };
        take(&mut self.packages, packages.len(), MAX_PACKAGES, "packages")?;
        let needs = packages.iter().map(|package| package.needs.len()).sum();
        take(&mut self.needs, needs, MAX_NEEDS, "dependencies of packages")
    }
}

/// Applies the layers, lowest first, and reads what package managers left in the result. Blocking.
///
/// Layers are read as streams: of their content only package databases are kept, up to a limit.
pub fn read(layers: &[LayerInput<'_>]) -> Result<Inventory, Error> {
    let tree = Tree::read(layers)?;
    let mut inventory = Inventory { notes: vec![SCOPE.to_owned()], ..Inventory::default() };
    // Lists are sorted by path, so `etc/` comes before `usr/lib/`, as systemd has it.
    for (path, kept) in &tree.files {
        let path = &String::from_utf8_lossy(path);
        let note = |text: &str| format!("`/{path}` {text}");
        match &kept.content {
            Content::Text(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                if path.ends_with("os-release") {
                    inventory.system = inventory.system.take().or_else(|| OperatingSystem::parse(&text));
                }
            }
            Content::Crates(_) => {}
            Content::Rpm => {
                let text = note("is a database of rpm, which is not read: its packages are missing here");
                if !inventory.notes.iter().any(|note| note.contains("database of rpm")) {
                    inventory.notes.push(text);
                }
            }
            Content::Unread(reason) => inventory.notes.push(note(&format!("was not read: {reason}"))),
        }
    }
    let system = inventory.system.clone();
    let mut left = Left::ALL;
    for (path, kept) in &tree.files {
        let path = &Arc::<str>::from(String::from_utf8_lossy(path));
        let place = package::Place { path, layer: &layers[kept.layer].digest, system: system.as_ref() };
        match &kept.content {
            Content::Text(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                let mut add = |packages: &mut dyn Iterator<Item = Result<Package, String>>| {
                    for package in packages {
                        match package {
                            Ok(package) => {
                                left.take(std::slice::from_ref(&package))?;
                                inventory.packages.push(package);
                            }
                            Err(reason) => {
                                let text = format!("`/{path}` was read only in part: {reason}");
                                inventory.notes.push(text);
                                return Ok(());
                            }
                        }
                    }
                    Ok(())
                };
                if path.ends_with("apk/db/installed") {
                    add(&mut apk::parse(&text, &place))?;
                } else if path.starts_with("var/lib/dpkg/") {
                    add(&mut dpkg::parse(&text, &place))?;
                }
            }
            Content::Crates(json) => match cargo::parse(json, &place) {
                Ok(packages) => {
                    left.take(&packages)?;
                    inventory.packages.extend(packages);
                }
                Err(error) => {
                    inventory.notes.push(format!("the list of crates in `/{path}` was not read: {error}"));
                }
            },
            Content::Rpm | Content::Unread(_) => {}
        }
    }
    for note in &mut inventory.notes {
        *note = plain(note);
    }
    inventory.packages.sort();
    inventory.packages.dedup();
    Ok(inventory)
}
