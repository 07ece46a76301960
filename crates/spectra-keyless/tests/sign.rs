//! Signing, against an authority and a log on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at its first surprise")]

use std::collections::BTreeMap;

use jiff::Timestamp;
use spectra_keyless::{Error, IdentityToken, Keyless, Made, Service, Services, TokenRequest, Url};
use spectra_sign::{CertificateVerifier as _, Statement, Subject};
use spectra_test_sigstore::{Claims, Fake, Switch};
use spectra_types::{Digest, Secret};

const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;
const WORKFLOW: &str = "acme/shop/.github/workflows/release.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

fn image() -> Digest {
    let hash = <sha2::Sha256 as sha2::Digest>::digest(MANIFEST);
    Digest::from_bytes(spectra_types::Algorithm::Sha256, &hash).unwrap()
}

fn root(fake: &Fake) -> Keyless {
    Keyless::parse(&fake.authority().trusted_root().to_string(), "of the test".to_owned()).unwrap()
}

fn token(fake: &Fake, claims: &Claims) -> IdentityToken {
    IdentityToken::parse(&Secret::new(fake.token(claims)), "of the test").unwrap()
}

async fn sign(fake: &Fake, claims: &Claims) -> Result<Made, Error> {
    let services = Services {
        fulcio: Url::parse(Service::Fulcio, &fake.url()).unwrap(),
        // With a slash behind it, it is the same place.
        rekor: Url::parse(Service::Rekor, &format!("{}/", fake.url())).unwrap(),
    };
    let statement = Statement::signature(&image(), &BTreeMap::new());
    services.sign(&token(fake, claims), &statement, &image(), &root(fake)).await
}

#[tokio::test]
async fn what_is_made_holds_and_names_who_made_it() {
    let fake = Fake::start(ISSUER);
    for (claims, who) in [
        (Claims::of_workflow(WORKFLOW), format!("https://github.com/{WORKFLOW}")),
        (Claims::of_person("dev@acme.example"), "dev@acme.example".to_owned()),
    ] {
        let made = sign(&fake, &claims).await.unwrap();
        assert_eq!((made.certified.subject, made.certified.issuer.as_str()), (who, ISSUER));
        let image = image();
        let subject = Subject { digest: &image, manifest: MANIFEST };
        root(&fake).verify(&made.bundle, subject).unwrap();
    }
    assert_eq!(fake.complaints(), Vec::<String>::new());
    assert_eq!(fake.asked(), ["fulcio", "rekor", "fulcio", "rekor"]);
}

const CHILD: &str = "SPECTRA_TEST_PROXIED";

/// Which proxy there is, is the process's, so this is a process of its own: this test once more, with the variables set.
#[tokio::test]
async fn tokens_for_services_on_this_machine_went_to_the_proxy() {
    if std::env::var_os(CHILD).is_some() {
        let fake = Fake::start(ISSUER);
        sign(&fake, &Claims::of_workflow(WORKFLOW)).await.unwrap();
        let [(_, url), (_, token)] = fake.github(&Claims::of_workflow(WORKFLOW));
        TokenRequest { url, token: Secret::new(token) }.send().await.unwrap();
        assert_eq!(fake.asked(), ["fulcio", "rekor", "github"]);
        return;
    }
    // The proxy answers nobody, and knows whether somebody came.
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "tokens_for_services_on_this_machine_went_to_the_proxy"]).env(CHILD, "1");
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        child.env(name, &url);
    }
    for name in ["no_proxy", "NO_PROXY", "REQUEST_METHOD"] {
        child.env_remove(name);
    }
    let output = tokio::time::timeout(std::time::Duration::from_secs(50), child.kill_on_drop(true).output());
    let output = output.await.expect("nobody waits for a proxy").unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert!(proxy.accept().is_err(), "somebody came to the proxy");
}

