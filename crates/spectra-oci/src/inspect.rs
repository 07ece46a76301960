//! Looking into an image: what it runs, on what, and how large it is.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use spectra_types::{Digest, ImageRef, PinnedImage};

use crate::{
    Artifact, Client, Descriptor, Error, ImageConfig, ImageIndex, ImageManifest, Platform,
    document::check_same_type, media_type, source::LayerSource,
};

/// What is known about an image, local or in a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// The image in its registry, by the digest of what the reference led to (an index, if it is one).
    pub pinned: Option<PinnedImage>,
    /// Digest of what the reference led to; missing for an archive whose layers are still to be compressed.
    pub digest: Option<Digest>,
    /// Media type of what the reference led to.
    pub media_type: String,
    /// Digest of the manifest for [`Inspection::platform`]; the same as `digest` unless there is an index.
    pub manifest_digest: Option<Digest>,
    /// The platform looked at.
    pub platform: Platform,
    /// All platforms, if there is an index.
    pub platforms: Vec<Platform>,
    /// Bytes of configuration and layers, as stored.
    pub size: u64,
    /// When the image was made, RFC 3339.
    pub created: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// The program and its fixed arguments.
    pub entrypoint: Vec<String>,
    /// Default arguments.
    pub cmd: Vec<String>,
    /// User, or user:group; empty for root.
    pub user: String,
    /// Where the program starts.
    pub working_dir: String,
    /// Ports such as `8080/tcp`.
    pub exposed_ports: Vec<String>,
    /// The layers, lowest first.
    pub layers: Vec<LayerSummary>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerSummary {
    /// Media type.
    pub media_type: String,
    /// Digest as stored; of the raw tar for a layer still to be compressed.
    pub digest: Digest,
    /// Bytes as stored.
    pub size: u64,
}

impl Client {
    /// Looks into an image of a registry. Of an index, the image for `platform` is taken, `linux/amd64` by default.
    /// Every document's digest is checked.
    pub async fn inspect(&self, image: &ImageRef, platform: Option<&Platform>) -> Result<Inspection, Error> {
        let session = self.pull_session(image)?;
        let (root, bytes) = session.manifest(image).await?;
        let attempt = format!("inspect `{image}`");
        let (manifest, bytes, platforms) = if media_type::is_index(&root.media_type) {
            let index: ImageIndex =
                parse("index", &root, &bytes).map_err(|reason| session.protocol(&attempt, reason))?;
            let wanted = platform.cloned().unwrap_or_default();
            let platforms = index.platforms();
            let chosen = index
                .for_platform(&wanted)
                .ok_or_else(|| session.protocol(&attempt, no_platform(&wanted, &platforms)))?;
            let (manifest, bytes) = session.manifest(&image.pin(chosen.digest.clone()).image_ref()).await?;
            check_same_type(image.to_string().as_ref(), &bytes, chosen)?;
            (manifest, bytes, platforms)
        } else {
            (root.clone(), bytes, Vec::new())
        };
        if !media_type::is_manifest(&manifest.media_type) {
            let reason = format!("it has the type `{}`, expected an image or index", manifest.media_type);
            return Err(session.protocol(&attempt, reason));
        }
        let document: ImageManifest =
            parse("manifest", &manifest, &bytes).map_err(|reason| session.protocol(&attempt, reason))?;
        let config = session.config(&attempt, &document.config).await?;
        let config: ImageConfig = parse("configuration", &document.config, &config)
            .map_err(|reason| session.protocol(&attempt, reason))?;
        if let Some(wanted) =
            platform.filter(|wanted| platforms.is_empty() && !config.platform().satisfies(wanted))
        {
            return Err(session.protocol(&attempt, no_platform(wanted, &[config.platform()])));
        }
        let layers = document.layers.iter().map(summary).collect();
        Ok(Inspection {
            pinned: Some(image.pin(root.digest.clone())),
            digest: Some(root.digest),
            media_type: root.media_type,
            manifest_digest: Some(manifest.digest),
            platforms,
            ..describe(config, document.config.size, layers)
        })
    }
}

impl Artifact {
    /// Looks into a local image. Of an index, the image for `platform` is taken, `linux/amd64` by default. Blocking.
    pub fn inspect(&self, platform: Option<&Platform>) -> Result<Inspection, Error> {
        let is_index = matches!(self, Self::Index(_));
        let (image, config, platforms) = self.choose(platform)?;
        let layers = image.layers.iter().map(|layer| match layer {
            LayerSource::Ready(blob) => summary(&blob.descriptor),
            LayerSource::Elsewhere(descriptor) => summary(descriptor),
            LayerSource::Raw { content, diff_id } => LayerSummary {
                media_type: media_type::LAYER_TAR.to_owned(),
                digest: diff_id.clone(),
                size: content.len(),
            },
        });
        let document = self.document().map(|document| document.descriptor.clone());
        Ok(Inspection {
            digest: document.as_ref().map(|document| document.digest.clone()),
            media_type: document
                .map_or_else(|| media_type::MANIFEST.to_owned(), |document| document.media_type),
            manifest_digest: image.manifest.as_ref().map(|manifest| manifest.descriptor.digest.clone()),
            platforms: if is_index { platforms } else { Vec::new() },
            ..describe(config, image.config.descriptor.size, layers.collect())
        })
    }
}

/// Reads a document. Its type is told too: that of an artifact that is no image may be anything.
fn parse<T: serde::de::DeserializeOwned>(
    what: &str,
    descriptor: &Descriptor,
    bytes: &Bytes,
) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| {
        let Descriptor { digest, media_type, .. } = descriptor;
        format!("the {what} `{digest}` of the type `{media_type}` is malformed: {error}")
    })
}

pub(crate) fn no_platform(wanted: &Platform, available: &[Platform]) -> String {
    let names: Vec<String> = available.iter().map(ToString::to_string).collect();
    format!("there is no image for `{wanted}`, but for {}", crate::source::list(&names))
}

fn summary(descriptor: &Descriptor) -> LayerSummary {
    LayerSummary {
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest.clone(),
        size: descriptor.size,
    }
}

fn describe(config: ImageConfig, config_size: u64, layers: Vec<LayerSummary>) -> Inspection {
    Inspection {
        pinned: None,
        digest: None,
        media_type: String::new(),
        manifest_digest: None,
        platform: config.platform(),
        platforms: Vec::new(),
        size: layers.iter().fold(config_size, |sum, layer| sum.saturating_add(layer.size)),
        created: config.created,
        labels: config.config.labels,
        env: config.config.env,
        entrypoint: config.config.entrypoint,
        cmd: config.config.cmd,
        user: config.config.user,
        working_dir: config.config.working_dir,
        exposed_ports: config.config.exposed_ports.into_keys().collect(),
        layers,
    }
}
