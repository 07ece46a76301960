//! Reading the layers of a local image: decompressed, in order, each checked against its digest.

use std::{
    collections::HashMap,
    io::{self, Read},
    path::{Path, PathBuf},
};

use spectra_types::Digest;

use crate::{
    Artifact, Error, Image, ImageConfig, ImageIndex, Platform,
    content::{Content, Hasher},
    elsewhere::not_here,
    gzip::{GZIP_MAGIC, ZSTD_MAGIC},
    inspect::no_platform,
    limits::OpenLimits,
    source::LayerSource,
};

/// The largest window of a zstd frame that is accepted, as a power of two: 128 MiB, what `zstd` itself accepts.
const ZSTD_WINDOW: u32 = 27;

/// A layer is read, and not written anywhere, so that this is about time alone. No gzip reaches the ratio: an honest layer may be a
/// large file of zeros.
const LIMITS: OpenLimits = OpenLimits { unpacked: 64 << 30, ratio: OpenLimits::LAYER_RATIO };

/// One layer of an image that is on disk.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    source: &'a LayerSource,
    origin: &'a Path,
}

impl Artifact {
    /// The image for `platform`. Of an index, `linux/amd64` is taken by default; an image that stands alone is taken whatever it
    /// runs on, unless a platform was asked for. Blocking.
    pub fn select(&self, platform: Option<&Platform>) -> Result<&Image, Error> {
        self.choose(platform).map(|(image, ..)| image)
    }

    /// The platforms of the images that [`Artifact::select`] leaves out. Blocking.
    pub fn left_out(&self, platform: Option<&Platform>) -> Result<Vec<Platform>, Error> {
        let (chosen, _, platforms) = self.choose(platform)?;
        let others =
            self.images().into_iter().zip(platforms).filter(|(image, _)| !std::ptr::eq(*image, chosen));
        // Attestations say `unknown`.
        Ok(others.map(|(_, platform)| platform).filter(|platform| platform.os != "unknown").collect())
    }

    /// As [`Artifact::select`], with its configuration and the platforms of all images.
    pub(crate) fn choose(
        &self,
        platform: Option<&Platform>,
    ) -> Result<(&Image, ImageConfig, Vec<Platform>), Error> {
        let images = self.images();
        let wanted = platform.cloned().or_else(|| matches!(self, Self::Index(_)).then(Platform::default));
        let mut stated = HashMap::new();
        self.stated_platforms(&mut stated);
        let mut platforms = Vec::new();
        let (mut exact, mut near) = (None, None);
        for image in &images {
            let config = image.configuration()?;
            let platform = image.manifest_digest().and_then(|digest| stated.remove(digest));
            let platform = platform.unwrap_or_else(|| config.platform());
            if exact.is_none() && wanted.as_ref().is_none_or(|wanted| platform.is(wanted)) {
                exact = Some((*image, config));
            } else if near.is_none() && wanted.as_ref().is_some_and(|wanted| platform.satisfies(wanted)) {
                near = Some((*image, config));
            }
            platforms.push(platform);
        }
        if let Some((image, config)) = exact.or(near) {
            return Ok((image, config, platforms));
        }
        let reason = no_platform(&wanted.unwrap_or_default(), &platforms);
        let origin = images.first().map(|image| image.origin.clone()).unwrap_or_default();
        Err(Error::Input { path: origin, reason })
    }
}

impl Artifact {
    /// What an index says of its images, which is what others go by; a configuration may lack the variant.
    fn stated_platforms(&self, found: &mut HashMap<Digest, Platform>) {
        let Self::Index(index) = self else { return };
        if let Content::Memory(bytes) = &index.document.content
            && let Ok(document) = serde_json::from_slice::<ImageIndex>(bytes)
        {
            let stated = document.manifests.into_iter();
            found.extend(stated.filter_map(|entry| Some((entry.digest, entry.platform?))));
        }
        index.children.iter().for_each(|child| child.stated_platforms(found));
    }
}

impl Image {
    /// The layers, lowest first.
    pub fn layers(&self) -> impl Iterator<Item = Layer<'_>> {
        self.layers.iter().map(|source| Layer { source, origin: &self.origin })
    }

    /// Digest of the manifest; missing if layers are still to be compressed.
    #[must_use]
    pub fn manifest_digest(&self) -> Option<&Digest> {
        self.manifest.as_ref().map(|manifest| &manifest.descriptor.digest)
    }

    /// Digest of the configuration, which docker calls the image's id.
    #[must_use]
    pub const fn config_digest(&self) -> &Digest {
        &self.config.descriptor.digest
    }
}

