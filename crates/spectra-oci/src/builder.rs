//! Images from directories, without a daemon, the same bytes on every machine.

use std::{
    fs::{self, File, Metadata},
    io::{self, Write as _},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Component, Path, PathBuf},
};

use spectra_types::Digest;
use tar::{EntryType, Header};

use crate::{
    Config, Descriptor, Error, ImageConfig, ImageManifest, Layout, Platform,
    content::{Blob, Content, Hashing},
    gzip,
    layout::persist,
    media_type,
    model::{Empty, History, RootFs},
};

/// A directory whose content becomes one layer.
#[derive(Debug, Clone)]
pub struct LayerInput {
    /// The directory.
    pub directory: PathBuf,
    /// Where its content goes in the image: an absolute path such as `/app`.
    pub target: String,
}

/// Describes an image and writes it into an OCI layout.
///
/// The output depends on nothing but the content, names, permission bits and link targets of the files and on what is set
/// here: entries are sorted, owned by 0:0, and carry one time. Symbolic links are kept as they are and never
/// followed. Extended attributes are not kept, and hard links become separate files.
#[derive(Debug, Clone, Default)]
pub struct ImageBuilder {
    platform: Platform,
    config: Config,
    layers: Vec<LayerInput>,
    created: u32,
}

/// What was built.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    /// The manifest.
    pub manifest: Descriptor,
    /// Digest of the configuration.
    pub config: Digest,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Entries in all layers.
    pub entries: u64,
    /// Bytes of all blobs and the manifest.
    pub size: u64,
}

impl ImageBuilder {
    /// An image for `linux/amd64` without layers, made at the epoch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a layer on top.
    #[must_use]
    pub fn layer(mut self, layer: LayerInput) -> Self {
        self.layers.push(layer);
        self
    }

    /// The program and its fixed arguments.
    #[must_use]
    pub fn entrypoint(mut self, arguments: Vec<String>) -> Self {
        self.config.entrypoint = arguments;
        self
    }

    /// Default arguments.
    #[must_use]
    pub fn cmd(mut self, arguments: Vec<String>) -> Self {
        self.config.cmd = arguments;
        self
    }

