//! Archives of `docker save`: images that `manifest.json` lists, with layers that are raw as a rule.

use std::{
    collections::HashMap,
    io::{self, Read},
};

use serde::Deserialize;
use spectra_types::Digest;

use crate::{
    Descriptor, Error, ImageConfig,
    archive::{Archive, MAX_WINDOW_LOG, Packed},
    content::{Blob, Content, Hashing, digest_like, sha256},
    document,
    limits::{OpenLimits, check_layers},
    media_type,
    model::null_as_default,
    source::{Artifact, Image, LayerSource, familiar, list},
    tar_index::normalise,
};

/// One image in `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default, deserialize_with = "null_as_default")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    layers: Vec<String>,
}

impl Saved {
    fn is_called(&self, name: Option<&str>) -> bool {
        name.is_none_or(|name| self.repo_tags.iter().any(|tag| familiar(tag) == familiar(name)))
    }
}

/// Compressed layers that were read, by their place in the archive: whatever names lead there, each is read once.
#[derive(Default)]
struct Known {
    layers: HashMap<(u64, u64), (Blob, Digest)>,
    /// Bytes that all of them decompressed to.
    unpacked: u64,
}

/// What one pass over a compressed layer finds out.
struct Reading {
    stored: Digest,
    /// Of the tar inside, or why there is none.
    tar: Result<Digest, Error>,
}

impl Archive {
    /// Whether `docker save` wrote it, or something that writes the same.
    pub(crate) fn is_docker(&self) -> bool {
        self.has("manifest.json")
    }

    /// The image that `manifest.json` calls by this name.
    pub(crate) fn load_docker(&self, name: Option<&str>) -> Result<Artifact, Error> {
        if !self.is_docker() {
            let reason =
                "it has no `manifest.json`, which `docker save` writes; an OCI archive is `oci-archive:`";
            return Err(Error::input(&self.origin, reason));
        }
        let images: Vec<Saved> = self.json("manifest.json", document::SAVED)?;
        let chosen: Vec<&Saved> = images.iter().filter(|image| image.is_called(name)).collect();
        let [image] = chosen.as_slice() else {
            let names: Vec<String> = images.iter().flat_map(|image| image.repo_tags.clone()).collect();
            let reason = match (chosen.len(), name) {
                (0, Some(name)) => format!("it holds no image `{name}`, but {}", list(&names)),
                (0, None) => "it holds no image".to_owned(),
                _ => format!("it holds several images, choose one by name: {}", list(&names)),
            };
            return Err(Error::input(&self.origin, reason));
        };
        let bytes = self.bytes(&image.config, document::CONFIG)?;
        self.check_name(&image.config, &sha256(&bytes))?;
        let config: ImageConfig = serde_json::from_slice(&bytes).map_err(|error| {
            Error::input(&self.origin, format!("`{}` is malformed: {error}", image.config))
        })?;
        if config.rootfs.diff_ids.len() != image.layers.len() {
            let reason = format!(
                "its configuration names {} layers, its manifest {}",
                config.rootfs.diff_ids.len(),
                image.layers.len()
            );
            return Err(Error::input(&self.origin, reason));
        }
        check_layers(&self.origin, image.layers.len())?;
        let mut known = Known::default();
        let layers = image.layers.iter().zip(config.rootfs.diff_ids);
        let layers = layers.map(|(name, diff_id)| self.layer(name, diff_id, &mut known));
        let layers = layers.collect::<Result<_, _>>()?;
        Ok(Artifact::Image(Image {
            origin: self.origin.clone(),
            config: Blob::memory(media_type::CONFIG, bytes),
            layers,
            manifest: None,
            note: None,
        }))
    }

    /// Refuses an archive whose `manifest.json` is about other images than its index, where `configurations` are those of the image that
    /// the index calls by this name.
    pub(crate) fn check_same(&self, name: Option<&str>, configurations: &[Digest]) -> Result<(), Error> {
        let images: Vec<Saved> = self.json("manifest.json", document::SAVED)?;
        for image in images.iter().filter(|image| image.is_called(name)) {
            let bytes = self.bytes(&image.config, document::CONFIG)?;
            if !configurations.iter().any(|digest| digest_like(digest, &bytes) == *digest) {
                let reason = "its `index.json` and its `manifest.json` are about different images; \
                              say which of them counts: `oci-archive:` or `docker-archive:`";
                return Err(Error::input(&self.origin, reason));
            }
        }
        Ok(())
    }

