//! The JSON documents of OCI images, as far as Spectra reads and writes them.
//!
//! Maps are ordered, because the same input must give the same bytes and thus the same digest. Documents that
//! were read are passed on as the bytes they came as; these types are for looking inside.
#![allow(clippy::zero_sized_map_values, reason = "exposed ports are a map to empty objects")]

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use spectra_types::Digest;

/// Media types.
pub mod media_type {
    /// OCI image index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI image manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image configuration.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// Uncompressed layer.
    pub const LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
    /// gzip-compressed layer.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// zstd-compressed layer.
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// OCI's layer that registries need not have.
    const OCI_FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    /// Docker's name for such a layer.
    const DOCKER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";
    /// Docker's manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

    /// Whether the type is an index of manifests.
    #[must_use]
    pub fn is_index(text: &str) -> bool {
        matches!(text, INDEX | DOCKER_LIST)
    }

    /// Whether the type is a manifest of one image.
    #[must_use]
    pub fn is_manifest(text: &str) -> bool {
        matches!(text, MANIFEST | DOCKER_MANIFEST)
    }

    /// Whether the type is a layer that may not be distributed, as bases of Windows had it.
    #[must_use]
    pub fn is_foreign(text: &str) -> bool {
        text.strip_prefix(OCI_FOREIGN).is_some_and(|packed| matches!(packed, "" | "+gzip" | "+zstd"))
            || text.strip_prefix(DOCKER_FOREIGN).is_some_and(|packed| matches!(packed, "" | ".gzip"))
    }
}

/// What a document says about other content: type, digest, size in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the content.
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content in bytes.
    #[serde(deserialize_with = "size")]
    pub size: u64,
    /// Where else the content can be had. Nothing is ever fetched from there. Some tools write `null` for none.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// What the image runs on, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What the artifact is, in a list of referrers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Free annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// A descriptor without annotations and platform.
    #[must_use]
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            platform: None,
            artifact_type: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// Operating system, architecture and variant; `linux/amd64`, `linux/arm64/v8`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Operating system in Go's spelling.
    pub os: String,
    /// Architecture in Go's spelling.
    pub architecture: String,
    /// Variant of the architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// Whether an image for `self` is what someone asking for `wanted` means: the same platform, whatever it is called, or any variant
    /// of it if no variant was asked for.
    #[must_use]
    pub fn satisfies(&self, wanted: &Self) -> bool {
        self.is(wanted)
            || wanted.variant.is_none()
                && self.os == wanted.os
                && self.normal().architecture == wanted.normal().architecture
    }

    /// Whether the two are the same platform: `linux/arm64/v8` is `linux/arm64`.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.normal() == other.normal()
    }

    /// The platform in one of its names, as containerd takes them together.
    fn normal(&self) -> Self {
        let stated = self.variant.as_deref().unwrap_or_default();
        let (architecture, variant) = match (self.architecture.as_str(), stated) {
            ("i386", _) => ("386", ""),
            ("amd64" | "x86_64" | "x86-64", "v1") => ("amd64", ""),
            ("amd64" | "x86_64" | "x86-64", variant) => ("amd64", variant),
            ("arm64" | "aarch64", "8" | "v8") => ("arm64", ""),
            ("arm64" | "aarch64", variant) => ("arm64", variant),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
            ("armel", _) | ("arm", "6") => ("arm", "v6"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "8") => ("arm", "v8"),
            other => other,
        };
        let variant = Some(variant.to_owned()).filter(|variant| !variant.is_empty());
        Self { os: self.os.clone(), architecture: architecture.to_owned(), variant }
    }
}

impl Default for Platform {
    /// `linux/amd64`, which is what Railway runs.
    fn default() -> Self {
        Self { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: None }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// A text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a platform; write os/architecture[/variant], such as `linux/amd64` or `linux/arm64/v8`"
)]
pub struct PlatformError {
    text: String,
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.'))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !(2..=3).contains(&parts.len()) || !parts.iter().all(word) {
            return Err(PlatformError { text: text.to_owned() });
        }
        Ok(Self {
            os: parts[0].to_owned(),
            architecture: parts[1].to_owned(),
            variant: parts.get(2).map(|part| (*part).to_owned()),
        })
    }
}

