//! `rollout history`, and the doctor's look at Railway.

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
