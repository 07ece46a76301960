//! What commands leave behind for the next one, on this machine: which digest a raw layer has once it is compressed, what was built
//! of which files, which files were hashed, and which uploads are under way.
//!
//! Nothing depends on it. An entry is believed only if it is whole and says what it was asked for; anything else counts as absent and is
//! replaced. A cache that cannot be written is as good as none. Entries appear under their name by one rename, so that
//! processes may share the directory; each kind is bounded, and the oldest entries go first.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use spectra_types::Digest;
use tempfile::NamedTempFile;
use url::Url;

use crate::{
    Descriptor,
    compress::Compression,
    content::{Content, sha256},
};

/// Version of the entries. Another one counts as absent.
const VERSION: u32 = 1;
/// Entries of one kind that are kept; some 300 bytes each.
const MOST_ENTRIES: usize = 4096;
/// Larger files are no entries of ours.
const MAX_ENTRY: u64 = 64 * 1024;
/// An upload that began longer ago is not taken up: registries forget them by then.
const UPLOAD_LIFE: i64 = 24 * 60 * 60;

/// A directory with what earlier pushes learned. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cache {
    root: Arc<Path>,
}

/// What a file holds: an entry and what proves that it is whole.
#[derive(Serialize, Deserialize)]
struct Entry {
    version: u32,
    /// What was asked; a file name holds its hash alone.
    key: String,
    /// The value's JSON text.
    value: String,
    /// Of version, key and value.
    check: Digest,
}

impl Entry {
    fn new(key: &str, value: String) -> Self {
        Self { version: VERSION, key: key.to_owned(), check: check(key, &value), value }
    }

    fn is_for(&self, key: &str) -> bool {
        self.version == VERSION && self.key == key && self.check == check(key, &self.value)
    }
}

fn check(key: &str, value: &str) -> Digest {
    sha256(format!("{VERSION}\0{key}\0{value}").as_bytes())
}

/// A compressed layer.
#[derive(Serialize, Deserialize)]
struct LayerEntry {
    digest: Digest,
    size: u64,
}

/// A part of a file as the file system knows it. Writing to the file changes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct FileState(String);

impl FileState {
    /// Of content that is in a file which stays; nothing for anything else.
    pub(crate) fn of(content: &Content) -> Option<Self> {
        let Content::File { path, offset, length } = content else { return None };
        let file = fs::metadata(path).ok()?;
        Some(Self(format!("{} {offset} {length}", Self::of_whole(&file))))
    }

    /// A file as the file system knows it. The time of the last change is there, too, for that of writing can be set at will.
    pub(crate) fn of_whole(file: &Metadata) -> String {
        format!(
            "{} {} {} {}.{:09} {}.{:09}",
            file.dev(),
            file.ino(),
            file.len(),
            file.mtime(),
            file.mtime_nsec(),
            file.ctime(),
            file.ctime_nsec(),
        )
    }

    /// Of many files, by the digest of what describes them all.
    pub(crate) fn of_many(digest: &Digest) -> Self {
        Self(format!("files {digest}"))
    }
}

impl Cache {
    /// A cache in a directory, which is made when something is put there.
    #[must_use]
    pub fn new(root: impl AsRef<Path>) -> Self {
        Self { root: Arc::from(root.as_ref()) }
    }

