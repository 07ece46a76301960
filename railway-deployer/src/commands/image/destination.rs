//! Naming where an image goes.

use std::{path::PathBuf, str::FromStr};

use spectra_types::ImageRef;

use super::source::split_name;

/// Where `image copy` writes: `oci:DIRECTORY[:NAME]`, `oci-archive:FILE[:NAME]`, or a reference of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    Registry(ImageRef),
    Layout { path: PathBuf, name: Option<String> },
    Archive { path: PathBuf, name: Option<String> },
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let split = |prefix: &str, rest: &str| {
            let (path, name) = split_name(rest);
            if path.is_empty() {
                return Err(format!("`{text}` names no file; write `{prefix}PATH`"));
            }
            Ok((PathBuf::from(path), name.map(str::to_owned)))
        };
        if let Some(rest) = text.strip_prefix("oci:") {
            return split("oci:", rest).map(|(path, name)| Self::Layout { path, name });
        }
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            return split("oci-archive:", rest).map(|(path, name)| Self::Archive { path, name });
        }
        for prefix in ["docker-daemon:", "docker-archive:"] {
            if text.starts_with(prefix) {
                return Err(format!(
                    "`{prefix}` cannot be written; write `oci-archive:FILE`, which `podman load`, skopeo and a docker with the containerd image store read"
                ));
            }
        }
        if text.starts_with(['/', '.']) {
            return Err(format!(
                "say what `{text}` shall be: a layout, `oci:{text}`, or an archive, `oci-archive:{text}`"
            ));
        }
        let reference = text.strip_prefix("docker://").unwrap_or(text);
        reference.parse().map(Self::Registry).map_err(|error| error.to_string())
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (prefix, path, name) = match self {
            Self::Registry(image) => return write!(f, "docker://{image}"),
            Self::Layout { path, name } => ("oci", path, name),
            Self::Archive { path, name } => ("oci-archive", path, name),
        };
        write!(f, "{prefix}:{}", path.display())?;
        name.as_ref().map_or(Ok(()), |name| write!(f, ":{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_told_apart() {
        let parse = |text: &str| text.parse::<Destination>();
        assert_eq!(
            parse("oci:out:v1").unwrap(),
            Destination::Layout { path: "out".into(), name: Some("v1".to_owned()) }
        );
        assert_eq!(
            parse("oci-archive:a.tar").unwrap(),
            Destination::Archive { path: "a.tar".into(), name: None }
        );
        assert_eq!(parse("docker://ghcr.io/a/b:1").unwrap(), parse("ghcr.io/a/b:1").unwrap());
        insta::assert_snapshot!(parse("./out").unwrap_err(), @"say what `./out` shall be: a layout, `oci:./out`, or an archive, `oci-archive:./out`");
        insta::assert_snapshot!(parse("docker-daemon:x").unwrap_err(), @"`docker-daemon:` cannot be written; write `oci-archive:FILE`, which `podman load`, skopeo and a docker with the containerd image store read");
        assert!(parse("oci:").is_err());
    }
}
