//! `image keygen`: a pair of keys to sign images with.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum, builder::BoolishValueParser};
use serde_json::json;
use spectra_sign::{Algorithm, Error, SigningKey};
use spectra_types::ExitCode;

use super::keys::PasswordFlags;
use crate::{failure::Failure, lines::Lines, printer::Printer};

/// Arguments of `image keygen`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where to write them: `PREFIX.key` and `PREFIX.pub`, neither of which may be there
    #[arg(long, env = "SPECTRA_OUTPUT", value_name = "PREFIX", default_value = "cosign")]
    output: PathBuf,
    /// What the keys sign with
    #[arg(long, env = "SPECTRA_KEY_ALGORITHM", value_enum, default_value = "ecdsa-p256")]
    algorithm: Kind,
    /// Leave the private key unencrypted; for a store that keeps secrets itself
    #[arg(long, env = "SPECTRA_NO_PASSWORD", value_parser = BoolishValueParser::new(), conflicts_with = "password_file")]
    no_password: bool,
    #[command(flatten)]
    password: PasswordFlags,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    EcdsaP256,
    Ed25519,
}

pub(super) fn run(arguments: &Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    let password = if arguments.no_password {
        None
    } else {
        arguments.password.find_new("Password of the new key: ")?
    };
    if password.as_ref().is_none_or(|password| password.expose().is_empty()) && !arguments.no_password {
        return Err(Failure::usage(
            "the private key needs a password: `--password-file` or COSIGN_PASSWORD; `--no-password` leaves it unencrypted",
        ));
    }
    let algorithm = match arguments.algorithm {
        Kind::EcdsaP256 => Algorithm::EcdsaP256,
        Kind::Ed25519 => Algorithm::Ed25519,
    };
    let path = |extension: &str| {
        let mut name = arguments.output.clone().into_os_string();
        name.push(extension);
        PathBuf::from(name)
    };
    let (private, public) = (path(".key"), path(".pub"));
    let failed = |source| Error::Key { from: format!("`{}`", private.display()), source };
    let key = SigningKey::generate(algorithm).map_err(failed)?;
    let pem = key.to_pem(password.as_ref()).map_err(failed)?;
    write_both([(&private, pem.expose(), 0o600), (&public, &key.public().to_pem(), 0o644)])?;
    let fingerprint = key.public().fingerprint();
    let value = json!({
        "private_key": private,
        "public_key": public,
        "algorithm": algorithm.to_string(),
        "fingerprint": fingerprint,
        "encrypted": password.is_some(),
    });
    let text: Lines = [
        format!("private key  {}", private.display()),
        format!("public key   {}", public.display()),
        format!("fingerprint  {fingerprint}"),
    ]
    .into_iter()
    .collect();
    printer.data("image.keygen", &value, text)?;
    Ok(ExitCode::Done)
}

/// Writes two new files, path, text and mode, or none: a private key without its public one would be in the way of the next try.
fn write_both(files: [(&Path, &str, u32); 2]) -> Result<(), Failure> {
    let mut opened: Vec<(&Path, File, &str)> = Vec::new();
    let mut write = || {
        for (path, text, mode) in files {
            let mut options = OpenOptions::new();
            let file = options.write(true).create_new(true).mode(mode).open(path);
            let file = file.map_err(|source| match source.kind() {
                ErrorKind::AlreadyExists => Failure::KeyExists { path: path.to_owned() },
                _ => Failure::file("write", path)(source),
            })?;
            opened.push((path, file, text));
        }
        for (path, file, text) in &mut opened {
            file.write_all(text.as_bytes()).map_err(Failure::file("write", *path))?;
        }
        Ok(())
    };
    let result = write();
    if result.is_err() {
        for (path, ..) in &opened {
            // What went wrong first is what is told.
            let _ = fs::remove_file(path);
        }
    }
    result
}
