//! `provider::spectra::pin`: an image and a digest, joined.

use spectra_types::{Digest, ImageRef};
use tfplugin::{Function, FunctionError, Model};

/// Pins an image to a digest.
pub(crate) struct PinFunction;

/// The parameters of `pin`.
#[derive(Clone, Debug, Model)]
pub(crate) struct PinArguments {
    /// An image reference; its tag is dropped. A digest it already has must be the same one.
    image: String,
    /// The digest: `sha256:` and 64 hexadecimal digits.
    digest: String,
}

impl Function for PinFunction {
    type Arguments = PinArguments;
    type Output = String;

    const NAME: &'static str = "pin";
    const SUMMARY: &'static str = "Pins an image to a digest";
    const DESCRIPTION: &'static str = "Returns `registry/repository@digest`, the form that `spectra_rollout` takes. \
        The tag of `image` is dropped, since a digest says everything. Nothing is looked up; \
        `data.spectra_image` finds the digest of a tag.";

    fn call(&self, arguments: Self::Arguments) -> Result<Self::Output, FunctionError> {
        let refuse = |text: String, argument| FunctionError { text, argument: Some(argument) };
        let image: ImageRef = arguments.image.parse().map_err(|error| refuse(format!("{error}"), 0))?;
        let digest: Digest = arguments.digest.parse().map_err(|error| refuse(format!("{error}"), 1))?;
        match image.digest() {
            Some(other) if other != &digest => Err(refuse(
                format!(
                    "`{}` is pinned to `{other}` already, which is not `{digest}`: drop one of them",
                    arguments.image
                ),
                1,
            )),
            _ => Ok(image.pin(digest).to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(image: &str, digest: &str) -> Result<String, FunctionError> {
        PinFunction.call(PinArguments { image: image.to_owned(), digest: digest.to_owned() })
    }

    #[test]
    fn tag_gives_way_to_the_digest() {
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(call("ghcr.io/team/app:1.4", &digest).unwrap(), format!("ghcr.io/team/app@{digest}"));
    }

    #[test]
    fn two_digests_are_refused() {
        let (one, other) = (format!("sha256:{}", "0".repeat(64)), format!("sha256:{}", "1".repeat(64)));
        let error = call(&format!("app@{one}"), &other).unwrap_err();
        assert_eq!(error.argument, Some(1));
        assert!(error.text.contains(&one) && error.text.contains(&other));
    }

    #[test]
    fn tag_in_the_place_of_a_digest_is_refused() {
        assert_eq!(call("app", "latest").unwrap_err().argument, Some(1));
    }
}
