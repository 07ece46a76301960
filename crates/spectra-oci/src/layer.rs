//! One layer from files and directories: found and checked first, then written in one order with plain attributes.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt::Write as _,
    fs::{self, File, Metadata},
    io::{self, Write as _},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use spectra_types::{Algorithm, Digest};
use tar::{EntryType, Header};

use crate::{
    Compression, Descriptor, Error, Layout, Packing, Patterns, Trust,
    base::BaseTree,
    cache::FileState,
    compress::Writer,
    content::{Blob, Content, Hasher, Hashing},
    spool,
};

/// Numeric user and group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub user: u32,
    /// Group id.
    pub group: u32,
}

/// Files that go into a layer, and what they are like there.
///
/// Unless something else is set, files are `0755` if their owner may execute them, else `0644`, directories are `0755`, and
/// all belong to 0:0: what the umask or the account of the machine left on them is not part of the image.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// A file, or a directory whose content is taken.
    pub from: PathBuf,
    /// An absolute path in the image: where the directory's content goes, or the file. A file goes into a path that ends with `/`.
    pub to: String,
    /// Permission bits of all files.
    pub mode: Option<u32>,
    /// Permission bits of all directories.
    pub directory_mode: Option<u32>,
    /// Owner of everything.
    pub owner: Owner,
    /// What is left out.
    pub exclude: Patterns,
    /// Exceptions, the last that fits decides.
    pub rules: Vec<FileRule>,
}

/// Other attributes for some of the [`Files`].
#[derive(Debug, Clone, Default)]
pub struct FileRule {
    /// For which, relative to [`Files::from`].
    pub files: Patterns,
    /// Permission bits, of files and directories alike.
    pub mode: Option<u32>,
    /// Owner.
    pub owner: Option<Owner>,
}

/// A layer that is in a layout, with what its image has to know.
pub(crate) struct BuiltLayer {
    pub(crate) descriptor: Descriptor,
    pub(crate) diff_id: Digest,
    pub(crate) entries: u64,
    /// Whether the layout had it, by what was noted when it was made.
    pub(crate) reused: bool,
}

/// An entry that will be in the layer.
struct Entry {
    source: Source,
    mode: u32,
    owner: Owner,
    /// Whether somebody asked for these attributes, so that a directory of the base image gets them too.
    asked: bool,
}

enum Source {
    /// A directory; of a place above what was asked for if there is no path.
    Directory,
    Link(PathBuf),
    File {
        path: PathBuf,
        metadata: Metadata,
    },
}

/// A layer before it is written: what will be in it, in order.
pub(crate) struct Plan {
    entries: Entries,
    created: u32,
}

impl Plan {
    /// Finds and checks the files. Everything will carry the time `created`, in seconds since 1970. Blocking.
    pub(crate) fn new(files: &[Files], base: &BaseTree, created: u32) -> Result<Self, Error> {
        let mut entries = BTreeMap::new();
        for input in files {
            collect(input, &mut entries)?;
        }
        add_parents(&mut entries);
        settle_with_base(&mut entries, base)?;
        Ok(Self { entries, created })
    }

    /// Puts the layer into a layout: as it is there if the notes know what these files became and they are what they were then,
    /// else written and compressed anew. Blocking.
    pub(crate) fn build(&self, layout: &Layout, packing: &Packing) -> Result<BuiltLayer, Error> {
        let (listing, state) = (self.listing(), self.state());
        let found = self.find(&listing, &state, layout, packing)?;
        let reused = found.is_some();
        let (descriptor, diff_id) = found.map_or_else(|| self.compress(layout, packing.compression), Ok)?;
        if let Some(cache) = &packing.cache {
            if !reused {
                cache.remember_layer(&diff_id, packing.compression, &descriptor);
                cache.remember_built(&listing, &diff_id);
            }
            // Unless something was written to since.
            if self.state_now().as_ref() == Some(&state) {
                cache.remember_hashed(&state, &diff_id);
            }
        }
        Ok(BuiltLayer { descriptor, diff_id, entries: self.entries.len() as u64, reused })
    }

