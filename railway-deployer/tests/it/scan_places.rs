//! `secrets scan`: where its findings are, for code hosts and for lists of what may stay, and what links hold.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::{
    scan::secret,
    scan_tools::git,
    support::{Place, tool},
};

/// A repository, `src`, with a file of one name in two folders, both committed.
fn repository(place: &Place) {
    for folder in ["sub", "other"] {
        place.write(&format!("src/sec/{folder}/a.txt"), &format!("token {}\n", secret()));
    }
    git(place, &["init", "--quiet"]);
    git(place, &["add", "."]);
    git(place, &["commit", "--quiet", "-m", "one"]);
}

/// The first finding in SARIF: the whole run, and its place, line and fingerprint.
fn sarif(place: &Place, arguments: &[&str]) -> (Value, Value, Value) {
    let run = place.run(&[&["secrets", "scan", "--format", "sarif"], arguments].concat());
    assert_eq!(run.code, 5, "{}", run.shown());
    let run = run.json()["runs"][0].clone();
    let result = &run["results"][0];
    let at = result["locations"][0]["physicalLocation"]["artifactLocation"].clone();
    let fingerprint = result["partialFingerprints"]["spectraFinding/v1"].clone();
    (run, at, fingerprint)
}

#[test]
fn a_secret_in_one_folder_was_allowed_by_the_entry_for_that_of_another() {
    let place = Place::new();
    repository(&place);
    let builtin = ["--scanner", "builtin"];
    let (run, at, sub) = sarif(&place, &[&["src/sec/sub"], &builtin[..]].concat());
    assert_eq!(at, json!({ "uri": "sec/sub/a.txt" }), "code hosts look for it from the top level");
    assert_eq!(run.get("originalUriBaseIds"), None);
    let (_, at, other) = sarif(&place, &[&["src/sec/other", "--history"], &builtin[..]].concat());
    assert_eq!(at, json!({ "uri": "sec/other/a.txt" }));
    assert_ne!(sub, other);
    place.write("list", &format!("{} # looked at\n", sub.as_str().unwrap()));
    let scan = |folder: &str| {
        let scan = ["secrets", "scan", folder, "--ignore-file", "list", "--strict"];
        place.run(&[&scan[..], &builtin].concat())
    };
    insta::assert_snapshot!(scan("src/sec/sub").done().shown(), @"
    exit 0
    --- stdout
    no findings; 0 allowed in their lines, 1 in a list
    allowed: github-token in sec/sub/a.txt:1, by `list`: looked at
    --- stderr
    searched 1 files, 48 B
    ");
    assert_eq!(scan("src/sec/other").code, 5);
    // The entry holds whatever of the repository is searched.
    let whole = scan("src");
    assert_eq!(whole.code, 5);
    assert!(whole.stdout.contains("allowed: github-token in sec/sub/a.txt:1"), "{}", whole.shown());
}

#[test]
fn outside_of_a_repository_sarif_says_which_folder_places_are_in() {
    let place = Place::new();
    place.write("in here/sub/a.txt", &secret());
    let folder = std::fs::canonicalize(place.path(".")).unwrap();
    let (run, at, _) = sarif(&place, &["in here", "--scanner", "builtin"]);
    assert_eq!(at, json!({ "uri": "sub/a.txt", "uriBaseId": "%SRCROOT%" }));
    assert_eq!(
        run["originalUriBaseIds"],
        json!({ "%SRCROOT%": { "uri": format!("file://{}/in%20here/", folder.display()) } })
    );
}

#[test]
fn the_real_gitleaks_has_the_places_of_the_repository() {
    let Some(gitleaks) = tool("gitleaks") else { return };
    let place = Place::new();
    repository(&place);
    place.link(&gitleaks);
    let (_, at, here) = sarif(&place, &["src/sec/sub"]);
    assert_eq!(at, json!({ "uri": "sec/sub/a.txt" }));
    git(&place, &["rm", "--quiet", "sec/sub/a.txt"]);
    place.write("src/sec/sub/b.txt", "fine\n");
    let (_, at, gone) = sarif(&place, &["src/sec/sub", "--history"]);
    assert_eq!((at, gone), (json!({ "uri": "sec/sub/a.txt" }), here));
}

/// What a scan of `src` finds, in its files and then in its history alone.
fn of_link(place: &Place, scanner: &str) -> [Value; 2] {
    let scan = |more: &[&str]| {
        let run = place
            .run(&[&["secrets", "scan", "src", "--scanner", scanner, "--strict", "--json"], more].concat());
        assert_eq!(run.code, 5, "{}", run.shown());
        let findings = run.json()["findings"].clone();
        let places: Vec<_> =
            findings.as_array().unwrap().iter().map(|finding| &finding["location"]).collect();
        assert_eq!(places, ["link"], "and nothing of where the other one leads");
        findings[0]["fingerprint"].clone()
    };
    place.write("outside", &format!("token {}\n", secret()));
    place.write("src/a.txt", "fine\n");
    git(place, &["init", "--quiet"]);
    symlink(format!("token {}", secret()), place.path("src/link")).unwrap();
    symlink("../outside", place.path("src/other")).unwrap();
    git(place, &["add", "."]);
    git(place, &["commit", "--quiet", "-m", "one"]);
    let here = scan(&[]);
    std::fs::remove_file(place.path("src/link")).unwrap();
    [here, scan(&["--history"])]
}

#[test]
fn a_link_hid_a_secret_from_a_scan_that_trusts_nothing() {
    let place = Place::new();
    let [here, past] = of_link(&place, "builtin");
    assert_eq!(here, past, "one entry in a list is for both");
    assert_eq!(
        place.run(&["secrets", "scan", "src", "--scanner", "builtin"]).code,
        0,
        "the other one holds none"
    );
}

#[test]
fn a_link_hid_a_secret_from_the_real_gitleaks() {
    let Some(gitleaks) = tool("gitleaks") else { return };
    let place = Place::new();
    place.link(&gitleaks);
    let [here, past] = of_link(&place, "gitleaks");
    assert_eq!(here, past);
}
