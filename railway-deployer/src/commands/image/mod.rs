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

use std::path::PathBuf;

use clap::{Subcommand, builder::BoolishValueParser};
use spectra_oci::{
    Artifact, Cache, Client, ClientOptions, Compression, Credential, Environment, Keychain, OpenLimits,
    Packing, Platform, PlatformError, Trust,
};
use spectra_types::{ExitCode, HumanDuration, ImageRef, Secret};

pub(crate) use self::{
    keyless::{Certificates, RootFlags},
    keys::policy_file,
};
use crate::{
    failure::Failure,
    printer::{Printer, bytes},
};

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
    /// List the packages in an image, as CycloneDX or SPDX
    Sbom(sbom::Arguments),
    /// Look for known vulnerabilities, and refuse what is too bad
    Scan(scan::Arguments),
}

/// Whether a flag's variable is set. A flag and its variable look the same once they are read, and a variable may be set for other
/// commands of the same job: where what it says cannot apply, it counts as not given, and is no reason to fail.
fn from_variable(variable: &str) -> bool {
    std::env::var_os(variable).is_some()
}

/// Reads one platform. `image build` takes a list from the same variable, and nobody can say which of them is meant here.
fn one_platform(text: &str) -> Result<Platform, String> {
    text.parse().map_err(|error: PlatformError| {
        if std::env::var("SPECTRA_PLATFORM").is_ok_and(|value| value == text) {
            "SPECTRA_PLATFORM says so, and one platform is wanted here; give one as `--platform linux/amd64`, which counts before the variable".to_owned()
        } else {
            error.to_string()
        }
    })
}

/// What an archive may cost, for commands that open one.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Unpacking {
    /// Refuse a compressed archive that becomes larger than this many bytes, and layers to download that are larger together
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

/// What earlier commands noted of layers and uploads, for commands that write images.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Notes {
    /// Where earlier commands noted what layers become; without it, `$XDG_CACHE_HOME/spectra` or `~/.cache/spectra`
    #[arg(long, env = "SPECTRA_CACHE_DIR", value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Neither use nor write notes, wherever they are
    #[arg(long, env = "SPECTRA_NO_CACHE", value_parser = BoolishValueParser::new())]
    no_cache: bool,
    /// Take a raw layer for what it was when its file had the same inode, size and times, and read it not again
    #[arg(long, env = "SPECTRA_TRUST_CACHE", value_parser = BoolishValueParser::new())]
    trust_cache: bool,
}

impl Notes {
    fn packing(self, compression: Compression) -> Packing {
        let cache = match self.cache_dir {
            _ if self.no_cache => None,
            Some(directory) => Some(Cache::new(directory)),
            None => Cache::usual(),
        };
        let trust = if self.trust_cache { Trust::FileState } else { Trust::Content };
        Packing { compression, cache, trust }
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
          value_parser = BoolishValueParser::new())]
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
    #[command(flatten)]
    transport: Transport,
    /// How long nothing may happen on a request to a registry before it is repeated or fails; six times as long once a blob was sent [default: 100s]
    #[arg(long, env = "SPECTRA_REGISTRY_TIMEOUT", value_name = "DURATION", value_parser = some_time)]
    registry_timeout: Option<HumanDuration>,
}

/// How registries are spoken to that are not as the others: with TLS elsewhere, without it on this machine.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Transport {
    /// Speak to this registry without TLS, such as registry:5000: whoever is on the way can read and change images and read passwords
    #[arg(long, env = "SPECTRA_PLAIN_HTTP", value_name = "HOST[:PORT]", value_delimiter = ',', value_parser = registry_host)]
    plain_http: Vec<String>,
    /// Speak to this registry on this machine with TLS, such as localhost:5000
    #[arg(long, env = "SPECTRA_TLS", value_name = "HOST[:PORT]", value_delimiter = ',', value_parser = registry_host)]
    tls: Vec<String>,
}

fn some_time(text: &str) -> Result<HumanDuration, String> {
    match text.parse::<HumanDuration>() {
        Ok(HumanDuration::ZERO) => Err("no registry answers at once".to_owned()),
        result => result.map_err(|error| error.to_string()),
    }
}

