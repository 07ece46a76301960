//! `image verify`: whether an image is signed by those whose signatures it needs.

use std::{fmt::Write as _, path::PathBuf};

use clap::Args;
use serde_json::{Value, json};
use spectra_delivery::gathered;
use spectra_sign::{
    Accepted, CertificateVerifier, Certified, Error, EvidenceSource, IdentityPattern, Lacks, PredicateType,
    Rejected, SignaturePolicy, SourceRepository, Threshold, TrustedIdentity, Unavailable, judge_annotated,
};
use spectra_types::{ExitCode, ImageRef, PinnedImage};

use super::{
    Login, RootFlags,
    keys::{KeySource, pinned, policy_file},
    sign::annotation,
    source::in_registry,
};
use crate::{failure::Failure, lines::Lines, printer::Printer};

/// Arguments of `image verify`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The image; a tag is resolved once
    #[arg(value_parser = in_registry)]
    image: ImageRef,
    /// Public key that may have signed: a file, or `env:NAME` for a variable that holds it; of several, `--required` says how many
    #[arg(long, env = "SPECTRA_PUBLIC_KEY", hide_env_values = true, allow_hyphen_values = true, value_name = "FILE|env:NAME", required_unless_present_any = ["policy", "certificate_identity"])]
    key: Vec<KeySource>,
    /// Who may have signed with a certificate: an address or a URI, in which `*` stands for characters that are no `/`
    #[arg(
        long,
        env = "SPECTRA_CERTIFICATE_IDENTITY",
        value_name = "IDENTITY",
        requires = "certificate_oidc_issuer"
    )]
    certificate_identity: Vec<IdentityPattern>,
    /// Who has to have vouched for the identity, exactly: `https://token.actions.githubusercontent.com`, …
    #[arg(
        long,
        env = "SPECTRA_CERTIFICATE_OIDC_ISSUER",
        value_name = "URL",
        requires = "certificate_identity"
    )]
    certificate_oidc_issuer: Option<String>,
    /// For whose code the identity has to have signed, exactly: `https://github.com/acme/shop`; a reusable workflow signs for whoever calls it
    #[arg(
        long,
        env = "SPECTRA_CERTIFICATE_SOURCE_REPOSITORY",
        value_name = "URL",
        requires = "certificate_identity"
    )]
    certificate_source_repository: Option<SourceRepository>,
    #[command(flatten)]
    root: RootFlags,
    /// How many of the keys and identities have to have signed: any, all, none or a number [default: any; none with --attestation]
    #[arg(long, env = "SPECTRA_REQUIRED", value_name = "NUMBER")]
    required: Option<Threshold>,
    /// TOML file that says whose signatures which repositories need
    #[arg(long, env = "SPECTRA_SIGNATURE_POLICY", value_name = "FILE")]
    policy: Option<PathBuf>,
    /// An attestation that has to be there: slsaprovenance1, cyclonedx, spdxjson, vuln, … or a URI
    #[arg(long, env = "SPECTRA_ATTESTATION", value_name = "TYPE")]
    attestation: Vec<PredicateType>,
    /// What a signature of the image has to carry in order to count; of several, all of them, each with this value
    #[arg(long, env = "SPECTRA_VERIFY_ANNOTATION", value_name = "NAME=VALUE", value_parser = annotation)]
    annotation: Vec<(String, String)>,
    #[command(flatten)]
    login: Login,
}

