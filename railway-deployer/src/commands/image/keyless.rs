//! Keyless signatures on the command line: roots of trust, identity tokens, services. Without the feature `keyless` the flags
//! are there all the same, and say so.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::{
    Args,
    builder::{BoolishValueParser, OsStringValueParser, TypedValueParser as _},
};
use serde_json::{Value, json};
use spectra_oci::{Attached, Client, MAX_EVIDENCE};
use spectra_sign::{CertificateVerifier, SignaturePolicy, SigningKey, Statement, sign_statement};
use spectra_types::PinnedImage;
#[cfg(feature = "keyless")]
use spectra_types::error_chain;

use super::{
    keys::{KeyFlags, KeySource},
    sign::attach,
};
use crate::{failure::Failure, printer::Printer};

/// What is trusted about certificates.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RootFlags {
    /// `trusted_root.json` of the Sigstore instance whose certificates count [default: that of the public instance, as old as this program]
    // An empty variable is none, as in the provider.
    #[arg(
        long,
        env = "SPECTRA_TRUSTED_ROOT",
        value_name = "FILE",
        value_parser = OsStringValueParser::new().map(PathBuf::from)
    )]
    trusted_root: Option<PathBuf>,
}

/// Who checks certificates, where somebody does.
#[derive(Default)]
pub(crate) struct Certificates {
    #[cfg(feature = "keyless")]
    keyless: Option<spectra_keyless::Deferred>,
}

#[cfg(not(feature = "keyless"))]
fn left_out(what: &str) -> Failure {
    Failure::usage(format!(
        "{what}, and this program was built without keyless signatures (the cargo feature `keyless`)"
    ))
}

impl RootFlags {
    fn path(&self) -> Option<&Path> {
        self.trusted_root.as_deref().filter(|path| !path.as_os_str().is_empty())
    }

    /// Reads the root.
    #[cfg(feature = "keyless")]
    fn keyless(&self) -> Result<spectra_keyless::Keyless, Failure> {
        use spectra_keyless::Keyless;
        Ok(match self.path() {
            None => Keyless::public()?,
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(Failure::file("read the root of trust", path))?;
                Keyless::parse(&text, format!("`{}`", path.display()))?
            }
        })
    }

    /// Who checks certificates by this root. Where one of these policies names identities, the root has to be good; of other
    /// policies, such as those of the journal, it is not known here, and it is read when one of them needs it.
    #[cfg(feature = "keyless")]
    pub(crate) fn certificates(
        &self,
        policies: &[(String, SignaturePolicy)],
    ) -> Result<Certificates, Failure> {
        if policies.iter().any(|(_, policy)| !policy.identities.is_empty()) {
            self.keyless()?;
        }
        let root = self.clone();
        let read = move || root.keyless().map_err(|failure| error_chain(&failure));
        Ok(Certificates { keyless: Some(spectra_keyless::Deferred::new(read)) })
    }

    #[cfg(not(feature = "keyless"))]
    pub(crate) fn certificates(
        &self,
        policies: &[(String, SignaturePolicy)],
    ) -> Result<Certificates, Failure> {
        if let Some(path) = self.path() {
            return Err(left_out(&format!("`{}` is a root of trust", path.display())));
        }
        match policies.iter().find(|(_, policy)| !policy.identities.is_empty()) {
            Some((name, _)) => Err(left_out(&format!("the signature policy `{name}` names identities"))),
            None => Ok(Certificates::default()),
        }
    }
}

impl Certificates {
    #[cfg(feature = "keyless")]
    pub(crate) fn verifier(&self) -> Option<&dyn CertificateVerifier> {
        self.keyless.as_ref().map(|keyless| keyless as &dyn CertificateVerifier)
    }

    #[cfg(not(feature = "keyless"))]
    #[expect(clippy::unused_self, reason = "with the feature, it is one of the fields")]
    pub(crate) fn verifier(&self) -> Option<&dyn CertificateVerifier> {
        None
    }
}