    /// The compressed layer in the layout and its raw digest, if the notes lead there and still hold.
    fn find(
        &self,
        listing: &Digest,
        state: &FileState,
        layout: &Layout,
        packing: &Packing,
    ) -> Result<Option<(Descriptor, Digest)>, Error> {
        let Some(cache) = &packing.cache else { return Ok(None) };
        let Some(diff_id) = cache.built(listing) else { return Ok(None) };
        let Some(descriptor) = packing.known(&diff_id) else { return Ok(None) };
        if packing.whole(&descriptor, layout)?.is_none() {
            return Ok(None);
        }
        let trusted = packing.trust == Trust::FileState && cache.hashed(state).as_ref() == Some(&diff_id);
        if !trusted {
            let (_, found, _) = self.write(Hashing::new(io::sink()), Path::new("a hash"))?.finish();
            if found != diff_id {
                return Ok(None);
            }
        }
        Ok(Some((descriptor, diff_id)))
    }

    fn compress(&self, layout: &Layout, how: Compression) -> Result<(Descriptor, Digest), Error> {
        let folder = layout.folder()?;
        let size = self.size();
        spool::ensure(&folder, spool::least(size), || format!("compress a layer of {size} bytes"))?;
        let (file, path) = spool::file(&folder)?;
        let failed = |error| Error::io("write the layer to", folder.as_path())(error).needs(size);
        let compressed = Writer::new(Hashing::new(io::BufWriter::with_capacity(256 * 1024, file)), how);
        let tar = self.write(Hashing::new(compressed), &folder).map_err(|error| error.needs(size))?;
        let (compressed, diff_id, _) = tar.finish();
        let mut hashing = compressed.finish().map_err(failed)?;
        hashing.flush().map_err(failed)?;
        let (_, digest, length) = hashing.finish();
        let descriptor = Descriptor::new(how.media_type(), digest, length);
        let content = Content::Temporary { path: Arc::new(path), length };
        Ok((layout.adopt(Blob { descriptor, content })?, diff_id))
    }

    /// Bytes of all files.
    fn size(&self) -> u64 {
        let sizes = self.entries.values().map(|entry| match &entry.source {
            Source::File { metadata, .. } => metadata.len(),
            Source::Directory | Source::Link(_) => 0,
        });
        sizes.sum()
    }

    /// Writes the tar; `shown` is where to, for errors.
    fn write<W: io::Write>(&self, writer: W, shown: &Path) -> Result<W, Error> {
        let mut archive = tar::Builder::new(writer);
        for (name, entry) in &self.entries {
            append(&mut archive, Path::new(OsStr::from_bytes(name)), entry, self.created, shown)?;
        }
        archive.into_inner().map_err(Error::io("write the layer to", shown))
    }

    /// What the tar depends on besides the content of its files. The same listing mostly means the same layer, and reading the
    /// files says whether it does.
    fn listing(&self) -> Digest {
        self.describe(|_, metadata, text| {
            let _ = write!(text, "{}", metadata.len());
        })
    }

    /// The listing with the state of every file: as long as it is the same, nothing was written to any of them.
    fn state(&self) -> FileState {
        let digest = self.describe(|_, metadata, text| {
            let _ = write!(text, "{}", FileState::of_whole(metadata));
        });
        FileState::of_many(&digest)
    }

    /// As [`Plan::state`], of the files as they are by now; nothing if one of them is gone.
    fn state_now(&self) -> Option<FileState> {
        let mut all = true;
        let digest = self.describe(|path, _, text| match fs::metadata(path) {
            Ok(metadata) => {
                let _ = write!(text, "{}", FileState::of_whole(&metadata));
            }
            Err(_) => all = false,
        });
        all.then(|| FileState::of_many(&digest))
    }

    fn describe(&self, mut file: impl FnMut(&Path, &Metadata, &mut String)) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&self.created.to_le_bytes());
        for (name, entry) in &self.entries {
            let (mode, Owner { user, group }) = (entry.mode, entry.owner);
            let mut text = format!("{mode:o} {user}:{group} ");
            let target = match &entry.source {
                Source::Directory => &b"d"[..],
                Source::Link(target) => {
                    text.push('l');
                    target.as_os_str().as_bytes()
                }
                Source::File { path, metadata } => {
                    text.push('f');
                    file(path, metadata, &mut text);
                    &[]
                }
            };
            for part in [name.as_slice(), text.as_bytes(), target] {
                // With its length before it, no part can pass for the end of another.
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
        hasher.finish()
    }
}

/// Entries by their path in the image, in the order of its bytes, which puts directories before what is in them.
type Entries = BTreeMap<Vec<u8>, Entry>;

