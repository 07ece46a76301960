//! Naming an image to read, in one way for all commands.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use spectra_oci::{Artifact, Client, Engine, Format, Opening, Platform, Progress};
use spectra_types::ImageRef;

use super::{Unpacking, from_variable};
use crate::failure::Failure;

/// Where an image is.
///
/// | text | meaning |
/// |---|---|
/// | `docker://REFERENCE` | in a registry |
/// | `oci:DIRECTORY[:NAME]` | in an OCI layout |
/// | `oci-archive:FILE[:NAME]` | in an archive, by its `index.json` |
/// | `docker-archive:FILE[:NAME]` | in an archive, by its `manifest.json` |
/// | `docker-daemon:NAME` | in a Docker Engine, or podman's service |
/// | a path that exists, or begins with `/` or `.` | a layout or an archive |
/// | anything else | a reference of a registry |
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// In a registry; `bare` is the text as a path, if nothing but its shape said that it is a reference.
    Registry { image: ImageRef, bare: Option<PathBuf> },
    /// On the local disk.
    File { path: PathBuf, name: Option<String>, kind: FileKind },
    /// In a Docker Engine.
    Daemon { name: String },
}

/// What the user says that a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    Any,
    Layout,
    OciArchive,
    DockerArchive,
}

impl FileKind {
    /// How an archive is read.
    const fn format(self) -> Format {
        match self {
            Self::Any | Self::Layout => Format::Any,
            Self::OciArchive => Format::Oci,
            Self::DockerArchive => Format::Docker,
        }
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(reference) = text.strip_prefix("docker://") {
            let image: ImageRef = reference.parse().map_err(|error| format!("{error}"))?;
            return Ok(Self::Registry { image, bare: None });
        }
        let prefixes = [
            ("oci:", FileKind::Layout),
            ("oci-archive:", FileKind::OciArchive),
            ("docker-archive:", FileKind::DockerArchive),
        ];
        for (prefix, kind) in prefixes {
            if let Some(rest) = text.strip_prefix(prefix) {
                let (path, name) = split_name(rest);
                if path.is_empty() {
                    return Err(format!("`{text}` names no file; write `{prefix}PATH`"));
                }
                return Ok(Self::File { path: path.into(), name: name.map(str::to_owned), kind });
            }
        }
        if let Some(name) = text.strip_prefix("docker-daemon:") {
            if name.is_empty() || name.contains("..") || name.contains(['?', '#', '%']) {
                return Err(format!("`{text}` names no image of the engine; write `docker-daemon:NAME:TAG`"));
            }
            return Ok(Self::Daemon { name: name.to_owned() });
        }
        let path = Path::new(text);
        if path.exists() || text.starts_with(['/', '.']) {
            return Ok(Self::File { path: path.to_owned(), name: None, kind: FileKind::Any });
        }
        match text.parse() {
            Ok(image) => Ok(Self::Registry { image, bare: Some(path.to_owned()) }),
            Err(error) => Err(format!("`{text}` is neither a file nor an image reference: {error}")),
        }
    }
}

/// An image for commands about signatures, which lie beside it in a registry: named as any other, and refused elsewhere.
pub(super) fn in_registry(text: &str) -> Result<ImageRef, String> {
    let source = text.parse()?;
    if let Source::Registry { image, .. } = source {
        return Ok(image);
    }
    // A path may have the name of an image.
    let bare = matches!(source, Source::File { kind: FileKind::Any, .. }) && text.parse::<ImageRef>().is_ok();
    let other = if bare { format!("; an image of a registry is `docker://{text}`") } else { String::new() };
    Err(format!(
        "`{text}` is taken for a layout, an archive or an engine's image, and signatures lie beside an image in a registry: push it, and name it as it is called there{other}"
    ))
}

/// Splits `PATH[:NAME]` at the first colon, unless all of it is a path that exists.
pub(super) fn split_name(text: &str) -> (&str, Option<&str>) {
    if Path::new(text).exists() {
        return (text, None);
    }
    text.split_once(':')
        .map_or((text, None), |(path, name)| (path, Some(name).filter(|name| !name.is_empty())))
}

impl Source {
    /// With the name that `--name` gave, which may not contradict one in the source. One of `SPECTRA_NAME` is for sources that need it.
    pub(crate) fn named(mut self, wanted: Option<String>) -> Result<Self, Failure> {
        let Some(wanted) = wanted else { return Ok(self) };
        let optional = from_variable("SPECTRA_NAME");
        match &mut self {
            Self::File { name, .. } => match name {
                Some(name) if *name != wanted => {
                    if optional {
                        return Ok(self);
                    }
                    return Err(Failure::usage(format!(
                        "the source names the image `{name}`, and `--name` says `{wanted}`"
                    )));
                }
                name => *name = Some(wanted),
            },
            Self::Registry { .. } | Self::Daemon { .. } if optional => {}
            Self::Registry { .. } | Self::Daemon { .. } => {
                return Err(Failure::usage(
                    "`--name` chooses an image of a layout or archive; this source is one image",
                ));
            }
        }
        Ok(self)
    }

