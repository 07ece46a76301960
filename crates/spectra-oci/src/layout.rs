//! OCI image layouts: directories that hold blobs by digest and an index.

use std::{
    collections::HashSet,
    fs::{self, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde_json::Value;
use spectra_types::{Algorithm, Digest};

use crate::{
    Descriptor, Error, ImageIndex, NoProgress, Progress, Trust,
    builder::{store, to_json},
    cache::FileState,
    content::{Blob, Content},
    document, media_type,
    source::{BlobStore, MAX_DOCUMENT},
    temporary::{self, Existing, Life, Temporary},
};

/// The annotation under which an index names its images.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation under which containerd keeps the whole name.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// The file that says that a directory is a layout.
const MARKER_FILE: &str = "oci-layout";
pub(crate) const MARKER: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

const INDEX: &str = "index.json";

/// How long another process may hold the lock. It does so for the time of two small files.
const PATIENCE: Duration = Duration::from_mins(5);
/// How often it is tried.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Nobody is told of shorter waits.
const LOCK_SILENCE: Duration = Duration::from_secs(1);

/// Nobody else makes the layout or changes its index while this is held.
struct Lock {
    _directory: fs::File,
}

/// An OCI image layout on disk.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
    /// Whether it is there, or was: it is made once.
    begun: Arc<AtomicBool>,
    /// Blobs that were read and found to be whole, as their files were then.
    hashed: Arc<Mutex<HashSet<(FileState, Digest)>>>,
    /// How long to wait for another process that writes.
    patience: Duration,
    /// Who hears that it is waited for.
    waits: Waits,
}

/// Who hears that another process is waited for.
#[derive(Clone)]
struct Waits(Arc<dyn Progress>);

impl std::fmt::Debug for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waits")
    }
}

impl Layout {
    fn at(root: PathBuf) -> Self {
        Self {
            root,
            begun: Arc::default(),
            hashed: Arc::default(),
            patience: PATIENCE,
            waits: Waits(Arc::new(NoProgress)),
        }
    }

