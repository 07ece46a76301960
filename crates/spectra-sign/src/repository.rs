//! Source repositories: for whose code something was signed.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A repository, by the URI that certificates call it: `https://github.com/acme/shop`. It is compared as it is written.
///
/// The identity in a certificate of a workflow of GitHub is the workflow that was called. Where that is a reusable one, it says
/// nothing of the repository that called it, and this does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRepository(String);

/// A text is no source repository.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no source repository: it is written as `https://github.com/acme/shop`, with a host and a path, without a `*`, a \
     query or a slash at the end"
)]
pub struct SourceRepositoryError(String);

impl SourceRepository {
    /// Its URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SourceRepository {
    type Err = SourceRepositoryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let part = |part: &str| {
            let odd =
                |letter: char| letter.is_whitespace() || letter.is_control() || "*?#@\\".contains(letter);
            !["", ".", ".."].contains(&part) && !part.contains(odd)
        };
        let parts = text.strip_prefix("https://").map(|rest| rest.split('/'));
        match parts {
            Some(parts) if parts.clone().count() > 1 && parts.clone().all(part) => Ok(Self(text.to_owned())),
            _ => Err(SourceRepositoryError(text.to_owned())),
        }
    }
}

impl fmt::Display for SourceRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for SourceRepository {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SourceRepository {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_a_whole_uri() {
        for text in
            ["https://github.com/acme/shop", "https://gitlab.example:8443/a/b/c", "https://git.example/shop"]
        {
            assert_eq!(text.parse::<SourceRepository>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "acme/shop",
            "github.com/acme/shop",
            "http://github.com/acme/shop",
            "https://github.com",
            "https://github.com/",
            "https:///acme/shop",
            "https://github.com/acme/shop/",
            "https://github.com/acme//shop",
            "https://github.com/acme/../shop",
            "https://github.com/acme/*",
            "https://github.com/acme/shop?ref=main",
            "https://github.com/acme/shop#readme",
            "https://dev@github.com/acme/shop",
            "https://github.com/acme/shop ",
            "https://github.com/acme/sh\nop",
        ] {
            let error = text.parse::<SourceRepository>().unwrap_err().to_string();
            assert!(error.contains("is no source repository"), "{error}");
        }
    }
}
