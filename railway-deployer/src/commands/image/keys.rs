//! Keys and policies of the commands about signatures: from files and variables, with their passwords.

use std::{
    fmt,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use spectra_oci::Client;
use spectra_sign::{Error, KeyError, PolicyFile, PublicKey, SigningKey, TrustedKey};
use spectra_types::{ImageRef, PinnedImage, Secret};

use crate::{failure::Failure, printer::Printer};

/// Where a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeySource {
    File(PathBuf),
    Variable(String),
    /// No place: the secret itself was given. It is never shown.
    Value(Secret<String>),
}

impl FromStr for KeySource {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Before anything else, because places are named in errors.
        let variable = text.strip_prefix("env://").or_else(|| text.strip_prefix("env:"));
        if is_secret(variable.unwrap_or(text)) {
            return Ok(Self::Value(Secret::from(variable.unwrap_or(text))));
        }
        match variable {
            Some("") => Err("a variable has a name: `env:NAME`"),
            Some(name) => Ok(Self::Variable(name.to_owned())),
            None if text.contains("://") => {
                Err("keys of key management services are not read; it is a file, or `env:NAME`")
            }
            None => Ok(Self::File(text.into())),
        }
    }
}

/// Whether it is a secret by its looks: PEM, or a JSON Web Token.
fn is_secret(text: &str) -> bool {
    if text.contains("-----BEGIN") {
        return true;
    }
    let text = text.trim();
    let base64url = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=".contains(&b));
    // `ey` is how `{` and a quotation mark, a space or a line feed begin in base64.
    text.starts_with("ey") && text.split('.').count() == 3 && text.split('.').all(base64url)
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "env:{name}"),
            Self::Value(_) => f.write_str("(a secret)"),
        }
    }
}

impl KeySource {
    /// Reads it; `what` is what is expected there. The secret itself is refused: arguments can be seen by every process.
    pub(super) fn read(&self, what: &str) -> Result<Secret<String>, Failure> {
        match self {
            Self::File(path) => std::fs::read_to_string(path)
                .map(Secret::new)
                .map_err(Failure::file(&format!("read {what}"), path)),
            Self::Variable(name) => std::env::var(name).map(Secret::new).map_err(|_| {
                Failure::usage(format!("the variable `{name}`, which is to hold {what}, is not set"))
            }),
            Self::Value(_) => Err(Failure::usage(format!(
                "{what} itself was given, and not where it is: it is in a file, or in a variable that `env:NAME` names"
            ))),
        }
    }

    /// Reads an identity token. Here the token itself is taken, too: it lives for minutes, and cosign has the same flag. The
    /// second text says where it is from.
    #[cfg(feature = "keyless")]
    pub(super) fn token(&self) -> Result<(Secret<String>, String), Failure> {
        match self {
            Self::Value(token) => Ok((token.clone(), "that was given".to_owned())),
            place => Ok((place.read("the identity token")?, format!("`{place}`"))),
        }
    }

    fn failed(&self) -> impl FnOnce(KeyError) -> Failure {
        let from = format!("`{self}`");
        |source| Error::Key { from, source }.into()
    }

    /// The public key there, named after the place.
    pub(super) fn trusted(&self) -> Result<TrustedKey, Failure> {
        // Read as a secret: it may be a private key by mistake.
        let text = self.read("the key")?;
        let public_key = PublicKey::parse(text.expose()).map_err(self.failed())?;
        Ok(TrustedKey { name: self.to_string(), public_key })
    }
}

/// A private key.
#[derive(Debug, Args)]
pub(super) struct KeyFlags {
    // PEM begins with a hyphen, and what is taken for an unknown flag is shown.
    /// Private key: a file, or `env:NAME` for a variable that holds it; PEM, also as cosign encrypts it
    #[arg(
        long,
        env = "SPECTRA_KEY",
        hide_env_values = true,
        allow_hyphen_values = true,
        value_name = "FILE|env:NAME"
    )]
    key: Option<KeySource>,
    #[command(flatten)]
    password: PasswordFlags,
}

impl KeyFlags {
    pub(super) const fn is_given(&self) -> bool {
        self.key.is_some()
    }

    /// Reads the key, and asks for its password if it has one that was not given.
    pub(super) fn signing_key(&self) -> Result<SigningKey, Failure> {
        let Some(key) = &self.key else {
            return Err(Failure::usage(
                "it is signed with a key, `--key FILE`, or with a certificate for an identity, `--keyless`; neither is given",
            ));
        };
        let text = key.read("the key")?;
        let password = if SigningKey::is_encrypted(&text) {
            self.password.find(&format!("Password of the key {key}: "))?
        } else {
            None
        };
        SigningKey::parse(&text, password.as_ref()).map_err(key.failed())
    }
}

