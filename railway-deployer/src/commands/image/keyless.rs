//! Keyless signatures on the command line: roots of trust, identity tokens, services. Without the feature `keyless` the flags
//! are there all the same, and say so.

use std::path::PathBuf;

use clap::{Args, builder::BoolishValueParser};
use serde_json::{Value, json};
use spectra_oci::{Attached, Client};
use spectra_sign::{CertificateVerifier, SignaturePolicy, SigningKey, Statement, sign_statement};
use spectra_types::PinnedImage;

use super::{
    keys::{KeyFlags, KeySource},
    sign::attach,
};
use crate::{failure::Failure, printer::Printer};

/// What is trusted about certificates.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RootFlags {
    /// `trusted_root.json` of the Sigstore instance whose certificates count [default: that of the public instance, as old as this program]
    #[arg(long, env = "SPECTRA_TRUSTED_ROOT", value_name = "FILE")]
    trusted_root: Option<PathBuf>,
}

/// Who checks certificates, where somebody does.
#[derive(Default)]
pub(crate) struct Certificates {
    #[cfg(feature = "keyless")]
    keyless: Option<spectra_keyless::Keyless>,
}

#[cfg(not(feature = "keyless"))]
fn left_out(what: &str) -> Failure {
    Failure::usage(format!(
        "{what}, and this program was built without keyless signatures (the cargo feature `keyless`)"
    ))
}

impl RootFlags {
    /// Reads the root.
    #[cfg(feature = "keyless")]
    fn keyless(&self) -> Result<spectra_keyless::Keyless, Failure> {
        use spectra_keyless::Keyless;
        Ok(match &self.trusted_root {
            None => Keyless::public()?,
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(Failure::file("read the root of trust", path))?;
                Keyless::parse(&text, format!("`{}`", path.display()))?
            }
        })
    }

    /// Who checks certificates by this root, for policies of which one may name identities.
    #[cfg(feature = "keyless")]
    pub(crate) fn certificates(&self, _: &[(String, SignaturePolicy)]) -> Result<Certificates, Failure> {
        Ok(Certificates { keyless: Some(self.keyless()?) })
    }

    #[cfg(not(feature = "keyless"))]
    pub(crate) fn certificates(
        &self,
        policies: &[(String, SignaturePolicy)],
    ) -> Result<Certificates, Failure> {
        if let Some(path) = &self.trusted_root {
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
            return Ok(Signer::Key(self.key.signing_key()?));
        }
        if self.key.is_given() {
            return Err(Failure::usage(
                "`--keyless` signs with a certificate instead of a key, and `--key` (SPECTRA_KEY) names a key; one of them is too many",
            ));
        }
        self.without_key()
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

impl Signer {
    /// Makes sure that the image is there, where the signature becomes public before it is attached.
    pub(super) async fn look(&self, client: &Client, image: &PinnedImage) -> Result<(), Failure> {
        if !matches!(self, Self::Key(_)) {
            client.resolve(&image.image_ref()).await?;
        }
        Ok(())
    }

    /// Signs a statement about an image.
    #[cfg_attr(
        not(feature = "keyless"),
        expect(
            unused_variables,
            clippy::unused_async,
            reason = "a key asks nobody, and fails for no image in particular"
        )
    )]
    pub(super) async fn seal(&self, statement: &Statement, image: &PinnedImage) -> Result<Sealed, Failure> {
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