/// With what something is signed.
#[derive(Debug, Args)]
pub(super) struct SignerFlags {
    #[command(flatten)]
    key: KeyFlags,
    /// Sign with a certificate for an identity instead of a key: a token of the identity buys one, and a public log keeps who signed what
    #[arg(long, env = "SPECTRA_KEYLESS", value_parser = BoolishValueParser::new())]
    keyless: bool,
    /// Identity token for `--keyless`: a file, `env:NAME` for a variable that holds it, or the token itself, which every process can see [default: `SIGSTORE_ID_TOKEN`, or that of a job on GitHub]
    #[arg(long, env = "SPECTRA_IDENTITY_TOKEN", hide_env_values = true, value_name = "FILE|env:NAME")]
    identity_token: Option<KeySource>,
    /// Who issues the certificate [default: the public instance]
    #[arg(long, env = "SPECTRA_FULCIO_URL", value_name = "URL")]
    fulcio_url: Option<String>,
    /// The transparency log [default: the public instance]
    #[arg(long, env = "SPECTRA_REKOR_URL", value_name = "URL")]
    rekor_url: Option<String>,
    #[command(flatten)]
    root: RootFlags,
}

/// Whether a value is not that of its variable.
fn by_flag<T: FromStr + PartialEq>(value: Option<&T>, variable: &str) -> bool {
    let of_variable = || std::env::var(variable).ok().and_then(|text| text.parse().ok());
    value.is_some_and(|value| of_variable().as_ref() != Some(value))
}

/// Who signs.
pub(super) enum Signer {
    /// Whoever has the key.
    Key(SigningKey),
    /// Whoever the token is of.
    #[cfg(feature = "keyless")]
    Keyless(Box<Keyless>),
}

/// What it takes to sign without a key.
#[cfg(feature = "keyless")]
pub(super) struct Keyless {
    services: spectra_keyless::Services,
    root: spectra_keyless::Keyless,
    token: Token,
}

#[cfg(feature = "keyless")]
enum Token {
    Given(spectra_keyless::IdentityToken),
    /// Asked for when everything else is there: it is valid for minutes.
    OfTheJob(spectra_keyless::TokenRequest),
}

/// A signed statement.
pub(super) struct Sealed {
    pub(super) bundle: Vec<u8>,
    /// Who signed, as words for `signed … with …`.
    pub(super) by: String,
    /// The same as a member of an object: its name and its value.
    pub(super) member: (&'static str, Value),
    /// What of it is public already.
    left: Option<String>,
}

impl Sealed {
    /// Attaches it; where that fails, what is left of it is said.
    pub(super) async fn attach(
        self,
        client: &Client,
        image: &PinnedImage,
        predicate_type: &str,
        printer: Printer,
    ) -> Result<Attached, Failure> {
        let attached = attach(client, image, self.bundle, predicate_type).await;
        if let (Err(_), Some(left)) = (&attached, self.left) {
            printer.note(&left);
        }
        attached
    }
}

impl SignerFlags {
    /// Reads the key or the token.
    pub(super) fn signer(&self) -> Result<Signer, Failure> {
        if !self.keyless {
            if let Some(flag) = self.only_keyless() {
                return Err(Failure::usage(format!("`{flag}` is for `--keyless`, and that is not given")));
            }
            return Ok(Signer::Key(self.key.signing_key()?));
        }
        if self.key.is_given() {
            return Err(Failure::usage(
                "`--keyless` signs with a certificate instead of a key, and `--key` (SPECTRA_KEY) names a key; one of them is too many",
            ));
        }
        self.without_key()
    }

    /// A flag that means nothing without `--keyless`. Variables are set for many commands, and may be there.
    fn only_keyless(&self) -> Option<&'static str> {
        let Self { identity_token, fulcio_url, rekor_url, root, .. } = self;
        let flags = [
            ("--identity-token", by_flag(identity_token.as_ref(), "SPECTRA_IDENTITY_TOKEN")),
            ("--fulcio-url", by_flag(fulcio_url.as_ref(), "SPECTRA_FULCIO_URL")),
            ("--rekor-url", by_flag(rekor_url.as_ref(), "SPECTRA_REKOR_URL")),
            ("--trusted-root", by_flag(root.trusted_root.as_ref(), "SPECTRA_TRUSTED_ROOT")),
        ];
        flags.into_iter().find_map(|(flag, given)| given.then_some(flag))
    }

    #[cfg(not(feature = "keyless"))]
    fn without_key(&self) -> Result<Signer, Failure> {
        // Read, so that nobody takes them for forgotten.
        let _ = (&self.identity_token, &self.fulcio_url, &self.rekor_url, &self.root);
        Err(left_out("`--keyless` signs with a certificate"))
    }