fn collect(input: &Files, entries: &mut Entries) -> Result<(), Error> {
    let root = input.from.as_path();
    // A link that is named itself is followed; links inside a directory are kept as they are.
    let metadata = fs::metadata(root).map_err(Error::io("read", root))?;
    let target: PathBuf = target_components(&input.to)?.iter().collect();
    if metadata.is_dir() {
        let mut found = Vec::new();
        walk(root, Path::new(""), &input.exclude, &mut found)?;
        if !target.as_os_str().is_empty() {
            let asked = input.directory_mode.is_some() || input.owner != Owner::default();
            let mode = input.directory_mode.unwrap_or(0o755);
            insert(entries, &target, Entry { source: Source::Directory, mode, owner: input.owner, asked })?;
        }
        for (relative, metadata) in found {
            let source = root.join(&relative);
            insert(entries, &target.join(&relative), entry(input, &relative, source, metadata)?)?;
        }
        return Ok(());
    }
    if !metadata.is_file() {
        let reason = format!("`{}` is neither a file nor a directory", root.display());
        return Err(Error::Build { reason });
    }
    let name = root.file_name().unwrap_or_default();
    let target = if input.to.ends_with('/') { target.join(name) } else { target };
    if target.as_os_str().is_empty() {
        let reason = format!("`{}` is a file and cannot become `{}`", root.display(), input.to);
        return Err(Error::Build { reason });
    }
    insert(entries, &target, entry(input, Path::new(name), root.to_owned(), metadata)?)
}

fn insert(entries: &mut Entries, target: &Path, entry: Entry) -> Result<(), Error> {
    let key = target.as_os_str().as_bytes().to_vec();
    if let Some(other) = entries.get(&key)
        && !(matches!(other.source, Source::Directory) && matches!(entry.source, Source::Directory))
    {
        let reason = format!(
            "two files of one layer become `/{}`; put them into layers of their own, or leave one out",
            target.display()
        );
        return Err(Error::Build { reason });
    }
    entries.insert(key, entry);
    Ok(())
}

/// What a file on disk is like in the image.
fn entry(input: &Files, relative: &Path, source: PathBuf, metadata: Metadata) -> Result<Entry, Error> {
    let mut owner = input.owner;
    let is_directory = metadata.is_dir();
    let mut mode = match (is_directory, metadata.mode() & 0o100 != 0) {
        (true, _) => input.directory_mode.unwrap_or(0o755),
        (false, true) => input.mode.unwrap_or(0o755),
        (false, false) => input.mode.unwrap_or(0o644),
    };
    let mut asked = is_directory && (input.directory_mode.is_some() || owner != Owner::default());
    if let Some(rule) = input.rules.iter().rev().find(|rule| rule.files.fits(relative)) {
        mode = rule.mode.unwrap_or(mode);
        owner = rule.owner.unwrap_or(owner);
        asked = true;
    }
    let source = if is_directory {
        Source::Directory
    } else if metadata.is_symlink() {
        // The mode of a link means nothing and differs between systems.
        mode = 0o777;
        Source::Link(fs::read_link(&source).map_err(Error::io("read the link", &source))?)
    } else {
        Source::File { path: source, metadata }
    };
    Ok(Entry { source, mode, owner, asked })
}

/// Adds the directories above the entries, which unpackers otherwise make with modes of their own.
fn add_parents(entries: &mut Entries) {
    let parents: Vec<Vec<u8>> = entries
        .keys()
        .flat_map(|name| {
            let cuts = name.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            cuts.map(|(at, _)| name[..at].to_vec()).collect::<Vec<_>>()
        })
        .collect();
    for parent in parents {
        entries.entry(parent).or_insert_with(|| Entry {
            source: Source::Directory,
            mode: 0o755,
            owner: Owner::default(),
            asked: false,
        });
    }
}

/// Leaves out directories that the base image has: an entry for `/tmp` would take its mode away, and one for `/bin` would
/// replace the link to `/usr/bin` that it is in most distributions, with all that is in there.
fn settle_with_base(entries: &mut Entries, base: &BaseTree) -> Result<(), Error> {
    for (name, entry) in entries.iter() {
        if matches!(entry.source, Source::Directory) && base.is_file(name) {
            let reason = format!(
                "`/{}` is a file in the base image, and a directory here",
                String::from_utf8_lossy(name)
            );
            return Err(Error::Build { reason });
        }
        if !matches!(entry.source, Source::Directory) && base.is_directory(name) {
            let reason = format!(
                "`/{}` is a directory in the base image; to put the file into it, end the path with `/`",
                String::from_utf8_lossy(name)
            );
            return Err(Error::Build { reason });
        }
    }
    entries.retain(|name, entry| {
        !matches!(entry.source, Source::Directory)
            || !(base.is_link(name) || base.is_directory(name) && !entry.asked)
    });
    Ok(())
}

