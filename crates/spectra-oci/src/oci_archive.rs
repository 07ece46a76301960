//! Writing OCI archives: a layout in one tar file, the same bytes every time.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    path::Path,
    sync::Arc,
};

use tar::{EntryType, Header};

use crate::{
    Artifact, Descriptor, Error, Image, ImageIndex, Packing, Progress,
    archive::Archive,
    builder::to_json,
    content::{Blob, Hasher},
    layout::{MARKER, REF_NAME},
    source::BlobStore,
    spool,
    temporary::{Existing, Life, Temporary},
};

/// What to do about a file that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// Leave it, and fail.
    Refuse,
    /// Replace it.
    Replace,
}

impl Artifact {
    /// Writes a local artifact (see [`Artifact::download`]) as an OCI archive, named `name` inside if given. Raw layers are
    /// compressed on the way, unless an archive that is replaced has them whole by what `packing` knows. The file appears when
    /// it is whole. Blocking.
    pub fn write_archive(
        &self,
        path: &Path,
        name: Option<&str>,
        overwrite: Overwrite,
        packing: &Packing,
        progress: &Arc<dyn Progress>,
    ) -> Result<Descriptor, Error> {
        let exists = || Error::Exists { path: path.to_owned() };
        if overwrite == Overwrite::Refuse && fs::symlink_metadata(path).is_ok() {
            return Err(exists());
        }
        let mut blobs = BTreeMap::new();
        let earlier = if overwrite == Overwrite::Replace { Archive::open_plain(path) } else { None };
        let earlier = earlier.as_ref().map(|archive| archive as &dyn BlobStore);
        let descriptor = self.gather(&mut blobs, &|image| image.with_manifest(earlier, packing, progress))?;
        let mut entry = descriptor.clone();
        if let Some(name) = name {
            entry.annotations.insert(REF_NAME.to_owned(), name.to_owned());
        }
        let index = to_json(&ImageIndex::new(vec![entry]))?;

        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or_else(|| Path::new("."));
        let needed = blobs.values().map(|blob| blob.descriptor.size).sum();
        spool::ensure(directory, needed, || format!("write `{}`", path.display()))?;
        let (file, temporary) = Temporary::new(directory, Life::Long)?;
        let mut archive = tar::Builder::new(io::BufWriter::with_capacity(256 * 1024, file));
        let failed = || |error: io::Error| Error::io("write", path)(error).needs(needed);
        append(&mut archive, "oci-layout", MARKER.as_bytes()).map_err(failed())?;
        append(&mut archive, "index.json", &index).map_err(failed())?;
        for directory in ["blobs/", "blobs/sha256/", "blobs/sha512/"] {
            if blobs.keys().any(|name| format!("blobs/{name}").starts_with(directory)) {
                let mut header = header(EntryType::Directory, 0o755, 0);
                archive.append_data(&mut header, directory, io::empty()).map_err(failed())?;
            }
        }
        for (name, blob) in &blobs {
            let mut header = header(EntryType::Regular, 0o644, blob.descriptor.size);
            let mut reader = Checked {
                inner: blob.content.reader()?,
                hasher: Hasher::new(blob.descriptor.digest.algorithm()),
            };
            archive.append_data(&mut header, format!("blobs/{name}"), &mut reader).map_err(failed())?;
            let found = reader.hasher.finish();
            if found != blob.descriptor.digest {
                return Err(Error::DigestMismatch {
                    what: format!("the blob in {}", blob.content),
                    expected: blob.descriptor.digest.clone(),
                    found,
                });
            }
        }
        archive.into_inner().and_then(|mut writer| writer.flush()).map_err(failed())?;
        let existing = match overwrite {
            Overwrite::Replace => Existing::Replace,
            Overwrite::Refuse => Existing::Keep,
        };
        match temporary.persist(path, existing) {
            Ok(()) => Ok(descriptor),
            // Somebody has made the file since the question above.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists()),
            Err(error) => Err(failed()(error)),
        }
    }

    /// All blobs by `ALGORITHM/HEX`, each once.
    fn gather(
        &self,
        blobs: &mut BTreeMap<String, Blob>,
        pack: &dyn Fn(&Image) -> Result<Image, Error>,
    ) -> Result<Descriptor, Error> {
        let mut add = |blob: &Blob| {
            let digest = &blob.descriptor.digest;
            blobs.entry(format!("{}/{}", digest.algorithm(), digest.hex())).or_insert_with(|| blob.clone());
        };
        match self {
            Self::Index(index) => {
                add(&index.document);
                for child in &index.children {
                    child.gather(blobs, pack)?;
                }
                Ok(index.document.descriptor.clone())
            }
            Self::Image(image) => {
                let image = pack(image)?;
                let Some(manifest) = &image.manifest else {
                    return Err(Error::Build { reason: "an image has no manifest".to_owned() });
                };
                add(&image.config);
                add(manifest);
                image.ready_layers().for_each(&mut add);
                Ok(manifest.descriptor.clone())
            }
        }
    }
}

/// Hashes what is read.
struct Checked {
    inner: Box<dyn io::Read + Send>,
    hasher: Hasher,
}

impl io::Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

fn append<W: io::Write>(archive: &mut tar::Builder<W>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = header(EntryType::Regular, 0o644, bytes.len() as u64);
    archive.append_data(&mut header, name, bytes)
}
