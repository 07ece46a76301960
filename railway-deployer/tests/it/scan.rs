//! `image sbom`, `image scan` and `secrets scan`, with scanners that are scripts.

use std::path::Path;

use serde_json::{Value, json};

use spectra_sandbox::registry::RegistryAuth;

use crate::{
    image::registry,
    support::{Place, tool},
};

const STATUS: &str = "Package: libfoo1\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0-1\n";

/// A layout with the databases of dpkg.
pub(crate) fn image(place: &Place) -> String {
    place.write("in/var/lib/dpkg/status", STATUS);
    place.write("in/etc/os-release", "ID=debian\nVERSION_ID=12\n");
    let run = place.run(&[
        "image",
        "build",
        "in",
        "--output",
        "layout",
        "--entrypoint",
        "/app",
        "--created",
        "1000",
    ]);
    run.done().stdout.trim().to_owned()
}

fn read(place: &Place, name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(place.path(name)).unwrap()).unwrap()
}

fn sarif(results: &Value) -> String {
    json!({ "version": "2.1.0", "runs": [{ "tool": { "driver": { "name": "other" } }, "results": results }] })
        .to_string()
}

#[test]
fn a_bill_without_syft() {
    let place = Place::new();
    let digest = image(&place);
    let run = place.run(&["image", "sbom", "layout"]).done();
    let bill = run.json();
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&json!("CycloneDX"), &json!("1.6")));
    assert_eq!(bill["metadata"]["component"]["version"], digest.as_str());
    assert_eq!(bill["metadata"]["timestamp"], "1970-01-01T00:16:40Z", "the image's own time");
    let purl = "pkg:deb/debian/libfoo1@1.0-1?arch=amd64&distro=debian-12";
    assert_eq!(bill["components"][1]["purl"], purl);
    assert!(
        run.stderr.starts_with("warning: read were the package databases of dpkg and apk"),
        "{}",
        run.stderr
    );
    assert_eq!(place.run(&["image", "sbom", "layout"]).done().stdout, run.stdout, "the same bytes");
    place
        .run(&["image", "sbom", "layout", "--format", "spdx", "--output", "bill.json", "--created", "0"])
        .done();
    let bill = read(&place, "bill.json");
    assert_eq!(
        (&bill["spdxVersion"], &bill["creationInfo"]["created"]),
        (&json!("SPDX-2.3"), &json!("1970-01-01T00:00:00Z"))
    );
    assert_eq!(bill["packages"][1]["externalRefs"][0]["referenceLocator"], purl);
    let value = place.run(&["image", "sbom", "layout", "--json"]).done().json();
    assert_eq!((&value["kind"], &value["generator"]), (&json!("image.sbom"), &json!("builtin")));
    assert_eq!(value["sbom"]["components"][1]["purl"], purl);
    insta::assert_snapshot!(place.run(&["image", "sbom", "layout", "--generator", "syft"]).shown(), @"
    exit 1
    --- stdout
    --- stderr
    error[SPX-363]: cannot list the packages: `syft` is not on PATH
    hint: install Syft (https://github.com/anchore/syft), or leave it to the package databases: `--generator builtin`
    ");
    assert_eq!(place.run(&["image", "sbom", "layout", "--format", "csv"]).code, 2);
}

#[test]
fn a_bill_by_syft_gets_the_times_and_names_of_the_image() {
    let place = Place::new();
    let digest = image(&place);
    let bill = r#"{"bomFormat":"CycloneDX","serialNumber":"urn:uuid:x","metadata":{"timestamp":"now","args":"'"$*"'"},"components":[]}"#;
    place.program("syft", &format!("echo '{bill}'"));
    let run = place.run(&["image", "sbom", "layout"]).done();
    let bill = run.json();
    assert_eq!(bill["metadata"]["timestamp"], "1970-01-01T00:16:40Z");
    assert_ne!(bill["serialNumber"], "urn:uuid:x");
    let arguments = bill["metadata"]["args"].as_str().unwrap();
    assert!(arguments.contains(&format!("--source-name layout --source-version {digest}")), "{arguments}");
    place.program("syft", "echo broken >&2; exit 1");
    insta::assert_snapshot!(place.run(&["image", "sbom", "layout"]).shown(), @"
    exit 1
    --- stdout
    --- stderr
    error[SPX-364]: `syft` failed: exit status: 1; broken
    hint: what it was to find out is not known: a failed scan is not a clean one
    ");
    assert_eq!(place.run(&["image", "sbom", "layout", "--generator", "builtin"]).code, 0);
}

#[test]
fn an_image_of_a_registry_is_looked_into_as_one_on_disk_is() {
    let mut place = Place::new();
    let digest = image(&place);
    let running = registry(&mut place, RegistryAuth::Anonymous);
    let repository = format!("{}/team/app", running.address);
    place.run(&["image", "push", "layout", &format!("{repository}:v1")]).done();
    let bill = place.run(&["image", "sbom", &format!("{repository}@{digest}")]).done().json();
    let subject = &bill["metadata"]["component"];
    assert_eq!((&subject["name"], &subject["version"]), (&json!(repository), &json!(digest)));
    assert_eq!(bill["components"][1]["name"], "libfoo1");
    place.program("trivy", &format!("[ -f \"$8/oci-layout\" ] || exit 9\ncat <<'END'\n{TRIVY}\nEND"));
    let scan = place.run(&["image", "scan", &format!("{repository}:v1"), "--fail-on", "critical", "--json"]);
    assert_eq!((scan.code, &scan.json()["digest"]), (5, &json!(digest)), "{}", scan.shown());
}

const TRIVY: &str = r#"{"SchemaVersion":2,"Results":[{"Target":"t","Class":"os-pkgs","Vulnerabilities":[
  {"VulnerabilityID":"CVE-2026-0001","PkgName":"libfoo1","InstalledVersion":"1.0-1","FixedVersion":"1.0-2","Severity":"CRITICAL","Title":"overflow"},
  {"VulnerabilityID":"CVE-2026-0002","PkgName":"libfoo1","InstalledVersion":"1.0-1","Severity":"MEDIUM","Title":"leak"}]}]}"#;

