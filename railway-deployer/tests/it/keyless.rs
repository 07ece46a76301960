//! `image sign --keyless`, `image attest --keyless` and what is verified of it, against an authority and a log on loopback.

use serde_json::Value;
use spectra_sandbox::registry::RegistryAuth;
use spectra_test_sigstore::{Claims, Fake, Switch};

use crate::{
    image::{Running, pushed, registry},
    signing::PROVENANCE,
    support::{Place, Run},
    world::World,
};

pub(crate) const WORKFLOW: &str = "acme/shop/.github/workflows/release.yml@refs/heads/main";
pub(crate) const IDENTITY: &str =
    "https://github.com/acme/shop/.github/workflows/release.yml@refs/heads/main";
pub(crate) const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// The services, with their root of trust in `root.json`, and all of it in the environment of a place.
fn services(place: &mut Place) -> Fake {
    let fake = Fake::start(ISSUER);
    place.write("root.json", &fake.authority().trusted_root().to_string());
    let url = fake.url();
    for (name, value) in [
        ("SPECTRA_FULCIO_URL", url.as_str()),
        ("SPECTRA_REKOR_URL", &url),
        ("SPECTRA_TRUSTED_ROOT", "root.json"),
    ] {
        place.set(name, value);
    }
    place.scrub(&url, "[FAKE]");
    fake
}

/// A place with the services, a pushed image, and a token for the workflow in the environment.
pub(crate) struct Signed {
    pub(crate) place: Place,
    running: Running,
    pub(crate) fake: Fake,
    pub(crate) image: String,
    pub(crate) token: String,
}

impl Signed {
    pub(crate) fn new() -> Self {
        let mut place = Place::new();
        let running = registry(&mut place, RegistryAuth::Anonymous);
        let image = pushed(&place, &running);
        let fake = services(&mut place);
        let token = fake.token(&Claims::of_workflow(WORKFLOW));
        place.set("SIGSTORE_ID_TOKEN", &token);
        Self { place, running, fake, image, token }
    }

    pub(crate) fn verify(&self, identity: &str, issuer: &str, more: &[&str]) -> Run {
        let fixed = [
            "image",
            "verify",
            &self.image,
            "--certificate-identity",
            identity,
            "--certificate-oidc-issuer",
            issuer,
        ];
        self.place.run(&[&fixed, more].concat())
    }

    pub(crate) fn sign(&self, more: &[&str]) -> Run {
        self.place.run(&[&["image", "sign", &self.image, "--keyless"], more].concat())
    }
}

/// What differs from run to run beside digests: when it was signed.
fn shown(run: &Run) -> String {
    let text = run.shown().to_owned();
    match text.split_once(", signed ") {
        Some((before, rest)) => format!("{before}, signed [TIME]{}", &rest[20..]),
        None => text,
    }
}

