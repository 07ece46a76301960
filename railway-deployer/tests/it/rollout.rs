//! What the verbs of `rollout` refuse before they do anything, and the doctor's look at Railway.

use crate::support::Place;

#[test]
fn without_a_token_it_is_not_authorised() {
    let place = Place::new();
    let ids = ["rollout", "history", "--platform", "--project", "p", "--environment", "e", "--service", "s"];
    insta::assert_snapshot!(place.run(&ids).shown(), @"
    exit 6
    --- stdout
    --- stderr
    error: there is no Railway token: set `RAILWAY_API_TOKEN` (account or workspace token) or `RAILWAY_TOKEN` (project token)
    ");
    assert_eq!(place.run(&["rollout", "history", "--platform", "--project", "p"]).code, 2);
    assert_eq!(
        place
            .run(&[
                "rollout",
                "history",
                "--platform",
                "--project",
                "",
                "--environment",
                "e",
                "--service",
                "s"
            ])
            .code,
        2
    );
}

#[test]
fn an_endpoint_that_does_not_answer() {
    let mut place = Place::new();
    place.program("terraform", r#"printf '{"terraform_version":"1.11.4"}'"#);
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    place.set("SPECTRA_RAILWAY_ENDPOINT", &format!("http://{address}/graphql/v2"));
    place.set("RAILWAY_API_TOKEN", "canary-token-value");
    let run = place.run(&["doctor", "--json"]);
    assert_eq!(run.code, 1, "{}", run.shown());
    let document = run.json();
    let check =
        document["checks"].as_array().unwrap().iter().find(|check| check["name"] == "railway").unwrap();
    assert_eq!(check["status"], "fail");
    assert!(check["advice"].is_string(), "{check}");
    assert!(!run.shown().contains("canary-token-value"));
    place.set("SPECTRA_RAILWAY_ENDPOINT", "not a url");
    assert_eq!(
        place
            .run(&[
                "rollout",
                "history",
                "--platform",
                "--project",
                "p",
                "--environment",
                "e",
                "--service",
                "s"
            ])
            .code,
        2
    );
}

const IDS: [&str; 6] = ["--project", "p", "--environment", "e", "--service", "s"];

fn pinned(letter: &str) -> String {
    format!("ghcr.io/team/web@sha256:{}", letter.repeat(64))
}

#[test]
fn a_rollout_of_a_tag_is_refused() {
    let place = Place::new();
    let run = place.run(&[&["rollout", "start", "--image", "ghcr.io/team/web:1"][..], &IDS].concat());
    insta::assert_snapshot!(run.shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: invalid value 'ghcr.io/team/web:1' for '--image <PINNED>': `ghcr.io/team/web:1` can mean another image at any time: give the digest, `ghcr.io/team/web@sha256:[HEX]…`, which `railway-deployer image inspect ghcr.io/team/web:1` and `image push --print image` print

    For more information, try '--help'.
    ");
}

#[test]
fn what_is_missing_is_named() {
    let place = Place::new();
    insta::assert_snapshot!(place.run(&[&["rollout", "start"][..], &IDS].concat()).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: what to roll out is not said: give `--image REPOSITORY@sha256:[HEX]…`, or `--spec FILE`
    ");
    let image = pinned("a");
    let run = place.run(&["rollout", "start", "--image", &image, "--environment", "e"]);
    insta::assert_snapshot!(run.shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: which service is meant is not said: give --project, --service
    ");
}

#[test]
fn every_verb_refuses_what_makes_no_sense() {
    let place = Place::new();
    let image = pinned("a");
    place.write("one.toml", &format!("candidate = \"{image}\"\n"));
    for arguments in [
        &["start", "--spec", "one.toml", "--bake", "1m"][..],
        &["start", "--image", &image, "--bake", "10"],
        &["start", "--image", &image, "--health-status", "9"],
        &["start", "--image", &image, "--health-path", "/", "--health-url", "http://x/"],
        &["start", "--image", &image, "--approver", "ada"],
        &["start", "--image", &image, "--freeze-override", " ", "--journal", "sqlite://j.db"],
        &["start", "--image", &image, "--handover-after", "soon"],
        &["start", "--spec", "one.toml", "--image", &image],
        &["approve", "--image", &image],
        &["approve", "--image", &image, "--as", "ada", "--digest", "sha256:1"],
        &["rollback", "--to", "nginx"],
        &["unlock"],
        &["unlock", "--reason", ""],
        &["history", "--limit", "0"],
    ] {
        let ids = if arguments[0] == "unlock" { &[][..] } else { &IDS[..] };
        let mut place = Place::new();
        place.write("one.toml", &format!("candidate = \"{image}\"\n"));
        place.set("RAILWAY_API_TOKEN", "token");
        place.set("SPECTRA_RAILWAY_ENDPOINT", "http://127.0.0.1:1/graphql/v2");
        let run = place.run(&[&["rollout"][..], arguments, ids].concat());
        assert_eq!(run.code, 2, "{arguments:?}: {}", run.shown());
    }
    for verb in ["status", "abort", "promote", "unlock", "watch", "postmortem", "report", "history"] {
        let reason = if verb == "unlock" { &["--reason", "x"][..] } else { &[] };
        let run = place.run(&[&["rollout", verb][..], reason, &IDS].concat());
        assert_eq!(run.code, 1, "{}", run.shown());
        assert!(run.stderr.starts_with("error[SPX-504]: there is no journal at "), "{verb}: {}", run.stderr);
    }
    assert!(!place.path(".spectra").exists(), "nothing was made by looking");
}

#[test]
fn a_file_with_a_mistake_is_refused_by_its_path() {
    let place = Place::new();
    let image = pinned("a");
    let refused = |content: &str| {
        place.write("spec.toml", content);
        let run = place.run(&[&["rollout", "start", "--spec", "spec.toml"][..], &IDS].concat());
        assert_eq!(run.code, 2, "{}", run.shown());
        run.stderr.trim_end().to_owned()
    };
    let candidate = format!("candidate = \"{image}\"\n");
    let shown = [
        refused(&format!("{candidate}bakee = \"1m\"")),
        refused(&format!("{candidate}bake = 60")),
        refused("candidate = \"ghcr.io/team/web:1\""),
        refused("bake = \"1m\""),
        refused(&format!("{candidate}[health]\nintervall = \"1s\"")),
        refused(&format!("{candidate}[place]\nregion = \"eu\"")),
        refused(&format!("{candidate}[[steps]]\nstep = \"canary\"\nlength = \"1m\"")),
        refused(&format!("{candidate}[[rollout]]\n{candidate}")),
        refused(&format!("[[rollout]]\n{candidate}[[rollout]]\n{candidate}")),
        refused("rollout = []"),
        refused("candidate"),
    ];
    insta::assert_snapshot!(shown.join("\n"), @"
    error: `spec.toml`: `bakee`: unknown field `bakee`, expected one of `place`, `candidate`, `adopt`, `health`, `steps`, `metrics`, `on_inconclusive`, `approval`, `bake`, `progress_deadline`, `timeout`, `abort_timeout`, `freeze_override`, `group`, `depends_on`
    error: `spec.toml`: `bake`: invalid type: number, expected a string
    error: `spec.toml`: `candidate`: `ghcr.io/team/web:1` names a tag, which can move to another image at any time; pin it to a digest (`repository@sha256:…`) with provider::spectra::pin or data.spectra_image
    error: `spec.toml`: missing field `candidate`
    error: `spec.toml`: `health.intervall`: unknown field `intervall`, expected one of `path`, `url`, `expected_status`, `interval`, `timeout`, `success_threshold`, `failure_threshold`
    error: `spec.toml`: `place.region`: unknown field `region`, expected one of `project`, `environment`, `service`
    error: `spec.toml`: `steps[0]`: unknown field `length`, expected one of `name`, `replicas`, `duration`, `metrics`
    error: `spec.toml`: `candidate` stands beside `rollout`, which holds all there is
    error: `spec.toml`: `rollout[1]` and `rollout[0]` act on the same service; they run at once, so one would keep the other out
    error: `spec.toml`: `rollout` is empty: there is nothing to roll out
    error: `spec.toml`: it is not TOML: TOML parse error at line 1, column 10
      |   |
      | 1 | candidate
      |   |          ^
      | key with no value, expected `=`
    ");
}