    /// A layer: raw as a rule, and checked when it is compressed. A compressed one is passed on as it is, so that nobody after this
    /// looks inside: it is read here, and has to be what the configuration promises.
    fn layer(&self, name: &str, diff_id: Digest, known: &mut Known) -> Result<LayerSource, Error> {
        let content = self.find(name)?;
        let mut magic = Vec::with_capacity(4);
        let read = content.reader()?.take(4).read_to_end(&mut magic);
        read.map_err(Error::io("read", &self.origin))?;
        let Some(packed) = Packed::of(&magic) else {
            self.check_name(name, &diff_id)?;
            return Ok(LayerSource::Raw { content, diff_id });
        };
        let place = match &content {
            Content::File { offset, length, .. } | Content::Part { offset, length, .. } => (*offset, *length),
            _ => (0, content.len()),
        };
        let (blob, found) = if let Some(known) = known.layers.get(&place) {
            known.clone()
        } else {
            let reading = self.read_layer(&content, packed, &mut known.unpacked)?;
            self.check_name(name, &reading.stored)?;
            let descriptor = Descriptor::new(packed.layer(), reading.stored, content.len());
            let entry = (Blob { descriptor, content }, reading.tar?);
            known.layers.insert(place, entry.clone());
            entry
        };
        self.check_name(name, &blob.descriptor.digest)?;
        if found != diff_id {
            return Err(Error::DigestMismatch {
                what: format!("the layer `{}` of `{}`", name.escape_debug(), self.origin.display()),
                expected: diff_id,
                found,
            });
        }
        Ok(LayerSource::Ready(blob))
    }

    /// Reads a compressed layer to its end. `unpacked` counts what all layers have become so far.
    fn read_layer(&self, content: &Content, packed: Packed, unpacked: &mut u64) -> Result<Reading, Error> {
        let mut stored = Hashing::new(content.reader()?);
        let tar = self.decompress(&mut stored, packed, content.len(), unpacked);
        if let Err(error @ Error::Limit { .. }) = tar {
            return Err(error);
        }
        // What is damaged has another digest, which says more than the decompressor does.
        io::copy(&mut stored, &mut io::sink()).map_err(Error::io("read", &self.origin))?;
        let (_, stored, _) = stored.finish();
        Ok(Reading { stored, tar })
    }

    fn decompress(
        &self,
        stored: &mut impl Read,
        packed: Packed,
        size: u64,
        unpacked: &mut u64,
    ) -> Result<Digest, Error> {
        let failed = || Error::io("decompress a layer of", &self.origin);
        let input = io::BufReader::with_capacity(256 * 1024, stored);
        let mut decoder: Box<dyn Read + '_> = match packed {
            Packed::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
            Packed::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(failed())?;
                decoder.window_log_max(MAX_WINDOW_LOG).map_err(failed())?;
                Box::new(decoder)
            }
        };
        // Nothing is written, so that this is about time alone, and an honest layer may be a large file of zeros.
        let limits = OpenLimits { ratio: self.limits.ratio.max(OpenLimits::LAYER_RATIO), ..self.limits };
        let all = OpenLimits { ratio: u64::MAX, ..self.limits };
        let mut tar = Hashing::new(io::sink());
        let mut buffer = vec![0; 256 * 1024];
        let mut written = 0;
        loop {
            let count = match decoder.read(&mut buffer) {
                Ok(0) => return Ok(tar.finish().1),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed()(error)),
            };
            written += count as u64;
            *unpacked += count as u64;
            limits.check(&self.origin, size, written)?;
            all.check(&self.origin, 1, *unpacked)?;
            io::Write::write_all(&mut tar, &buffer[..count]).map_err(failed())?;
        }
    }

    /// Newer engines name their files by digest: `blobs/sha256/HEX`. Such a name has to be true.
    fn check_name(&self, name: &str, found: &Digest) -> Result<(), Error> {
        let name = normalise(name, "").unwrap_or_default();
        let Some(hex) = name.strip_prefix("blobs/sha256/") else { return Ok(()) };
        let Ok(expected) = format!("sha256:{hex}").parse::<Digest>() else { return Ok(()) };
        if expected == *found {
            return Ok(());
        }
        Err(Error::DigestMismatch {
            what: format!("the file `{name}` of `{}`", self.origin.display()),
            expected,
            found: found.clone(),
        })
    }
}