    /// Gives up when another process holds the layout's lock for longer than this; five minutes without it.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Tells somebody when another process that writes the layout is waited for.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.waits = Waits(progress);
        self
    }

    /// Opens an existing layout.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let root = root.into();
        let marker = root.join(MARKER_FILE);
        if !root.is_dir() {
            return Err(Error::input(&root, "it is not a directory"));
        }
        if !marker.exists() {
            return Err(Error::input(
                &root,
                "the directory has no `oci-layout` file; `image build` makes a layout",
            ));
        }
        check_marker(&root, &read_document(&marker)?)?;
        Ok(Self { begun: Arc::new(AtomicBool::new(true)), ..Self::at(root) })
    }

    /// Opens the layout, or is ready to make one if the directory is missing or empty: nothing is written before there is something
    /// to keep.
    ///
    /// A directory with other content is refused, so that a mistyped path litters nothing. What others may have begun of a layout at
    /// this moment is none.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let root = root.into();
        if root.join(INDEX).exists() && root.join(MARKER_FILE).exists() {
            return Self::open(root);
        }
        let layout = Self::at(root);
        layout.check_beginnings()?;
        Ok(layout)
    }

    /// Refuses a directory with anything in it but the first files of a layout, in the order in which they come.
    fn check_beginnings(&self) -> Result<(), Error> {
        let listing = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            listing => listing.map_err(Error::io("list", &self.root))?,
        };
        let mut others = false;
        for entry in listing {
            let name = entry.map_err(Error::io("list", &self.root))?.file_name();
            let name = name.to_string_lossy();
            others |= !(name == MARKER_FILE || name.starts_with(temporary::PREFIX));
        }
        // Asked for after the listing, since it is the first to come.
        let has_marker = self.root.join(MARKER_FILE).exists();
        if others && !has_marker {
            return Err(Error::input(
                &self.root,
                "the directory is neither empty nor an OCI layout; choose another output",
            ));
        }
        if has_marker { Self::open(&self.root).map(drop) } else { Ok(()) }
    }

    /// Makes the layout if it is not there yet.
    fn begin(&self) -> Result<(), Error> {
        if self.begun.load(Ordering::Acquire) {
            return Ok(());
        }
        fs::create_dir_all(&self.root).map_err(Error::io("create", &self.root))?;
        let lock = self.lock()?;
        self.begin_alone(&lock)?;
        self.begun.store(true, Ordering::Release);
        Ok(())
    }

    fn begin_alone(&self, _: &Lock) -> Result<(), Error> {
        if !self.root.join(MARKER_FILE).exists() {
            self.check_beginnings()?;
            persist(MARKER.as_bytes(), &self.root.join(MARKER_FILE))?;
        }
        if !self.root.join(INDEX).exists() {
            persist(&to_json(&ImageIndex::new(Vec::new()))?, &self.root.join(INDEX))?;
        }
        Ok(())
    }

    /// Waits until nobody else changes the index. A file system that knows no locks has none.
    fn lock(&self) -> Result<Lock, Error> {
        let directory = fs::File::open(&self.root).map_err(Error::io("open", &self.root))?;
        let (begin, mut told) = (Instant::now(), false);
        loop {
            match directory.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(TryLockError::Error(error)) if knows_no_locks(&error) => break,
                Err(TryLockError::Error(error)) => return Err(Error::io("lock", &self.root)(error)),
                Err(TryLockError::WouldBlock) => {}
            }
            let waited = begin.elapsed();
            if waited >= self.patience {
                let reason = format!(
                    "another process has held its lock for {} seconds; end that process if it hangs",
                    self.patience.as_secs()
                );
                let source = io::Error::new(io::ErrorKind::TimedOut, reason);
                return Err(Error::io("write the layout", &self.root)(source));
            }
            if waited >= LOCK_SILENCE.min(self.patience / 2) && !told {
                told = true;
                self.waits.0.waiting(&self.root);
            }
            std::thread::sleep(LOCK_PAUSE.min(self.patience.saturating_sub(waited)));
        }
        Ok(Lock { _directory: directory })
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The images in the layout.
    pub fn index(&self) -> Result<ImageIndex, Error> {
        self.read_index()
    }

    fn read_index<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let path = self.root.join(INDEX);
        let bytes = match read_document(&path) {
            // It was not begun, or its making is under way.
            Err(Error::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound && !self.root.join("blobs").exists() =>
            {
                to_json(&ImageIndex::new(Vec::new()))?
            }
            bytes => bytes?,
        };
        document::check(&path, &bytes, document::MANIFEST)?;
        document::check_type(&path, &bytes, Some(media_type::INDEX))?;
        serde_json::from_slice(&bytes).map_err(|error| Error::input(&path, error.to_string()))
    }

    /// Lists an image in the index, under no other name than `name`; an entry of the same name is replaced, and so is one of the same
    /// digest without a name. Other entries stay as they are, with all that other tools have written there.
    pub(crate) fn tag(&self, mut descriptor: Descriptor, name: Option<&str>) -> Result<(), Error> {
        // What it was called elsewhere may be the name of another image here.
        for key in [REF_NAME, CONTAINERD_NAME] {
            descriptor.annotations.remove(key);
        }
        if let Some(name) = name {
            descriptor.annotations.insert(REF_NAME.to_owned(), name.to_owned());
        }
        self.begin()?;
        let lock = self.lock()?;
        self.begin_alone(&lock)?;
        // For the sake of its errors.
        self.index()?;
        let mut index: serde_json::Map<String, Value> = self.read_index()?;
        let entries = index.entry("manifests").or_insert_with(|| Value::Array(Vec::new()));
        if entries.is_null() {
            *entries = Value::Array(Vec::new());
        }
        let Value::Array(entries) = entries else {
            return Err(Error::input(&self.root, "`manifests` of its index is no list"));
        };
        let digest = descriptor.digest.to_string();
        entries.retain(|entry| {
            let other = entry["annotations"].get(REF_NAME).and_then(Value::as_str);
            match (name, other) {
                (Some(name), Some(other)) => name != other,
                (None, None) => entry["digest"].as_str() != Some(&digest),
                _ => true,
            }
        });
        let path = self.root.join(INDEX);
        entries
            .push(serde_json::to_value(&descriptor).map_err(|error| Error::input(&path, error.to_string()))?);
        persist(&to_json(&index)?, &path)
    }

    /// Stores a blob unless it is there, whole. What is large there is taken for whole if `trust` allows it.
    pub(crate) fn add(&self, blob: &Blob, trust: Trust) -> Result<(), Error> {
        self.begin()?;
        let descriptor = &blob.descriptor;
        let path = self.blob_path(&descriptor.digest);
        if fs::metadata(&path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == descriptor.size) {
            let trusted = trust == Trust::FileState && descriptor.size > MAX_DOCUMENT;
            let there = Content::File { path: Arc::from(path.as_path()), offset: 0, length: descriptor.size };
            if trusted || self.is_whole(&there, &descriptor.digest)? {
                return Ok(());
            }
        }
        self.create_folder(blob.descriptor.digest.algorithm())?;
        store(blob, &path)
    }

    /// The layout, or what there is above it before it is begun.
    pub(crate) fn nearest(&self) -> PathBuf {
        let place = self.root.ancestors().find(|place| place.exists());
        place.unwrap_or_else(|| Path::new(".")).to_owned()
    }

    /// The folder that compressed layers are made in, to be [adopted](Self::adopt): that of the blobs.
    pub(crate) fn folder(&self) -> Result<PathBuf, Error> {
        self.begin()?;
        self.create_folder(Algorithm::Sha256)
    }

    /// Makes the folder of blobs. A layout that somebody has removed is not made anew: what an interrupted process still does in one
    /// that was temporary comes to nothing.
    fn create_folder(&self, algorithm: Algorithm) -> Result<PathBuf, Error> {
        let mut folder = self.root.clone();
        for part in ["blobs", algorithm.as_str()] {
            folder.push(part);
            match fs::create_dir(&folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::io("create", folder)(error));
                }
                _ => {}
            }
        }
        Ok(folder)
    }

    /// Makes a temporary file of the layout's [folder](Self::folder) one of its blobs, in place of what was under that digest.
    pub(crate) fn adopt(&self, blob: Blob) -> Result<Descriptor, Error> {
        let Blob { descriptor, content } = blob;
        let destination = self.blob_path(&descriptor.digest);
        let file = match content {
            Content::Temporary { path, length } => {
                Arc::try_unwrap(path).map_err(|path| Content::Temporary { path, length })
            }
            content => Err(content),
        };
        match file {
            Ok(file) => {
                file.persist(&destination, Existing::Replace).map_err(Error::io("write", &destination))?;
            }
            // Somebody else holds it, too.
            Err(content) => store(&Blob { descriptor: descriptor.clone(), content }, &destination)?,
        }
        Ok(descriptor)
    }

    /// Whether a blob that was found here has its digest. One that is gone by now is not whole; and one that has been found to be
    /// so need not be read again while its file is the same, unless it is so new that its times say nothing.
    pub(crate) fn is_whole(&self, content: &Content, digest: &Digest) -> Result<bool, Error> {
        let key = || Some((FileState::of(content)?, digest.clone()));
        let before = key();
        let hashed = || self.hashed.lock().unwrap_or_else(PoisonError::into_inner);
        if before.as_ref().is_some_and(|before| hashed().contains(before)) {
            return Ok(true);
        }
        let found = match content.digest(digest) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(false),
            found => found?,
        };
        let whole = found == *digest;
        if whole
            && let Some(key) = key().filter(|key| Some(key) == before.as_ref())
            && is_old(&self.blob_path(digest))
        {
            hashed().insert(key);
        }
        Ok(whole)
    }

    /// A digest has only letters and digits, so that no path can lead out of the layout.
    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
    }
}

