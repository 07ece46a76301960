//! `rollout approve`.

use std::path::PathBuf;

use clap::{Args, builder::BoolishValueParser};
use serde_json::json;
use spectra_delivery::approval::{Decision, Key, Statement, record, sign};
use spectra_types::{Digest, ExitCode, Secret};

use super::flags::RequestFlags;
use super::place::PlaceFlags;
use super::{open, spec};
use crate::{failure::Failure, lines::Lines, printer::Printer};

/// The variable with an approver's private key.
const KEY_VARIABLE: &str = "SPECTRA_APPROVAL_KEY";

/// Arguments of `rollout approve`: those of `rollout start`, since what is approved is an image by a plan.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: PlaceFlags,
    /// File with the rollout that is approved; of several, all
    #[arg(long, value_name = "FILE", env = "SPECTRA_SPEC")]
    spec: Option<PathBuf>,
    #[command(flatten)]
    request: RequestFlags,
    /// The digest that is meant to be approved: refused if the rollout is of another one
    #[arg(long, env = "SPECTRA_DIGEST")]
    digest: Option<Digest>,
    /// Who approves, as the rollout's rule names them
    #[arg(long = "as", id = "as", value_name = "NAME", env = "SPECTRA_APPROVE_AS")]
    name: String,
    /// Say no: what was approved before counts no more
    #[arg(long, env = "SPECTRA_DENY", value_parser = BoolishValueParser::new())]
    deny: bool,
    /// File with the Ed25519 private key; else `SPECTRA_APPROVAL_KEY` holds it
    // A variable for the path would be confused with the one for the key.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

pub(super) async fn run(arguments: Arguments, journal: &str, printer: Printer) -> Result<ExitCode, Failure> {
    let requests = match &arguments.spec {
        Some(path) => spec::read(path, &arguments.place, arguments.request.image.as_ref())?,
        None => vec![arguments.request.request(&arguments.place)?],
    };
    if let Some(digest) = &arguments.digest {
        for request in &requests {
            if request.candidate.digest() != digest {
                return Err(Failure::usage(format!(
                    "the rollout of {} is of `{}`, and `{digest}` is to be approved; nothing was recorded",
                    request.place,
                    request.candidate.digest()
                )));
            }
        }
    }
    let key = key(arguments.key.as_deref())?;
    let decision = if arguments.deny { Decision::Denied } else { Decision::Given };
    let journal = open(journal).await?;
    let mut signed = Vec::with_capacity(requests.len());
    for request in &requests {
        let statement = Statement::about(request, decision, &arguments.name, jiff::Timestamp::now());
        let one = sign(&key, statement);
        record(&journal, &one).await?;
        signed.push(one);
    }
    let word = if arguments.deny { "denied" } else { "approved" };
    let lines: Lines = signed
        .iter()
        .map(|one| {
            format!(
                "{word}: {} for {} by plan {}, as {} with the key {}",
                one.digest, one.place, one.plan_hash, one.approver, one.public_key
            )
        })
        .collect();
    printer.data("rollout.approve", &json!({ "approvals": signed }), lines)?;
    Ok(ExitCode::Done)
}

fn key(path: Option<&std::path::Path>) -> Result<Key, Failure> {
    let (bytes, origin) = if let Some(path) = path {
        (std::fs::read(path).map_err(Failure::file("read the key", path))?, format!("`{}`", path.display()))
    } else {
        let text = std::env::var(KEY_VARIABLE).ok().filter(|text| !text.trim().is_empty());
        let text = text.ok_or_else(|| {
            Failure::usage(format!(
                "there is no key to sign with: give `--key FILE`, or set {KEY_VARIABLE}; `openssl genpkey -algorithm \
                 ed25519` makes one"
            ))
        })?;
        (text.into_bytes(), KEY_VARIABLE.to_owned())
    };
    Key::parse(&Secret::new(bytes)).map_err(|error| Failure::usage(format!("{origin}: {error}")))
}