    #[cfg(feature = "keyless")]
    fn without_key(&self) -> Result<Signer, Failure> {
        use spectra_keyless::{FULCIO, REKOR, Service, Services, Url};
        let services = Services {
            fulcio: Url::parse(Service::Fulcio, self.fulcio_url.as_deref().unwrap_or(FULCIO))?,
            rekor: Url::parse(Service::Rekor, self.rekor_url.as_deref().unwrap_or(REKOR))?,
        };
        Ok(Signer::Keyless(Box::new(Keyless { services, root: self.root.keyless()?, token: self.token()? })))
    }

    #[cfg(feature = "keyless")]
    fn token(&self) -> Result<Token, Failure> {
        use spectra_keyless::{Error, IdentityToken, TokenRequest};
        use spectra_types::Secret;
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let secret = |name: &str| variable(name).map(Secret::new);
        if let Some(source) = &self.identity_token {
            let (token, from) = source.token()?;
            return Ok(Token::Given(IdentityToken::parse(&token, &from)?));
        }
        if let Some(token) = secret("SIGSTORE_ID_TOKEN") {
            return Ok(Token::Given(IdentityToken::parse(&token, "in SIGSTORE_ID_TOKEN")?));
        }
        let of_the_job = (variable("ACTIONS_ID_TOKEN_REQUEST_URL"), secret("ACTIONS_ID_TOKEN_REQUEST_TOKEN"));
        if let (Some(url), Some(token)) = of_the_job {
            return Ok(Token::OfTheJob(TokenRequest { url, token }));
        }
        let reason = "there is none, and this is no job of GitHub Actions that may ask for one".to_owned();
        Err(Error::Token { from: "for `--keyless`".to_owned(), reason }.into())
    }
}

/// What of a bundle is not the statement, at most: the certificate, the entry and the signature.
const AROUND: u64 = 64 * 1024;

/// Whether a statement is short enough for its bundle, which has it in base64, to be read when it is verified.
fn readable(statement: &Statement) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(statement).map_err(spectra_sign::Error::Encode)?.len() as u64;
    if bytes.div_ceil(3) * 4 + AROUND <= MAX_EVIDENCE {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "the statement has {bytes} bytes, and signed it would have more than the {MAX_EVIDENCE} that are read when it is verified; \
         nothing was signed"
    )))
}

impl Signer {
    /// Makes sure that the image is there, where the signature becomes public before it is attached.
    pub(super) async fn look(&self, client: &Client, image: &PinnedImage) -> Result<(), Failure> {
        if !matches!(self, Self::Key(_)) {
            client.resolve(&image.image_ref()).await?;
        }
        Ok(())
    }

    /// Signs a statement about an image. One that nobody would read again is not signed: the log would have it all the same.
    #[cfg_attr(
        not(feature = "keyless"),
        expect(
            unused_variables,
            clippy::unused_async,
            reason = "a key asks nobody, and fails for no image in particular"
        )
    )]
    pub(super) async fn seal(&self, statement: &Statement, image: &PinnedImage) -> Result<Sealed, Failure> {
        readable(statement)?;
        match self {
            Self::Key(key) => {
                let fingerprint = key.public().fingerprint();
                Ok(Sealed {
                    bundle: sign_statement(key, statement)?,
                    by: format!("with the key {fingerprint}"),
                    member: ("key", json!(fingerprint)),
                    left: None,
                })
            }
            #[cfg(feature = "keyless")]
            Self::Keyless(keyless) => {
                let made = keyless.seal(statement, image).await;
                let made = made.map_err(|source| Failure::NotSigned {
                    image: image.clone(),
                    source: Box::new(source),
                })?;
                let spectra_sign::Certified { subject, issuer, log_index, .. } = &made.certified;
                let entry = log_index.map(|index| format!(", log entry {index}")).unwrap_or_default();
                Ok(Sealed {
                    by: format!("as {subject} of {issuer}{entry}"),
                    member: ("certificate", json!(made.certified)),
                    left: Some(format!(
                        "`{image}` is not signed: the signature is in the transparency log{entry}, and was not attached"
                    )),
                    bundle: made.bundle,
                })
            }
        }
    }
}

#[cfg(feature = "keyless")]
impl Keyless {
    async fn seal(
        &self,
        statement: &Statement,
        image: &PinnedImage,
    ) -> Result<spectra_keyless::Made, spectra_keyless::Error> {
        let asked;
        let token = match &self.token {
            Token::Given(token) => token,
            Token::OfTheJob(request) => {
                asked = request.send().await?;
                &asked
            }
        };
        self.services.sign(token, statement, image.digest(), &self.root).await
    }
}