impl BlobStore for Layout {
    fn path(&self) -> &Path {
        &self.root
    }

    fn index(&self) -> Result<ImageIndex, Error> {
        Self::index(self)
    }

    fn content(&self, digest: &Digest) -> Result<Option<Content>, Error> {
        let path = self.blob_path(digest);
        match fs::metadata(&path) {
            // Opening a pipe would wait for somebody to write into it.
            Ok(metadata) if !metadata.is_file() => Err(Error::input(&path, "it is not a file")),
            Ok(metadata) => {
                Ok(Some(Content::File { path: Arc::from(path), offset: 0, length: metadata.len() }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }
}

/// Whether a file system said so instead of locking.
fn knows_no_locks(error: &io::Error) -> bool {
    let known = [Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOLCK, Errno::NOSYS];
    error.kind() == io::ErrorKind::Unsupported
        || known.iter().any(|known| error.raw_os_error() == Some(known.raw_os_error()))
}

/// Whether a file has not been touched for so long that another change would show in its times.
fn is_old(path: &Path) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or_default();
    fs::metadata(path).is_ok_and(|file| file.ctime() + 2 < now)
}

/// Reads a small file; a large one, a pipe or a device is refused.
fn read_document(path: &Path) -> Result<Vec<u8>, Error> {
    let metadata = fs::metadata(path).map_err(Error::io("read", path))?;
    if !metadata.is_file() {
        return Err(Error::input(path, "it is not a file"));
    }
    let file = fs::File::open(path).map_err(Error::io("read", path))?;
    let mut bytes = Vec::new();
    file.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > MAX_DOCUMENT {
        return Err(Error::input(path, format!("it has more than {MAX_DOCUMENT} bytes")));
    }
    Ok(bytes)
}

pub(crate) fn check_marker(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Marker {
        image_layout_version: String,
    }
    document::check(path, bytes, document::MARKER)?;
    let marker: Marker = serde_json::from_slice(bytes)
        .map_err(|error| Error::input(path, format!("its `oci-layout` file is malformed: {error}")))?;
    if marker.image_layout_version.starts_with("1.") {
        return Ok(());
    }
    Err(Error::input(path, format!("it has layout version `{}`, expected 1.x", marker.image_layout_version)))
}

/// Writes a file so that a reader sees either the old or the whole new content.
pub(crate) fn persist(bytes: &[u8], destination: &Path) -> Result<(), Error> {
    let directory = destination.parent().unwrap_or_else(|| Path::new("."));
    let (mut file, temporary) = Temporary::new(directory, Life::Long)?;
    file.write_all(bytes).map_err(Error::io("write", destination))?;
    temporary.persist(destination, Existing::Replace).map_err(Error::io("write", destination))
}