fn append<W: io::Write>(
    archive: &mut tar::Builder<W>,
    name: &Path,
    entry: &Entry,
    created: u32,
    spool: &Path,
) -> Result<(), Error> {
    let header = |kind| {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(entry.mode);
        header.set_uid(u64::from(entry.owner.user));
        header.set_gid(u64::from(entry.owner.group));
        header.set_mtime(u64::from(created));
        header.set_size(0);
        header
    };
    match &entry.source {
        Source::Directory => archive
            .append_data(&mut header(EntryType::Directory), name.join(""), io::empty())
            .map_err(Error::io("write the layer to", spool)),
        Source::Link(target) => archive
            .append_link(&mut header(EntryType::Symlink), name, target)
            .map_err(Error::io("add the link", name)),
        Source::File { path, metadata: before } => {
            let file = File::open(path).map_err(Error::io("open", path))?;
            let opened = file.metadata().map_err(Error::io("read", path))?;
            // A link put in the file's place since the walk would lead out of the directory.
            if (opened.dev(), opened.ino(), opened.len()) != (before.dev(), before.ino(), before.len()) {
                return Err(changed(path));
            }
            let mut header = header(EntryType::Regular);
            header.set_size(opened.len());
            let mut reader = Hashing::new(io::Read::take(file, opened.len()));
            archive.append_data(&mut header, name, &mut reader).map_err(|error| match error.kind() {
                // Not for reading, but where it is written.
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Error::io("write the layer to", spool)(error)
                }
                _ => Error::io("add", path)(error),
            })?;
            if reader.finish().2 == opened.len() { Ok(()) } else { Err(changed(path)) }
        }
    }
}

fn changed(path: &Path) -> Error {
    Error::Build {
        reason: format!(
            "`{}` changed while it was read; build again when nothing writes to it",
            path.display()
        ),
    }
}

/// Finds what is below a directory; a directory that is left out is listed only if something in it is brought back.
fn walk(
    root: &Path,
    relative: &Path,
    exclude: &Patterns,
    found: &mut Vec<(PathBuf, Metadata)>,
) -> Result<(), Error> {
    let directory = root.join(relative);
    let listing = fs::read_dir(&directory).map_err(Error::io("list", &directory))?;
    for entry in listing {
        let entry = entry.map_err(Error::io("list", &directory))?;
        let path = relative.join(entry.file_name());
        let excluded = exclude.fits(&path);
        // Of the entry itself, not of what a link points to.
        let metadata = entry.metadata().map_err(Error::io("read", entry.path()))?;
        if excluded && !(metadata.is_dir() && exclude.brings_back()) {
            continue;
        }
        if !(metadata.is_dir() || metadata.is_symlink() || metadata.is_file()) {
            let reason = format!(
                "`{}` is a socket, pipe or device, which images cannot hold; remove it or build from another directory",
                entry.path().display()
            );
            return Err(Error::Build { reason });
        }
        if entry.file_name().as_bytes().starts_with(b".wh.") {
            let reason = format!(
                "`{}` begins with `.wh.`, which in a layer means \"delete the file of that name\"",
                entry.path().display()
            );
            return Err(Error::Build { reason });
        }
        if metadata.is_dir() {
            let place = found.len();
            walk(root, &path, exclude, found)?;
            if excluded && found.len() == place {
                continue;
            }
        }
        found.push((path, metadata));
    }
    Ok(())
}

fn target_components(target: &str) -> Result<Vec<String>, Error> {
    let error = || Error::Build {
        reason: format!(
            "`{target}` is not a place in an image; write an absolute path without `..`, such as `/app`"
        ),
    };
    let mut components = Vec::new();
    let mut absolute = false;
    for component in Path::new(target).components() {
        match component {
            Component::RootDir => absolute = true,
            Component::Normal(name) => components.push(name.to_str().ok_or_else(error)?.to_owned()),
            _ => return Err(error()),
        }
    }
    if absolute { Ok(components) } else { Err(error()) }
}
