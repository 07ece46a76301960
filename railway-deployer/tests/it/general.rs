//! Usage, completions, doctor.

use crate::support::Place;

#[test]
fn wrong_usage_is_exit_code_2() {
    let place = Place::new();
    insta::assert_snapshot!(place.run(&["image", "push", "layout", "team/App:1"]).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: invalid value 'team/App:1' for '<IMAGE>': repository `team/App` has upper-case letters, which registries refuse; write `team/app`

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(place.run(&["image", "build"]).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: the following required arguments were not provided:
      --output <OUTPUT>
      <CONTEXT>

    Usage: railway-deployer image build --output <OUTPUT> <CONTEXT>

    For more information, try '--help'.
    ");
    assert_eq!(place.run(&["--help"]).code, 0);
    assert_eq!(place.run(&["--version"]).code, 0);
    assert_eq!(place.run(&["unknown"]).code, 2);
}

#[test]
fn completions_for_every_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = place.run(&["completions", shell]).done();
        assert!(run.stdout.contains("railway-deployer"), "{shell}");
        assert!(run.stderr.is_empty(), "{shell}");
    }
    assert_eq!(place.run(&["completions", "tcsh"]).code, 2);
}

#[test]
fn doctor_names_what_is_missing() {
    let mut place = Place::new();
    // Only our own directory, so that the machine's Terraform is not seen.
    let bin = place.path("bin");
    place.set("PATH", bin.to_str().unwrap());
    place.write(".docker/config.json", r#"{"credsStore":"nowhere"}"#);
    insta::assert_snapshot!(place.run(&["doctor"]).shown(), @"
    exit 1
    --- stdout
    fail terraform: neither `terraform` nor `tofu` is on PATH
         -> install Terraform 1.5 or OpenTofu 1.8, or newer
    ok   credentials: `[DIR]/.docker/config.json`
    warn credential helpers: not on PATH: docker-credential-nowhere
         -> install them, or log in again without them
    warn railway: no token in RAILWAY_API_TOKEN or RAILWAY_TOKEN
         -> make a token in the account's or workspace's settings, or start a sandbox, which prints one
    ok   sandbox: not running
    --- stderr
    error: 1 of 5 checks failed
    ");
    place.program("tofu", r#"printf '{"terraform_version":"1.7.2"}'"#);
    place.program("docker-credential-nowhere", "exit 1");
    insta::assert_snapshot!(place.run(&["doctor"]).shown(), @"
    exit 1
    --- stdout
    fail terraform: OpenTofu 1.7.2 is older than 1.8
         -> install Terraform 1.5 or OpenTofu 1.8, or newer
    ok   credentials: `[DIR]/.docker/config.json`
    ok   credential helpers: nowhere
    warn railway: no token in RAILWAY_API_TOKEN or RAILWAY_TOKEN
         -> make a token in the account's or workspace's settings, or start a sandbox, which prints one
    ok   sandbox: not running
    --- stderr
    error: 1 of 5 checks failed
    ");
    place.program("terraform", r#"printf '{"terraform_version":"1.11.4"}'"#);
    let run = place.run(&["doctor", "--json"]).done();
    let document = run.json();
    assert_eq!((document["version"].as_u64(), document["ok"].as_bool()), (Some(1), Some(true)));
    assert_eq!(document["checks"][0]["message"], "Terraform 1.11.4");
}

#[test]
fn doctor_reports_an_unreachable_registry() {
    let place = Place::new();
    place.program("terraform", r#"printf '{"terraform_version":"1.11.4"}'"#);
    // Bound and closed again: nothing listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let run = place.run(&["doctor", "--registry", &format!("127.0.0.1:{port}"), "--json"]);
    assert_eq!(run.code, 1);
    let document = run.json();
    let check =
        document["checks"].as_array().unwrap().iter().find(|check| check["status"] == "fail").unwrap();
    assert!(check["message"].as_str().unwrap().contains("cannot reach"), "{check}");
}