    /// The directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The usual place: `$XDG_CACHE_HOME/spectra` or `~/.cache/spectra`; nothing if there is neither.
    #[must_use]
    pub fn usual() -> Option<Self> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = set("SPECTRA_CACHE_DIR")
            .or_else(|| {
                set("XDG_CACHE_HOME").filter(|path| path.is_absolute()).map(|path| path.join("spectra"))
            })
            .or_else(|| set("HOME").map(|path| path.join(".cache/spectra")))?;
        Some(Self::new(root))
    }

    /// What a raw layer becomes when it is compressed so.
    pub(crate) fn layer(&self, diff_id: &Digest, how: Compression) -> Option<Descriptor> {
        let entry: LayerEntry = self.get("layers", &layer_key(diff_id, how))?;
        Some(Descriptor::new(how.media_type(), entry.digest, entry.size))
    }

    pub(crate) fn remember_layer(&self, diff_id: &Digest, how: Compression, layer: &Descriptor) {
        let entry = LayerEntry { digest: layer.digest.clone(), size: layer.size };
        self.put("layers", &layer_key(diff_id, how), &entry);
    }

    /// The digest of the raw layer that files of this listing became.
    pub(crate) fn built(&self, listing: &Digest) -> Option<Digest> {
        self.get("builds", &listing.to_string())
    }

    pub(crate) fn remember_built(&self, listing: &Digest, diff_id: &Digest) {
        self.put("builds", &listing.to_string(), diff_id);
    }

    /// The digest that a part of a file had when it was in this state.
    pub(crate) fn hashed(&self, state: &FileState) -> Option<Digest> {
        self.get("files", &state.0)
    }

    pub(crate) fn remember_hashed(&self, state: &FileState, digest: &Digest) {
        self.put("files", &state.0, digest);
    }

    /// The note of an upload, held for this process alone. Nothing if another process is at the same upload, or if there is nowhere to
    /// write.
    pub(crate) fn upload(&self, registry: &str, repository: &str, digest: &Digest) -> Option<UploadNote> {
        let key = format!("{registry}/{repository}@{digest}");
        let directory = self.directory("uploads")?;
        let path = directory.join(file_name(&key));
        let mut options = OpenOptions::new();
        // Signed locations are as good as a key to the one upload: for the owner's eyes alone.
        let file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).ok()?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return None,
        }
        prune(&directory);
        Some(UploadNote { file, path, key })
    }

    fn directory(&self, kind: &str) -> Option<PathBuf> {
        let directory = self.root.join(kind);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).ok()?;
        Some(directory)
    }

    fn get<T: DeserializeOwned>(&self, kind: &str, key: &str) -> Option<T> {
        let file = File::open(self.root.join(kind).join(file_name(key))).ok()?;
        read(&file, key)
    }

    fn put<T: Serialize>(&self, kind: &str, key: &str, value: &T) {
        let write = || -> Option<()> {
            let directory = self.directory(kind)?;
            let mut file = NamedTempFile::with_prefix_in(".new-", &directory).ok()?;
            file.write_all(&entry(key, value)?).ok()?;
            file.persist(directory.join(file_name(key))).ok()?;
            prune(&directory);
            Some(())
        };
        // What is not remembered is found out again.
        let _ = write();
    }
}

fn layer_key(diff_id: &Digest, how: Compression) -> String {
    format!("{diff_id} {}", how.id())
}

fn file_name(key: &str) -> String {
    format!("{}.json", sha256(key.as_bytes()).hex())
}

fn entry<T: Serialize>(key: &str, value: &T) -> Option<Vec<u8>> {
    serde_json::to_vec(&Entry::new(key, serde_json::to_string(value).ok()?)).ok()
}

fn read<T: DeserializeOwned>(mut file: &File, key: &str) -> Option<T> {
    let mut bytes = Vec::new();
    file.rewind().ok()?;
    file.take(MAX_ENTRY).read_to_end(&mut bytes).ok()?;
    let entry: Entry = serde_json::from_slice(&bytes).ok()?;
    entry.is_for(key).then(|| serde_json::from_str(&entry.value).ok())?
}

/// Removes the oldest eighth of what is in a full directory.
fn prune(directory: &Path) {
    prune_to(directory, MOST_ENTRIES);
}