/// The password of a private key.
#[derive(Debug, Args)]
pub(super) struct PasswordFlags {
    /// File with the password of an encrypted key; else `SPECTRA_KEY_PASSWORD` or `COSIGN_PASSWORD` holds it, or it is asked for
    #[arg(long, env = "SPECTRA_KEY_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Password, from the environment alone: arguments can be seen by every process
    #[arg(long, env = "SPECTRA_KEY_PASSWORD", hide = true, hide_env_values = true)]
    key_password: Option<Secret<String>>,
}

impl PasswordFlags {
    /// The password that was given, or typed at a terminal; `None` where there is neither.
    pub(super) fn find(&self, prompt: &str) -> Result<Option<Secret<String>>, Failure> {
        if let Some(password) = self.given()? {
            return Ok(Some(password));
        }
        typed(prompt)
    }

    /// Like [`find`](Self::find), for a password that nobody has used yet: it has to be typed twice.
    pub(super) fn find_new(&self, prompt: &str) -> Result<Option<Secret<String>>, Failure> {
        if let Some(password) = self.given()? {
            return Ok(Some(password));
        }
        let Some(password) = typed(prompt)? else { return Ok(None) };
        match typed("The same again: ")? {
            Some(again) if again.expose() == password.expose() => Ok(Some(password)),
            _ => Err(Failure::usage("the two passwords differ")),
        }
    }

    fn given(&self) -> Result<Option<Secret<String>>, Failure> {
        if let Some(path) = &self.password_file {
            let text = std::fs::read_to_string(path).map_err(Failure::file("read the password in", path))?;
            let text = Secret::new(text);
            return Ok(Some(Secret::from(text.expose().trim_end_matches(['\r', '\n']))));
        }
        if let Some(password) = &self.key_password {
            return Ok(Some(password.clone()));
        }
        Ok(std::env::var("COSIGN_PASSWORD").ok().map(Secret::new))
    }
}

/// What is typed at the terminal; `None` where there is none.
fn typed(prompt: &str) -> Result<Option<Secret<String>>, Failure> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    ask(prompt).map(Some).map_err(|source| Failure::io("read the password", source))
}

/// Asks at the terminal, without showing what is typed.
fn ask(prompt: &str) -> io::Result<Secret<String>> {
    let stdin = io::stdin();
    io::stderr().write_all(prompt.as_bytes())?;
    let before = tcgetattr(&stdin)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
    let mut line = String::new();
    let result = stdin.lock().read_line(&mut line);
    tcsetattr(&stdin, OptionalActions::Flush, &before)?;
    io::stderr().write_all(b"\n")?;
    let line = Secret::new(line);
    result?;
    Ok(Secret::from(line.expose().trim_end_matches(['\r', '\n'])))
}

/// Reads a policy file; the keys' files are relative to it.
pub(crate) fn policy_file(path: &Path) -> Result<PolicyFile, Failure> {
    let text = std::fs::read_to_string(path).map_err(Failure::file("read the signature policy", path))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))
    };
    Ok(PolicyFile::parse(&text, &path.display().to_string(), read)?)
}

/// The image by its digest. A tag is resolved once, and that is said: what is signed or verified is what it means now.
pub(super) async fn pinned(
    client: &Client,
    image: &ImageRef,
    printer: Printer,
) -> Result<PinnedImage, Failure> {
    if let Some(digest) = image.digest() {
        return Ok(image.pin(digest.clone()));
    }
    let found = client.resolve(image).await?.image;
    printer.note(&format!("warning: `{image}` is a tag, which can move; it is about `{found}`"));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_taken_for_a_place() {
        for text in [
            "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJkZXYifQ.c2ln",
            " eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJkZXYifQ.c2ln\n",
            "env:eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJkZXYifQ.c2ln",
            "env://eyJhbGciOiJub25lIn0.eyJzdWIiOiJkZXYifQ.",
            "-----BEGIN PRIVATE KEY-----\nc2ln\n-----END PRIVATE KEY-----\n",
            "env:-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nc2ln",
        ] {
            let source: KeySource = text.parse().unwrap();
            assert!(matches!(source, KeySource::Value(_)), "{text}");
            let shown = format!("{source} {source:?} {:?}", source.read("the key").unwrap_err());
            assert!(!shown.contains("c2ln") && !shown.contains("eyJ"), "{shown}");
        }
        for text in ["ci.key", "./eyes.tar.gz", "env:TOKEN", "eyes.key", "keys/a.b.c"] {
            assert_eq!(text.parse::<KeySource>().unwrap().to_string(), text);
        }
    }
}
