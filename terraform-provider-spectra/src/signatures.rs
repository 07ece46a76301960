//! Signatures as attributes: whose an image needs, and which there are.

use spectra_delivery::gathered;
use spectra_sign::{
    Accepted, CertificateVerifier, EvidenceSource, IdentityPatternError, PublicKey, SignaturePolicy,
    SourceRepositoryError, TrustedIdentity, TrustedKey, UNAVAILABLE, UNSIGNED, judge,
};
use spectra_types::{PinnedImage, error_chain};
use tfplugin::{Attr, Diagnostic, Diagnostics, Model};

use crate::errors::sentence;

/// Whose signatures images need.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct SignaturePolicyModel {
    /// The keys.
    #[tf(optional, validate(length(1..=64)))]
    pub(crate) keys: Attr<Vec<TrustedKeyModel>>,
    /// Who may sign without a key, with a certificate for their identity ("keyless"). The certificates are those of the public
    /// Sigstore instance, or of the one whose `trusted_root.json` the variable `SPECTRA_TRUSTED_ROOT` names. There has to be a key
    /// or an identity.
    #[tf(optional, validate(length(1..=64)))]
    pub(crate) identities: Attr<Vec<TrustedIdentityModel>>,
    /// How many different keys and identities have to sign the image: `any` (one), `all`, a number, or `none` where attestations
    /// are all that is asked for.
    #[tf(optional, default = "any", validate(with = crate::validators::threshold))]
    pub(crate) required: Attr<String>,
    /// Attestations that have to be there, each signed by one of them: `slsaprovenance1`, `cyclonedx`, `spdxjson`, `vuln`,
    /// `openvex`, `custom`, or the URI of a predicate type.
    #[tf(optional, validate(length(1..=16), with = crate::validators::predicate_types))]
    pub(crate) attestations: Attr<Vec<String>>,
    /// The repositories that it is about: `ghcr.io/acme/shop`, or `ghcr.io/acme/*` for all below. All when left out. An image that
    /// no policy is about is refused.
    #[tf(optional, validate(length(1..=64)))]
    pub(crate) repositories: Attr<Vec<String>>,
}

/// A key that is trusted.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct TrustedKeyModel {
    /// What messages and records call it.
    #[tf(required, validate(length(1..=128)))]
    pub(crate) name: Attr<String>,
    /// The public key in PEM, ECDSA P-256 or Ed25519: what `cosign generate-key-pair`, `railway-deployer image keygen` or
    /// `openssl pkey -pubout` wrote.
    #[tf(required, validate(with = crate::validators::public_key))]
    pub(crate) public_key: Attr<String>,
}

/// Somebody who is trusted to sign with certificates.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct TrustedIdentityModel {
    /// What messages and records call it; keys have other names.
    #[tf(required, validate(length(1..=128)))]
    pub(crate) name: Attr<String>,
    /// Who has to have vouched for the identity, exactly: `https://token.actions.githubusercontent.com` for workflows of GitHub.
    #[tf(required, validate(length(1..=512)))]
    pub(crate) issuer: Attr<String>,
    /// The identity: an address, or a URI such as
    /// `https://github.com/acme/shop/.github/workflows/release.yml@refs/heads/main`. A `*` stands for one or more characters that
    /// are no `/`; the domain of an address, the host of a URI and, on github.com and gitlab.com, the owner have none. A reusable
    /// workflow of GitHub is one identity for every repository that may call it: `source_repository` says which one has to have.
    #[tf(required, validate(with = crate::validators::identity))]
    pub(crate) subject: Attr<String>,
    /// For whose code it has to have signed, exactly: the URI of the repository whose workflow ran, such as
    /// `https://github.com/acme/shop`. A certificate that names no repository does not count then. Any when left out.
    #[tf(optional, validate(with = crate::validators::source_repository))]
    pub(crate) source_repository: Attr<String>,
}

/// A signature or attestation that counted.
#[derive(Clone, Debug, Model)]
pub(crate) struct SignatureModel {
    /// What the key or the identity is called.
    #[tf(computed)]
    pub(crate) key: Attr<String>,
    /// SHA-256 of the public key; null with a certificate.
    #[tf(computed)]
    pub(crate) fingerprint: Attr<String>,
    /// Who signed with a certificate; null with a key.
    #[tf(computed)]
    pub(crate) identity: Attr<String>,
    /// Who vouched for the identity; null with a key.
    #[tf(computed)]
    pub(crate) issuer: Attr<String>,
    /// For whose code, by the certificate: the URI of a repository; null with a key, or where the certificate names none.
    #[tf(computed)]
    pub(crate) source_repository: Attr<String>,
    /// `bundle`, `message bundle`, `simple signing` or `envelope`.
    #[tf(computed)]
    pub(crate) form: Attr<String>,
    /// The type of an attestation, a URI; null for a signature of the image itself.
    #[tf(computed)]
    pub(crate) predicate_type: Attr<String>,
    /// Where it is: the digest of its manifest, or a tag.
    #[tf(computed)]
    pub(crate) origin: Attr<String>,
}

