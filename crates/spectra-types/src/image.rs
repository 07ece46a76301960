//! References to container images.

use std::{fmt, str::FromStr};

use crate::{Digest, DigestError, text::serde_as_text};

/// The registry that a reference without a host means: Docker Hub.
pub const DEFAULT_REGISTRY: &str = "docker.io";

/// Longest repository name, in characters, that registries accept.
const MAX_REPOSITORY: usize = 255;
/// Longest tag, in characters.
const MAX_TAG: usize = 128;

/// A docker reference: registry, repository, and optionally tag and digest.
///
/// Normalised as docker does: `nginx` is `docker.io/library/nginx`. No tag is invented; see
/// [`ImageRef::tag_or_latest`]. `Display` writes the canonical form, which parses to the same value.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageRef {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl ImageRef {
    /// Host and, if given, port of the registry.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Path of the repository inside the registry, such as `library/nginx`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if one was written.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was written.
    #[must_use]
    pub const fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The tag, or the one that docker assumes when neither tag nor digest is given.
    #[must_use]
    pub fn tag_or_latest(&self) -> &str {
        self.tag().unwrap_or("latest")
    }

    /// The same repository at this digest; the tag is dropped, for it may move.
    #[must_use]
    pub fn pin(&self, digest: Digest) -> PinnedImage {
        PinnedImage { registry: self.registry.clone(), repository: self.repository.clone(), digest }
    }

    /// The same repository with this tag and no digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ImageRefError> {
        check_tag(tag)?;
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageRef({self})")
    }
}

impl FromStr for ImageRef {
    type Err = ImageRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(ImageRefError::Empty);
        }
        if let Some(rest) = text.find("://").map(|at| &text[at + 3..]) {
            return Err(ImageRefError::Scheme { text: text.to_owned(), suggestion: rest.to_owned() });
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(ImageRefError::Whitespace { text: text.to_owned() });
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let digest = digest
                    .parse()
                    .map_err(|source| ImageRefError::Digest { text: text.to_owned(), source })?;
                (name, Some(digest))
            }
            None => (text, None),
        };
        // A colon after the last slash separates a tag; before it, a port.
        let path_start = name.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match name[path_start..].rfind(':') {
            Some(at) => (&name[..path_start + at], Some(&name[path_start + at + 1..])),
            None => (name, None),
        };
        if let Some(tag) = tag {
            check_tag(tag)?;
        }
        let (registry, path) = split_registry(name);
        let registry = match registry {
            Some("index.docker.io" | "registry-1.docker.io") | None => DEFAULT_REGISTRY,
            Some(registry) => {
                check_registry(registry)?;
                registry
            }
        };
        if registry == DEFAULT_REGISTRY && path.len() == 64 && path.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ImageRefError::BareHash { text: text.to_owned() });
        }
        check_repository(path)?;
        let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        if repository.len() > MAX_REPOSITORY {
            return Err(ImageRefError::RepositoryLength { length: repository.len() });
        }
        Ok(Self { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned), digest })
    }
}

serde_as_text!(ImageRef);

/// An image that cannot change: registry, repository and digest, by construction.
///
/// Everything that acts takes this type. `Display` writes `registry/repository@sha256:…`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PinnedImage {
    registry: String,
    repository: String,
    digest: Digest,
}

impl PinnedImage {
    /// Host and, if given, port of the registry.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Path of the repository inside the registry.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The digest of the manifest or index.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The same image as a reference with a digest and no tag.
    #[must_use]
    pub fn image_ref(&self) -> ImageRef {
        ImageRef {
            registry: self.registry.clone(),
            repository: self.repository.clone(),
            tag: None,
            digest: Some(self.digest.clone()),
        }
    }
}

impl fmt::Display for PinnedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.registry, self.repository, self.digest)
    }
}

impl fmt::Debug for PinnedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PinnedImage({self})")
    }
}

impl TryFrom<ImageRef> for PinnedImage {
    type Error = ImageRefError;

