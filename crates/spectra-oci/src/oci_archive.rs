//! Writing OCI archives: a layout in one tar file, the same bytes every time.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use tar::{EntryType, Header};

use crate::{
    Artifact, Descriptor, Error, Image, ImageIndex, Packing, Progress,
    archive::Archive,
    builder::to_json,
    content::{Blob, Hasher},
    layout::{MARKER, REF_NAME},
    limits::MAX_LINKS,
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

/// Where an archive called `path` is written: there, or where a link leads. What is there already is refused if it is no file, which
/// nobody wants replaced, or if it may not be replaced. Blocking.
pub fn archive_destination(path: &Path, overwrite: Overwrite) -> Result<PathBuf, Error> {
    let mut place = path.to_owned();
    // What the last of them names is looked at too.
    for _ in 0..=MAX_LINKS {
        let kind = match fs::symlink_metadata(&place) {
            Ok(metadata) => metadata.file_type(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(place),
            Err(error) => return Err(Error::io("write", path)(error)),
        };
        if kind.is_symlink() {
            let target = fs::read_link(&place).map_err(Error::io("read the link", &place))?;
            // The folder stays as it was written, for the system to make sense of.
            place = place.parent().map_or_else(|| target.clone(), |folder| folder.join(&target));
            continue;
        }
        let what = match () {
            () if kind.is_file() && overwrite == Overwrite::Refuse => {
                return Err(Error::Exists { path: path.to_owned() });
            }
            () if kind.is_file() => return Ok(place),
            () if kind.is_dir() => "a directory",
            () if kind.is_fifo() => "a pipe",
            () if kind.is_socket() => "a socket",
            () => "a device",
        };
        return Err(Error::NotAFile { path: path.to_owned(), what });
    }
    Err(Error::NotAFile {
        path: path.to_owned(),
        what: "a link that leads in a circle, or through too many others",
    })
}

impl Artifact {
    /// Writes a local artifact (see [`Artifact::download`]) as an OCI archive, named `name` inside if given. Raw layers are
    /// compressed on the way, unless an archive that is replaced has them whole by what `packing` knows. The file appears when
    /// it is whole, at its [destination](archive_destination). Blocking.
    pub fn write_archive(
        &self,
        path: &Path,
        name: Option<&str>,
        overwrite: Overwrite,
        packing: &Packing,
        progress: &Arc<dyn Progress>,
    ) -> Result<Descriptor, Error> {
        let destination = archive_destination(path, overwrite)?;
        self.need_layers()?;
        let path = destination.as_path();
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
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::Exists { path: path.to_owned() })
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_nothing_to_replace() {
        for overwrite in [Overwrite::Refuse, Overwrite::Replace] {
            let error = archive_destination(Path::new("/dev/null"), overwrite).unwrap_err();
            assert_eq!(error.to_string(), "cannot write `/dev/null`: it is a device, not a file");
            assert_eq!(error.code().to_string(), "SPX-352");
            assert!(!error.hint().unwrap().contains("give `--force`"));
        }
    }

    #[test]
    fn as_many_links_are_followed_as_the_system_follows() {
        let folder = tempfile::tempdir().unwrap();
        let path = |number: usize| folder.path().join(number.to_string());
        fs::write(path(0), "").unwrap();
        for number in 1..=MAX_LINKS + 1 {
            std::os::unix::fs::symlink(path(number - 1), path(number)).unwrap();
        }
        for (number, follows) in [(MAX_LINKS, true), (MAX_LINKS + 1, false)] {
            // Other systems follow fewer.
            #[cfg(target_os = "linux")]
            assert_eq!(fs::metadata(path(number)).is_ok(), follows, "{number}");
            let found = archive_destination(&path(number), Overwrite::Replace);
            assert_eq!(found.ok(), follows.then(|| path(0)), "{number}");
        }
    }
}
