//! The grammar of what clients put into paths: repository names, tags, digests.
//!
//! Everything that becomes part of a file name passes through here first. The grammar admits neither `..` nor
//! empty components nor a leading `_`, so no name can leave its folder or collide with the store's own
//! sub-folders (`_blobs`, `_manifests`, `_tags`, `_referrers`).

use std::{fmt, str::FromStr};

use spectra_types::Digest;

/// Longest repository name, in characters, as the distribution specification advises.
const MAX_NAME: usize = 255;
/// Longest tag, in characters.
const MAX_TAG: usize = 128;

/// A repository name that is safe to use as a relative path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(String);

impl RepositoryName {
    /// The name, components separated by `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RepositoryName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_NAME || !text.split('/').all(is_component) {
            return Err(NameError(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The text is no repository name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a repository name: at most 255 characters, parts between slashes have a-z and 0-9 separated by `.`, `_`, `__` or `-`"
)]
pub struct NameError(String);

/// Lower-case letters and digits, separated by `.`, `_`, `__` or any number of `-`.
fn is_component(component: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    alphanumeric(first)
        && alphanumeric(last)
        && bytes.split(|byte| alphanumeric(*byte)).all(|separator| {
            matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-')
        })
}

/// What stands behind `/manifests/`: a tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    /// A name that can move.
    Tag(String),
    /// The content itself.
    Digest(Digest),
}

impl Reference {
    /// Parses a path segment. `None` if it is neither.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.contains(':') {
            return text.parse().ok().map(Self::Digest);
        }
        is_tag(text).then(|| Self::Tag(text.to_owned()))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn well_formed_names_are_taken(
            name in "[a-z0-9]{1,6}((__|--|[._-])[a-z0-9]{1,6}){0,3}(/[a-z0-9]{1,6}((__|---|[._-])[a-z0-9]{1,6}){0,2}){0,3}",
        ) {
            let parsed: RepositoryName = name.parse().unwrap();
            prop_assert_eq!(parsed.as_str(), name);
        }

        #[test]
        fn an_accepted_name_stays_inside_its_folder(text in "[a-zA-Z0-9._/%\\\\-]{0,24}") {
            if let Ok(name) = text.parse::<RepositoryName>() {
                prop_assert!(Path::new(name.as_str()).components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert!(name.as_str().split('/').all(|part| !part.starts_with('_') && !part.is_empty()));
            }
        }

        #[test]
        fn an_accepted_tag_is_one_file_name(text in "\\PC{0,20}") {
            if let Some(Reference::Tag(tag)) = Reference::parse(&text) {
                let mut parts = Path::new(&tag).components();
                prop_assert!(matches!(parts.next(), Some(Component::Normal(part)) if part == tag.as_str()));
                prop_assert!(parts.next().is_none());
            }
        }
    }

    #[test]
    fn refuses_what_could_leave_the_folder() {
        for text in [
            "", "..", "a/../b", "/a", "a/", "a//b", "_blobs", "a/_tags", "A", "a b", "a%2fb", "a\\b", "-a",
            "a-",
        ] {
            assert!(text.parse::<RepositoryName>().is_err(), "{text}");
        }
        assert!("a".repeat(256).parse::<RepositoryName>().is_err());
        for text in ["", ".", "..", ".x", "-x", "a/b", "sha256:00", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
            assert_eq!(Reference::parse(text), None, "{text}");
        }
        assert!(Reference::parse(&"t".repeat(128)).is_some());
        assert!(Reference::parse(&"t".repeat(129)).is_none());
    }
}