impl SignaturePolicyModel {
    /// As the engine has it. `at` is the attribute.
    pub(crate) fn policy(&self, at: &str) -> Result<SignaturePolicy, Diagnostics> {
        let wrong = |error: String| -> Diagnostics {
            Diagnostic::error("The signature policy makes no sense", format!("{error}.")).at(at).into()
        };
        let list = |attribute: &Attr<Vec<String>>, name: &str| -> Result<Vec<String>, Diagnostics> {
            if attribute.is_null() { Ok(Vec::new()) } else { Ok(attribute.clone().require(name)?) }
        };
        let key = |key: &TrustedKeyModel| -> Result<TrustedKey, Diagnostics> {
            let text = key.public_key.clone().require("public_key")?;
            Ok(TrustedKey {
                name: key.name.clone().require("name")?,
                public_key: PublicKey::parse(&text).map_err(|error| wrong(error.to_string()))?,
            })
        };
        let identity = |identity: &TrustedIdentityModel| -> Result<TrustedIdentity, Diagnostics> {
            let subject = identity.subject.clone().require("subject")?;
            let source_repository = match &identity.source_repository {
                Attr::Null => None,
                given => Some(given.clone().require("source_repository")?),
            };
            Ok(TrustedIdentity {
                name: identity.name.clone().require("name")?,
                issuer: identity.issuer.clone().require("issuer")?,
                subject: subject.parse().map_err(|error: IdentityPatternError| wrong(error.to_string()))?,
                source_repository: source_repository
                    .map(|text| text.parse())
                    .transpose()
                    .map_err(|error: SourceRepositoryError| wrong(error.to_string()))?,
            })
        };
        let keys = if self.keys.is_null() { Vec::new() } else { self.keys.clone().require("keys")? };
        let identities = if self.identities.is_null() {
            Vec::new()
        } else {
            self.identities.clone().require("identities")?
        };
        if cfg!(not(feature = "keyless")) && !identities.is_empty() {
            return Err(wrong(
                "it names identities, and this provider was built without keyless signatures".to_owned(),
            ));
        }
        let attestations = list(&self.attestations, "attestations")?;
        let required = if self.required.is_null() {
            spectra_sign::Threshold::default()
        } else {
            let text = self.required.clone().require("required")?;
            text.parse().map_err(|error: spectra_sign::ThresholdError| wrong(error.to_string()))?
        };
        Ok(SignaturePolicy {
            repositories: list(&self.repositories, "repositories")?,
            keys: keys.iter().map(key).collect::<Result<_, _>>()?,
            identities: identities.iter().map(identity).collect::<Result<_, _>>()?,
            required,
            attestations: attestations
                .iter()
                .map(|kind| kind.parse())
                .collect::<Result<_, spectra_sign::PredicateTypeError>>()
                .map_err(|error| wrong(error.to_string()))?,
        })
    }

    /// As attributes.
    pub(crate) fn of(policy: SignaturePolicy) -> Self {
        fn some<T>(list: Vec<T>) -> Attr<Vec<T>> {
            if list.is_empty() { Attr::Null } else { Attr::Known(list) }
        }
        let identity = |identity: TrustedIdentity| TrustedIdentityModel {
            name: identity.name.into(),
            issuer: identity.issuer.into(),
            subject: identity.subject.to_string().into(),
            source_repository: identity.source_repository.map(|source| source.to_string()).into(),
        };
        let key = |key: TrustedKey| TrustedKeyModel {
            name: key.name.into(),
            public_key: key.public_key.to_pem().into(),
        };
        Self {
            keys: some(policy.keys.into_iter().map(key).collect()),
            identities: some(policy.identities.into_iter().map(identity).collect()),
            required: policy.required.to_string().into(),
            attestations: some(policy.attestations.iter().map(ToString::to_string).collect()),
            repositories: some(policy.repositories),
        }
    }
}