impl Layer<'_> {
    /// Digest as stored; of the raw tar for a layer that is still to be compressed.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        match self.source {
            LayerSource::Ready(blob) => &blob.descriptor.digest,
            LayerSource::Raw { diff_id, .. } => diff_id,
            LayerSource::Elsewhere(descriptor) => &descriptor.digest,
        }
    }

    /// The tar, decompressed while it is read: gzip, zstd, or neither, by its first bytes. Holds at most the window of the
    /// compression in memory. Blocking.
    ///
    /// Whoever reads to the end gets an error of the kind `InvalidData` if the stored bytes do not have the layer's digest.
    /// A layer of more than 64 GiB, or of 2000 times its size as stored, is an error there.
    /// A layer that is still in a registry is refused: see [`Artifact::download`]. So is one of [`Artifact::elsewhere`].
    pub fn reader(&self) -> Result<Box<dyn Read + Send>, Error> {
        let content = match self.source {
            LayerSource::Ready(blob) => &blob.content,
            LayerSource::Raw { content, .. } => content,
            LayerSource::Elsewhere(descriptor) => return Err(not_here(self.origin, descriptor)),
        };
        let failed = Error::io("read a layer of", self.origin);
        let mut stored = Verified::new(content.reader()?, self.digest());
        let mut magic = Vec::with_capacity(4);
        stored.by_ref().take(4).read_to_end(&mut magic).map_err(failed)?;
        let zstd = magic == ZSTD_MAGIC;
        let gzip = magic.starts_with(&GZIP_MAGIC);
        let length = content.len();
        let bounded = |inner| Bounded { inner, stored: length, read: 0, origin: self.origin.to_owned() };
        let stored = io::BufReader::with_capacity(256 * 1024, io::Cursor::new(magic).chain(stored));
        if gzip {
            let decoder: Box<dyn Read + Send> = Box::new(flate2::bufread::MultiGzDecoder::new(stored));
            return Ok(Box::new(bounded(decoder)));
        }
        if zstd {
            let failed = Error::io("decompress a layer of", self.origin);
            let mut decoder = zstd::stream::read::Decoder::with_buffer(stored).map_err(failed)?;
            let failed = Error::io("decompress a layer of", self.origin);
            decoder.window_log_max(ZSTD_WINDOW).map_err(failed)?;
            return Ok(Box::new(bounded(Box::new(decoder))));
        }
        Ok(Box::new(stored))
    }
}

/// Passes decompressed bytes on while they are within the limits.
struct Bounded {
    inner: Box<dyn Read + Send>,
    /// Bytes of the layer as stored.
    stored: u64,
    read: u64,
    origin: PathBuf,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read += count as u64;
        LIMITS.check(&self.origin, self.stored, self.read).map_err(io::Error::other)?;
        Ok(count)
    }
}

/// Passes bytes on, and compares their digest at the end.
struct Verified<R> {
    inner: R,
    hasher: Option<Hasher>,
    expected: Digest,
}

impl<R> Verified<R> {
    fn new(inner: R, expected: &Digest) -> Self {
        Self { inner, hasher: Some(Hasher::new(expected.algorithm())), expected: expected.clone() }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        if count == 0
            && !buffer.is_empty()
            && let Some(found) = self.hasher.take().map(Hasher::finish)
            && found != self.expected
        {
            let text = format!("the layer has the digest {found}, expected {}", self.expected);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::{
        Descriptor,
        content::{Blob, Content, sha256},
        media_type,
    };

    fn layer(media_type: &str, stored: Vec<u8>) -> LayerSource {
        LayerSource::Ready(Blob::memory(media_type, stored))
    }

    fn read(source: &LayerSource) -> io::Result<Vec<u8>> {
        let mut output = Vec::new();
        Layer { source, origin: Path::new("x") }.reader().unwrap().read_to_end(&mut output)?;
        Ok(output)
    }

    #[test]
    fn every_compression_reads_the_same() {
        let raw = b"a tar, as far as this test goes".repeat(1000);
        let mut gzip = Vec::new();
        for half in raw.chunks(raw.len() / 2) {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(half).unwrap();
            gzip.extend(encoder.finish().unwrap());
        }
        let zstd = zstd::encode_all(raw.as_slice(), 1).unwrap();
        for (kind, stored) in [
            (media_type::LAYER_TAR, raw.clone()),
            (media_type::LAYER_GZIP, gzip.clone()),
            (media_type::LAYER_ZSTD, zstd),
            // The bytes count, not what the manifest calls them.
            (media_type::LAYER_TAR, gzip),
        ] {
            assert_eq!(read(&layer(kind, stored)).unwrap(), raw);
        }
        assert!(read(&layer(media_type::LAYER_TAR, Vec::new())).unwrap().is_empty());
    }

    #[test]
    fn a_layer_that_is_a_bomb_is_an_error_in_time() {
        let frame = zstd::encode_all(vec![0; 8 << 20].as_slice(), 1).unwrap();
        let bomb = layer(media_type::LAYER_ZSTD, frame.repeat(100));
        let mut reader = Layer { source: &bomb, origin: Path::new("x") }.reader().unwrap();
        let mut read = 0;
        let mut buffer = vec![0; 1 << 16];
        let error = loop {
            match reader.read(&mut buffer) {
                Ok(0) => panic!("it was read to its end"),
                Ok(count) => read += count,
                Err(error) => break error,
            }
        };
        assert!(read < 100 << 20, "{read}");
        assert!(error.to_string().contains("more than 2000 times its size"), "{error}");
    }

    #[test]
    fn a_layer_with_another_digest_is_an_error_at_its_end() {
        let content = Content::Memory(bytes::Bytes::from_static(b"changed"));
        let descriptor = Descriptor::new(media_type::LAYER_TAR, sha256(b"promised"), 7);
        let error = read(&LayerSource::Ready(Blob { descriptor, content })).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().starts_with("the layer has the digest sha256:"));
    }
}