/// Manifest of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// Always 2.
    pub schema_version: u32,
    /// Own media type; optional in OCI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// The image that this one is about, for signatures and the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A list of manifests, for several platforms or in a layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageIndex {
    /// Always 2.
    pub schema_version: u32,
    /// Own media type; optional in OCI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifests. Some registries write `null` for an empty list.
    #[serde(default, deserialize_with = "null_as_default")]
    pub manifests: Vec<Descriptor>,
    /// Free annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl ImageIndex {
    /// The first image for `wanted`, or else the first for what it means.
    #[must_use]
    pub fn for_platform(&self, wanted: &Platform) -> Option<&Descriptor> {
        let entries = || self.manifests.iter().filter_map(|entry| Some((entry, entry.platform.as_ref()?)));
        let exact = entries().find(|(_, platform)| platform.is(wanted));
        exact.or_else(|| entries().find(|(_, platform)| platform.satisfies(wanted))).map(|(entry, _)| entry)
    }

    /// What the images run on. Entries that are no images, such as `BuildKit`'s attestations, say `unknown`.
    #[must_use]
    pub fn platforms(&self) -> Vec<Platform> {
        let stated = self.manifests.iter().filter_map(|entry| entry.platform.clone());
        stated.filter(|platform| platform.os != "unknown").collect()
    }

    /// An index of these manifests.
    #[must_use]
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::INDEX.to_owned()),
            manifests,
            annotations: BTreeMap::new(),
        }
    }
}

/// The image configuration: what to run, on what, and the layers' digests before compression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When the image was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Architecture in Go's spelling.
    #[serde(default)]
    pub architecture: String,
    /// Operating system in Go's spelling.
    #[serde(default)]
    pub os: String,
    /// Variant of the architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// How to run it.
    #[serde(default, deserialize_with = "null_as_default")]
    pub config: Config,
    /// The layers.
    #[serde(default)]
    pub rootfs: RootFs,
    /// How the layers came about.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
}

impl ImageConfig {
    /// The platform that the configuration states.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
        }
    }
}

/// How to run an image. Empty fields are left out when written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// User, or user:group.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub user: String,
    /// Ports such as `8080/tcp`; the values are empty objects.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// `NAME=value`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub env: Vec<String>,
    /// The program and its fixed arguments.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub entrypoint: Vec<String>,
    /// Default arguments.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub cmd: Vec<String>,
    /// Where the program starts.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub working_dir: String,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
    /// Signal that asks the program to end.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub stop_signal: String,
    /// Directories that are kept apart from the image; the values are empty objects.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub volumes: BTreeMap<String, Empty>,
    /// How an engine tells whether the program is well. Docker's; others ignore it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Docker's: the shell of later builds on this image.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub shell: Vec<String>,
    /// Docker's: instructions for later builds on this image.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub on_build: Vec<String>,
}

impl Config {
    /// The names of the fields in a document.
    pub(crate) const KEYS: [&str; 12] = [
        "User",
        "ExposedPorts",
        "Env",
        "Entrypoint",
        "Cmd",
        "WorkingDir",
        "Labels",
        "StopSignal",
        "Volumes",
        "Healthcheck",
        "Shell",
        "OnBuild",
    ];
}

/// How an engine tells whether the program is well. Times are in nanoseconds; 0 and left-out fields mean the engine's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["CMD", program, argument…]`, `["CMD-SHELL", line]`, or `["NONE"]`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub test: Vec<String>,
    /// Time between two checks.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "null_as_default")]
    pub interval: u64,
    /// How long one check may take.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "null_as_default")]
    pub timeout: u64,
    /// How long failures do not count after the start.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "null_as_default")]
    pub start_period: u64,
    /// Time between two checks during the start.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "null_as_default")]
    pub start_interval: u64,
    /// How many failures in a row make the program unwell.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "null_as_default")]
    pub retries: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// An empty JSON object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// The layers' digests before compression, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The digests.
    #[serde(default, deserialize_with = "null_as_default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// How a layer came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By which command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Whether there is no layer for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// A size as other tools can hold it, too; sums of two cannot overflow.
fn size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let size = u64::deserialize(deserializer)?;
    if i64::try_from(size).is_err() {
        return Err(serde::de::Error::custom(format!("a size of {size} bytes is beyond what can exist")));
    }
    Ok(size)
}

