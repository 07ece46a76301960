//! Images from directories and base images, without a daemon, the same bytes on every machine.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use serde_json::Value;
use spectra_types::Digest;

use crate::{
    Config, Descriptor, Error, ImageConfig, ImageIndex, ImageManifest, Layout, Packing, Platform, Trust,
    base::{BASE_DIGEST, BASE_NAME, Base},
    content::{Blob, Content, Hasher},
    layer::{Files, Plan},
    layout::persist,
    media_type,
    model::{Empty, Healthcheck, History, RootFs},
    spool,
    temporary::{Existing, Life, Temporary},
    tree::Tree,
    walk::LeftOut,
};

/// A directory whose content becomes one layer, with plain attributes; [`Files`] says more.
#[derive(Debug, Clone)]
pub struct LayerInput {
    /// The directory.
    pub directory: PathBuf,
    /// Where its content goes in the image: an absolute path such as `/app`.
    pub target: String,
}

/// Describes an image and writes it into an OCI layout.
///
/// The output depends on nothing but the base image, the content, names and link targets of the files, whether their owner
/// may execute them, and on what is set here: entries are sorted and carry one time. Symbolic links are kept as they are and
/// never followed. Extended attributes are not kept, and hard links become separate files.
#[derive(Debug, Clone, Default)]
pub struct ImageBuilder {
    platform: Platform,
    base: Option<Base>,
    config: Config,
    layers: Vec<Vec<Files>>,
    annotations: BTreeMap<String, String>,
    created: u32,
    packing: Packing,
    left_out: Vec<PathBuf>,
}

/// What an image will be made of.
struct Prepared {
    created: String,
    /// Without the layers that are to be made.
    config: ImageConfig,
    /// The base's layers.
    ready: Vec<Blob>,
    annotations: BTreeMap<String, String>,
    plans: Vec<Plan>,
    left_out: Vec<PathBuf>,
}

/// What was built.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    /// The manifest.
    pub manifest: Descriptor,
    /// Digest of the configuration.
    pub config: Digest,
    /// The layers, lowest first; those of the base image come first.
    pub layers: Vec<Descriptor>,
    /// Entries in the layers that were made.
    pub entries: u64,
    /// How many of these layers were in the layout already, and were not compressed again.
    pub reused: usize,
    /// Bytes of all blobs and the manifest.
    pub size: u64,
    /// What was met among the files and left out: the layout itself, and what [`ImageBuilder::leave_out`] names.
    pub left_out: Vec<PathBuf>,
}

/// What was built for several platforms.
#[derive(Debug, Clone)]
pub struct BuiltIndex {
    /// The index.
    pub index: Descriptor,
    /// Its images, in order.
    pub images: Vec<BuiltImage>,
}

impl ImageBuilder {
    /// An image for `linux/amd64` without layers, made at the epoch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Builds on another image: its layers stay below as they are, and its configuration holds where nothing else is set.
    #[must_use]
    pub fn base(mut self, base: Base) -> Self {
        self.base = Some(base);
        self
    }

    /// Adds a layer of one directory on top.
    #[must_use]
    pub fn layer(self, layer: LayerInput) -> Self {
        self.files(vec![Files { from: layer.directory, to: layer.target, ..Files::default() }])
    }