impl Arguments {
    /// What the file and the flags ask for: two groups, which both have to let the image in. A file that is not about it does not.
    fn groups(&self) -> Result<Vec<Vec<(String, SignaturePolicy)>>, Failure> {
        if self.required == Some(Threshold::None) && !self.annotation.is_empty() {
            return Err(Failure::usage(
                "`--annotation` asks for a signature, and `--required none` for none",
            ));
        }
        let mut groups = Vec::new();
        if let Some(path) = &self.policy {
            let mut policies = policy_file(path)?.policies;
            for (_, policy) in &mut policies {
                policy.attestations.extend(self.attestation.iter().cloned());
            }
            groups.push(policies);
        }
        let issuer = self.certificate_oidc_issuer.as_deref().unwrap_or_default();
        let identity = |subject: &IdentityPattern| TrustedIdentity {
            name: subject.to_string(),
            issuer: issuer.to_owned(),
            subject: subject.clone(),
            source_repository: self.certificate_source_repository.clone(),
        };
        if self.key.is_empty() && self.certificate_identity.is_empty() {
            if self.required.is_some() {
                return Err(Failure::usage(
                    "`--required` counts `--key` and `--certificate-identity`; a policy has its own number",
                ));
            }
        } else {
            let signed = self.attestation.is_empty() || !self.annotation.is_empty();
            let default = if signed { Threshold::Any } else { Threshold::None };
            let policy = SignaturePolicy {
                repositories: Vec::new(),
                keys: self.key.iter().map(KeySource::trusted).collect::<Result<_, _>>()?,
                identities: self.certificate_identity.iter().map(identity).collect(),
                required: self.required.unwrap_or(default),
                attestations: self.attestation.clone(),
            };
            let problems = policy.problems();
            if !problems.is_empty() {
                return Err(Error::PolicyProblems { from: "of the flags".to_owned(), problems }.into());
            }
            let name = if policy.keys.is_empty() { "--certificate-identity" } else { "--key" };
            groups.push(vec![(name.to_owned(), policy)]);
        }
        if groups.is_empty() {
            return Err(Failure::usage(
                "nothing says whose signature counts: `--key`, `--certificate-identity` or `--policy` does",
            ));
        }
        Ok(groups)
    }
}

pub(super) async fn run(arguments: Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    let groups = arguments.groups()?;
    let certificates = arguments.root.certificates(&groups.concat())?;
    let client = arguments.login.client(&arguments.image, printer)?;
    let image = pinned(&client, &arguments.image, printer).await?;
    let Found { accepted, rejected, unmet, lacks } =
        find(&client, &image, &groups, &arguments.annotation, certificates.verifier()).await?;
    // Bills of material are long: they are shown to those who asked for them.
    let predicates: Vec<Value> = accepted
        .iter()
        .filter(|one| arguments.attestation.iter().any(|kind| one.predicate_type.as_deref() == Some(kind.uri())))
        .map(|one| json!({ "origin": one.origin, "predicate_type": one.predicate_type, "predicate": one.predicate }))
        .collect();
    let value = json!({
        "image": image,
        "verified": unmet.is_empty(),
        "accepted": accepted,
        "rejected": rejected,
        "unmet": unmet,
        "predicates": predicates,
    });
    printer.data("image.verify", &value, text(&image, &accepted, &rejected))?;
    if unmet.is_empty() { Ok(ExitCode::Done) } else { Err(Failure::Unsigned { image, unmet, lacks }) }
}

/// What there is of signatures, and what is missing.
#[derive(Debug, Default)]
struct Found {
    accepted: Vec<Accepted>,
    rejected: Vec<Rejected>,
    unmet: Vec<String>,
    lacks: Lacks,
}

/// Holds what a registry has against all groups of policies.
async fn find(
    source: &dyn EvidenceSource,
    image: &PinnedImage,
    groups: &[Vec<(String, SignaturePolicy)>],
    annotations: &[(String, String)],
    certificates: Option<&dyn CertificateVerifier>,
) -> Result<Found, Unavailable> {
    let gathered = gathered(source, image).await?;
    let mut found = Found::default();
    for group in groups {
        let (ours, not_ours) = match judge_annotated(group, annotations, image, &gathered, certificates) {
            Ok(verdict) => (verdict.accepted, verdict.rejected),
            Err(refusal) => {
                found.unmet.extend(refusal.unmet);
                found.lacks |= refusal.lacks;
                (refusal.accepted, refusal.rejected)
            }
        };
        found
            .accepted
            .extend(ours.into_iter().filter(|one| !found.accepted.contains(one)).collect::<Vec<_>>());
        found
            .rejected
            .extend(not_ours.into_iter().filter(|one| !found.rejected.contains(one)).collect::<Vec<_>>());
    }
    // What one group's keys did not sign may be what the other's did.
    found.rejected.retain(|one| !found.accepted.iter().any(|accepted| accepted.origin == one.origin));
    Ok(found)
}