impl From<Accepted> for SignatureModel {
    fn from(accepted: Accepted) -> Self {
        let certificate = accepted.certificate.as_ref();
        Self {
            key: accepted.key.into(),
            fingerprint: accepted.fingerprint.map(|fingerprint| fingerprint.to_string()).into(),
            identity: certificate.map(|certificate| certificate.subject.clone()).into(),
            issuer: certificate.map(|certificate| certificate.issuer.clone()).into(),
            source_repository: certificate
                .and_then(|certificate| certificate.source_repository.clone())
                .into(),
            form: accepted.form.to_string().into(),
            predicate_type: accepted.predicate_type.into(),
            origin: accepted.origin.into(),
        }
    }
}

/// The root of trust. It is read once a process, and not before it is needed.
#[cfg(feature = "keyless")]
static ROOT: std::sync::LazyLock<spectra_keyless::Deferred> = std::sync::LazyLock::new(|| {
    use spectra_keyless::{Deferred, Keyless};

    Deferred::new(|| {
        let path = std::env::var_os("SPECTRA_TRUSTED_ROOT").filter(|path| !path.is_empty());
        let Some(path) = path.map(std::path::PathBuf::from) else {
            return Keyless::public().map_err(|error| error.to_string());
        };
        let name = format!("`{}` (SPECTRA_TRUSTED_ROOT)", path.display());
        let text = std::fs::read_to_string(&path).map_err(|error| format!("cannot read {name}: {error}"))?;
        Keyless::parse(&text, name).map_err(|error| error.to_string())
    })
});

/// Who checks the certificates of identities, for policies of which nobody knows yet whether they name any. Without a root that
/// can be read, no certificate counts.
#[cfg(feature = "keyless")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature, there is nobody")]
pub(crate) fn certificates_if_needed() -> Option<&'static dyn CertificateVerifier> {
    Some(&*ROOT)
}

/// Who checks the certificates of identities, where there are some.
#[cfg(feature = "keyless")]
fn certificates() -> Result<Option<&'static dyn CertificateVerifier>, Diagnostic> {
    match ROOT.root() {
        Ok(keyless) => Ok(Some(keyless)),
        Err(reason) => {
            let detail = format!("{} [SPX-337]. Nothing was changed.", sentence(reason));
            Err(Diagnostic::error("Certificates cannot be checked", detail))
        }
    }
}

#[cfg(not(feature = "keyless"))]
pub(crate) const fn certificates_if_needed() -> Option<&'static dyn CertificateVerifier> {
    None
}

#[cfg(not(feature = "keyless"))]
#[expect(clippy::unnecessary_wraps, reason = "with the feature, a root of trust is read")]
const fn certificates() -> Result<Option<&'static dyn CertificateVerifier>, Diagnostic> {
    Ok(None)
}

/// The signatures that count for an image; anything but an error says that the policy is met.
pub(crate) async fn verified(
    source: &dyn EvidenceSource,
    policy: SignaturePolicy,
    image: &PinnedImage,
) -> Result<Vec<SignatureModel>, Diagnostics> {
    let gathered = gathered(source, image).await.map_err(|error| {
        let detail = format!("{} [{UNAVAILABLE}]. Nothing was changed.", sentence(&error_chain(&error)));
        Diagnostic::error("The signatures of the image cannot be read", detail).at("verify")
    })?;
    let certificates = if policy.identities.is_empty() { None } else { certificates()? };
    match judge(&[("verify".to_owned(), policy)], image, &gathered, certificates) {
        Ok(verdict) => Ok(verdict.accepted.into_iter().map(SignatureModel::from).collect()),
        Err(refusal) => {
            let detail = format!("{} [{UNSIGNED}]. Nothing was changed.", sentence(&refusal.to_string()));
            Err(Diagnostic::error("The image is not signed as `verify` wants it", detail).at("verify").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use spectra_sign::EvidenceFuture;

    use super::*;

    /// A registry that never answers.
    struct Silent;

    impl EvidenceSource for Silent {
        fn gather<'a>(&'a self, _: &'a PinnedImage) -> EvidenceFuture<'a> {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn reading_an_image_waited_for_its_signatures_without_end() {
        let image = format!("ghcr.io/acme/shop@sha256:{}", "a".repeat(64)).parse().unwrap();
        let policy = SignaturePolicyModel { required: "any".to_owned().into(), ..Default::default() };
        let begun = tokio::time::Instant::now();
        let failed = verified(&Silent, policy.policy("verify").unwrap(), &image).await.unwrap_err();
        assert_eq!(begun.elapsed().as_secs(), 60);
        let said: Vec<_> = failed.iter().map(|one| format!("{}: {}", one.summary, one.detail)).collect();
        let expected = format!(
            "The signatures of the image cannot be read: The signatures of `{image}` cannot be read: the registry had not \
             given all of them within 1m [SPX-336]. Nothing was changed."
        );
        assert_eq!(said, [expected]);
    }
}