#[tokio::test]
async fn who_does_not_do_what_was_asked_is_named() {
    let fake = Fake::start(ISSUER);
    let claims = Claims::of_workflow(WORKFLOW);
    let failed = async |switch: Switch| {
        fake.switch(switch);
        sign(&fake, &claims).await.expect_err("it fails").to_string().replace(&fake.url(), "[URL]")
    };
    insta::assert_snapshot!(failed(Switch::FulcioFails).await, @"the certificate authority at `[URL]` refuses, with status 503: error communicating with CA backend");
    insta::assert_snapshot!(failed(Switch::FulcioRedirects).await, @"the certificate authority at `[URL]` refuses, with status 307: it does not say why");
    assert_eq!(fake.asked(), ["fulcio"; 2], "the token goes nowhere else");
    insta::assert_snapshot!(failed(Switch::FulcioCertifiesAnotherKey).await, @"the certificate authority at `[URL]` gives an answer that makes no sense: the certificate is for another key");
    assert_eq!(fake.asked(), ["fulcio"; 3], "nothing is entered without a certificate for the key");
    insta::assert_snapshot!(failed(Switch::RekorFails).await, @"the transparency log at `[URL]` refuses, with status 500: error adding entry to the transparency log");
    insta::assert_snapshot!(failed(Switch::RekorFloods).await, @"the transparency log at `[URL]` gives an answer that makes no sense: it is longer than 1048576 bytes");
    insta::assert_snapshot!(failed(Switch::RekorAnswersWithAnotherEntry).await, @"the signature that was made, and is in the log, does not hold by the root of trust of the test: log entry does not match the bundle: DSSE payload hash mismatch: computed 05c60d8cd99e5ba08182d2ac2057e1275473bba40754d75b07b9558b493578fc, expected ae448ac86c4e8e4dec645729708ef41873ae79c6dff84eff73360989487f08e5");
    insta::assert_snapshot!(failed(Switch::FulcioSkipsItsLog).await, @"the signature that was made, and is in the log, does not hold by the root of trust of the test: invalid signed certificate timestamp: certificate is missing SCT extension (Signed Certificate Timestamp)");
    assert_eq!(fake.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_token_that_is_not_believed_is_no_secret_in_the_error() {
    let fake = Fake::start(ISSUER);
    let other = Claims { audience: "other".to_owned(), ..Claims::of_workflow(WORKFLOW) };
    let raw = fake.token(&other);
    let error = sign(&fake, &other).await.unwrap_err();
    assert_eq!(error.code().as_str(), "SPX-341");
    insta::assert_snapshot!(error.to_string().replace(&fake.url(), "[URL]"), @"the certificate authority at `[URL]` refuses, with status 400: There was an error processing the identity token");
    assert!(!format!("{error:?}").contains(&raw));
    assert_eq!(fake.asked(), ["fulcio"]);
}

#[test]
fn a_token_that_cannot_be_used_is_not_sent() {
    let fake = Fake::start(ISSUER);
    let failed = |raw: &str| {
        let error = IdentityToken::parse(&Secret::from(raw), "`token.jwt`").err().expect("it is refused");
        assert!(error.is_usage() && error.code().as_str() == "SPX-338");
        error.to_string()
    };
    insta::assert_snapshot!(failed("hunter2"), @"the identity token `token.jwt` cannot be used: it is no JSON Web Token");
    assert_eq!(failed("a.b.c"), failed("hunter2"));
    let expires = "2026-01-02T03:04:05Z".parse::<Timestamp>().unwrap();
    let old = Claims { expires, ..Claims::of_workflow(WORKFLOW) };
    insta::assert_snapshot!(failed(&fake.token(&old)), @"the identity token `token.jwt` cannot be used: it was valid until 2026-01-02T03:04:05Z");
    let nobody = Claims { subject: String::new(), ..Claims::of_workflow(WORKFLOW) };
    insta::assert_snapshot!(failed(&fake.token(&nobody)), @"the identity token `token.jwt` cannot be used: it names neither an address nor a subject");
    // White space around it is not a part of it.
    let fresh = fake.token(&Claims::of_workflow(WORKFLOW));
    IdentityToken::parse(&Secret::new(format!("{fresh}\n")), "x").unwrap();
}

#[test]
fn odd_claims_made_a_good_token_none() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let parse = |claims: &str| {
        let raw = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        IdentityToken::parse(&Secret::new(raw), "x").err().map(|error| error.to_string())
    };
    assert_eq!(parse(r#"{"sub":"dev","exp":4102444800.5}"#), None);
    assert_eq!(parse(r#"{"sub":"dev","exp":4.1e9}"#), None);
    insta::assert_snapshot!(parse(r#"{"sub":"dev","exp":1767323045.9}"#).unwrap(), @"the identity token x cannot be used: it was valid until 2026-01-02T03:04:05Z");
    assert_eq!(parse(r#"{"sub":"dev","email":""}"#), None);
}

#[tokio::test]
async fn a_job_of_github_gets_its_token() {
    let fake = Fake::start(ISSUER);
    let [(_, url), (_, request)] = fake.github(&Claims::of_workflow(WORKFLOW));
    let ask = async |token: &str| TokenRequest { url: url.clone(), token: Secret::from(token) }.send().await;
    ask(&request).await.unwrap();
    assert_eq!(fake.complaints(), Vec::<String>::new());
    let error = ask("another").await.err().expect("it is refused");
    insta::assert_snapshot!(error.to_string().replace(&fake.url(), "[URL]"), @"GitHub's source of identity tokens at `[URL]/token` refuses, with status 401: the job's token is missing");
    assert!(error.is_not_authorised());
}

#[tokio::test]
async fn who_does_not_answer_is_named_with_the_reason() {
    let fake = Fake::start(ISSUER);
    let claims = Claims::of_workflow(WORKFLOW);
    let nowhere = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let services = Services {
        fulcio: Url::parse(Service::Fulcio, &nowhere).unwrap(),
        rekor: Url::parse(Service::Rekor, &fake.url()).unwrap(),
    };
    let statement = Statement::signature(&image(), &BTreeMap::new());
    let error = services.sign(&token(&fake, &claims), &statement, &image(), &root(&fake)).await.unwrap_err();
    let text = spectra_types::error_chain(&error).replace(&nowhere, "[URL]");
    assert!(text.starts_with("the certificate authority at `[URL]` does not answer: "), "{text}");
    assert!(text.contains("refused"), "{text}");
    assert_eq!(fake.asked(), Vec::<String>::new());
}

#[test]
fn a_token_is_sent_over_tls_alone() {
    let failed = |text: &str| Url::parse(Service::Fulcio, text).err().map(|error| error.to_string());
    insta::assert_snapshot!(failed("http://fulcio.example").unwrap(), @"`http://fulcio.example` is no address of the certificate authority: it is `http`, and what is sent there is secret");
    insta::assert_snapshot!(failed("https://dev:hunter2@fulcio.example/?key=hunter2").unwrap(), @"`…@fulcio.example/` is no address of the certificate authority: it has a user or a password in it");
    for text in [
        "http://127.0.0.1.example",
        "http://10.0.0.1",
        "ftp://fulcio.example",
        "fulcio.example",
        "https://a:b@fulcio.example",
    ] {
        assert!(failed(text).is_some(), "{text}");
    }
    for text in ["https://fulcio.example", "http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:1"] {
        assert_eq!(failed(text), None, "{text}");
    }
}
