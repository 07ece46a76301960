//! `image sign`: a signature of an image's digest, beside the image.

use std::{collections::BTreeMap, sync::Arc};

use clap::{Args, builder::BoolishValueParser};
use serde_json::{Value, json};
use spectra_delivery::gathered;
use spectra_oci::{Attached, Attachment, Client, Image, MAX_EVIDENCE, NoProgress};
use spectra_sign::{
    Accepted, BUNDLE_MEDIA_TYPE, EvidenceSource, SIGNATURE, SigningKey, Statement, Subject, Trust,
    TrustedKey, examine,
};
use spectra_types::{ExitCode, ImageRef, PinnedImage};

use super::{
    Login,
    keyless::{Signer, SignerFlags},
    keys::pinned,
    source::in_registry,
};
use crate::{failure::Failure, printer::Printer};

/// Arguments of `image sign`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The image; its digest is signed, also where a tag is given
    #[arg(value_parser = in_registry)]
    image: ImageRef,
    #[command(flatten)]
    signer: SignerFlags,
    /// Something to sign with it
    #[arg(long, env = "SPECTRA_ANNOTATION", value_name = "NAME=VALUE", value_parser = annotation)]
    annotation: Vec<(String, String)>,
    /// Sign even if this key has signed it already; with `--keyless`, every signature is a new one
    #[arg(long, env = "SPECTRA_SIGN_AGAIN", value_parser = BoolishValueParser::new())]
    again: bool,
    /// Of an index, also sign the image of each platform: whoever pulls one by its own digest can verify it
    #[arg(long, env = "SPECTRA_SIGN_RECURSIVE", value_parser = BoolishValueParser::new())]
    recursive: bool,
    #[command(flatten)]
    login: Login,
}

/// `NAME=VALUE`; the value may be empty.
pub(super) fn annotation(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it is no NAME=VALUE"),
    }
}

pub(super) async fn run(arguments: Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    let signer = arguments.signer.signer()?;
    let client = arguments.login.client(&arguments.image, printer)?;
    let image = pinned(&client, &arguments.image, printer).await?;
    let annotations: BTreeMap<_, _> = arguments.annotation.into_iter().collect();
    let signing = Signing { client, signer, annotations, again: arguments.again, printer };
    let mut platforms = Vec::new();
    if arguments.recursive {
        // Before the index: one that is signed is signed as a whole.
        for one in images_of(&signing.client, &image).await? {
            platforms.push(signing.sign(&one).await?);
        }
    }
    let mut value = signing.sign(&image).await?;
    if arguments.recursive {
        value["images"] = platforms.into();
    }
    printer.data("image.sign", &value, image.to_string())?;
    Ok(ExitCode::Done)
}

/// The images of an index, each once; nothing of an image that is none.
async fn images_of(client: &Client, image: &PinnedImage) -> Result<Vec<PinnedImage>, Failure> {
    let artifact = client.open(&image.image_ref(), None, Arc::new(NoProgress)).await?;
    let mut digests: Vec<_> = artifact.images().into_iter().filter_map(Image::manifest_digest).collect();
    digests.retain(|digest| *digest != image.digest());
    digests.sort();
    digests.dedup();
    Ok(digests.into_iter().map(|digest| image.image_ref().pin(digest.clone())).collect())
}

/// How images are signed.
struct Signing {
    client: Client,
    signer: Signer,
    annotations: BTreeMap<String, String>,
    again: bool,
    printer: Printer,
}

impl Signing {
    /// Signs one digest, unless that was done, and says what came of it.
    async fn sign(&self, image: &PinnedImage) -> Result<Value, Failure> {
        let Self { client, signer, annotations, again, printer } = self;
        if !again
            && let Signer::Key(key) = signer
            && let Some(origin) = made_already(client, image, key, |one| {
                one.predicate_type.is_none() && one.annotations == *annotations
            })
            .await?
        {
            printer.note(&format!("this key has signed `{image}` already; `--again` signs it once more"));
            return Ok(json!({
                "image": image, "key": key.public().fingerprint(), "signature": origin, "signed": false,
            }));
        }
        let statement = Statement::signature(image.digest(), annotations);
        signer.look(client, image).await?;
        let sealed = signer.seal(&statement, image).await?;
        let (by, (name, who)) = (sealed.by.clone(), sealed.member.clone());
        let attached = sealed.attach(client, image, SIGNATURE, *printer).await?;
        printer.note(&format!("signed `{image}` {by}"));
        Ok(json!({
            "image": image,
            name: who,
            "signature": attached.manifest.digest,
            "fallback_tag": attached.fallback_tag,
            "signed": true,
        }))
    }
}

/// Where the signature or attestation of this key is that is the `same`, if there is one.
pub(super) async fn made_already(
    source: &dyn EvidenceSource,
    image: &PinnedImage,
    key: &SigningKey,
    same: impl Fn(&Accepted) -> bool,
) -> Result<Option<String>, Failure> {
    let gathered = gathered(source, image).await?;
    let keys = [TrustedKey { name: "own".to_owned(), public_key: key.public().clone() }];
    let subject = Subject { digest: image.digest(), manifest: &gathered.manifest };
    let found = examine(subject, &gathered.evidence, Trust::keys(&keys)).accepted;
    Ok(found.into_iter().find(same).map(|one| one.origin))
}

/// Attaches a bundle as cosign does it.
pub(super) async fn attach(
    client: &Client,
    image: &PinnedImage,
    bundle: Vec<u8>,
    predicate_type: &str,
) -> Result<Attached, Failure> {
    if bundle.len() as u64 > MAX_EVIDENCE {
        return Err(Failure::usage(format!(
            "the signed statement has {} bytes, and more than {MAX_EVIDENCE} would not be read again when it is verified",
            bundle.len()
        )));
    }
    let annotations = BTreeMap::from([
        ("dev.sigstore.bundle.content".to_owned(), "dsse-envelope".to_owned()),
        ("dev.sigstore.bundle.predicateType".to_owned(), predicate_type.to_owned()),
        ("org.opencontainers.image.created".to_owned(), now()),
    ]);
    let attachment = Attachment {
        artifact_type: BUNDLE_MEDIA_TYPE.to_owned(),
        media_type: BUNDLE_MEDIA_TYPE.to_owned(),
        content: bundle,
        annotations,
    };
    Ok(Box::pin(client.attach(image, &attachment)).await?)
}

/// Now, to the second.
fn now() -> String {
    let second = jiff::Timestamp::now().as_second();
    jiff::Timestamp::from_second(second).unwrap_or_default().to_string()
}