fn prune_to(directory: &Path, most: usize) {
    let Ok(listing) = fs::read_dir(directory) else { return };
    let paths: Vec<PathBuf> = listing.filter_map(|entry| Some(entry.ok()?.path())).collect();
    if paths.len() <= most {
        return;
    }
    let age = |path: &PathBuf| {
        fs::metadata(path).and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let mut aged: Vec<(SystemTime, PathBuf)> = paths.into_iter().map(|path| (age(&path), path)).collect();
    aged.sort();
    let surplus = aged.len() - (most - most / 8);
    for (_, path) in aged.into_iter().take(surplus) {
        // Gone already: another process is at it, too.
        let _ = fs::remove_file(path);
    }
}

/// Where an upload goes on, for a process that comes after this one.
#[derive(Serialize, Deserialize)]
struct UploadEntry {
    location: String,
    /// Seconds since 1970.
    began: i64,
}

/// The note of one upload. While it exists, no other process takes the upload up.
pub(crate) struct UploadNote {
    /// Locked.
    file: File,
    path: PathBuf,
    key: String,
}

impl UploadNote {
    /// Where an earlier process was sending to, unless that is too long ago.
    pub(crate) fn location(&self) -> Option<Url> {
        let entry: UploadEntry = read(&self.file, &self.key)?;
        let age = jiff::Timestamp::now().as_second() - entry.began;
        (0..=UPLOAD_LIFE).contains(&age).then(|| Url::parse(&entry.location).ok())?
    }

    /// Notes where the upload goes on. A process that dies in here leaves an entry that is not whole, thus none.
    pub(crate) fn write(&mut self, location: &Url) {
        let value =
            UploadEntry { location: location.as_str().to_owned(), began: jiff::Timestamp::now().as_second() };
        let mut write = || -> Option<()> {
            let bytes = entry(&self.key, &value)?;
            self.file.rewind().ok()?;
            self.file.write_all(&bytes).ok()?;
            self.file.set_len(bytes.len() as u64).ok()
        };
        // Without the note, the next process sends the blob from the start.
        let _ = write();
    }

    /// The upload is over.
    pub(crate) fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::Codec;

    fn layer() -> Descriptor {
        Descriptor::new(Compression::default().media_type(), sha256(b"compressed"), 10)
    }

    #[test]
    fn a_layer_is_known_by_all_that_decides_its_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().join("cache"));
        let how = Compression::default();
        assert_eq!(cache.layer(&sha256(b"a"), how), None);
        cache.remember_layer(&sha256(b"a"), how, &layer());
        assert_eq!(cache.layer(&sha256(b"a"), how), Some(layer()));
        assert_eq!(cache.layer(&sha256(b"b"), how), None);
        assert_eq!(cache.layer(&sha256(b"a"), Compression::new(Codec::Gzip, Some(6)).unwrap()), None);
        assert_eq!(cache.layer(&sha256(b"a"), Compression::new(Codec::Zstd, None).unwrap()), None);
        let mode = fs::metadata(directory.path().join("cache/layers")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_damaged_entry_is_absent_and_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path());
        let (diff_id, how) = (sha256(b"a"), Compression::default());
        cache.remember_layer(&diff_id, how, &layer());
        let path = directory.path().join("layers").join(file_name(&layer_key(&diff_id, how)));
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert_eq!(cache.layer(&diff_id, how), None, "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(cache.layer(&diff_id, how), None, "cut at {at}");
        }
        // An entry under another one's name, as a careless copy leaves it.
        cache.remember_layer(&sha256(b"b"), how, &layer());
        let other = directory.path().join("layers").join(file_name(&layer_key(&sha256(b"b"), how)));
        fs::copy(other, &path).unwrap();
        assert_eq!(cache.layer(&diff_id, how), None);
        cache.remember_layer(&diff_id, how, &layer());
        assert_eq!(cache.layer(&diff_id, how), Some(layer()));
    }

    #[test]
    fn a_file_that_was_written_to_is_not_known() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().join("cache"));
        let path = directory.path().join("file");
        fs::write(&path, "one").unwrap();
        let content = Content::File { path: Arc::from(path.as_path()), offset: 0, length: 3 };
        let state = FileState::of(&content).unwrap();
        cache.remember_hashed(&state, &sha256(b"one"));
        assert_eq!(cache.hashed(&state), Some(sha256(b"one")));
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        // Until the clock of the file system has moved on.
        let changed = loop {
            fs::write(&path, "two").unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
            let now = FileState::of(&content).unwrap();
            if now != state {
                break now;
            }
        };
        assert_eq!(cache.hashed(&changed), None, "same length, same time of writing");
        assert_eq!(FileState::of(&Content::Memory(bytes::Bytes::new())), None);
    }

    #[test]
    fn the_oldest_go_first() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..20 {
            let path = directory.path().join(number.to_string());
            let file = File::create(path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number)).unwrap();
        }
        prune_to(directory.path(), 20);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 20);
        prune_to(directory.path(), 16);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 14);
        assert!(directory.path().join("6").exists() && !directory.path().join("5").exists());
    }

    #[test]
    fn many_writers_leave_whole_entries() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path());
        let how = Compression::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        cache.remember_layer(&sha256(b"a"), how, &layer());
                        assert_eq!(cache.layer(&sha256(b"a"), how), Some(layer()));
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(directory.path().join("layers")).unwrap().count(), 1);
    }

    #[test]
    fn a_cache_without_a_place_is_no_cache() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let cache = Cache::new(file.join("cache"));
        cache.remember_layer(&sha256(b"a"), Compression::default(), &layer());
        assert_eq!(cache.layer(&sha256(b"a"), Compression::default()), None);
        assert!(cache.upload("r", "x", &sha256(b"a")).is_none());
    }

    #[test]
    fn an_upload_is_one_processs_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path());
        let digest = sha256(b"a");
        let mut note = cache.upload("registry", "x", &digest).unwrap();
        assert_eq!(note.location(), None);
        let location = Url::parse("http://registry/v2/x/blobs/uploads/1?_state=signed").unwrap();
        note.write(&location);
        assert!(cache.upload("registry", "x", &digest).is_none(), "held");
        assert!(cache.upload("registry", "y", &digest).is_some());
        drop(note);
        let mut note = cache.upload("registry", "x", &digest).unwrap();
        assert_eq!(note.location(), Some(location));
        let shorter = Url::parse("http://registry/1").unwrap();
        note.write(&shorter);
        assert_eq!(note.location(), Some(shorter));
        assert_eq!(fs::metadata(&note.path).unwrap().permissions().mode() & 0o777, 0o600);
        let path = note.path.clone();
        note.remove();
        assert!(!path.exists());
    }
}
