//! Who is shown which credentials, and when.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use axum::http::Method;
use spectra_oci::{
    Access, Credential, Environment, Error, Keychain, NoProgress, Progress, PushOptions, Pushed,
};
use spectra_types::{Digest, Secret};

use crate::fake::{Action, Fake, client_with, image};

fn basic(fake: &Fake, password: &str) -> Keychain {
    let credential = Credential::Basic { username: "bot".to_owned(), password: Secret::from(password) };
    Keychain::empty().with(&fake.address.to_string(), credential)
}

async fn push(fake: &Fake, keychain: Keychain) -> Result<Pushed, Error> {
    let directory = tempfile::tempdir().unwrap();
    let artifact = image(directory.path(), 2000);
    let options = PushOptions { mount_from: vec!["base/image".to_owned()], ..PushOptions::default() };
    client_with(keychain).push(&fake.image("team/app:v1"), &artifact, &options, Arc::new(NoProgress)).await
}

#[tokio::test]
async fn one_token_for_all_parallel_calls() {
    let fake = Fake::start().await;
    (fake.lock().scheme, fake.lock().login) = (Some("bearer"), None);
    fake.lock().login = Some("bot:s3cret-pw");
    push(&fake, basic(&fake, "s3cret-pw")).await.unwrap();
    let state = fake.lock();
    assert_eq!(state.token_requests.len(), 1, "{:?}", state.token_requests);
    let request = &state.token_requests[0];
    assert!(request.contains("service=fake"), "{request}");
    assert!(request.contains("scope=repository%3Ateam%2Fapp%3Apull%2Cpush"), "{request}");
    assert!(request.contains("scope=repository%3Abase%2Fimage%3Apull"), "{request}");
    assert!(
        !state.authorizations.iter().any(|value| value.starts_with("Basic")),
        "the password goes to the token service alone"
    );
}

#[tokio::test]
async fn a_token_refused_in_mid_upload_is_renewed() {
    let fake = Fake::start().await;
    fake.lock().scheme = Some("bearer");
    fake.fault(Method::PUT, "/blobs/uploads/", Action::Revoke);
    push(&fake, Keychain::empty()).await.unwrap();
    assert_eq!(fake.lock().token_requests.len(), 2);
    assert!(fake.lock().violations.is_empty());
}

/// How far each blob is, as a progress bar has it.
#[derive(Default)]
struct Bars(Mutex<BTreeMap<Digest, u64>>);

impl Progress for Bars {
    fn sent(&self, digest: &Digest, bytes: u64) {
        *self.0.lock().unwrap().entry(digest.clone()).or_default() += bytes;
    }

    fn restarted(&self, digest: &Digest, offset: u64) {
        self.0.lock().unwrap().insert(digest.clone(), offset);
    }
}

#[tokio::test]
async fn a_body_that_was_sent_again_with_a_new_token_counted_twice() {
    let fake = Fake::start().await;
    fake.lock().scheme = Some("bearer");
    fake.fault(Method::PUT, "/blobs/uploads/", Action::Revoke);
    let directory = tempfile::tempdir().unwrap();
    let artifact = image(directory.path(), 600_000);
    let bars = Arc::new(Bars::default());
    let progress = Arc::clone(&bars) as Arc<dyn Progress>;
    client_with(Keychain::empty())
        .push(&fake.image("team/app:v1"), &artifact, &PushOptions::default(), progress)
        .await
        .unwrap();
    let bars = bars.0.lock().unwrap();
    assert_eq!(bars.len(), 2, "a layer and the configuration: {bars:?}");
    for (digest, bytes) in &*bars {
        let blob = directory.path().join("layout/blobs/sha256").join(digest.hex());
        assert_eq!(*bytes, blob.metadata().unwrap().len(), "{digest}");
    }
}

#[tokio::test]
async fn identity_tokens_are_exchanged_by_post() {
    let fake = Fake::start().await;
    (fake.lock().scheme, fake.lock().login) = (Some("bearer"), None);
    fake.lock().login = Some("nobody:nothing");
    let credential = Credential::IdentityToken(Secret::from("identity-token"));
    push(&fake, Keychain::empty().with(&fake.address.to_string(), credential)).await.unwrap();
    let state = fake.lock();
    assert!(
        state.token_requests[0].starts_with("POST /token grant_type=refresh_token"),
        "{:?}",
        state.token_requests
    );
}

