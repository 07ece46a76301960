//! Signatures as attributes: whose an image needs, and which there are.

use spectra_sign::{
    Accepted, EvidenceSource as _, PublicKey, SignaturePolicy, TrustedKey, UNAVAILABLE, UNSIGNED, judge,
};
use spectra_types::{PinnedImage, error_chain};
use tfplugin::{Attr, Diagnostic, Diagnostics, Model};

use crate::errors::sentence;
use crate::provider::Cx;

/// Whose signatures images need.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct SignaturePolicyModel {
    /// The keys.
    #[tf(required, validate(length(1..=64)))]
    pub(crate) keys: Attr<Vec<TrustedKeyModel>>,
    /// How many different keys have to sign the image: `any` (one), `all`, a number, or `none` where attestations are all that is
    /// asked for.
    #[tf(optional, default = "any", validate(with = crate::validators::threshold))]
    pub(crate) required: Attr<String>,
    /// Attestations that have to be there, each signed by one of the keys: `slsaprovenance1`, `cyclonedx`, `spdxjson`, `vuln`,
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

/// A signature or attestation that counted.
#[derive(Clone, Debug, Model)]
pub(crate) struct SignatureModel {
    /// What the key is called.
    #[tf(computed)]
    pub(crate) key: Attr<String>,
    /// SHA-256 of the public key.
    #[tf(computed)]
    pub(crate) fingerprint: Attr<String>,
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
        let attestations = list(&self.attestations, "attestations")?;
        let required = if self.required.is_null() {
            spectra_sign::Threshold::default()
        } else {
            let text = self.required.clone().require("required")?;
            text.parse().map_err(|error: spectra_sign::ThresholdError| wrong(error.to_string()))?
        };
        Ok(SignaturePolicy {
            repositories: list(&self.repositories, "repositories")?,
            keys: self.keys.clone().require("keys")?.iter().map(key).collect::<Result<_, _>>()?,
            identities: Vec::new(),
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
        let some = |list: Vec<String>| if list.is_empty() { Attr::Null } else { Attr::Known(list) };
        let key = |key: TrustedKey| TrustedKeyModel {
            name: key.name.into(),
            public_key: key.public_key.to_pem().into(),
        };
        Self {
            keys: policy.keys.into_iter().map(key).collect::<Vec<_>>().into(),
            required: policy.required.to_string().into(),
            attestations: some(policy.attestations.iter().map(ToString::to_string).collect()),
            repositories: some(policy.repositories),
        }
    }
}

impl From<Accepted> for SignatureModel {
    fn from(accepted: Accepted) -> Self {
        Self {
            key: accepted.key.into(),
            fingerprint: accepted.fingerprint.map(|fingerprint| fingerprint.to_string()).into(),
            form: accepted.form.to_string().into(),
            predicate_type: accepted.predicate_type.into(),
            origin: accepted.origin.into(),
        }
    }
}

/// The signatures that count for an image; anything but an error says that the policy is met.
pub(crate) async fn verified(
    cx: &Cx,
    policy: SignaturePolicy,
    image: &PinnedImage,
) -> Result<Vec<SignatureModel>, Diagnostics> {
    let gathered = cx.client.registry().gather(image).await.map_err(|error| {
        let detail = format!("{} [{UNAVAILABLE}]. Nothing was changed.", sentence(&error_chain(&error)));
        Diagnostic::error("The signatures of the image cannot be read", detail).at("verify")
    })?;
    match judge(&[("verify".to_owned(), policy)], image, &gathered, None) {
        Ok(verdict) => Ok(verdict.accepted.into_iter().map(SignatureModel::from).collect()),
        Err(refusal) => {
            let detail = format!("{} [{UNSIGNED}]. Nothing was changed.", sentence(&refusal.to_string()));
            Err(Diagnostic::error("The image is not signed as `verify` wants it", detail).at("verify").into())
        }
    }
}