    /// Adds a layer on top.
    #[must_use]
    pub fn files(mut self, files: Vec<Files>) -> Self {
        self.layers.push(files);
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

    /// Signal that asks the program to end, such as `SIGTERM`.
    #[must_use]
    pub fn stop_signal(mut self, signal: &str) -> Self {
        signal.clone_into(&mut self.config.stop_signal);
        self
    }

    /// How an engine tells whether the program is well.
    #[must_use]
    pub fn healthcheck(mut self, check: Healthcheck) -> Self {
        self.config.healthcheck = Some(check);
        self
    }

    /// Adds an annotation to the manifest; the same name again replaces it.
    #[must_use]
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations.insert(name.to_owned(), value.to_owned());
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
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let valid = digits && number.parse::<u16>().is_ok_and(|number| number > 0);
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

    /// How layers are compressed, and what earlier builds noted of them.
    #[must_use]
    pub fn packing(mut self, packing: Packing) -> Self {
        self.packing = packing;
        self
    }

    /// Takes a file or directory into no layer: what builds leave behind would be in the next one, and change its digest. The
    /// layout that is written and the place of the notes are left out anyway.
    #[must_use]
    pub fn leave_out(mut self, path: impl Into<PathBuf>) -> Self {
        self.left_out.push(path.into());
        self
    }

    /// Builds the image into `layout`, under `name` if given. Blocking.
    ///
    /// Blobs arrive under their digest only when complete, and the layout's index changes last: a run that
    /// dies in between leaves the layout as it was, with at most unused blobs.
    pub fn build(&self, layout: &Layout, name: Option<&str>) -> Result<BuiltImage, Error> {
        let built = self.write(self.prepare(layout)?, layout)?;
        layout.tag(built.manifest.clone(), name)?;
        Ok(built)
    }

    /// Builds one image a builder, and an index of them in that order. Blocking.
    pub fn build_index(builders: &[Self], layout: &Layout, name: Option<&str>) -> Result<BuiltIndex, Error> {
        let mut prepared = Vec::new();
        for (number, builder) in builders.iter().enumerate() {
            let platform = &builder.platform;
            if builders[..number].iter().any(|other| other.platform.is(platform)) {
                let reason = format!("the platform `{platform}` is named twice");
                return Err(Error::Build { reason });
            }
            prepared.push(builder.prepare(layout)?);
        }
        let mut images = Vec::new();
        for (builder, prepared) in builders.iter().zip(prepared) {
            images.push(builder.write(prepared, layout)?);
        }
        let index = ImageIndex::new(images.iter().map(|image| image.manifest.clone()).collect());
        let index = Blob::memory(media_type::INDEX, to_json(&index)?);
        layout.add(&index, Trust::Content)?;
        layout.tag(index.descriptor.clone(), name)?;
        Ok(BuiltIndex { index: index.descriptor, images })
    }

    /// Finds and checks everything, before anything is written.
    fn prepare(&self, layout: &Layout) -> Result<Prepared, Error> {
        if self.layers.is_empty() && self.base.is_none() {
            return Err(Error::Build { reason: "there is no layer; give at least one directory".to_owned() });
        }
        let created = jiff::Timestamp::from_second(i64::from(self.created))
            .map_err(|error| Error::Build { reason: error.to_string() })?
            .to_string();
        self.check()?;
        let config = self.configuration(created.clone())?;
        if config.config.entrypoint.is_empty() && config.config.cmd.is_empty() {
            let reason = "there is neither entrypoint nor command, so nothing could run it".to_owned();
            return Err(Error::Build { reason });
        }
        let mut ready = Vec::new();
        let mut annotations = self.annotations.clone();
        let mut tree = Tree::default();
        if let Some(base) = &self.base {
            ready = base.layers()?;
            annotations.insert(BASE_NAME.to_owned(), base.name.clone());
            annotations.insert(BASE_DIGEST.to_owned(), base.pinned.digest().to_string());
            if !self.layers.is_empty() {
                tree = Tree::read(&base.image)?;
            }
        }
        let notes = self.packing.cache.as_ref().map(crate::Cache::root);
        let places = self.left_out.iter().map(PathBuf::as_path).chain(notes).chain([layout.root()]);
        let mut left_out = LeftOut::new(places);
        let mut plans = Vec::new();
        for files in &self.layers {
            let plan = Plan::new(files, &tree, self.created, &mut left_out)?;
            plan.put_into(&mut tree);
            plans.push(plan);
        }
        let left_out = left_out.met.into_iter().collect();
        Ok(Prepared { created, config, ready, annotations, plans, left_out })
    }

    /// Writes everything but the entry in the layout's index.
    fn write(&self, prepared: Prepared, layout: &Layout) -> Result<BuiltImage, Error> {
        let Prepared { created, mut config, ready, annotations, plans, left_out } = prepared;
        let mut layers = Vec::new();
        for blob in ready {
            layout.add(&blob, self.packing.trust)?;
            layers.push(blob.descriptor);
        }
        let (mut entries, mut reused) = (0, 0);
        for (files, plan) in self.layers.iter().zip(plans) {
            let layer = plan.build(layout, &self.packing)?;
            entries += layer.entries;
            reused += usize::from(layer.reused);
            config.rootfs.diff_ids.push(layer.diff_id);
            layers.push(layer.descriptor);
            let targets: Vec<&str> = files.iter().map(|files| files.to.as_str()).collect();
            config.history.push(History {
                created: Some(created.clone()),
                created_by: Some(format!("spectra: files to {}", targets.join(", "))),
                empty_layer: false,
            });
        }
        let config = Blob::memory(media_type::CONFIG, self.document(&config)?);
        layout.add(&config, self.packing.trust)?;
        let manifest = ImageManifest {
            schema_version: 2,
            media_type: Some(media_type::MANIFEST.to_owned()),
            config: config.descriptor.clone(),
            layers: layers.clone(),
            subject: None,
            annotations,
        };
        let manifest = Blob::memory(media_type::MANIFEST, to_json(&manifest)?);
        layout.add(&manifest, self.packing.trust)?;
        let mut descriptor = manifest.descriptor;
        descriptor.platform = Some(self.platform.clone());
        let size =
            layers.iter().map(|layer| layer.size).sum::<u64>() + config.descriptor.size + descriptor.size;
        let config = config.descriptor.digest;
        Ok(BuiltImage { manifest: descriptor, config, layers, entries, reused, size, left_out })
    }

    /// Refuses what no engine could make sense of.
    fn check(&self) -> Result<(), Error> {
        let Config { env, working_dir, .. } = &self.config;
        if !working_dir.is_empty() && !working_dir.starts_with('/') {
            let reason =
                format!("the program would start in `{working_dir}`; write an absolute path, such as `/app`");
            return Err(Error::Build { reason });
        }
        for line in env {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            let odd = |character: char| character.is_whitespace() || character.is_control();
            if name.is_empty() || name.contains(odd) {
                let reason = format!("`{}` is no name of an environment variable", name.escape_debug());
                return Err(Error::Build { reason });
            }
            if value.contains('\0') {
                return Err(Error::Build {
                    reason: format!("the variable `{name}` has a zero byte in its value"),
                });
            }
        }
        Ok(())
    }

    /// The configuration's document. What the base's says beyond what is known here stays: it may be meant for engines.
    fn document(&self, config: &ImageConfig) -> Result<Vec<u8>, Error> {
        const BESIDE: [&str; 3] = ["author", "os.version", "os.features"];
        let Some(base) = &self.base else { return to_json(config) };
        let malformed = |error: serde_json::Error| Error::Build { reason: error.to_string() };
        let mut ours = serde_json::to_value(config).map_err(malformed)?;
        let bytes = base.image.config.content.read_all(&base.image.origin)?;
        let theirs: Value = serde_json::from_slice(&bytes).map_err(malformed)?;
        for key in BESIDE {
            if let Some(value) = theirs.get(key) {
                ours[key] = value.clone();
            }
        }
        if let (Some(ours), Some(theirs)) = (ours["config"].as_object_mut(), theirs["config"].as_object()) {
            for (key, value) in theirs.iter().filter(|(key, _)| !Config::KEYS.contains(&key.as_str())) {
                ours.insert(key.clone(), value.clone());
            }
        }
        if let (Some(ours), Some(theirs)) = (ours["history"].as_array_mut(), theirs["history"].as_array()) {
            for (ours, theirs) in ours.iter_mut().zip(theirs) {
                ours.clone_from(theirs);
            }
        }
        to_json(&ours)
    }

    /// The configuration before the layers of this build: the base image's, with what is set here on top.
    fn configuration(&self, created: String) -> Result<ImageConfig, Error> {
        let own = &self.config;
        let Some(base) = &self.base else {
            return Ok(ImageConfig {
                created: Some(created),
                architecture: self.platform.architecture.clone(),
                os: self.platform.os.clone(),
                variant: self.platform.variant.clone(),
                config: own.clone(),
                rootfs: RootFs::default(),
                history: Vec::new(),
            });
        };
        let mut merged = base.image.configuration()?;
        let refuse = |reason: String| {
            Err(Error::Build { reason: format!("the base image `{}` {reason}", base.pinned) })
        };
        if !base.platform.is(&self.platform) {
            return refuse(format!("is for `{}`, not for `{}`", base.platform, self.platform));
        }
        let (layers, diff_ids) = (base.image.layers.len(), merged.rootfs.diff_ids.len());
        if layers != diff_ids {
            return refuse(format!("has {layers} layers, and its configuration names {diff_ids}"));
        }
        merged.created = Some(created);
        let config = &mut merged.config;
        for line in &own.env {
            let name = line.split_inclusive('=').next().unwrap_or(line);
            match config.env.iter_mut().find(|other| other.starts_with(name)) {
                Some(other) => other.clone_from(line),
                None => config.env.push(line.clone()),
            }
        }
        config.labels.extend(own.labels.clone());
        config.exposed_ports.extend(own.exposed_ports.clone());
        // The base's arguments are meant for the base's program.
        if !own.entrypoint.is_empty() {
            config.entrypoint.clone_from(&own.entrypoint);
            config.cmd.clear();
        }
        if !own.cmd.is_empty() {
            config.cmd.clone_from(&own.cmd);
        }
        let pairs = [
            (&own.user, &mut config.user),
            (&own.working_dir, &mut config.working_dir),
            (&own.stop_signal, &mut config.stop_signal),
        ];
        for (ours, theirs) in pairs {
            if !ours.is_empty() {
                theirs.clone_from(ours);
            }
        }
        if own.healthcheck.is_some() {
            config.healthcheck.clone_from(&own.healthcheck);
        }
        Ok(merged)
    }
}

/// The manifest for a configuration and layers, as a blob.
pub(crate) fn oci_manifest(config: Descriptor, layers: Vec<Descriptor>) -> Result<Blob, Error> {
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: Some(media_type::MANIFEST.to_owned()),
        config,
        layers,
        subject: None,
        annotations: BTreeMap::new(),
    };
    Ok(Blob::memory(media_type::MANIFEST, to_json(&manifest)?))
}

