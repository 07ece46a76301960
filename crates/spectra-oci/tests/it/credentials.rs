//! Where credentials are found.

use std::{collections::HashMap, ffi::OsString, os::unix::fs::PermissionsExt as _, path::Path};

use spectra_oci::{Credential, Environment, Keychain};
use spectra_types::Secret;

fn keychain(pairs: &[(&str, &str)]) -> Keychain {
    let pairs: HashMap<String, OsString> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
    Keychain::new(Environment::from_lookup(|name| pairs.get(name).cloned()))
}

fn basic(username: &str, password: &str) -> Credential {
    Credential::Basic { username: username.to_owned(), password: Secret::from(password) }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn the_variables_are_for_one_registry() {
    let hub = keychain(&[("DOCKER_USERNAME", "u"), ("DOCKER_PASSWORD", "p4ssword")]);
    assert_eq!(hub.resolve("docker.io", "a/b").await.unwrap(), basic("u", "p4ssword"));
    assert_eq!(hub.resolve("ghcr.io", "a/b").await.unwrap(), Credential::Anonymous);
    let other = keychain(&[
        ("DOCKER_USERNAME", "u"),
        ("DOCKER_PASSWORD", "p4ssword"),
        ("DOCKER_REGISTRY", "https://ghcr.io/"),
    ]);
    assert_eq!(other.resolve("ghcr.io", "a/b").await.unwrap(), basic("u", "p4ssword"));
    assert_eq!(other.resolve("docker.io", "a/b").await.unwrap(), Credential::Anonymous);
}

#[tokio::test]
async fn the_longest_path_wins_and_hub_has_many_names() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("config.json"),
        r#"{"auths":{"https://index.docker.io/v1/":{"auth":"aHVi OnNlY3JldA=="},"ghcr.io":{"auth":"YTpob3N0cGFzcw=="},
            "ghcr.io/team":{"auth":"YjpwYXRocGFzcw=="},"quay.io":{},"id.example":{"identitytoken":"tok-en"}}}"#
            .replace("aHVi On", "aHViOn"),
    )
    .unwrap();
    let keychain = keychain(&[("DOCKER_CONFIG", text(directory.path()))]);
    assert_eq!(keychain.resolve("docker.io", "library/x").await.unwrap(), basic("hub", "secret"));
    assert_eq!(keychain.resolve("ghcr.io", "team/app").await.unwrap(), basic("b", "pathpass"));
    assert_eq!(keychain.resolve("ghcr.io", "teamwork/app").await.unwrap(), basic("a", "hostpass"));
    assert_eq!(keychain.resolve("quay.io", "x").await.unwrap(), Credential::Anonymous);
    let identity = Credential::IdentityToken(Secret::from("tok-en"));
    assert_eq!(keychain.resolve("id.example", "x").await.unwrap(), identity);
}