    /// Adds an environment variable; the same name again replaces it.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        let prefix = format!("{name}=");
        self.config.env.retain(|line| !line.starts_with(&prefix));
        self.config.env.push(prefix + value);
        self
    }

    /// Adds a label; the same name again replaces it.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.config.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// User, or user:group, that the program runs as.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.config.user);
        self
    }

    /// Where the program starts.
    #[must_use]
    pub fn working_dir(mut self, directory: &str) -> Self {
        directory.clone_into(&mut self.config.working_dir);
        self
    }

    /// Declares a port: `8080`, `8080/tcp`, `53/udp`.
    pub fn expose(mut self, port: &str) -> Result<Self, Error> {
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        let valid = number.parse::<u16>().is_ok_and(|number| number > 0);
        if !valid || !matches!(protocol, "tcp" | "udp" | "sctp") {
            let reason = format!(
                "`{port}` is not a port; write a number from 1 to 65535, optionally with `/tcp` or `/udp`"
            );
            return Err(Error::Build { reason });
        }
        self.config.exposed_ports.insert(format!("{number}/{protocol}"), Empty {});
        Ok(self)
    }

    /// What the image runs on.
    #[must_use]
    pub fn platform(mut self, platform: Platform) -> Self {
        self.platform = platform;
        self
    }

    /// The one time that everything carries, in seconds since 1970; what `SOURCE_DATE_EPOCH` holds.
    #[must_use]
    pub const fn created(mut self, seconds: u32) -> Self {
        self.created = seconds;
        self
    }

    /// Builds the image into `layout`, under `name` if given. Blocking.
    ///
    /// Blobs arrive under their digest only when complete, and the layout's index changes last: a run that
    /// dies in between leaves the layout as it was, with at most unused blobs.
    pub fn build(&self, layout: &Layout, name: Option<&str>) -> Result<BuiltImage, Error> {
        if self.layers.is_empty() {
            return Err(Error::Build { reason: "there is no layer; give at least one directory".to_owned() });
        }
        if self.config.entrypoint.is_empty() && self.config.cmd.is_empty() {
            let reason = "there is neither entrypoint nor command, so nothing could run it".to_owned();
            return Err(Error::Build { reason });
        }
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        let mut history = Vec::new();
        let mut entries = 0;
        let created = jiff::Timestamp::from_second(i64::from(self.created))
            .map_err(|error| Error::Build { reason: error.to_string() })?
            .to_string();
        for input in &self.layers {
            let layer = self.write_layer(input)?;
            entries += layer.entries;
            diff_ids.push(layer.diff_id);
            layout.add(&layer.blob)?;
            layers.push(layer.blob.descriptor);
            history.push(History {
                created: Some(created.clone()),
                created_by: Some(format!("spectra: directory to {}", input.target)),
                empty_layer: false,
            });
        }
        let config = ImageConfig {
            created: Some(created),
            architecture: self.platform.architecture.clone(),
            os: self.platform.os.clone(),
            variant: self.platform.variant.clone(),
            config: self.config.clone(),
            rootfs: RootFs { diff_ids, ..RootFs::default() },
            history,
        };
        let config = Blob::memory(media_type::CONFIG, to_json(&config)?);
        layout.add(&config)?;
        let manifest = oci_manifest(config.descriptor.clone(), layers.clone())?;
        layout.add(&manifest)?;
        let mut descriptor = manifest.descriptor;
        descriptor.platform = Some(self.platform.clone());
        layout.tag(descriptor.clone(), name)?;
        let size =
            layers.iter().map(|layer| layer.size).sum::<u64>() + config.descriptor.size + descriptor.size;
        Ok(BuiltImage { manifest: descriptor, config: config.descriptor.digest, layers, entries, size })
    }

    fn write_layer(&self, input: &LayerInput) -> Result<BuiltLayer, Error> {
        let root = input.directory.as_path();
        let metadata = fs::metadata(root).map_err(Error::io("read the directory", root))?;
        if !metadata.is_dir() {
            return Err(Error::Build { reason: format!("`{}` is not a directory", root.display()) });
        }
        let target = target_components(&input.target)?;
        let mut files = Vec::new();
        walk(root, Path::new(""), &mut files)?;
        files.sort_by(|a, b| a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()));

        let (file, path) = gzip::spool()?;
        let failed = |action| Error::io(action, path.to_path_buf());
        let gzip = gzip::encoder(Hashing::new(io::BufWriter::with_capacity(256 * 1024, file)));
        let mut archive = tar::Builder::new(Hashing::new(gzip));
        let mut entries = 0;
        let mut parent = PathBuf::new();
        for component in &target {
            parent.push(component);
            let mut header = self.header(EntryType::Directory, 0o755);
            archive
                .append_data(&mut header, parent.join(""), io::empty())
                .map_err(failed("write the layer to"))?;
            entries += 1;
        }
        for file in &files {
            self.append(&mut archive, root, &parent, file, &path)?;
            entries += 1;
        }
        let (gzip, diff_id, _) = archive.into_inner().map_err(failed("write the layer to"))?.finish();
        let mut hashing = gzip.finish().map_err(failed("write the layer to"))?;
        hashing.flush().map_err(failed("write the layer to"))?;
        let (_, digest, length) = hashing.finish();
        let descriptor = Descriptor::new(media_type::LAYER_GZIP, digest, length);
        let content = Content::Temporary { path: std::sync::Arc::new(path), length };
        Ok(BuiltLayer { blob: Blob { descriptor, content }, diff_id, entries })
    }

    fn append<W: io::Write>(
        &self,
        archive: &mut tar::Builder<W>,
        root: &Path,
        target: &Path,
        entry: &Found,
        spool: &Path,
    ) -> Result<(), Error> {
        let name = target.join(&entry.path);
        let source = root.join(&entry.path);
        let mode = entry.metadata.mode() & 0o7777;
        match entry.kind {
            EntryType::Directory => {
                let mut header = self.header(EntryType::Directory, mode);
                archive
                    .append_data(&mut header, name.join(""), io::empty())
                    .map_err(Error::io("write the layer to", spool))
            }
            EntryType::Symlink => {
                let link = fs::read_link(&source).map_err(Error::io("read the link", &source))?;
                // The mode of a link means nothing and differs between systems.
                let mut header = self.header(EntryType::Symlink, 0o777);
                archive.append_link(&mut header, &name, &link).map_err(Error::io("add the link", &source))
            }
            _ => {
                let file = File::open(&source).map_err(Error::io("open", &source))?;
                let opened = file.metadata().map_err(Error::io("read", &source))?;
                let before = &entry.metadata;
                // A link put in the file's place since the walk would lead out of the directory.
                if (opened.dev(), opened.ino(), opened.len()) != (before.dev(), before.ino(), before.len()) {
                    return Err(changed(&source));
                }
                let mut header = self.header(EntryType::Regular, mode);
                header.set_size(opened.len());
                let mut reader = Hashing::new(io::Read::take(file, opened.len()));
                archive.append_data(&mut header, &name, &mut reader).map_err(Error::io("add", &source))?;
                if reader.finish().2 == opened.len() { Ok(()) } else { Err(changed(&source)) }
            }
        }
    }

    fn header(&self, kind: EntryType, mode: u32) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(u64::from(self.created));
        header.set_size(0);
        header
    }
}