pub(crate) fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::Build { reason: error.to_string() })
}

/// Writes a blob to `destination`, which appears only when complete and with the digest that it should have.
pub(crate) fn store(blob: &Blob, destination: &Path) -> Result<(), Error> {
    match &blob.content {
        Content::Memory(bytes) => persist(bytes, destination),
        Content::File { .. } | Content::Temporary { .. } | Content::Part { .. } | Content::Remote(_) => {
            let directory = destination.parent().unwrap_or_else(|| Path::new("."));
            let size = blob.descriptor.size;
            spool::ensure(directory, size, || format!("write `{}`", destination.display()))?;
            let (mut file, temporary) = Temporary::new(directory, Life::Long)?;
            let mut hasher = Hasher::new(blob.descriptor.digest.algorithm());
            let mut reader = blob.content.reader()?;
            let mut buffer = vec![0; 256 * 1024];
            loop {
                let count = reader.read(&mut buffer).map_err(Error::io("read a blob for", destination))?;
                if count == 0 {
                    break;
                }
                hasher.update(&buffer[..count]);
                file.write_all(&buffer[..count])
                    .map_err(|error| Error::io("write", destination)(error).needs(size))?;
            }
            let found = hasher.finish();
            if found != blob.descriptor.digest {
                return Err(Error::DigestMismatch {
                    what: format!("the blob in {}", blob.content),
                    expected: blob.descriptor.digest.clone(),
                    found,
                });
            }
            temporary.persist(destination, Existing::Replace).map_err(Error::io("write", destination))
        }
    }
}