/// Lines for people. Much of it is the registry's word.
fn text(image: &PinnedImage, accepted: &[Accepted], rejected: &[Rejected]) -> Lines {
    let mut output = Lines::from(format!("image     {image}"));
    for one in accepted {
        let what = one.predicate_type.as_deref().unwrap_or("signature");
        output.push(&format!("accepted  {what} by {}, {}", signer(one), one.origin));
        for (name, value) in &one.annotations {
            output.push(&format!("            {name}={value}"));
        }
    }
    for Rejected { origin, reason } in rejected {
        output.push(&format!("rejected  {origin}: {reason}"));
    }
    output
}

/// Who signed and when. What a certificate says was checked; what a key's owner says of the time was not.
fn signer(one: &Accepted) -> String {
    let mut text = one.key.clone();
    if let Some(fingerprint) = &one.fingerprint {
        let time = one.stated_time.as_ref().map(|time| format!(", stated time {time}")).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(text, " ({fingerprint}), {}{time}", one.form);
    }
    if let Some(certificate) = &one.certificate {
        let Certified { subject, issuer, source_repository, signed_at, log_index } = certificate;
        let entry = log_index.map(|index| format!(", log entry {index}")).unwrap_or_default();
        let source = source_repository.as_ref().map(|source| format!(" for {source}")).unwrap_or_default();
        let who = format!("{subject} of {issuer}{source}");
        // Where only one identity is trusted, it is called what it is.
        text = if text == *subject { who } else { format!("{text} ({who})") };
        let _ = write!(text, ", {}, signed {signed_at}{entry}", one.form);
    }
    text
}

#[cfg(test)]
mod tests {
    use spectra_sign::{Algorithm, EvidenceFuture, Rejection, SigningKey};
    use tokio::time::Instant;

    use super::*;
    use crate::commands::image::sign::made_already;

    /// A registry that never answers.
    struct Silent;

    impl EvidenceSource for Silent {
        fn gather<'a>(&'a self, _: &'a PinnedImage) -> EvidenceFuture<'a> {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_verified_or_signed_waited_for_signatures_without_end() {
        let digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let image = "ghcr.io/acme/shop".parse::<ImageRef>().unwrap().pin(digest);
        let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
        let begun = Instant::now();
        let verified = Failure::from(find(&Silent, &image, &[], &[], None).await.unwrap_err());
        assert_eq!(begun.elapsed().as_secs(), 60);
        let signed = made_already(&Silent, &image, &key, |_| true).await.unwrap_err();
        assert_eq!(begun.elapsed().as_secs(), 120);
        for failure in [verified, signed] {
            let unread = format!("the signatures of `{image}` cannot be read");
            assert_eq!(failure.chain(), [&unread, "the registry had not given all of them within 1m"]);
            assert_eq!(failure.code(), Some(spectra_sign::UNAVAILABLE));
            assert_eq!(failure.exit_code(), ExitCode::Failed);
            assert!(failure.hint().is_some_and(|hint| hint.ends_with("try again")));
        }
    }

    #[test]
    fn unsigned_text_forged_lines_of_the_result() {
        let digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let image = "ghcr.io/acme/shop".parse::<ImageRef>().unwrap().pin(digest);
        let forged = "x`\naccepted  signature by ci\u{1b}[1A\r".to_owned();
        let reasons = [Rejection::Malformed(forged.clone()), Rejection::UnknownKey(Some(forged))];
        let rejected = reasons.map(|reason| Rejected { origin: "sha256-0.sig#1".to_owned(), reason });
        let text = text(&image, &[], &rejected);
        let text = text.as_str();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("rejected  ")), "{text}");
        assert!(!text.replace('\n', "").contains(char::is_control), "{text:?}");
    }
}
