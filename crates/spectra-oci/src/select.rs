//! Taking one image out of an index.

use crate::{Artifact, Error, Platform, source::list};

impl Artifact {
    /// The image for a platform: of an index the first that satisfies it, of one image itself if it does.
    pub fn for_platform(&self, wanted: &Platform) -> Result<Self, Error> {
        let mut found = Vec::new();
        for image in self.images() {
            let platform = image.configuration()?.platform();
            if platform.satisfies(wanted) {
                return Ok(Self::Image(image.clone()));
            }
            // What is no image, such as an attestation in an index, states none.
            if !platform.os.is_empty() && platform.os != "unknown" {
                found.push(platform.to_string());
            }
        }
        let origin = self.images().first().map(|image| image.origin.clone()).unwrap_or_default();
        Err(Error::input(origin, format!("there is no image for `{wanted}`, but for {}", list(&found))))
    }
}