#[tokio::test]
async fn basic_authentication() {
    let fake = Fake::start().await;
    fake.lock().scheme = Some("basic");
    fake.lock().login = Some("bot:s3cret-pw");
    push(&fake, basic(&fake, "s3cret-pw")).await.unwrap();
    let error = push(&fake, Keychain::empty()).await.unwrap_err();
    assert!(error.is_not_authorised());
    assert!(error.to_string().contains("refused anonymous access (401)"), "{error}");
}

#[tokio::test]
async fn wrong_passwords_are_said_without_the_password() {
    let fake = Fake::start().await;
    fake.lock().scheme = Some("bearer");
    fake.lock().login = Some("bot:s3cret-pw");
    let error = push(&fake, basic(&fake, "wr0ng-pw-here")).await.unwrap_err();
    assert!(error.is_not_authorised());
    let text = format!("{error} {error:?}");
    assert!(text.contains("incorrect username or password"), "{text}");
    assert!(!text.contains("wr0ng-pw-here"), "{text}");
}

#[tokio::test]
async fn another_host_never_sees_our_authorization() {
    let fake = Fake::start().await;
    let storage = Fake::start().await;
    fake.lock().scheme = Some("bearer");
    fake.lock().elsewhere = Some(storage.address);
    // The blobs land in the storage; the registry has to be told, as real ones are.
    let shared = Arc::clone(&fake.state);
    let watched = Arc::clone(&storage.state);
    let mover = tokio::spawn(async move {
        loop {
            let blobs = watched.lock().unwrap().blobs.clone();
            shared.lock().unwrap().blobs.extend(blobs);
            tokio::task::yield_now().await;
        }
    });
    push(&fake, Keychain::empty()).await.unwrap();
    let client = client_with(Keychain::empty());
    // Reading the configuration is redirected to the storage, too.
    client.inspect(&fake.image("team/app:v1"), None).await.unwrap();
    mover.abort();
    let seen = storage.lock();
    assert!(
        seen.log.iter().any(|line| line.starts_with("PUT"))
            && seen.log.iter().any(|line| line.starts_with("GET"))
    );
    assert!(seen.authorizations.iter().all(String::is_empty), "{:?}", seen.authorizations);
    assert!(fake.lock().authorizations.iter().any(|value| value.starts_with("Bearer")));
}

#[tokio::test]
async fn a_token_for_somebody_else_is_new_every_time_and_asks_for_what_was_named() {
    let fake = Fake::start().await;
    (fake.lock().scheme, fake.lock().login) = (Some("bearer"), Some("bot:s3cret-pw"));
    let client = client_with(basic(&fake, "s3cret-pw"));
    let access =
        Access { repository: "team/app".to_owned(), actions: vec!["pull".to_owned(), "push".to_owned()] };
    let host = fake.address.to_string();
    let before = std::time::SystemTime::now();
    let first = client.access_token(&host, Some(&access)).await.unwrap();
    let second = client.access_token(&host, Some(&access)).await.unwrap();
    assert_eq!(fake.lock().token_requests.len(), 2, "the second has its whole time before it");
    assert!(!first.value.expose().is_empty() && !second.value.expose().is_empty());
    let lifetime = first.lifetime.unwrap();
    assert_eq!(lifetime.length, std::time::Duration::from_mins(5));
    assert!(lifetime.end() >= before + lifetime.length);
    let request = &fake.lock().token_requests[0];
    assert!(request.contains("scope=repository%3Ateam%2Fapp%3Apull%2Cpush"), "{request}");
    let debug = format!("{first:?}");
    assert!(!debug.contains(first.value.expose().as_str()), "{debug}");
}

#[tokio::test]
async fn a_registry_without_token_service_is_told_apart() {
    let fake = Fake::start().await;
    fake.lock().scheme = Some("basic");
    fake.lock().login = Some("bot:s3cret-pw");
    let host = fake.address.to_string();
    let error = client_with(basic(&fake, "s3cret-pw")).access_token(&host, None).await.unwrap_err();
    assert!(matches!(error, Error::NoTokens { .. }), "{error}");
}

