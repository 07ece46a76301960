//! Bills of materials: `CycloneDX` 1.6 and SPDX 2.3, as JSON.
//!
//! The same image gives the same bytes: the time is the image's own or `SOURCE_DATE_EPOCH`, and identifiers are made from the
//! content. So a bill can be compared, cached, and signed again without a change.

mod cyclonedx;
mod spdx;
mod syft;

use std::{fmt::Write as _, str::FromStr};

use jiff::Timestamp;
use sha2::Digest as _;
use spectra_types::Digest;

use crate::{Error, inventory::Inventory};

pub use syft::with_syft;

/// How a bill is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// CycloneDX 1.6.
    CycloneDx,
    /// SPDX 2.3.
    Spdx,
}

impl Format {
    /// Its name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CycloneDx => "cyclonedx",
            Self::Spdx => "spdx",
        }
    }

    /// The predicate type of an attestation that carries such a bill.
    #[must_use]
    pub const fn predicate_type(self) -> &'static str {
        match self {
            Self::CycloneDx => "https://cyclonedx.org/bom",
            Self::Spdx => "https://spdx.dev/Document",
        }
    }
}

/// A text is no format of a bill.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no format of a bill of materials; there are `cyclonedx` and `spdx`")]
pub struct FormatError(String);

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::CycloneDx, Self::Spdx]
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or_else(|| FormatError(text.to_owned()))
    }
}

/// The image that a bill is about.
#[derive(Debug, Clone)]
pub struct Subject {
    /// What people call it: `ghcr.io/team/web`, or the name of a file.
    pub name: String,
    /// The registry and repository, if it is in one.
    pub repository: Option<String>,
    /// Digest of its manifest, or of its configuration if it has no manifest yet.
    pub digest: Digest,
    /// `linux/amd64`.
    pub platform: String,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// The program that writes a bill.
#[derive(Debug, Clone, Copy)]
pub struct Generator<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
}

/// Writes what was found, with a line feed at the end.
#[must_use]
pub fn write(format: Format, subject: &Subject, inventory: &Inventory, generator: Generator<'_>) -> String {
    let document = match format {
        Format::CycloneDx => cyclonedx::document(subject, inventory, generator),
        Format::Spdx => spdx::document(subject, inventory, generator),
    };
    identified(format, subject, document)
}

/// Sets the document's own identifier, made from all the rest.
fn identified(format: Format, subject: &Subject, mut document: serde_json::Value) -> String {
    let id = uuid(&document.to_string());
    match format {
        Format::CycloneDx => document["serialNumber"] = format!("urn:uuid:{id}").into(),
        Format::Spdx => {
            let name: String =
                subject.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
            document["documentNamespace"] = format!("https://spdx.org/spdxdocs/{name}-{id}").into();
        }
    }
    // The alternate form differs from the plain one in white space alone.
    format!("{document:#}\n")
}

/// An identifier made from content: version 8, which is for one's own way of making them.
fn uuid(content: &str) -> String {
    let mut bytes: [u8; 16] = [0; 16];
    bytes.copy_from_slice(&sha2::Sha256::digest(content)[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex(&bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A time to the second, as both formats want it.
fn seconds(time: Timestamp) -> String {
    let whole = Timestamp::from_second(time.as_second()).unwrap_or(time);
    whole.to_string()
}

/// Reads a bill that a program has written.
fn parse(program: &str, bytes: &[u8]) -> Result<serde_json::Value, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::report(format!("what `{program}` printed"), error))
}
