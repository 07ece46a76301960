//! `image attest`: a signed statement about an image, beside the image.

use std::path::PathBuf;

use clap::{Args, builder::BoolishValueParser};
use serde_json::{Value, json};
use spectra_sign::{Accepted, Error, PredicateType, Statement};
use spectra_types::{ExitCode, ImageRef};

use super::{
    Login,
    keyless::{Signer, SignerFlags},
    keys::pinned,
    sign::made_already,
    source::in_registry,
};
use crate::{failure::Failure, printer::Printer};

/// Arguments of `image attest`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The image; the statement is about its digest, also where a tag is given
    #[arg(value_parser = in_registry)]
    image: ImageRef,
    /// JSON file with what is stated; `-` reads standard input
    #[arg(long, env = "SPECTRA_PREDICATE", value_name = "FILE")]
    predicate: PathBuf,
    /// What kind of statement: slsaprovenance1, cyclonedx, spdxjson, vuln, openvex, custom, … or a URI
    #[arg(long = "type", env = "SPECTRA_PREDICATE_TYPE", value_name = "TYPE")]
    kind: PredicateType,
    #[command(flatten)]
    signer: SignerFlags,
    /// Attest even if this key has attested the same already; with `--keyless`, every attestation is a new one
    #[arg(long, env = "SPECTRA_ATTEST_AGAIN", value_parser = BoolishValueParser::new())]
    again: bool,
    #[command(flatten)]
    login: Login,
}

pub(super) async fn run(arguments: Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    let Arguments { image, predicate: path, kind, signer, again, login } = arguments;
    let predicate = read(&path, &kind)?;
    let signer = signer.signer()?;
    let client = login.client(&image, printer)?;
    let image = pinned(&client, &image, printer).await?;
    // A registry keeps every attestation, and one with too many for a digest is read no more when it is verified.
    let is_same = |one: &Accepted| {
        one.predicate_type.as_deref() == Some(kind.uri()) && one.predicate.as_ref() == Some(&predicate)
    };
    if !again
        && let Signer::Key(key) = &signer
        && let Some(origin) = made_already(&client, &image, key, is_same).await?
    {
        printer.note(&format!(
            "this key has attested this `{kind}` of `{image}` already; `--again` attests it once more"
        ));
        let value = json!({
            "image": image, "predicate_type": kind.uri(), "key": key.public().fingerprint(),
            "attestation": origin, "attested": false,
        });
        printer.data("image.attest", &value, image.to_string())?;
        return Ok(ExitCode::Done);
    }
    let name = format!("{}/{}", image.registry(), image.repository());
    let statement = Statement::attestation(&name, image.digest(), &kind, predicate);
    signer.look(&client, &image).await?;
    let sealed = signer.seal(&statement, &image).await?;
    let (by, (member, who)) = (sealed.by.clone(), sealed.member.clone());
    let attached = sealed.attach(&client, &image, kind.uri(), printer).await?;
    printer.note(&format!("attested `{kind}` of `{image}` {by}"));
    let value = json!({
        "image": image,
        "predicate_type": kind.uri(),
        member: who,
        "attestation": attached.manifest.digest,
        "fallback_tag": attached.fallback_tag,
        "attested": true,
    });
    printer.data("image.attest", &value, image.to_string())?;
    Ok(ExitCode::Done)
}

fn read(path: &PathBuf, kind: &PredicateType) -> Result<Value, Failure> {
    let (from, bytes) = if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes)
            .map_err(|source| Failure::io("read the predicate from standard input", source))?;
        ("on standard input".to_owned(), bytes)
    } else {
        let bytes = std::fs::read(path).map_err(Failure::file("read the predicate", path))?;
        (format!("`{}`", path.display()), bytes)
    };
    let failed = |reason: String| Error::Predicate { from: from.clone(), kind: kind.to_string(), reason };
    let predicate =
        serde_json::from_slice(&bytes).map_err(|error| failed(format!("it is no JSON: {error}")))?;
    match kind.problem_of(&predicate) {
        Some(reason) => Err(failed(reason).into()),
        None => Ok(predicate),
    }
}