/// A registry as references name it.
fn registry_host(text: &str) -> Result<String, String> {
    if text.contains("//") {
        return Err("name the host alone, such as `registry:5000`".to_owned());
    }
    let named: Option<ImageRef> = format!("{text}/x").parse().ok();
    match named {
        Some(image) if image.registry() == text => Ok(text.to_owned()),
        _ => Err("it is no host as references of images begin with, such as `registry:5000`".to_owned()),
    }
}

impl Transport {
    /// Lets a client speak to them so; without TLS, that is said aloud.
    pub(crate) fn apply(&self, options: &mut ClientOptions, printer: Printer) -> Result<(), Failure> {
        if let Some(host) = self.tls.iter().find(|host| self.plain_http.contains(host)) {
            return Err(Failure::usage(format!(
                "`{host}` is named by `--tls` and by `--plain-http`; leave one out"
            )));
        }
        options.tls.extend(self.tls.iter().cloned());
        for host in &self.plain_http {
            printer.warn(&format!(
                "`{host}` is spoken to without TLS: whoever is on the way can read and change images and read passwords"
            ));
            options.plain_http.insert(host.clone());
        }
        Ok(())
    }
}

impl Login {
    /// The flags that were given, each with its variable.
    fn given(&self) -> Vec<(&'static str, &'static str)> {
        let given = [
            (self.username.is_some(), "--username", "SPECTRA_REGISTRY_USERNAME"),
            (self.password_stdin, "--password-stdin", "SPECTRA_PASSWORD_STDIN"),
            (!self.transport.plain_http.is_empty(), "--plain-http", "SPECTRA_PLAIN_HTTP"),
            (!self.transport.tls.is_empty(), "--tls", "SPECTRA_TLS"),
            (self.registry_timeout.is_some(), "--registry-timeout", "SPECTRA_REGISTRY_TIMEOUT"),
        ];
        given.into_iter().filter_map(|(given, flag, variable)| given.then_some((flag, variable))).collect()
    }

    /// A client that shows the given credentials to the image's registry alone.
    fn client(self, image: &ImageRef, printer: Printer) -> Result<Client, Failure> {
        let mut options = ClientOptions::default();
        if let Some(timeout) = self.registry_timeout {
            options.stall_timeout = timeout.get();
        }
        self.transport.apply(&mut options, printer)?;
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
        Ok(Client::new(keychain, options))
    }

    /// For commands that turn out to meet no registry: what was typed for one would have no effect and is refused. A variable may be set
    /// for other commands of the same job.
    fn unused(&self) -> Result<Client, Failure> {
        if let Some((flag, _)) = self.given().into_iter().find(|(_, variable)| !from_variable(variable)) {
            return Err(Failure::usage(format!(
                "`{flag}` is for registries, and there is none here; leave it out"
            )));
        }
        Ok(Client::new(Keychain::new(Environment::from_process()), ClientOptions::default()))
    }
}

/// Says which layers stayed where their manifest says that they are, and returns how many.
fn warn_of_layers_left(artifact: &Artifact, printer: Printer) -> usize {
    let left = artifact.elsewhere();
    for layer in &left {
        printer.warn(&format!(
            "left out: layer {} ({}), which may not be distributed and is not with the image; it says that it is at {}",
            layer.digest,
            bytes(layer.size),
            layer.listed_urls()
        ));
    }
    left.len()
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

#[cfg(test)]
mod tests {
    use clap::Args as _;

    use super::*;

    #[test]
    fn help_names_the_time_out_that_holds_without_the_flag() {
        let login = Login::augment_args(clap::Command::new("image"));
        let timeout = login.get_arguments().find(|argument| argument.get_id() == "registry_timeout").unwrap();
        let help = timeout.get_help().unwrap().to_string();
        let (_, default) = help.split_once("[default: ").unwrap();
        let default: HumanDuration = default.trim_end_matches(']').parse().unwrap();
        assert_eq!(default.get(), ClientOptions::default().stall_timeout);
    }
}
