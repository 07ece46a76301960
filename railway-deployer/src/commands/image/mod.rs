//! `image`: build, push, copy, inspect, sbom, scan, sign, verify, attest.

mod attest;
mod build;
mod copy;
mod destination;
mod inspect;
mod keygen;
mod keyless;
mod keys;
mod local;
mod push;
mod sbom;
mod scan;
mod sign;
mod source;
mod verify;

use clap::Subcommand;
use spectra_oci::{Client, ClientOptions, Credential, Environment, Keychain, OpenLimits};
use spectra_types::{ExitCode, ImageRef, Secret};

pub(crate) use self::{
    keyless::{Certificates, RootFlags},
    keys::policy_file,
};
use crate::{failure::Failure, printer::Printer};

/// Commands of `image`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an OCI layout from an image.toml or a directory, without a daemon and the same bytes every time, or from a Dockerfile
    Build(Box<build::Arguments>),
    /// Push a layout, an archive or an engine's image to a registry
    Push(push::Arguments),
    /// Copy an image between registries, layouts, archives and engines, its digest unchanged
    Copy(copy::Arguments),
    /// Show what an image runs, its labels, layers and digests
    Inspect(inspect::Arguments),
    /// Make a pair of keys to sign images with
    Keygen(keygen::Arguments),
    /// Sign an image in a registry
    Sign(Box<sign::Arguments>),
    /// Check who signed an image; exit code 5 if it is not signed as it has to be
    Verify(Box<verify::Arguments>),
    /// Sign a statement about an image: provenance, bill of material, scan
    Attest(Box<attest::Arguments>),
    /// List the packages in an image, as `CycloneDX` or SPDX
    Sbom(sbom::Arguments),
    /// Look for known vulnerabilities, and refuse what is too bad
    Scan(scan::Arguments),
}

/// What an archive may cost, for commands that open one.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Unpacking {
    /// Refuse a compressed archive that becomes larger than this many bytes
    #[arg(long, env = "SPECTRA_MAX_UNPACKED", value_name = "BYTES", default_value_t = OpenLimits::default().unpacked,
          value_parser = clap::value_parser!(u64).range(1..))]
    max_unpacked: u64,
    /// Refuse a compressed archive that becomes this many times as large as it is, from 64 MiB on
    #[arg(long, env = "SPECTRA_MAX_RATIO", value_name = "NUMBER", default_value_t = OpenLimits::default().ratio,
          value_parser = clap::value_parser!(u64).range(1..))]
    max_ratio: u64,
}

impl Unpacking {
    fn limits(self) -> OpenLimits {
        OpenLimits { unpacked: self.max_unpacked, ratio: self.max_ratio }
    }
}

/// How to log in, for commands that talk to a registry.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Login {
    /// User name for the registry; without it, docker's and podman's stored credentials are used
    #[arg(long, env = "SPECTRA_REGISTRY_USERNAME", requires = "password_source")]
    username: Option<String>,
    /// Read the password from standard input
    #[arg(long, env = "SPECTRA_PASSWORD_STDIN", group = "password_source", requires = "username",
          value_parser = clap::builder::BoolishValueParser::new())]
    password_stdin: bool,
    /// Password, from the environment alone: arguments can be seen by every process
    #[arg(
        long,
        env = "SPECTRA_REGISTRY_PASSWORD",
        group = "password_source",
        hide = true,
        hide_env_values = true
    )]
    password: Option<Secret<String>>,
}

impl Login {
    /// A client that shows the given credentials to the image's registry alone.
    fn client(self, image: &ImageRef) -> Result<Client, Failure> {
        let mut keychain = Keychain::new(Environment::from_process());
        if let Some(username) = self.username {
            let password = match (self.password_stdin, self.password) {
                (true, _) => {
                    let mut text = String::new();
                    std::io::stdin()
                        .read_line(&mut text)
                        .map_err(|source| Failure::io("read the password from standard input", source))?;
                    Secret::from(text.trim_end_matches(['\r', '\n']))
                }
                (false, Some(password)) => password,
                (false, None) => return Err(Failure::usage("`--username` needs `--password-stdin`")),
            };
            keychain = keychain.with(image.registry(), Credential::Basic { username, password });
        }
        Ok(Client::new(keychain, ClientOptions::default()))
    }

    /// A client with stored credentials alone, for commands that may not meet a registry at all.
    fn stored() -> Client {
        Client::new(Keychain::new(Environment::from_process()), ClientOptions::default())
    }
}

pub(crate) async fn run(command: Command, printer: Printer) -> Result<ExitCode, Failure> {
    match command {
        Command::Build(arguments) => Box::pin(build::run(*arguments, printer)).await,
        Command::Push(arguments) => Box::pin(push::run(arguments, printer)).await,
        Command::Copy(arguments) => Box::pin(copy::run(arguments, printer)).await,
        Command::Inspect(arguments) => Box::pin(inspect::run(arguments, printer)).await,
        Command::Keygen(arguments) => keygen::run(&arguments, printer),
        Command::Sign(arguments) => Box::pin(sign::run(*arguments, printer)).await,
        Command::Verify(arguments) => Box::pin(verify::run(*arguments, printer)).await,
        Command::Attest(arguments) => Box::pin(attest::run(*arguments, printer)).await,
        Command::Sbom(arguments) => Box::pin(sbom::run(arguments, printer)).await,
        Command::Scan(arguments) => Box::pin(scan::run(arguments, printer)).await,
    }
}