/// Docker writes `null` where it means an empty value.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_docker_writes() {
        let text = r#"{"architecture":"arm64","os":"linux","variant":"v8","config":{"Env":["A=b"],"Cmd":null,
            "Labels":null,"ExposedPorts":{"80/tcp":{}},"Healthcheck":{"Test":["NONE"]}},
            "rootfs":{"type":"layers","diff_ids":null},"history":null}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.platform().to_string(), "linux/arm64/v8");
        assert!(config.config.cmd.is_empty() && config.config.exposed_ports.contains_key("80/tcp"));
        let no_config: ImageConfig = serde_json::from_str(r#"{"config":null}"#).unwrap();
        assert_eq!(no_config.config, Config::default());
    }

    #[test]
    fn a_layer_without_urls_may_say_null() {
        let digest = format!("sha256:{:064x}", 1);
        let layer = Descriptor::new(LAYER, digest.parse().unwrap(), 2);
        let read = |urls: &str| {
            serde_json::from_str(&format!(r#"{{"mediaType":"{LAYER}","digest":"{digest}","size":2{urls}}}"#))
        };
        for urls in ["", r#","urls":null"#, r#","urls":[]"#] {
            assert_eq!(read(urls).ok().as_ref(), Some(&layer), "{urls}");
        }
        let there: Descriptor = read(r#","urls":["https://example.com/x"]"#).unwrap();
        assert_eq!(there.urls, ["https://example.com/x"]);
    }

    const LAYER: &str = media_type::LAYER_GZIP;

    #[test]
    fn every_field_of_a_configuration_has_its_name_in_the_list() {
        let text = |key: &str| match key {
            "User" | "WorkingDir" | "StopSignal" => r#""x""#,
            "ExposedPorts" | "Volumes" => r#"{"x":{}}"#,
            "Labels" => r#"{"x":"y"}"#,
            "Healthcheck" => "{}",
            _ => r#"["x"]"#,
        };
        let fields: Vec<String> = Config::KEYS.iter().map(|key| format!("\"{key}\":{}", text(key))).collect();
        let config: Config = serde_json::from_str(&format!("{{{}}}", fields.join(","))).unwrap();
        let written = serde_json::to_value(config).unwrap();
        let mut keys = Config::KEYS;
        keys.sort_unstable();
        assert!(written.as_object().unwrap().keys().eq(keys), "{written}");
    }

    #[test]
    fn platforms() {
        let arm: Platform = "linux/arm64/v8".parse().unwrap();
        assert!(arm.satisfies(&"linux/arm64".parse().unwrap()));
        assert!(!arm.satisfies(&Platform::default()));
        for (one, other, same) in [
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm64/v8", "linux/aarch64", true),
            ("linux/arm64/v9", "linux/arm64/v8", false),
            ("linux/arm", "linux/arm/v7", true),
            ("linux/arm/v6", "linux/arm/v7", false),
            ("linux/amd64/v1", "linux/amd64", true),
            ("linux/amd64/v3", "linux/amd64/v2", false),
            ("linux/386", "linux/amd64", false),
        ] {
            let (one, other): (Platform, Platform) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(
                (one.satisfies(&other), one.is(&other), other.is(&one)),
                (same, same, same),
                "{one} {other}"
            );
        }
        let entry = |platform: &str, digit: &str| Descriptor {
            platform: Some(platform.parse().unwrap()),
            ..Descriptor::new(
                media_type::MANIFEST,
                format!("sha256:{}", digit.repeat(64)).parse().unwrap(),
                1,
            )
        };
        let index = ImageIndex::new(vec![
            entry("linux/amd64/v3", "1"),
            entry("linux/amd64", "2"),
            entry("linux/arm/v6", "3"),
        ]);
        let chosen = |text: &str| {
            index.for_platform(&text.parse().unwrap()).map(|entry| entry.digest.hex()[..1].to_owned())
        };
        assert_eq!(chosen("linux/amd64").as_deref(), Some("2"), "not the first that would do");
        assert_eq!(chosen("linux/arm").as_deref(), Some("3"), "for want of a better one");
        assert_eq!(chosen("linux/arm/v7"), None);
        insta::assert_snapshot!("amd64".parse::<Platform>().unwrap_err(), @"`amd64` is not a platform; write os/architecture[/variant], such as `linux/amd64` or `linux/arm64/v8`");
    }
}
