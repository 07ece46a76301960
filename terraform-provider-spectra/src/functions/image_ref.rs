//! `provider::spectra::image_ref`: an image reference, taken apart.

use spectra_types::ImageRef;
use tfplugin::{Attr, Function, FunctionError, Model};

/// Takes an image reference apart.
pub(crate) struct ImageRefFunction;

/// The parameters of `image_ref`.
#[derive(Clone, Debug, Model)]
pub(crate) struct ImageRefArguments {
    /// An image reference as Docker has it: `app`, `ghcr.io/team/app:1.4`, `app@sha256:…`.
    image: String,
}

/// The parts of an image reference.
#[derive(Clone, Debug, Model)]
pub(crate) struct ImageRefParts {
    /// The registry's host and port; `docker.io` when the reference names none.
    registry: String,
    /// The repository inside the registry; `library/…` on Docker Hub when the reference names no namespace.
    repository: String,
    /// The tag, if there is one.
    tag: Attr<String>,
    /// The digest, if there is one.
    digest: Attr<String>,
    /// Whether the reference names exactly one image for ever, that is, has a digest.
    pinned: bool,
    /// The whole reference, with everything spelled out.
    canonical: String,
}

impl Function for ImageRefFunction {
    type Arguments = ImageRefArguments;
    type Output = ImageRefParts;

    const NAME: &'static str = "image_ref";
    const SUMMARY: &'static str = "Takes an image reference apart";
    const DESCRIPTION: &'static str = "Parses an image reference by Docker's grammar and returns `registry`, \
        `repository`, `tag`, `digest`, `pinned` and `canonical`. Nothing is looked up.";

    fn call(&self, arguments: Self::Arguments) -> Result<Self::Output, FunctionError> {
        let image: ImageRef = arguments
            .image
            .parse()
            .map_err(|error| FunctionError { text: format!("{error}"), argument: Some(0) })?;
        Ok(ImageRefParts {
            registry: image.registry().to_owned(),
            repository: image.repository().to_owned(),
            tag: image.tag().map(str::to_owned).into(),
            digest: image.digest().map(ToString::to_string).into(),
            pinned: image.digest().is_some(),
            canonical: image.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(image: &str) -> Result<ImageRefParts, FunctionError> {
        ImageRefFunction.call(ImageRefArguments { image: image.to_owned() })
    }

    #[test]
    fn short_names_are_spelled_out() {
        let parts = call("nginx:1.27").unwrap();
        assert_eq!((parts.registry.as_str(), parts.repository.as_str()), ("docker.io", "library/nginx"));
        assert_eq!(parts.tag, Attr::Known("1.27".to_owned()));
        assert!(!parts.pinned);
    }

    #[test]
    fn digest_pins() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let parts = call(&format!("127.0.0.1:7430/team/app@{digest}")).unwrap();
        assert_eq!(parts.registry, "127.0.0.1:7430");
        assert_eq!(parts.digest, Attr::Known(digest));
        assert!(parts.pinned);
    }

    #[test]
    fn bad_reference_names_the_argument() {
        assert_eq!(call("team/UPPER").unwrap_err().argument, Some(0));
    }
}