    /// The image's place in a registry, if that is where it is.
    pub(crate) const fn image(&self) -> Option<&ImageRef> {
        match self {
            Self::Registry { image, .. } => Some(image),
            Self::File { .. } | Self::Daemon { .. } => None,
        }
    }

    /// Opens the image: all of an index, or with `platform` the one for it. Layers of a registry are still there afterwards.
    pub(crate) async fn open(
        &self,
        client: &Client,
        platform: Option<&Platform>,
        unpacking: Unpacking,
        progress: Arc<dyn Progress>,
    ) -> Result<Artifact, Failure> {
        if let Self::Registry { image, .. } = self {
            return Ok(client.open(image, platform, progress).await?);
        }
        let artifact = self.open_whole(client, platform, unpacking, progress).await?;
        Ok(match platform {
            Some(platform) => artifact.for_platform(platform)?,
            None => artifact,
        })
    }

    /// Opens all of an index; `platform` chooses only where an archive or an engine has an image in parts.
    pub(crate) async fn open_whole(
        &self,
        client: &Client,
        platform: Option<&Platform>,
        unpacking: Unpacking,
        progress: Arc<dyn Progress>,
    ) -> Result<Artifact, Failure> {
        Ok(match self {
            Self::Registry { image, .. } => client.open(image, None, progress).await?,
            Self::File { path, name, kind } => {
                let (is_directory, shown) = (path.is_dir(), path.display());
                match kind {
                    FileKind::Layout if path.exists() && !is_directory => {
                        return Err(Failure::usage(format!(
                            "`oci:{shown}` is a file; an archive is `oci-archive:{shown}`"
                        )));
                    }
                    FileKind::OciArchive | FileKind::DockerArchive if is_directory => {
                        return Err(Failure::usage(format!(
                            "`{shown}` is a directory; a layout is `oci:{shown}`"
                        )));
                    }
                    _ => {}
                }
                let (path, name, format, limits) =
                    (path.clone(), name.clone(), kind.format(), unpacking.limits());
                let platform = platform.cloned();
                tokio::task::spawn_blocking(move || {
                    let (name, platform) = (name.as_deref(), platform.as_ref());
                    spectra_oci::open_with(&path, &Opening { name, format, platform, limits })
                })
                .await??
            }
            Self::Daemon { name } => {
                let engine = Engine::find(|variable| std::env::var_os(variable))?;
                engine.export(name, platform, &unpacking.limits()).await?.artifact
            }
        })
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Registry { image, .. } => write!(f, "docker://{image}"),
            Self::Daemon { name } => write!(f, "docker-daemon:{name}"),
            Self::File { path, name, kind } => {
                let prefix = match kind {
                    FileKind::Any => "",
                    FileKind::Layout => "oci:",
                    FileKind::OciArchive => "oci-archive:",
                    FileKind::DockerArchive => "docker-archive:",
                };
                write!(f, "{prefix}{}", path.display())?;
                name.as_ref().map_or(Ok(()), |name| write!(f, ":{name}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        text.parse().unwrap()
    }

    #[test]
    fn sources_are_told_apart() {
        let file = |path: &str, name: Option<&str>, kind| Source::File {
            path: path.into(),
            name: name.map(str::to_owned),
            kind,
        };
        assert_eq!(source("oci:out:v1"), file("out", Some("v1"), FileKind::Layout));
        assert_eq!(source("oci:out"), file("out", None, FileKind::Layout));
        assert_eq!(
            source("docker-archive:a.tar:team/app:v1"),
            file("a.tar", Some("team/app:v1"), FileKind::DockerArchive)
        );
        assert_eq!(source("./out"), file("./out", None, FileKind::Any));
        assert_eq!(
            source("src"),
            file("src", None, FileKind::Any),
            "it exists, next to this crate's manifest"
        );
        assert_eq!(source("docker-daemon:app:v1"), Source::Daemon { name: "app:v1".to_owned() });
        let image: ImageRef = "ghcr.io/team/app:v1".parse().unwrap();
        assert_eq!(
            source("ghcr.io/team/app:v1"),
            Source::Registry { image: image.clone(), bare: Some("ghcr.io/team/app:v1".into()) }
        );
        assert_eq!(source("docker://ghcr.io/team/app:v1"), Source::Registry { image, bare: None });
        for text in ["docker://ghcr.io/team/app:v1", "ghcr.io/team/app:v1"] {
            assert_eq!(in_registry(text).unwrap().to_string(), "ghcr.io/team/app:v1");
        }
        for text in ["oci:", "docker-daemon:", "docker-daemon:../x", "docker://UPPER", "NO"] {
            assert!(text.parse::<Source>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_may_not_contradict() {
        assert_eq!(source("oci:out:v1").named(Some("v1".to_owned())).unwrap(), source("oci:out:v1"));
        assert!(source("oci:out:v1").named(Some("v2".to_owned())).is_err());
        assert!(source("docker-daemon:x").named(Some("v2".to_owned())).is_err());
        assert_eq!(source("oci:out").named(Some("v2".to_owned())).unwrap(), source("oci:out:v2"));
    }
}
