//! A package, and the name by which everybody knows it.

use std::{fmt::Write as _, sync::Arc};

use spectra_types::Digest;

use super::OperatingSystem;

/// The longest name or version, in bytes.
pub(super) const MAX_NAME: usize = 256;
/// The longest text that is meant for people, in bytes.
const MAX_TEXT: usize = 4096;

/// Who installed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Debian's dpkg.
    Deb,
    /// Alpine's apk.
    Apk,
    /// Cargo; linked into a program.
    Cargo,
}

/// One installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Who installed it.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its version, in the manager's own spelling.
    pub version: String,
    /// The architecture that it is for, if the manager says.
    pub architecture: Option<String>,
    /// Name and, if it differs, version of the source package that it was built from.
    pub source: Option<(String, Option<String>)>,
    /// The licence, in the packager's own words.
    pub licence: Option<String>,
    /// Who maintains it.
    pub supplier: Option<String>,
    /// The package URL.
    pub purl: Arc<str>,
    /// The file that says so, without a leading slash.
    pub path: Arc<str>,
    /// The layer that this file is from.
    pub layer: Digest,
    /// What it needs, as package URLs; known of crates alone.
    pub needs: Vec<Arc<str>>,
}

/// Where a package was found.
pub(super) struct Place<'a> {
    pub(super) path: &'a Arc<str>,
    pub(super) layer: &'a Digest,
    pub(super) system: Option<&'a OperatingSystem>,
}

impl Package {
    pub(super) fn new(kind: Kind, name: &str, version: &str, place: &Place<'_>) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: None,
            source: None,
            licence: None,
            supplier: None,
            purl: Arc::default(),
            path: Arc::clone(place.path),
            layer: place.layer.clone(),
            needs: Vec::new(),
        }
    }

    /// Sets the package URL from everything else.
    pub(super) fn with_purl(mut self, system: Option<&OperatingSystem>) -> Self {
        let (scheme, fallback) = match self.kind {
            Kind::Deb => ("deb", "debian"),
            Kind::Apk => ("apk", "alpine"),
            Kind::Cargo => ("cargo", ""),
        };
        let mut purl = format!("pkg:{scheme}/");
        if self.kind != Kind::Cargo {
            let vendor = system.map_or(fallback, |system| system.id.as_str());
            let _ = write!(purl, "{}/", encode(vendor));
        }
        let _ = write!(purl, "{}@{}", encode(&self.name), encode(&self.version));
        // Sorted by name, as the specification has it.
        let mut qualifiers: Vec<(&str, String)> = Vec::new();
        qualifiers.extend(self.architecture.as_ref().map(|arch| ("arch", arch.clone())));
        if self.kind != Kind::Cargo {
            qualifiers.extend(system.and_then(OperatingSystem::distribution).map(|name| ("distro", name)));
            qualifiers.extend(self.source.as_ref().map(|(name, version)| match version {
                Some(version) => ("upstream", format!("{name}@{version}")),
                None => ("upstream", name.clone()),
            }));
        }
        for (number, (name, value)) in qualifiers.iter().enumerate() {
            let _ = write!(purl, "{}{name}={}", if number == 0 { '?' } else { '&' }, encode(value));
        }
        self.purl = purl.into();
        self
    }
}

/// A name or a version, unless it is longer than any is: it is repeated in URLs, and in those of what needs it.
pub(super) fn name(text: &str) -> Result<&str, String> {
    within(text, MAX_NAME)
}

/// A licence or the like, unless it is longer than any is.
pub(super) fn words(text: &str) -> Result<&str, String> {
    within(text, MAX_TEXT)
}

fn within(text: &str, limit: usize) -> Result<&str, String> {
    if text.len() <= limit { Ok(text) } else { Err(format!("a field has {} bytes", text.len())) }
}

/// Percent-encodes a part of a package URL. A colon stays, as the specification wants.
fn encode(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':') {
            output.push(char::from(byte));
        } else {
            let _ = write!(output, "%{byte:02X}");
        }
    }
    output
}
