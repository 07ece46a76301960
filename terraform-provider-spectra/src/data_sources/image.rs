//! `data.spectra_image`: an image in a registry, and the digest that a tag stands for now.

use std::collections::BTreeMap;

use spectra_oci::Platform;
use spectra_types::ImageRef;
use tfplugin::{Attr, DataSource, Diagnostic, Diagnostics, Model, Text};

use crate::provider::{Clients, Cx};
use crate::signatures::{SignatureModel, SignaturePolicyModel, verified};

/// An image in a registry. Finds the digest that a tag stands for at the time of the plan, so that everything after
/// the plan acts on that digest.
#[derive(Clone, Debug, Model)]
pub(crate) struct ImageModel {
    /// The image: a tag (`ghcr.io/team/app:1.4`) or a digest.
    #[tf(required)]
    image: Attr<Text<ImageRef>>,
    /// The platform to look at when the image is made for several: `linux/amd64`, `linux/arm64/v8`. Does not change
    /// `digest`, which is that of the whole.
    #[tf(optional)]
    platform: Attr<Text<Platform>>,
    /// Whose signatures the image needs. Reading it fails where they are not there.
    #[tf(optional)]
    verify: Attr<SignaturePolicyModel>,
    /// The digest that the reference stands for.
    #[tf(computed)]
    digest: Attr<String>,
    /// The image pinned to that digest, the form that `spectra_rollout` takes.
    #[tf(computed)]
    pinned: Attr<String>,
    /// The media type of what the digest names: a manifest or an index.
    #[tf(computed)]
    media_type: Attr<String>,
    /// All platforms, for an image made for several.
    #[tf(computed)]
    platforms: Attr<Vec<String>>,
    /// The image's labels.
    #[tf(computed)]
    labels: Attr<BTreeMap<String, String>>,
    /// The ports that the image declares: `8080/tcp`.
    #[tf(computed)]
    exposed_ports: Attr<Vec<String>>,
    /// When the image was made, RFC 3339; null when it does not say.
    #[tf(computed)]
    created: Attr<String>,
    /// Bytes of configuration and layers, as stored in the registry.
    #[tf(computed)]
    size: Attr<i64>,
    /// The signatures and attestations that count by `verify`; null without it.
    #[tf(computed)]
    signatures: Attr<Vec<SignatureModel>>,
}

/// The data source.
pub(crate) struct Image;

impl DataSource for Image {
    type Model = ImageModel;
    type Client = Clients;

    const TYPE: &'static str = "spectra_image";

    fn validate(&self, config: &ImageModel, diagnostics: &mut Diagnostics) {
        // What is not known yet is checked when it is.
        let Some(Ok(policy)) = config.verify.as_known().map(|verify| verify.policy("verify")) else { return };
        for problem in policy.problems() {
            let detail = format!("`verify.{}`: {}.", problem.path, problem.message);
            diagnostics.push(Diagnostic::error("The signature policy makes no sense", detail).at("verify"));
        }
    }

    async fn read(&self, cx: &Cx, config: ImageModel) -> Result<ImageModel, Diagnostics> {
        let image = config.image.clone().require("image")?;
        let platform = config.platform.as_known().map(|platform| platform.get().clone());
        let found = cx.client.registry().inspect(image.get(), platform.as_ref()).await.map_err(|error| {
            Diagnostic::error(
                format!("The image `{image}` cannot be read"),
                format!("{}. Nothing was changed.", spectra_types::error_chain(&error)),
            )
            .at("image")
        })?;
        let policy = config.verify.as_known().map(|verify| verify.policy("verify")).transpose()?;
        let signatures = match (policy, &found.pinned) {
            (Some(policy), Some(pinned)) => {
                Attr::Known(verified(cx.client.registry(), policy, pinned).await?)
            }
            // Null would read as if the signatures were there, and nobody had asked.
            (Some(_), None) => {
                return Err(Diagnostic::error(
                    format!("The signatures of `{image}` cannot be verified"),
                    "The registry told no digest of it, and signatures are about a digest. Nothing was changed.",
                )
                .at("verify")
                .into());
            }
            (None, _) => Attr::Null,
        };
        Ok(ImageModel {
            signatures,
            digest: found.digest.map(|digest| digest.to_string()).into(),
            pinned: found.pinned.map(|pinned| pinned.to_string()).into(),
            media_type: found.media_type.into(),
            platforms: found.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().into(),
            labels: found.labels.into(),
            exposed_ports: found.exposed_ports.into(),
            created: found.created.into(),
            size: i64::try_from(found.size).ok().into(),
            ..config
        })
    }
}
