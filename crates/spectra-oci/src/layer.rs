//! One layer from files and directories: found and checked first, then written in one order with plain attributes.

use std::{
    collections::{BTreeMap, BTreeSet},
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
    cache::FileState,
    compress::Writer,
    content::{Blob, Content, Hasher, Hashing},
    spool,
    tree::{Attributes, Last, Node, Tree, parents},
    walk::{LeftOut, walk},
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
    /// Whether somebody asked for these attributes, so that a directory that lies below gets them too.
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
    /// Finds and checks the files, for a place on top of `below`. Everything will carry the time `created`, in seconds since 1970.
    /// Blocking.
    pub(crate) fn new(
        files: &[Files],
        below: &Tree,
        created: u32,
        left_out: &mut LeftOut,
    ) -> Result<Self, Error> {
        let mut entries = BTreeMap::new();
        for input in files {
            collect(input, &mut entries, left_out)?;
        }
        check_below(&entries)?;
        let mut entries = lead(entries, below)?;
        check_below(&entries)?;
        settle(&mut entries, below)?;
        add_parents(&mut entries, below)?;
        Ok(Self { entries, created })
    }

    /// Puts what will be in the layer into the tree that the next one lies on.
    pub(crate) fn put_into(&self, tree: &mut Tree) {
        for (name, entry) in &self.entries {
            let node = match &entry.source {
                Source::Directory => Node::Directory(Attributes { mode: entry.mode, owner: entry.owner }),
                Source::Link(target) => Node::Link(target.as_os_str().as_bytes().to_vec()),
                Source::File { .. } => Node::File,
            };
            tree.put(name, node);
        }
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
        let size = self.size();
        let place = layout.nearest();
        spool::ensure(&place, spool::least(size), || format!("compress a layer of {size} bytes"))?;
        let folder = layout.folder()?;
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

fn collect(input: &Files, entries: &mut Entries, left_out: &mut LeftOut) -> Result<(), Error> {
    let root = input.from.as_path();
    // A link that is named itself is followed; links inside a directory are kept as they are.
    let metadata = fs::metadata(root).map_err(Error::io("read", root))?;
    let target: PathBuf = target_components(&input.to)?.iter().collect();
    if left_out.meets(root, &metadata) {
        let reason = format!(
            "`{}` is where the build writes, and cannot be in its image; choose another output or cache",
            root.display()
        );
        return Err(Error::Build { reason });
    }
    if metadata.is_dir() {
        let mut found = Vec::new();
        walk(root, Path::new(""), &input.exclude, left_out, &mut found)?;
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
    insert_key(entries, target.as_os_str().as_bytes().to_vec(), entry)
}

fn insert_key(entries: &mut Entries, key: Vec<u8>, entry: Entry) -> Result<(), Error> {
    let is_directory = |entry: &Entry| matches!(entry.source, Source::Directory);
    if let Some(other) = entries.get(&key) {
        if !(is_directory(other) && is_directory(&entry)) {
            return refuse(&key, |path| {
                format!(
                    "two files of one layer become `{path}`; put them into layers of their own, or leave one out"
                )
            });
        }
        // What somebody asked for is not taken back by who has nothing to say.
        if other.asked && !entry.asked {
            return Ok(());
        }
    }
    entries.insert(key, entry);
    Ok(())
}

fn refuse<T>(path: &[u8], reason: impl FnOnce(&str) -> String) -> Result<T, Error> {
    Err(Error::Build { reason: reason(&format!("/{}", String::from_utf8_lossy(path))) })
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

/// Refuses what lies below something that is no directory.
fn check_below(entries: &Entries) -> Result<(), Error> {
    for name in entries.keys() {
        for parent in parents(name) {
            let what = match entries.get(parent).map(|entry| &entry.source) {
                Some(Source::File { .. }) => "file",
                Some(Source::Link(_)) => "link",
                Some(Source::Directory) | None => continue,
            };
            let parent = String::from_utf8_lossy(parent);
            return refuse(name, |path| {
                format!("`{path}` lies below `/{parent}`, which is a {what} in the same layer; leave one out")
            });
        }
    }
    Ok(())
}

/// Gives every entry the path that is meant by its name, through the links of what lies below.
///
/// A layer is unpacked on its own. An entry `bin/serve` makes a directory `bin` there, and that hides the link `/bin` of a
/// distribution, with all that it leads to; so the entry has to be `usr/bin/serve`.
fn lead(entries: Entries, below: &Tree) -> Result<Entries, Error> {
    let mut led = Entries::new();
    for (name, entry) in entries {
        let last = match &entry.source {
            Source::Directory => Last::Followed,
            Source::Link(_) | Source::File { .. } => Last::Kept,
        };
        insert_key(&mut led, below.resolve(&name, last)?, entry)?;
    }
    Ok(led)
}

/// Checks the entries against what lies below, and leaves out the directories that are there and that nobody has a wish for.
fn settle(entries: &mut Entries, below: &Tree) -> Result<(), Error> {
    for (name, entry) in entries.iter() {
        match (&entry.source, below.get(name)) {
            (Source::Directory, Some(Node::File)) => return no_directory(name),
            (Source::File { .. } | Source::Link(_), Some(Node::Directory(_))) => {
                return refuse(name, |path| {
                    format!(
                        "`{path}` is a directory in what lies below; to put the file into it, end the path with `/`"
                    )
                });
            }
            (Source::File { .. }, Some(Node::Link(_))) => {
                let target = below.resolve(name, Last::Followed)?;
                if let Some(Node::Directory(_)) = below.get(&target) {
                    let target = String::from_utf8_lossy(&target);
                    return refuse(name, |path| {
                        format!(
                            "`{path}` is a link to the directory `/{target}` in what lies below; to put the file into it, end the path with `/`"
                        )
                    });
                }
            }
            _ => {}
        }
    }
    entries.retain(|name, entry| {
        let is_directory = matches!(entry.source, Source::Directory);
        let there = is_directory && matches!(below.get(name), Some(Node::Directory(_)));
        // A link may lead to the root, which is always there.
        !(name.is_empty() || there && !entry.asked)
    });
    Ok(())
}

fn no_directory<T>(name: &[u8]) -> Result<T, Error> {
    refuse(name, |path| format!("`{path}` is a file in what lies below, and a directory here"))
}

/// Adds the directories above the entries. Without them, unpackers make their own, and what those are like hides what the
/// directories of the layers below are like: `/tmp` would lose its mode.
fn add_parents(entries: &mut Entries, below: &Tree) -> Result<(), Error> {
    let above: BTreeSet<Vec<u8>> =
        entries.keys().flat_map(|name| parents(name)).map(<[u8]>::to_vec).collect();
    for parent in above {
        let Attributes { mode, owner } = match below.get(&parent) {
            Some(Node::Directory(attributes)) => *attributes,
            Some(Node::File) => return no_directory(&parent),
            // No link is left in the paths.
            Some(Node::Link(_)) | None => Attributes::PLAIN,
        };
        let plain = || Entry { source: Source::Directory, mode, owner, asked: false };
        entries.entry(parent).or_insert_with(plain);
    }
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

fn target_components(target: &str) -> Result<Vec<String>, Error> {
    let error = || Error::Build {
        reason: format!(
            "`{target}` is not a place in an image; write an absolute path without `..`, such as `/app`"
        ),
    };
    let deletes = |name: &str| Error::Build {
        reason: format!(
            "`{name}` in `{target}` begins with `.wh.`, which in a layer means \"delete the file of that name\""
        ),
    };
    let mut components = Vec::new();
    let mut absolute = false;
    for component in Path::new(target).components() {
        match component {
            Component::RootDir => absolute = true,
            Component::Normal(name) => {
                let name = name.to_str().ok_or_else(error)?;
                if name.starts_with(".wh.") {
                    return Err(deletes(name));
                }
                components.push(name.to_owned());
            }
            _ => return Err(error()),
        }
    }
    if absolute { Ok(components) } else { Err(error()) }
}