#[test]
fn an_image_is_signed_without_a_key_and_verified_by_who_signed() {
    let world = Signed::new();
    assert_eq!(world.verify(IDENTITY, ISSUER, &[]).code, 5, "nothing is signed yet");
    let signed = world.sign(&["--annotation", "run=7"]);
    insta::assert_snapshot!(shown(&signed), @"
    exit 0
    --- stdout
    [REGISTRY]/team/app@sha256:[HEX]
    --- stderr
    signed `[REGISTRY]/team/app@sha256:[HEX]` as https://github.com/acme/shop/.github/workflows/release.yml@refs/heads/main of https://token.actions.githubusercontent.com, log entry 1002
    ");
    insta::assert_snapshot!(shown(&world.verify(IDENTITY, ISSUER, &[])), @"
    exit 0
    --- stdout
    image     [REGISTRY]/team/app@sha256:[HEX]
    accepted  signature by https://github.com/acme/shop/.github/workflows/release.yml@refs/heads/main of https://token.actions.githubusercontent.com for https://github.com/acme/shop, bundle, signed [TIME], log entry 1002, sha256:[HEX]
                run=7
    --- stderr
    ");
    let verified =
        world.verify("https://github.com/acme/*/.github/workflows/*@refs/heads/main", ISSUER, &["--json"]);
    let accepted = &verified.done().json()["accepted"][0];
    assert_eq!(accepted["certificate"]["subject"], IDENTITY);
    assert_eq!(
        (&accepted["certificate"]["log_index"], &accepted["annotations"]["run"]),
        (&1002.into(), &"7".into())
    );
    insta::assert_snapshot!(shown(&world.verify("https://github.com/acme/other/*", ISSUER, &[])), @"
    exit 5
    --- stdout
    image     [REGISTRY]/team/app@sha256:[HEX]
    rejected  sha256:[HEX]: it is signed by `https://github.com/acme/shop/.github/workflows/release.yml@refs/heads/main` of `https://token.actions.githubusercontent.com`, which is none of the trusted identities
    --- stderr
    error[SPX-335]: `[REGISTRY]/team/app@sha256:[HEX]` is not signed as it has to be: policy `--certificate-identity` wants the signatures of 1 of the identities `https://github.com/acme/other/*`, and there is none
    hint: sign it with `railway-deployer image sign`, or see above why a signature does not count
    ");
    assert_eq!(world.verify(IDENTITY, "https://issuer.example", &[]).code, 5);
    // By the root of somebody else, or of the public instance, it is nobody's.
    let other = Fake::start(ISSUER);
    world.place.write("other.json", &other.authority().trusted_root().to_string());
    let refused = world.verify(IDENTITY, ISSUER, &["--trusted-root", "other.json"]);
    assert!(refused.code == 5 && refused.stdout.contains("and that does not hold"), "{}", refused.shown());
    assert_eq!(
        (world.fake.complaints(), world.fake.asked()),
        (vec![], vec!["fulcio".to_owned(), "rekor".to_owned()])
    );
    assert!(world.running.registry.violations().is_empty(), "{:?}", world.running.registry.violations());
}

#[test]
fn the_token_is_nowhere_afterwards() {
    let world = Signed::new();
    world
        .place
        .write("token.jwt", &format!("{}\n", world.fake.token(&Claims::of_person("dev@acme.example"))));
    let token = std::fs::read_to_string(world.place.path("token.jwt")).unwrap();
    let signed = world.sign(&["--identity-token", "token.jwt", "--json"]).done();
    assert_eq!(
        signed.json()["certificate"]["subject"],
        "dev@acme.example",
        "what is given goes before the environment"
    );
    std::fs::remove_file(world.place.path("token.jwt")).unwrap();
    let body = |token: &str| token.split('.').nth(1).unwrap().to_owned();
    let secrets = [body(&token), body(&world.token), token.trim().rsplit('.').next().unwrap().to_owned()];
    let mut open = vec![world.place.path("")];
    let mut files = 0;
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(!secrets.iter().any(|secret| text.contains(secret)), "{}", path.display());
            assert!(!text.contains("PRIVATE KEY"), "{}", path.display());
        }
    }
    assert!(files > 5, "the registry keeps files");
    for secret in &secrets {
        assert!(!signed.stdout.contains(secret) && !signed.stderr.contains(secret));
    }
}

#[test]
fn a_token_that_was_given_instead_of_its_place_was_shown() {
    let mut world = Signed::new();
    let token = world.fake.token(&Claims::of_person("dev@acme.example"));
    let expires = "2026-01-02T03:04:05Z".parse().unwrap();
    let old = world.fake.token(&Claims { expires, ..Claims::of_person("dev@acme.example") });
    let pem = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    let hidden = |run: &Run| {
        for secret in [token.as_str(), &old, "c2VjcmV0"] {
            let part = secret.split('.').nth(1).unwrap_or(secret);
            assert!(!run.stdout.contains(part) && !run.stderr.contains(part), "{}", run.shown());
        }
    };
    // As with cosign, it is the token.
    let signed = world.sign(&["--identity-token", &token, "--json"]).done();
    assert_eq!(signed.json()["certificate"]["subject"], "dev@acme.example");
    hidden(&signed);
    for given in [old.clone(), format!("env:{old}")] {
        let refused = world.sign(&["--identity-token", &given, "--json"]);
        assert_eq!(refused.code, 2, "{}", refused.shown());
        hidden(&refused);
    }
    let with_key = world.place.run(&["image", "sign", &world.image, "--key", pem]);
    assert!(
        with_key.code == 2 && with_key.stderr.contains("the key itself was given"),
        "{}",
        with_key.shown()
    );
    hidden(&with_key);
    world.place.set("SPECTRA_IDENTITY_TOKEN", &old);
    let refused = world.sign(&[]);
    assert!(
        refused.code == 2 && refused.stderr.contains("that was given cannot be used"),
        "{}",
        refused.shown()
    );
    hidden(&refused);
    world.place.set("SPECTRA_KEY", pem);
    world.place.set("SPECTRA_PUBLIC_KEY", pem);
    for command in ["sign", "attest", "verify"] {
        hidden(&world.place.run(&["image", command, "--help"]));
    }
    hidden(&world.place.run(&["image", "verify", &world.image]));
}

#[test]
fn a_job_of_github_attests_with_its_own_token() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    let image = pushed(&place, &running);
    let fake = services(&mut place);
    for (name, value) in fake.github(&Claims::of_workflow(WORKFLOW)) {
        place.set(name, &value);
    }
    place.write("provenance.json", PROVENANCE);
    let attested = place.run(&[
        "image",
        "attest",
        &image,
        "--keyless",
        "--type",
        "slsaprovenance1",
        "--predicate",
        "provenance.json",
    ]);
    insta::assert_snapshot!(attested.shown(), @"
    exit 0
    --- stdout
    [REGISTRY]/team/app@sha256:[HEX]
    --- stderr
    attested `slsaprovenance1` of `[REGISTRY]/team/app@sha256:[HEX]` as https://github.com/acme/shop/.github/workflows/release.yml@refs/heads/main of https://token.actions.githubusercontent.com, log entry 1002
    ");
    assert_eq!(fake.asked(), ["github", "fulcio", "rekor"]);
    assert_eq!(fake.complaints(), Vec::<String>::new());
    let verify =
        ["image", "verify", &image, "--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER];
    assert_eq!(place.run(&verify).code, 5, "an attestation is no signature");
    let wanted = [verify.as_slice(), &["--attestation", "slsaprovenance1", "--json"]].concat();
    let verified = place.run(&wanted).done().json();
    assert_eq!(verified["predicates"][0]["predicate"], serde_json::from_str::<Value>(PROVENANCE).unwrap());
}

#[test]
fn what_cannot_be_signed_says_who_refused_and_what_was_attached() {
    let world = Signed::new();
    let failed = |switch: Switch| {
        world.fake.switch(switch);
        world.sign(&[])
    };
    insta::assert_snapshot!(failed(Switch::FulcioFails).shown(), @"
    exit 1
    --- stdout
    --- stderr
    error[SPX-341]: `[REGISTRY]/team/app@sha256:[HEX]` is not signed, and nothing was attached to it
      caused by: the certificate authority at `[FAKE]` refuses, with status 503: error communicating with CA backend
    ");
    insta::assert_snapshot!(failed(Switch::RekorFails).shown(), @"
    exit 1
    --- stdout
    --- stderr
    error[SPX-341]: `[REGISTRY]/team/app@sha256:[HEX]` is not signed, and nothing was attached to it
      caused by: the transparency log at `[FAKE]` refuses, with status 500: error adding entry to the transparency log
    ");
    insta::assert_snapshot!(failed(Switch::FulcioSkipsItsLog).shown(), @"
    exit 1
    --- stdout
    --- stderr
    error[SPX-343]: `[REGISTRY]/team/app@sha256:[HEX]` is not signed, and nothing was attached to it
      caused by: the signature that was made, and is in the log, does not hold by the root of trust `root.json`: invalid signed certificate timestamp: certificate is missing SCT extension (Signed Certificate Timestamp)
    hint: the authority and the log have to be those of the root: `--fulcio-url`, `--rekor-url` and `--trusted-root` belong together
    ");
    world.fake.switch(Switch::None);
    // Without the root of these services.
    let unknown = world.place.run(&[
        "image",
        "sign",
        &world.image,
        "--keyless",
        "--rekor-url",
        &world.fake.url(),
        "--trusted-root",
        "nowhere.json",
    ]);
    assert!(unknown.code == 1 && unknown.stderr.contains("cannot read the root of trust `nowhere.json`"));
    let found = world.verify(IDENTITY, ISSUER, &["--json"]);
    assert_eq!(
        (found.json()["accepted"].clone(), found.json()["rejected"].clone()),
        (serde_json::json!([]), serde_json::json!([]))
    );
    let old = Claims { expires: "2026-01-02T03:04:05Z".parse().unwrap(), ..Claims::of_workflow(WORKFLOW) };
    world.place.write("old.jwt", &world.fake.token(&old));
    insta::assert_snapshot!(world.sign(&["--identity-token", "old.jwt"]).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error[SPX-338]: the identity token `old.jwt` cannot be used: it was valid until 2026-01-02T03:04:05Z
    hint: an identity token is short-lived and made for the audience `sigstore`: `--identity-token`, SIGSTORE_ID_TOKEN, or a job of GitHub Actions with the permission `id-token: write`
    ");
    insta::assert_snapshot!(world.sign(&["--fulcio-url", "http://fulcio.example"]).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error[SPX-339]: `http://fulcio.example` is no address of the certificate authority: it is `http`, and what is sent there is secret
    ");
    insta::assert_snapshot!(world.sign(&["--key", "ci.key"]).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: `--keyless` signs with a certificate instead of a key, and `--key` (SPECTRA_KEY) names a key; one of them is too many
    ");
    for flag in ["--identity-token", "--fulcio-url", "--rekor-url", "--trusted-root"] {
        let alone = world.place.run(&["image", "sign", &world.image, "--key", "ci.key", flag, "https"]);
        let said = format!("`{flag}` is for `--keyless`");
        assert!(alone.code == 2 && alone.stderr.contains(&said), "{}", alone.shown());
    }
    // The variables of all but the first are there, and do not matter.
    let neither = world.place.run(&["image", "sign", &world.image]);
    assert!(neither.code == 2 && neither.stderr.contains("neither is given"), "{}", neither.shown());
    let alone = world.place.run(&["image", "verify", &world.image, "--certificate-identity", IDENTITY]);
    assert!(alone.code == 2 && alone.stderr.contains("--certificate-oidc-issuer"), "{}", alone.shown());
}

#[test]
fn nothing_becomes_public_of_an_image_that_is_not_there() {
    let world = Signed::new();
    let missing = format!("{}@sha256:{}", world.image.split_once('@').unwrap().0, "0".repeat(64));
    let refused = world.place.run(&["image", "sign", &missing, "--keyless"]);
    assert!(refused.code == 1 && refused.stderr.contains("SPX-305"), "{}", refused.shown());
    assert_eq!(world.fake.asked(), Vec::<String>::new());
    // Where it is, and nothing may be written, what is public is told.
    let rule = serde_json::json!({ "operation": "registry.upload_begin", "action": { "type": "http", "status": 403 } });
    world.running.registry.set_fault(rule).unwrap();
    let refused = world.sign(&[]);
    assert_ne!(refused.code, 0, "{}", refused.shown());
    let left =
        "is not signed: the signature is in the transparency log, log entry 1002, and was not attached";
    assert!(refused.stderr.contains(left), "{}", refused.shown());
}

#[test]
fn what_nobody_would_read_again_became_public() {
    let world = Signed::new();
    let predicate = format!("{{\"text\":\"{}\"}}", "x".repeat(25 * 1024 * 1024));
    world.place.write("large.json", &predicate);
    let refused = world.place.run(&[
        "image",
        "attest",
        &world.image,
        "--keyless",
        "--type",
        "custom",
        "--predicate",
        "large.json",
    ]);
    assert!(refused.code == 2 && refused.stderr.contains("nothing was signed"), "{}", refused.shown());
    assert_eq!(world.fake.asked(), Vec::<String>::new());
}

#[test]
fn a_root_that_nothing_needs_stopped_everything() {
    let mut world = Signed::new();
    world.place.run(&["image", "keygen", "--output", "ci", "--no-password"]).done();
    world.place.run(&["image", "sign", &world.image, "--key", "ci.key"]).done();
    world.sign(&[]).done();
    world.place.write("broken.json", "{}");
    world.place.set("SPECTRA_TRUSTED_ROOT", "broken.json");
    let keys = world.place.run(&["image", "verify", &world.image, "--key", "ci.pub"]);
    assert_eq!(keys.code, 0, "{}", keys.shown());
    let refused = world.verify(IDENTITY, ISSUER, &[]);
    assert!(refused.code == 2 && refused.stderr.contains("SPX-337"), "{}", refused.shown());
    // An empty one is none: that of the public instance.
    world.place.set("SPECTRA_TRUSTED_ROOT", "");
    let refused = world.verify(IDENTITY, ISSUER, &[]);
    assert!(refused.code == 5 && refused.stdout.contains("and that does not hold"), "{}", refused.shown());
}

#[test]
fn a_policy_file_names_identities_beside_keys() {
    let world = Signed::new();
    world.place.run(&["image", "keygen", "--output", "ci", "--no-password"]).done();
    world.place.write(
        "signatures.toml",
        &format!(
            "version = 1\n[[policy]]\nname = \"shop\"\nrequired = \"all\"\nkeys = [{{ name = \"ci\", file = \"ci.pub\" }}]\n\
             [[policy.identities]]\nname = \"release\"\nissuer = \"{ISSUER}\"\nsubject = \"https://github.com/acme/shop/.github/workflows/*@refs/heads/main\"\n"
        ),
    );
    let verify = || world.place.run(&["image", "verify", &world.image, "--policy", "signatures.toml"]);
    world.sign(&[]).done();
    let refused = verify();
    assert_eq!(refused.code, 5);
    assert!(
        refused.stderr.contains("2 of the keys and identities `ci`, `release`, and there is 1"),
        "{}",
        refused.shown()
    );
    world.place.run(&["image", "sign", &world.image, "--key", "ci.key"]).done();
    assert_eq!(verify().code, 0);
}

#[test]
fn a_reusable_workflow_counts_for_the_repository_that_called_it() {
    let world = Signed::new();
    let wants = |repository: &str, more: &[&str]| {
        world.verify(IDENTITY, ISSUER, &[&["--certificate-source-repository", repository], more].concat())
    };
    let called = |repository: Option<&str>| {
        let claims = Claims { repository: repository.map(str::to_owned), ..Claims::of_workflow(WORKFLOW) };
        world.place.write("called.jwt", &world.fake.token(&claims));
        world.sign(&["--identity-token", "called.jwt"]).done();
    };
    called(Some("eve/shop"));
    insta::assert_snapshot!(shown(&wants("https://github.com/acme/shop", &[])), @"
    exit 5
    --- stdout
    image     [REGISTRY]/team/app@sha256:[HEX]
    rejected  sha256:[HEX]: it is signed by the identity `https://github.com/acme/shop/.github/workflows/release.yml@refs/heads/main` for the source repository `https://github.com/eve/shop`, and that may sign for `https://github.com/acme/shop` alone
    --- stderr
    error[SPX-335]: `[REGISTRY]/team/app@sha256:[HEX]` is not signed as it has to be: policy `--certificate-identity` wants the signatures of 1 of the identities `https://github.com/acme/shop/.github/workflows/release.yml@refs/heads/main`, and there is none
    hint: sign it with `railway-deployer image sign`, or see above why a signature does not count
    ");
    assert_eq!(wants("https://github.com/eve/shop", &[]).code, 0);
    assert_eq!(world.verify(IDENTITY, ISSUER, &[]).code, 0, "without it, whoever calls may sign");
    called(None);
    let refused = wants("https://github.com/acme/shop", &[]);
    assert!(
        refused.stdout.contains("the certificate does not name a source repository"),
        "{}",
        refused.shown()
    );
    called(Some("acme/shop"));
    let found = wants("https://github.com/acme/shop", &["--json"]).done().json();
    assert_eq!(found["accepted"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["accepted"][0]["certificate"]["source_repository"], "https://github.com/acme/shop");
    assert_eq!(found["rejected"].as_array().unwrap().len(), 2, "{found}");
    let policy = |repository: &str| {
        let text = format!(
            "version = 1\n[[policy]]\n[[policy.identities]]\nissuer = \"{ISSUER}\"\nsubject = \"{IDENTITY}\"\nsource_repository = \"{repository}\"\n"
        );
        world.place.write("signatures.toml", &text);
        world.place.run(&["image", "verify", &world.image, "--policy", "signatures.toml"])
    };
    assert_eq!(
        (policy("https://github.com/acme/shop").code, policy("https://github.com/acme/web").code),
        (0, 5)
    );
    insta::assert_snapshot!(policy("acme/shop").shown(), @"
    exit 2
    --- stdout
    --- stderr
    error[SPX-332]: the signature policy signatures.toml cannot be read: TOML parse error at line 6, column 21
      |   |
      | 6 | source_repository = \"acme/shop\"
      |   |                     ^^^^^^^^^^^
      | `acme/shop` is no source repository: it is written as `https://github.com/acme/shop`, with a host and a path, without a `*`, a query or a slash at the end
    ");
    insta::assert_snapshot!(wants("acme/shop", &[]).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: invalid value 'acme/shop' for '--certificate-source-repository <URL>': `acme/shop` is no source repository: it is written as `https://github.com/acme/shop`, with a host and a path, without a `*`, a query or a slash at the end

    For more information, try '--help'.
    ");
    let alone = [
        "image",
        "verify",
        &world.image,
        "--key",
        "ci.pub",
        "--certificate-source-repository",
        "https://github.com/acme/shop",
    ];
    let alone = world.place.run(&alone);
    assert!(alone.code == 2 && alone.stderr.contains("--certificate-identity"), "{}", alone.shown());
}

#[test]
fn a_rollout_is_begun_when_the_identity_signed() {
    let mut world = World::new();
    let fake = services(&mut world.place);
    let (old, new) = (world.image("old", &[]), world.image("new", &[]));
    world.start(&old, &[]).done();
    // Nobody named an identity yet, so no root is needed.
    world.place.write("broken.json", "{}");
    world.place.set("SPECTRA_TRUSTED_ROOT", "broken.json");
    world.start(&world.image("between", &[]), &[]).done();
    world.place.set("SPECTRA_TRUSTED_ROOT", "root.json");
    let policy = format!(
        "version = 1\n[[policy]]\nname = \"ci\"\nidentities = [{{ name = \"release\", issuer = \"{ISSUER}\", subject = \"{IDENTITY}\" }}]\n"
    );
    world.place.write("signatures.toml", &policy);
    let wanted = ["--signature-policy", "signatures.toml", "--json"];
    let refused = world.start(&new, &wanted);
    assert!(refused.code == 5 && refused.stderr.contains("SPX-335"), "{}", refused.shown());
    world.place.set("SIGSTORE_ID_TOKEN", &fake.token(&Claims::of_workflow(WORKFLOW)));
    world.place.run(&["image", "sign", &new, "--keyless"]).done();
    assert_eq!(world.start(&new, &wanted).done().json()["outcome"], "complete");
    let records = world.place.run(&["audit", "log", "--kind", "signature.accepted", "--json"]).done().json();
    assert!(records.to_string().contains(&format!("\"subject\":\"{IDENTITY}\"")), "{records}");
}
