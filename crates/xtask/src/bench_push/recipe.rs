//! The images that are pushed: made of real files, the same bytes on every run on one machine.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::error::Error;

/// Where real files are.
const FILES: &str = "/usr";
/// Raw sizes of the layers in MiB, 596 in all; shuffled, because images are.
const LAYERS: [u64; 8] = [40, 150, 16, 100, 60, 120, 30, 80];
const MIB: u64 = 1024 * 1024;
/// A layer may be so much smaller than it should be, and is never larger.
const SLACK: u64 = 64 * 1024;
/// Larger files make layers of one file.
const LARGEST_FILE: u64 = 48 * MIB;
/// Layers of the image for slow lines, and bytes of each.
const SMALL_LAYERS: usize = 40;
const SMALL_LAYER: usize = 64 * 1024;

/// What `make` wrote.
pub(crate) struct Images {
    /// What `docker save` writes: raw layers.
    pub(crate) archive: PathBuf,
    /// An OCI layout of the same layers, compressed by gzip at level 6.
    pub(crate) layout: PathBuf,
    /// An OCI layout of the largest of these layers alone.
    pub(crate) one: PathBuf,
    /// Bytes of that layer, compressed.
    pub(crate) one_bytes: u64,
    /// An OCI layout of many small layers.
    pub(crate) small: PathBuf,
    /// Bytes of the raw layers and of the compressed ones.
    pub(crate) raw: u64,
    pub(crate) compressed: u64,
}

/// A file with its digest and size.
struct Blob {
    path: PathBuf,
    digest: String,
    size: u64,
}

/// Makes the images below `root`. Blocking; about half a minute.
pub(crate) fn make(root: &Path) -> Result<Images, Error> {
    std::fs::create_dir_all(root).map_err(Error::file("create", root))?;
    let mut files = Vec::new();
    walk(Path::new(FILES), &mut files);
    let mut files = files.into_iter();
    let mut raw = Vec::new();
    for (number, mib) in LAYERS.iter().enumerate() {
        let path = root.join(format!("{number}.tar"));
        fill(&path, &mut files, mib * MIB).map_err(Error::file("write", &path))?;
        raw.push(blob(path)?);
    }
    let zipped = std::thread::scope(|scope| {
        let work: Vec<_> = raw.iter().map(|layer| scope.spawn(|| gzip(&layer.path))).collect();
        work.into_iter()
            .map(|work| work.join().map_err(|_| Error::unexpected("gzip", "a thread ended early"))?)
            .collect::<Result<Vec<_>, Error>>()
    })?;
    let archive = root.join("image.tar");
    save(&archive, &raw).map_err(Error::file("write", &archive))?;
    let pairs: Vec<_> = raw.iter().zip(&zipped).collect();
    let layout = layout(&root.join("layout"), &pairs)?;
    let largest = pairs.iter().max_by_key(|(_, zipped)| zipped.size).copied();
    let largest = largest.ok_or_else(|| Error::unexpected("the recipe", "it has no layer"))?;
    let one = self::layout(&root.join("one"), &[largest])?;
    let mut noise = Noise(Sha256::digest(b"spectra").into());
    let mut little = Vec::new();
    for number in 0..SMALL_LAYERS {
        let path = root.join(format!("small-{number}.tar"));
        let mut tar = tar::Builder::new(File::create(&path).map_err(Error::file("write", &path))?);
        let bytes = noise.take(SMALL_LAYER - 2048);
        append(&mut tar, &format!("file-{number}"), &mut bytes.as_slice(), bytes.len() as u64)
            .and_then(|()| tar.into_inner().map(drop))
            .map_err(Error::file("write", &path))?;
        let zipped = gzip(&path)?;
        little.push((blob(path)?, zipped));
    }
    let little: Vec<_> = little.iter().map(|(raw, zipped)| (raw, zipped)).collect();
    let small = self::layout(&root.join("small"), &little)?;
    Ok(Images {
        archive,
        layout,
        one,
        one_bytes: largest.1.size,
        small,
        raw: raw.iter().map(|layer| layer.size).sum(),
        compressed: zipped.iter().map(|layer| layer.size).sum(),
    })
}

/// Regular files that can be read, in order of their names.
fn walk(directory: &Path, files: &mut Vec<(PathBuf, u64)>) {
    let Ok(listing) = std::fs::read_dir(directory) else { return };
    let mut entries: Vec<_> = listing.filter_map(Result::ok).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let Ok(metadata) = entry.path().symlink_metadata() else { continue };
        if metadata.is_dir() {
            walk(&entry.path(), files);
        } else if metadata.is_file() && (1..LARGEST_FILE).contains(&metadata.len()) {
            files.push((entry.path(), metadata.len()));
        }
    }
}

/// A layer of the next files that still fit. Counted as a tar counts: with headers, and in whole blocks.
fn fill(path: &Path, files: &mut impl Iterator<Item = (PathBuf, u64)>, size: u64) -> io::Result<()> {
    const BLOCK: u64 = 512;
    let mut tar = tar::Builder::new(BufWriter::new(File::create(path)?));
    // Two blocks of zeros end it.
    let mut have = 2 * BLOCK;
    while have + SLACK < size {
        let Some((path, length)) = files.next() else {
            return Err(io::Error::other(format!("there are not enough files in {FILES}")));
        };
        let name = path.to_string_lossy();
        // A long name takes an entry of its own.
        let takes = length.next_multiple_of(BLOCK)
            + BLOCK
            + if name.trim_start_matches('/').len() > 100 { 2 * BLOCK } else { 0 };
        if have + takes > size {
            continue;
        }
        // Some can be listed and not read.
        let Ok(file) = File::open(&path) else { continue };
        append(&mut tar, &name, &mut file.take(length), length)?;
        have += takes;
    }
    tar.into_inner()?.flush()
}

fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    name: &str,
    content: &mut dyn Read,
    length: u64,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(length);
    header.set_mode(0o644);
    tar.append_data(&mut header, name.trim_start_matches('/'), content)
}

fn hex(hash: &[u8]) -> String {
    use std::fmt::Write as _;
    hash.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn blob(path: PathBuf) -> Result<Blob, Error> {
    let mut file = File::open(&path).map_err(Error::file("open", &path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer).map_err(Error::file("read", &path))?;
        if count == 0 {
            return Ok(Blob { digest: hex(&hasher.finalize()), size, path });
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
}

fn gzip(raw: &Path) -> Result<Blob, Error> {
    let path = raw.with_extension("tar.gz");
    let work = || -> io::Result<()> {
        let output = BufWriter::new(File::create(&path)?);
        let mut encoder = flate2::write::GzEncoder::new(output, flate2::Compression::new(6));
        io::copy(&mut io::BufReader::with_capacity(256 * 1024, File::open(raw)?), &mut encoder)?;
        encoder.finish()?.flush()
    };
    work().map_err(Error::file("compress into", &path))?;
    blob(path)
}

fn config(layers: impl Iterator<Item = String>) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.map(|digest| format!("sha256:{digest}")).collect();
    json!({
        "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
        "config": { "Cmd": ["/bin/true"] }, "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
    .to_string()
    .into_bytes()
}

/// Writes what `docker save` writes.
fn save(path: &Path, layers: &[Blob]) -> io::Result<()> {
    let config = config(layers.iter().map(|layer| layer.digest.clone()));
    let name = format!("{}.json", hex(&Sha256::digest(&config)));
    let names: Vec<String> = layers.iter().map(|layer| format!("{}/layer.tar", layer.digest)).collect();
    let manifest = json!([{ "Config": name, "RepoTags": ["bench:1"], "Layers": names }]).to_string();
    let mut tar = tar::Builder::new(BufWriter::new(File::create(path)?));
    append(&mut tar, &name, &mut config.as_slice(), config.len() as u64)?;
    for (name, layer) in names.iter().zip(layers) {
        append(&mut tar, name, &mut File::open(&layer.path)?, layer.size)?;
    }
    append(&mut tar, "manifest.json", &mut manifest.as_bytes(), manifest.len() as u64)?;
    tar.into_inner()?.flush()
}

/// Writes an OCI layout of one image with these layers, each raw and compressed.
fn layout(root: &Path, layers: &[(&Blob, &Blob)]) -> Result<PathBuf, Error> {
    const TYPE: &str = "application/vnd.oci.image";
    let blobs = root.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).map_err(Error::file("create", &blobs))?;
    let put = |bytes: &[u8], media_type: &str| -> Result<Value, Error> {
        let digest = hex(&Sha256::digest(bytes));
        let path = blobs.join(&digest);
        std::fs::write(&path, bytes).map_err(Error::file("write", &path))?;
        Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len() }))
    };
    let mut listed = Vec::new();
    for (_, zipped) in layers {
        let path = blobs.join(&zipped.digest);
        if !path.exists() {
            std::fs::hard_link(&zipped.path, &path).map_err(Error::file("link", &path))?;
        }
        listed.push(json!({
            "mediaType": format!("{TYPE}.layer.v1.tar+gzip"),
            "digest": format!("sha256:{}", zipped.digest), "size": zipped.size,
        }));
    }
    let config =
        put(&config(layers.iter().map(|(raw, _)| raw.digest.clone())), &format!("{TYPE}.config.v1+json"))?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": format!("{TYPE}.manifest.v1+json"), "config": config, "layers": listed,
    });
    let mut entry = put(manifest.to_string().as_bytes(), &format!("{TYPE}.manifest.v1+json"))?;
    if let Some(entry) = entry.as_object_mut() {
        entry.insert("annotations".to_owned(), json!({ "org.opencontainers.image.ref.name": "bench" }));
    }
    let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
    for (name, text) in [("index.json", index.as_str()), ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)]
    {
        let path = root.join(name);
        std::fs::write(&path, text).map_err(Error::file("write", &path))?;
    }
    Ok(root.to_owned())
}

/// Bytes that do not compress, the same on every run.
struct Noise([u8; 32]);

impl Noise {
    fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 32);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.0);
            self.0 = Sha256::digest(self.0).into();
        }
        bytes.truncate(count);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Layers had five per cent more than they should, since headers and the rest of blocks were not counted.
    #[test]
    fn a_layer_is_as_large_as_it_should_be() {
        let folder = tempfile::tempdir().unwrap();
        let name = |number: usize| folder.path().join(format!("{number}-{}", "n".repeat(number % 150)));
        let mut files: Vec<_> =
            (0..999).map(|number| (name(number), 1 + number as u64 * 37 % 3000)).collect();
        // One that does not fit any more is passed over.
        files.insert(100, (name(999), 3 * MIB));
        for (path, length) in &files {
            File::create(path).unwrap().set_len(*length).unwrap();
        }
        let layer = folder.path().join("layer.tar");
        fill(&layer, &mut files.into_iter(), MIB).unwrap();
        let length = layer.metadata().unwrap().len();
        assert!(((MIB - SLACK)..=MIB).contains(&length), "{length}");
        assert!(
            fill(&layer, &mut std::iter::empty(), MIB).unwrap_err().to_string().contains("not enough files")
        );
    }
}