    /// Fails if the reference has no digest. A tag beside the digest is dropped: the digest decides.
    fn try_from(image: ImageRef) -> Result<Self, Self::Error> {
        match image.digest {
            Some(digest) => Ok(Self { registry: image.registry, repository: image.repository, digest }),
            None => Err(ImageRefError::NotPinned {
                mistake: match &image.tag {
                    Some(_) => "names a tag, which can move to another image at any time",
                    None => "names neither tag nor digest",
                },
                image: image.to_string(),
            }),
        }
    }
}

impl From<PinnedImage> for ImageRef {
    fn from(image: PinnedImage) -> Self {
        image.image_ref()
    }
}

impl FromStr for PinnedImage {
    type Err = ImageRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<ImageRef>()?.try_into()
    }
}

serde_as_text!(PinnedImage);

/// Docker's rule: the part before the first slash is a registry if it could not be a path component or is
/// `localhost`.
fn split_registry(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    }
}

fn check_tag(tag: &str) -> Result<(), ImageRefError> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let valid = tag.bytes().enumerate().all(|(at, b)| word(b) || at > 0 && matches!(b, b'.' | b'-'));
    if tag.is_empty() || !valid || tag.len() > MAX_TAG {
        return Err(ImageRefError::Tag { tag: tag.to_owned() });
    }
    Ok(())
}

fn check_registry(registry: &str) -> Result<(), ImageRefError> {
    let error = || ImageRefError::Registry { registry: registry.to_owned() };
    let (host, port) = if let Some(rest) = registry.strip_prefix('[') {
        let (address, tail) = rest.split_once(']').ok_or_else(error)?;
        address.parse::<std::net::Ipv6Addr>().map_err(|_| error())?;
        match tail.strip_prefix(':') {
            Some(port) => (None, Some(port)),
            None if tail.is_empty() => (None, None),
            None => return Err(error()),
        }
    } else {
        match registry.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(registry), None),
        }
    };
    if let Some(port) = port {
        let digits = port.bytes().all(|b| b.is_ascii_digit());
        if !digits || port.parse::<u16>().is_err() {
            return Err(error());
        }
    }
    let label = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    if host.is_some_and(|host| !host.split('.').all(label)) {
        return Err(error());
    }
    Ok(())
}

fn check_repository(path: &str) -> Result<(), ImageRefError> {
    let owned = || path.to_owned();
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(ImageRefError::Uppercase { repository: owned(), suggestion: path.to_ascii_lowercase() });
    }
    if !path.split('/').all(is_path_component) {
        return Err(ImageRefError::Repository { repository: owned() });
    }
    Ok(())
}

/// Lower-case letters and digits, separated by `.`, `_`, `__` or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !alphanumeric(first) || !alphanumeric(last) {
        return false;
    }
    bytes.split(alphanumeric).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-')
    })
}