#[test]
fn without_a_scanner_there_is_no_answer() {
    let place = Place::new();
    image(&place);
    insta::assert_snapshot!(place.run(&["image", "scan", "layout"]).shown(), @"
    exit 1
    --- stdout
    --- stderr
    error[SPX-363]: cannot scan the image: neither `trivy` nor `grype` is on PATH
    hint: install Trivy (https://trivy.dev) or Grype (https://github.com/anchore/grype), or run another scanner and give its report: `--scanner sarif --sarif FILE`
    ");
    place.program("trivy", "echo 'FATAL no database' >&2; exit 1");
    insta::assert_snapshot!(place.run(&["image", "scan", "layout", "--fail-on", "high"]).shown(), @"
    exit 1
    --- stdout
    --- stderr
    error[SPX-364]: `trivy` failed: exit status: 1; FATAL no database
    hint: what it was to find out is not known: a failed scan is not a clean one
    ");
    place.program("trivy", "echo '{}'");
    assert_eq!(place.run(&["image", "scan", "layout"]).code, 1, "an empty answer is none");
    assert_eq!(place.run(&["image", "scan"]).code, 2);
}

#[test]
fn a_scan_is_judged() {
    let place = Place::new();
    image(&place);
    // It gets a layout of the one image, and runs where no settings lie about.
    place.program(
        "trivy",
        &format!("[ -f \"$8/oci-layout\" ] && [ -z \"$(ls -A)\" ] || exit 9\ncat <<'END'\n{TRIVY}\nEND"),
    );
    insta::assert_snapshot!(place.run(&["image", "scan", "layout"]).done().shown(), @"
    exit 0
    --- stdout
    SEVERITY  ID             PACKAGE  INSTALLED  FIXED  LOCATION
    critical  CVE-2026-0001  libfoo1  1.0-1      1.0-2
    medium    CVE-2026-0002  libfoo1  1.0-1

    linux/amd64: 1 critical, 1 medium
    --- stderr
    ");
    let refused = place.run(&[
        "image",
        "scan",
        "layout",
        "--fail-on",
        "high",
        "--output",
        "x.sarif",
        "--format",
        "sarif",
    ]);
    insta::assert_snapshot!(refused.shown(), @"
    exit 5
    --- stdout
    SEVERITY  ID             PACKAGE  INSTALLED  FIXED  LOCATION
    critical  CVE-2026-0001  libfoo1  1.0-1      1.0-2
    medium    CVE-2026-0002  libfoo1  1.0-1

    linux/amd64: 1 critical, 1 medium
    --- stderr
    wrote `x.sarif`
    refused: findings that are high or worse: 1
    ");
    let log = read(&place, "x.sarif");
    assert_eq!(log["runs"][0]["automationDetails"]["id"], "spectra/image/trivy/");
    assert_eq!(log["runs"][0]["results"][0]["ruleId"], "CVE-2026-0001");
    place.write(
        "waivers.toml",
        "[[waiver]]\nid = \"CVE-2026-0001\"\npackage = \"libfoo*\"\nreason = \"not reachable\"\nexpires = \"2999-12-31\"\napproved-by = \"ada\"\n\
         [[waiver]]\nid = \"CVE-2026-0002\"\nreason = \"later\"\nexpires = \"2020-01-01\"\n\
         [[waiver]]\nid = \"CVE-2026-0003\"\nreason = \"gone\"\nexpires = \"2999-12-31\"\n",
    );
    let scan = ["image", "scan", "layout", "--fail-on", "high", "--waivers", "waivers.toml"];
    insta::assert_snapshot!(place.run(&scan).done().shown(), @"
    exit 0
    --- stdout
    SEVERITY  ID             PACKAGE  INSTALLED  FIXED  LOCATION
    medium    CVE-2026-0002  libfoo1  1.0-1

    linux/amd64: 1 medium; 1 waived
    waived: CVE-2026-0001 in libfoo1: not reachable (until 2999-12-31, approved by ada)
    --- stderr
    warning: the waiver of `CVE-2026-0001` for `libfoo*` holds until 2999-12-31, for more than a year; give it an end that somebody will see
    warning: the waiver of `CVE-2026-0002` ran out on 2020-01-01; it does not count
    warning: the waiver of `CVE-2026-0003` fits no finding; remove it
    ");
    let value = place.run(&[&scan[..], &["--json", "--ignore-unfixed"]].concat()).done().json();
    assert_eq!((&value["kind"], &value["passed"]), (&json!("image.scan"), &json!(true)));
    assert_eq!((value["waived"].as_array().unwrap().len(), &value["unfixed_left_out"]), (1, &json!(1)));
    assert!(value["digest"].as_str().unwrap().starts_with("sha256:"));
    let refused = place.run(&["image", "scan", "layout", "--fail-on", "medium", "--json"]);
    assert_eq!((refused.code, refused.json()["refusing"].as_u64()), (5, Some(2)));
    place.write("waivers.toml", "[[waiver]]\nid = \"CVE-2026-0001\"\n");
    let wrong = place.run(&scan);
    assert_eq!(wrong.code, 2, "{}", wrong.shown());
    assert!(
        wrong.stderr.starts_with("error[SPX-367]: cannot use the waivers in `waivers.toml`"),
        "{}",
        wrong.stderr
    );
}

#[test]
fn reports_of_other_scanners_count_too() {
    let place = Place::new();
    place.write(
        "a.sarif",
        &sarif(&json!([{ "ruleId": "A", "level": "error", "message": { "text": "bad" } }])),
    );
    place.write("b.sarif", &sarif(&json!([])));
    let scan = ["image", "scan", "--sarif", "b.sarif", "--fail-on", "high"];
    assert_eq!(place.run(&scan).code, 0);
    let both = place.run(&[&scan[..], &["--sarif", "a.sarif"]].concat());
    assert_eq!(both.code, 5, "{}", both.shown());
    place.write("c.sarif", "{\"version\":\"2.1.0\",\"runs\":[]}");
    let nothing = place.run(&["image", "scan", "--sarif", "c.sarif", "--fail-on", "high"]);
    insta::assert_snapshot!(nothing.shown(), @"
    exit 1
    --- stdout
    --- stderr
    error[SPX-366]: cannot read `c.sarif`: it holds no run of a scanner, so nothing was scanned
    ");
}

#[test]
fn a_report_took_the_place_of_the_image() {
    let mut place = Place::new();
    image(&place);
    place.write("clean.sarif", &sarif(&json!([])));
    let gate = ["--sarif", "clean.sarif", "--fail-on", "high"];
    let scan = |more: &[&str]| place.run(&[&["image", "scan"], more, &gate[..]].concat());
    assert_eq!(scan(&["./missing"]).code, 1, "nobody has looked at it");
    assert_eq!(scan(&["layout"]).code, 1, "there is no scanner");
    place.program("trivy", &format!("cat <<'END'\n{TRIVY}\nEND"));
    assert_eq!(scan(&["./missing"]).code, 1);
    let both = scan(&["layout", "--json"]);
    assert_eq!((both.code, both.json()["tools"].clone()), (5, json!(["other", "trivy"])), "{}", both.shown());
    assert_eq!(both.json()["platform"], "linux/amd64");
    // The reports alone, where that is asked for or there is nothing else.
    insta::assert_snapshot!(scan(&["./missing", "--scanner", "sarif"]).shown(), @"
    exit 0
    --- stdout
    no findings
    --- stderr
    warning: `./missing` itself was not looked at: the reports alone count
    ");
    assert_eq!(scan(&[]).code, 0);
    // A variable that another step needs turns no scan off.
    place.set("SPECTRA_SARIF", "clean.sarif");
    let set = place.run(&["image", "scan", "layout", "--fail-on", "high"]);
    assert_eq!(set.code, 5, "{}", set.shown());
}

#[test]
fn of_an_index_one_platform_is_looked_at_and_the_others_are_named() {
    let place = Place::new();
    place.write("in/bin/app", "app");
    let build = ["image", "build", "in", "--output", "two", "--entrypoint", "/bin/app"];
    place.run(&[&build[..], &["--platform", "linux/amd64,linux/arm64"]].concat()).done();
    place.program("trivy", &format!("cat <<'END'\n{TRIVY}\nEND"));
    let scan = |more: &[&str]| place.run(&[&["image", "scan", "two", "--json"], more].concat()).done().json();
    let default = scan(&[]);
    assert_eq!(
        (&default["platform"], &default["other_platforms"], &default["warnings"]),
        (
            &json!("linux/amd64"),
            &json!(["linux/arm64"]),
            &json!([
                "there are also images for linux/arm64, which were not looked at; `--platform` chooses one"
            ])
        )
    );
    let chosen = scan(&["--platform", "linux/arm64"]);
    assert_eq!((&chosen["platform"], &chosen["warnings"]), (&json!("linux/arm64"), &json!([])));
    let shown = place.run(&["image", "scan", "two", "--platform", "linux/arm64"]).done();
    assert!(shown.stdout.ends_with("linux/arm64: 1 critical, 1 medium\n"), "{}", shown.stdout);
}

/// Put together here, so that this file holds no secret.
pub(crate) fn secret() -> String {
    format!("{}_{}", "ghp", "aB3Zk3Q9xV7bN5mT1rW8yL2pH6dJ4sG0fXq7u")
}

fn repository(place: &Place) {
    place.write("src/.gitignore", "ignored\n");
    place.write("src/ignored", &secret());
    place.write("src/a.txt", &format!("one\ntoken {}\n", secret()));
}

#[test]
fn secrets_are_found_and_never_shown() {
    let place = Place::new();
    repository(&place);
    let found = place.run(&["secrets", "scan", "src"]);
    insta::assert_snapshot!(found.shown(), @"
    exit 5
    --- stdout
    SEVERITY  RULE          PLACE    WHAT                          FINGERPRINT
    critical  github-token  a.txt:2  GitHub token (41 characters)  89b78fc9b60327625c0307e4175cefee

    1 critical
    --- stderr
    searched 2 files, 60 B
    a secret that was committed is known to whoever has the repository: revoke it. One that may stay: put `spectra:allow-secret` into its line, or its fingerprint into `.spectra-secrets-ignore`
    ");
    let runs = [
        vec!["secrets", "scan", "src", "--json"],
        vec!["secrets", "scan", "src", "--format", "sarif"],
        vec!["secrets", "scan", "src", "--format", "json", "--output", "out.json"],
    ];
    for arguments in runs {
        let run = place.run(&arguments);
        assert_eq!(run.code, 5, "{}", run.shown());
        assert!(!format!("{}{}", run.stdout, run.stderr).contains("Zk3Q9xV7b"), "{}", run.shown());
    }
    let report = read(&place, "out.json");
    assert!(!report.to_string().contains("Zk3Q9xV7b"));
    let fingerprint = report["findings"][0]["fingerprint"].as_str().unwrap();
    place.write("src/.spectra-secrets-ignore", &format!("{fingerprint} # a test\n"));
    insta::assert_snapshot!(place.run(&["secrets", "scan", "src"]).done().shown(), @"
    exit 0
    --- stdout
    no findings; 0 allowed in their lines, 1 in a list
    allowed: github-token in a.txt:2, by `.spectra-secrets-ignore`: a test
    --- stderr
    searched 3 files, 102 B
    ");
    let strict = place.run(&["secrets", "scan", "src", "--strict"]);
    assert_eq!(strict.code, 5, "a list that comes with what is searched: {}", strict.shown());
    assert!(strict.stdout.contains("ignored:1"), "and not in a repository: {}", strict.shown());
    std::fs::remove_file(place.path("src/ignored")).unwrap();
    place.write("trusted", &format!("{fingerprint} # a test\n"));
    let given = ["secrets", "scan", "src", "--strict", "--ignore-file", "trusted", "--max-size", "30"];
    insta::assert_snapshot!(place.run(&given).shown(), @"
    exit 5
    --- stdout
    no findings
    --- stderr
    warning: not searched: `.spectra-secrets-ignore`: it has more than 30 bytes
    warning: not searched: `a.txt`: it has more than 30 bytes
    searched 1 files, 8 B
    refused: with `--strict`, what was not searched does not pass
    ");
    assert_eq!(place.run(&given[..6]).code, 0);
    place.write("binary/a.bin", &format!("\0\n{}\n", secret()));
    insta::assert_snapshot!(place.run(&["secrets", "scan", "binary"]).done().shown(), @"
    exit 0
    --- stdout
    no findings
    --- stderr
    searched 0 files; 1 more are no text and were left out
    ");
    let strict = place.run(&["secrets", "scan", "binary", "--strict"]);
    assert_eq!(strict.code, 5, "{}", strict.shown());
    assert!(
        strict.stderr.starts_with("searched 1 files, 44 B; 1 of them are no text\n"),
        "{}",
        strict.stderr
    );
    assert_eq!(place.run(&["secrets", "scan", "missing"]).code, 1);
    assert_eq!(place.run(&["secrets", "scan", "src", "--ignore-file", "missing"]).code, 1);
    assert!(place.run(&["secrets", "rules"]).done().stdout.contains("railway-token"));
}

#[test]
fn secrets_by_gitleaks() {
    let place = Place::new();
    repository(&place);
    // It is given the files that count, and no others.
    let leak = json!([{ "RuleID": "github-pat", "Description": "A token", "StartLine": 2, "File": "ROOT/a.txt",
                        "Secret": secret(), "Match": secret(), "Commit": "" }]);
    let script = format!(
        "[ -f \"$2/files/a.txt\" ] && [ ! -e \"$2/files/ignored\" ] || exit 9\nsed \"s,ROOT,$2/files,\" <<'END'\n{leak}\nEND"
    );
    place.program("gitleaks", &script);
    let found = place.run(&["secrets", "scan", "src"]);
    insta::assert_snapshot!(found.shown(), @"
    exit 5
    --- stdout
    SEVERITY  RULE        PLACE    WHAT                     FINGERPRINT
    high      github-pat  a.txt:2  A token (41 characters)  102d03ce50329bee066d7134fdb32236

    1 high
    --- stderr
    searched 2 files
    a secret that was committed is known to whoever has the repository: revoke it. One that may stay: put `spectra:allow-secret` into its line, or its fingerprint into `.spectra-secrets-ignore`
    ");
    place.program("gitleaks", &format!("echo '{}'", secret()));
    let strange = place.run(&["secrets", "scan", "src"]);
    insta::assert_snapshot!(strange.shown(), @"
    exit 1
    --- stdout
    --- stderr
    error[SPX-366]: cannot read what `gitleaks` printed: it is no report of gitleaks 8
    ");
    assert_eq!(place.run(&["secrets", "scan", "src", "--scanner", "builtin"]).code, 5);
    let rules = ["secrets", "scan", "src", "--gitleaks-config", "src/a.txt"];
    let other = place.run(&[&rules[..], &["--scanner", "builtin"]].concat());
    assert_eq!(other.code, 2, "{}", other.shown());
    // It reports nothing and ends well when git fails.
    place.program("gitleaks", "echo '1:00AM ERR [git] fatal: unable to read 79a6' >&2\necho '[]'");
    insta::assert_snapshot!(place.run(&["secrets", "scan", "src"]).shown(), @"
    exit 1
    --- stdout
    --- stderr
    error[SPX-364]: `gitleaks` failed: 1:00AM ERR [git] fatal: unable to read 79a6
    hint: what it was to find out is not known: a failed scan is not a clean one
    ");
    place.program("gitleaks", "echo '1:00AM ERR [git] warning: ignoring broken ref' >&2\necho '[]'");
    let warned = place.run(&["secrets", "scan", "src"]).done();
    assert!(
        warned.stderr.contains("warning: 1:00AM ERR [git] warning: ignoring broken ref"),
        "{}",
        warned.stderr
    );
}

#[test]
fn secrets_by_the_real_gitleaks() {
    let Some(gitleaks) = tool("gitleaks") else { return };
    let place = Place::new();
    repository(&place);
    place.link(&gitleaks);
    let value = place.run(&["secrets", "scan", "src", "--scanner", "gitleaks", "--json"]);
    assert_eq!(value.code, 5, "{}", value.shown());
    let findings = value.json()["findings"].clone();
    assert_eq!(
        (findings.as_array().unwrap().len(), &findings[0]["location"], &findings[0]["line"]),
        (1, &json!("a.txt"), &json!(2))
    );
    assert!(!value.stdout.contains("Zk3Q9xV7b"));
}

#[test]
fn a_bill_by_the_real_syft() {
    let Some(syft) = tool("syft") else { return };
    let place = Place::new();
    let digest = image(&place);
    place.link(&syft);
    for format in ["cyclonedx", "spdx"] {
        let run = |_| {
            place.run(&["image", "sbom", "layout", "--generator", "syft", "--format", format]).done().stdout
        };
        let [one, two] = [1, 2].map(run);
        assert_eq!(one, two, "the same bytes");
        assert!(one.contains("libfoo1") && one.contains(&digest), "{one}");
    }
}

/// By the libraries of those who make the formats, with their schemas.
#[test]
fn bills_are_valid() {
    let Some(pyspdxtools) = tool("pyspdxtools") else { return };
    let place = Place::new();
    image(&place);
    place.run(&["image", "sbom", "layout", "--generator", "builtin", "--output", "c.json"]).done();
    place
        .run(&["image", "sbom", "layout", "--generator", "builtin", "--format", "spdx", "--output", "s.json"])
        .done();
    let check = |program: &Path, arguments: &[&str]| {
        let output = std::process::Command::new(program)
            .args(arguments)
            .current_dir(place.path("."))
            .output()
            .unwrap();
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{text}");
    };
    check(&pyspdxtools, &["--infile", "s.json"]);
    // The library of CycloneDX is asked through the Python that stands beside.
    let script = "import sys; from cyclonedx.schema import SchemaVersion as V; from cyclonedx.validation.json import JsonStrictValidator as J\n\
                  error = J(V.V1_6).validate_str(open('c.json').read())\n\
                  sys.exit(str(error) if error else 0)";
    check(&pyspdxtools.with_file_name("python3"), &["-c", script]);
}