/// A keychain whose credential helper gives `bot:s3cret-pw`, or once `bot:0ld-pw` if it is to begin with that, and the file with a line for
/// every run.
fn helper(fake: &Fake, directory: &Path, begins_with_old: bool) -> (Keychain, PathBuf) {
    let runs = directory.join("runs");
    let old = u8::from(begins_with_old);
    let script = format!(
        r#"#!/bin/sh
cat >/dev/null
echo run >> {runs}
if [ "$(wc -l < {runs})" -le {old} ]; then secret=0ld-pw; else secret=s3cret-pw; fi
printf '{{"Username":"bot","Secret":"%s"}}' $secret
"#,
        runs = runs.display()
    );
    let program = directory.join("docker-credential-count");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!(r#"{{"credHelpers":{{"{}":"count"}}}}"#, fake.address);
    std::fs::write(directory.join("config.json"), config).unwrap();
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    let place = directory.to_owned();
    let environment = Environment::from_lookup(move |name| match name {
        "PATH" => Some(path.clone().into()),
        "DOCKER_CONFIG" => Some(place.clone().into()),
        _ => None,
    });
    (Keychain::new(environment), runs)
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap_or_default().lines().count()
}

#[tokio::test]
async fn a_credential_helper_runs_once_for_all_calls() {
    for scheme in ["basic", "bearer"] {
        let fake = Fake::start().await;
        (fake.lock().scheme, fake.lock().login) = (Some(scheme), Some("bot:s3cret-pw"));
        let directory = tempfile::tempdir().unwrap();
        let (keychain, runs) = helper(&fake, directory.path(), false);
        push(&fake, keychain).await.unwrap();
        assert_eq!(lines(&runs), 1, "{scheme}: {:?}", fake.lock().log);
    }
}

#[tokio::test]
async fn a_credential_helper_is_asked_again_after_a_refusal() {
    for scheme in ["basic", "bearer"] {
        let fake = Fake::start().await;
        (fake.lock().scheme, fake.lock().login) = (Some(scheme), Some("bot:s3cret-pw"));
        let directory = tempfile::tempdir().unwrap();
        let (keychain, runs) = helper(&fake, directory.path(), true);
        let client = client_with(keychain);
        let artifact = image(directory.path(), 2000);
        let options = PushOptions { jobs: 1, ..PushOptions::default() };
        client.push(&fake.image("team/app:v1"), &artifact, &options, Arc::new(NoProgress)).await.unwrap();
        assert_eq!(lines(&runs), 2, "{scheme}: {:?}", fake.lock().log);
    }
}

#[tokio::test]
async fn a_registry_that_everybody_reads_gets_every_body_once() {
    for (scheme, credential) in [
        ("basic", Credential::Basic { username: "bot".to_owned(), password: Secret::from("s3cret-pw") }),
        ("bearer", Credential::Basic { username: "bot".to_owned(), password: Secret::from("s3cret-pw") }),
        ("bearer", Credential::RegistryToken(Secret::from("registry-token"))),
    ] {
        let fake = Fake::start().await;
        {
            let mut state = fake.lock();
            (state.scheme, state.login, state.everybody_reads) = (Some(scheme), Some("bot:s3cret-pw"), true);
            state.tokens.insert("Bearer registry-token".to_owned());
        }
        let directory = tempfile::tempdir().unwrap();
        let artifact = image(directory.path(), 20_000);
        let options = PushOptions { jobs: 1, ..PushOptions::default() };
        let is_token = matches!(credential, Credential::RegistryToken(_));
        let client = client_with(Keychain::empty().with(&fake.address.to_string(), credential));
        client.push(&fake.image("team/app:v1"), &artifact, &options, Arc::new(NoProgress)).await.unwrap();
        let state = fake.lock();
        let refused = state.log.iter().filter(|line| line.ends_with(" 401")).count();
        assert_eq!(refused, 1, "the first write teaches all others: {:?}", state.log);
        assert!(!is_token || state.token_requests.is_empty(), "{:?}", state.token_requests);
    }
}

#[tokio::test]
async fn a_registry_that_everybody_reads_has_its_tokens_renewed() {
    let fake = Fake::start().await;
    (fake.lock().scheme, fake.lock().everybody_reads) = (Some("bearer"), true);
    fake.fault(Method::PUT, "/blobs/uploads/", Action::Revoke);
    push(&fake, Keychain::empty()).await.unwrap();
    assert_eq!(fake.lock().token_requests.len(), 2, "{:?}", fake.lock().log);
}

#[tokio::test]
async fn a_password_that_was_refused_is_not_sent_a_second_time() {
    let fake = Fake::start().await;
    (fake.lock().scheme, fake.lock().login) = (Some("basic"), Some("bot:s3cret-pw"));
    let client = client_with(basic(&fake, "wr0ng-pw-here"));
    client.resolve(&fake.image("team/app:v1")).await.unwrap_err();
    assert_eq!(fake.count("GET", "/manifests/"), 1, "{:?}", fake.lock().log);
}