/// Why a text is not an image reference, or not one that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageRefError {
    /// Nothing was written.
    #[error("an image reference is empty; write for example `ghcr.io/team/app@sha256:…`")]
    Empty,
    /// A URL.
    #[error("`{text}` is a URL; an image reference has no scheme, write `{suggestion}`")]
    Scheme {
        /// The text.
        text: String,
        /// The text without scheme.
        suggestion: String,
    },
    /// White space inside.
    #[error("image reference `{text}` contains white space")]
    Whitespace {
        /// The text.
        text: String,
    },
    /// The part after `@` is not a digest.
    #[error("the digest of image reference `{text}` is malformed: {source}")]
    Digest {
        /// The text.
        text: String,
        /// Why.
        source: DigestError,
    },
    /// A tag with forbidden characters, or too long.
    #[error(
        "`{tag}` is not a tag; a tag has at most 128 characters from A-Z, a-z, 0-9, `_`, `.` and `-`, and starts with neither `.` nor `-`"
    )]
    Tag {
        /// The tag.
        tag: String,
    },
    /// The registry is no host with optional port.
    #[error(
        "`{registry}` is not a registry; expected a host name or address with an optional port, such as `ghcr.io` or `127.0.0.1:5000`"
    )]
    Registry {
        /// The registry.
        registry: String,
    },
    /// Upper-case letters in the repository.
    #[error(
        "repository `{repository}` has upper-case letters, which registries refuse; write `{suggestion}`"
    )]
    Uppercase {
        /// The repository.
        repository: String,
        /// The repository in lower case.
        suggestion: String,
    },
    /// Any other character or shape that repositories do not have.
    #[error(
        "`{repository}` is not a repository name; each part between slashes has a-z and 0-9, separated by `.`, `_`, `__` or `-`"
    )]
    Repository {
        /// The repository.
        repository: String,
    },
    /// The repository is too long.
    #[error("the repository name has {length} characters; registries accept at most 255")]
    RepositoryLength {
        /// Its length.
        length: usize,
    },
    /// 64 hexadecimal characters, which would be taken for a name on Docker Hub.
    #[error("`{text}` is a bare hash, which is ambiguous; write `repository@sha256:{text}`")]
    BareHash {
        /// The text.
        text: String,
    },
    /// There is no digest where one is needed.
    #[error(
        "`{image}` {mistake}; pin it to a digest (`repository@sha256:…`) with provider::spectra::pin or data.spectra_image"
    )]
    NotPinned {
        /// What the reference names.
        mistake: &'static str,
        /// The reference.
        image: String,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(text: &str) -> ImageRef {
        text.parse().unwrap()
    }

    proptest! {
        #[test]
        fn parse_after_display_is_identity(
            registry in prop::option::of("([a-z]{1,8}\\.(io|dev)|localhost|127\\.0\\.0\\.1|\\[::1\\])(:[1-9][0-9]{1,3})?"),
            // No dot in the first part: without a registry before it, it would be one itself.
            path in "[a-z0-9]{1,6}([_-][a-z0-9]{1,6}){0,2}(/[a-z0-9]{1,6}((__|--|[.])[a-z0-9]{1,6}){0,2}){0,2}",
            tag in prop::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
            pinned: bool,
        ) {
            let text = format!(
                "{}{path}{}{}",
                registry.map(|registry| registry + "/").unwrap_or_default(),
                tag.map(|tag| format!(":{tag}")).unwrap_or_default(),
                if pinned { format!("@sha256:{HEX}") } else { String::new() },
            );
            let image: ImageRef = text.parse().unwrap();
            prop_assert_eq!(image.to_string().parse::<ImageRef>().unwrap(), image.clone());
            if pinned {
                let pin = PinnedImage::try_from(image).unwrap();
                prop_assert_eq!(pin.to_string().parse::<PinnedImage>().unwrap(), pin);
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,60}") {
            if let Ok(image) = text.parse::<ImageRef>() {
                prop_assert_eq!(image.to_string().parse::<ImageRef>().unwrap(), image);
            }
        }

        #[test]
        fn reference_shaped_text_never_panics(text in "[a-zA-Z0-9:/@._\\[\\]-]{0,40}") {
            if let Ok(image) = text.parse::<ImageRef>() {
                prop_assert_eq!(image.to_string().parse::<ImageRef>().unwrap(), image);
            }
        }
    }

    #[test]
    fn normalises_as_docker_does() {
        for (text, canonical) in [
            ("nginx", "docker.io/library/nginx"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("team/app", "docker.io/team/app"),
            ("index.docker.io/nginx", "docker.io/library/nginx"),
            ("docker.io/team/app:v1", "docker.io/team/app:v1"),
            ("localhost/app", "localhost/app"),
            ("localhost:5000/app:1", "localhost:5000/app:1"),
            ("127.0.0.1:7430/team/app", "127.0.0.1:7430/team/app"),
            ("[::1]:5000/app", "[::1]:5000/app"),
            ("ghcr.io/a/b_c/d__e/f--g:X", "ghcr.io/a/b_c/d__e/f--g:X"),
            ("app:5000", "docker.io/library/app:5000"),
            ("HOST/app", "HOST/app"),
        ] {
            assert_eq!(parse(text).to_string(), canonical, "{text}");
        }
        let both = parse(&format!("ghcr.io/team/app:v1@sha256:{HEX}"));
        assert_eq!((both.tag(), both.digest().map(Digest::hex)), (Some("v1"), Some(HEX)));
        assert_eq!(parse("nginx").tag_or_latest(), "latest");
    }

    #[test]
    fn pinning_drops_the_tag() {
        let image = parse(&format!("ghcr.io/team/app:v1@sha256:{HEX}"));
        let pinned = PinnedImage::try_from(image).unwrap();
        assert_eq!(pinned.to_string(), format!("ghcr.io/team/app@sha256:{HEX}"));
        assert_eq!(pinned.image_ref().pin(pinned.digest().clone()), pinned);
    }

    #[test]
    fn names_the_mistake() {
        let long = "a".repeat(250);
        let messages: Vec<String> = [
            "",
            "https://ghcr.io/team/app",
            "team/app v1",
            "team/App",
            "team//app",
            "team/app_",
            "team/a___b",
            "app:",
            "app:-x",
            "ghcr.io:99999/app",
            "-host.io/app",
            "team/app@sha256:abc",
            HEX,
            &format!("{long}/{long}"),
        ]
        .map(|text| text.parse::<ImageRef>().unwrap_err().to_string())
        .into();
        insta::assert_snapshot!(messages.join("\n"), @"
        an image reference is empty; write for example `ghcr.io/team/app@sha256:…`
        `https://ghcr.io/team/app` is a URL; an image reference has no scheme, write `ghcr.io/team/app`
        image reference `team/app v1` contains white space
        repository `team/App` has upper-case letters, which registries refuse; write `team/app`
        `team//app` is not a repository name; each part between slashes has a-z and 0-9, separated by `.`, `_`, `__` or `-`
        `team/app_` is not a repository name; each part between slashes has a-z and 0-9, separated by `.`, `_`, `__` or `-`
        `team/a___b` is not a repository name; each part between slashes has a-z and 0-9, separated by `.`, `_`, `__` or `-`
        `` is not a tag; a tag has at most 128 characters from A-Z, a-z, 0-9, `_`, `.` and `-`, and starts with neither `.` nor `-`
        `-x` is not a tag; a tag has at most 128 characters from A-Z, a-z, 0-9, `_`, `.` and `-`, and starts with neither `.` nor `-`
        `ghcr.io:99999` is not a registry; expected a host name or address with an optional port, such as `ghcr.io` or `127.0.0.1:5000`
        `-host.io` is not a registry; expected a host name or address with an optional port, such as `ghcr.io` or `127.0.0.1:5000`
        the digest of image reference `team/app@sha256:abc` is malformed: a sha256 digest has 64 hexadecimal characters, this one has 3; give the full digest
        `e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855` is a bare hash, which is ambiguous; write `repository@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855`
        the repository name has 501 characters; registries accept at most 255
        ");
    }

    #[test]
    fn a_tag_where_a_digest_is_needed() {
        insta::assert_snapshot!("team/app:v1".parse::<PinnedImage>().unwrap_err(), @"`docker.io/team/app:v1` names a tag, which can move to another image at any time; pin it to a digest (`repository@sha256:…`) with provider::spectra::pin or data.spectra_image");
        insta::assert_snapshot!("ghcr.io/team/app".parse::<PinnedImage>().unwrap_err(), @"`ghcr.io/team/app` names neither tag nor digest; pin it to a digest (`repository@sha256:…`) with provider::spectra::pin or data.spectra_image");
    }

    #[test]
    fn serde_refuses_what_parsing_refuses() {
        assert!(serde_json::from_str::<PinnedImage>("\"team/app:v1\"").is_err());
        let image = parse("team/app:v1");
        assert_eq!(serde_json::from_str::<ImageRef>(&serde_json::to_string(&image).unwrap()).unwrap(), image);
    }
}
