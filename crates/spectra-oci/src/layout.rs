//! OCI image layouts: directories that hold blobs by digest and an index.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use spectra_types::{Algorithm, Digest};

use crate::{
    Descriptor, Error, ImageIndex,
    builder::{store, to_json},
    content::{Blob, Content},
    document, media_type,
    source::{BlobStore, MAX_DOCUMENT},
    temporary::{Existing, Life, Temporary},
};

/// The annotation under which an index names its images.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
pub(crate) const MARKER: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// An OCI image layout on disk.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Opens an existing layout.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let root = root.into();
        let marker = root.join("oci-layout");
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
        Ok(Self { root })
    }

    /// Opens the layout, or makes an empty one if the directory is missing or empty.
    ///
    /// A directory with other content is refused, so that a mistyped path litters nothing.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let root = root.into();
        fs::create_dir_all(&root).map_err(Error::io("create", &root))?;
        if !root.join("oci-layout").exists() {
            let mut listing = fs::read_dir(&root).map_err(Error::io("list", &root))?;
            if listing.next().is_some() {
                return Err(Error::input(
                    &root,
                    "the directory is neither empty nor an OCI layout; choose another output",
                ));
            }
            persist(&to_json(&ImageIndex::new(Vec::new()))?, &root.join("index.json"))?;
            persist(MARKER.as_bytes(), &root.join("oci-layout"))?;
        }
        Self::open(root)
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The images in the layout.
    pub fn index(&self) -> Result<ImageIndex, Error> {
        let path = self.root.join("index.json");
        let bytes = read_document(&path)?;
        document::check(&path, &bytes, document::MANIFEST)?;
        document::check_type(&path, &bytes, Some(media_type::INDEX))?;
        serde_json::from_slice(&bytes).map_err(|error| Error::input(&path, error.to_string()))
    }

    /// Lists an image in the index; an entry of the same name or the same digest is replaced.
    pub(crate) fn tag(&self, mut descriptor: Descriptor, name: Option<&str>) -> Result<(), Error> {
        let mut index = self.index()?;
        if let Some(name) = name {
            descriptor.annotations.insert(REF_NAME.to_owned(), name.to_owned());
        }
        index.manifests.retain(|entry| match name {
            Some(name) => entry.annotations.get(REF_NAME).is_none_or(|other| other != name),
            None => entry.annotations.contains_key(REF_NAME) || entry.digest != descriptor.digest,
        });
        index.manifests.push(descriptor);
        persist(&to_json(&index)?, &self.root.join("index.json"))
    }

    /// Stores a blob unless it is there.
    pub(crate) fn add(&self, blob: &Blob) -> Result<(), Error> {
        let path = self.blob_path(&blob.descriptor.digest);
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() == blob.descriptor.size) {
            return Ok(());
        }
        self.create_folder(blob.descriptor.digest.algorithm())?;
        store(blob, &path)
    }

    /// The folder that compressed layers are made in, to be [adopted](Self::adopt): that of the blobs.
    pub(crate) fn folder(&self) -> Result<PathBuf, Error> {
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

    /// Removes a blob.
    pub(crate) fn discard(&self, digest: &Digest) -> Result<(), Error> {
        let path = self.blob_path(digest);
        fs::remove_file(&path).map_err(Error::io("remove", path))
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