#[tokio::test]
async fn podmans_files_come_after_dockers() {
    let directory = tempfile::tempdir().unwrap();
    let containers = directory.path().join("containers");
    std::fs::create_dir(&containers).unwrap();
    std::fs::write(containers.join("auth.json"), r#"{"auths":{"a.io":{"auth":"cDpwb2RtYW4="}}}"#).unwrap();
    let file = directory.path().join("reg.json");
    std::fs::write(&file, r#"{"auths":{"b.io":{"auth":"cjpmaWxlcGFzcw=="}}}"#).unwrap();
    let keychain =
        keychain(&[("XDG_RUNTIME_DIR", text(directory.path())), ("REGISTRY_AUTH_FILE", text(&file))]);
    assert_eq!(keychain.resolve("a.io", "x").await.unwrap(), basic("p", "podman"));
    assert_eq!(keychain.resolve("b.io", "x").await.unwrap(), basic("r", "filepass"));
}

#[tokio::test]
async fn helpers() {
    let directory = tempfile::tempdir().unwrap();
    let script = |name: &str, body: &str| {
        let path = directory.path().join(format!("docker-credential-{name}"));
        std::fs::write(&path, format!("#!/bin/sh\nread host\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("good", r#"printf '{"ServerURL":"%s","Username":"h","Secret":"for-%s"}' "$host" "$host""#);
    script("token", r#"printf '{"Username":"<token>","Secret":"identity"}'"#);
    script("none", "echo 'credentials not found in native keychain'; exit 1");
    script("bad", "echo 'S3CRET leaked'; exit 3");
    let config = r#"{"credsStore":"none","credHelpers":{"a.io":"good","b.io":"token","c.io":"bad","e.io":"../x"},
        "auths":{"d.io":{"auth":"dTpmYWxsYmFjaw=="}}}"#;
    std::fs::write(directory.path().join("config.json"), config).unwrap();
    let path = format!("{}:/usr/bin:/bin", text(directory.path()));
    let keychain = keychain(&[("DOCKER_CONFIG", text(directory.path())), ("PATH", &path)]);
    assert_eq!(keychain.resolve("a.io", "x").await.unwrap(), basic("h", "for-a.io"));
    assert_eq!(
        keychain.resolve("b.io", "x").await.unwrap(),
        Credential::IdentityToken(Secret::from("identity"))
    );
    assert_eq!(keychain.resolve("d.io", "x").await.unwrap(), basic("u", "fallback"));
    assert_eq!(keychain.resolve("f.io", "x").await.unwrap(), Credential::Anonymous);
    insta::assert_snapshot!(keychain.resolve("c.io", "x").await.unwrap_err(), @"cannot read registry credentials for `c.io` from credential helper `docker-credential-bad`: it failed with exit status: 3");
    insta::assert_snapshot!(keychain.resolve("e.io", "x").await.unwrap_err(), @"cannot read registry credentials for `e.io` from credential helper `docker-credential-../x`: its name has characters other than letters, digits, `-`, `_` and `.`");
    assert_eq!(keychain.helpers().unwrap(), ["../x", "bad", "good", "none", "token"]);
}

#[tokio::test]
async fn malformed_files_are_named_without_their_content() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("config.json"), r#"{"auths": S3CRET"#).unwrap();
    let keychain = keychain(&[("DOCKER_CONFIG", text(directory.path()))]);
    let error = keychain.resolve("a.io", "x").await.unwrap_err().to_string();
    assert!(error.ends_with("it is malformed at line 1, column 11"), "{error}");
}

#[tokio::test]
async fn an_empty_file_or_another_registrys_entry_stopped_every_access() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    let keychain = keychain(&[("DOCKER_CONFIG", text(directory.path()))]);
    for empty in ["", " \n\t\n", "{}"] {
        std::fs::write(&file, empty).unwrap();
        assert_eq!(keychain.resolve("ghcr.io", "x").await.unwrap(), Credential::Anonymous, "{empty:?}");
        assert!(keychain.helpers().unwrap().is_empty());
    }
    let odd = r#"{"auths":{"ghcr.io":{"auth":"YTpob3N0cGFzcw=="},"odd.io":{"auth":7},"list.io":[7],"text.io":"s3cret-text","null.io":null},
        "credHelpers":{"helper.io":{"name":"s3cret-text"}}}"#;
    std::fs::write(&file, odd).unwrap();
    assert_eq!(keychain.resolve("ghcr.io", "x").await.unwrap(), basic("a", "hostpass"));
    for other in ["null.io", "quay.io"] {
        assert_eq!(keychain.resolve(other, "x").await.unwrap(), Credential::Anonymous);
    }
    for registry in ["odd.io", "list.io", "text.io", "helper.io"] {
        let error = keychain.resolve(registry, "x").await.unwrap_err();
        assert_eq!(error.code().to_string(), "SPX-310");
        let said = error.to_string();
        assert!(
            said.ends_with(&format!("its entry `{registry}` is not what logins write; log in again")),
            "{said}"
        );
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        assert!(error.hint().unwrap().contains("DOCKER_CONFIG"));
    }
    // What is no JSON at all still stops everybody: nobody knows what it should say.
    std::fs::write(&file, "{").unwrap();
    assert!(keychain.resolve("ghcr.io", "x").await.is_err());
}