struct BuiltLayer {
    blob: Blob,
    diff_id: Digest,
    entries: u64,
}

struct Found {
    path: PathBuf,
    metadata: Metadata,
    kind: EntryType,
}

fn changed(path: &Path) -> Error {
    Error::Build {
        reason: format!(
            "`{}` changed while it was read; build again when nothing writes to it",
            path.display()
        ),
    }
}

fn walk(root: &Path, relative: &Path, found: &mut Vec<Found>) -> Result<(), Error> {
    let directory = root.join(relative);
    let listing = fs::read_dir(&directory).map_err(Error::io("list", &directory))?;
    for entry in listing {
        let entry = entry.map_err(Error::io("list", &directory))?;
        let path = relative.join(entry.file_name());
        // Of the entry itself, not of what a link points to.
        let metadata = entry.metadata().map_err(Error::io("read", entry.path()))?;
        let kind = if metadata.is_dir() {
            EntryType::Directory
        } else if metadata.is_symlink() {
            EntryType::Symlink
        } else if metadata.is_file() {
            EntryType::Regular
        } else {
            let reason = format!(
                "`{}` is a socket, pipe or device, which images cannot hold; remove it or build from another directory",
                entry.path().display()
            );
            return Err(Error::Build { reason });
        };
        if entry.file_name().as_bytes().starts_with(b".wh.") {
            let reason = format!(
                "`{}` begins with `.wh.`, which in a layer means \"delete the file of that name\"",
                entry.path().display()
            );
            return Err(Error::Build { reason });
        }
        let is_directory = kind == EntryType::Directory;
        found.push(Found { path: path.clone(), metadata, kind });
        if is_directory {
            walk(root, &path, found)?;
        }
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

/// The manifest for a configuration and layers, as a blob.
pub(crate) fn oci_manifest(config: Descriptor, layers: Vec<Descriptor>) -> Result<Blob, Error> {
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: Some(media_type::MANIFEST.to_owned()),
        config,
        layers,
        subject: None,
        annotations: std::collections::BTreeMap::new(),
    };
    Ok(Blob::memory(media_type::MANIFEST, to_json(&manifest)?))
}

pub(crate) fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::Build { reason: error.to_string() })
}

/// Writes a blob to `destination`, which appears only when complete.
pub(crate) fn store(blob: &Blob, destination: &Path) -> Result<(), Error> {
    match &blob.content {
        Content::Memory(bytes) => persist(bytes, destination),
        Content::File { .. } | Content::Temporary { .. } | Content::Part { .. } | Content::Remote(_) => {
            let directory = destination.parent().unwrap_or_else(|| Path::new("."));
            let mut file =
                tempfile::NamedTempFile::new_in(directory).map_err(Error::io("write to", directory))?;
            io::copy(&mut blob.content.reader()?, &mut file).map_err(Error::io("write", destination))?;
            file.as_file().sync_all().map_err(Error::io("write", destination))?;
            crate::layout::rename(file, destination)
        }
    }
}
