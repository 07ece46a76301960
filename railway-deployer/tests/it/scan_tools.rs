//! `secrets scan` with the real gitleaks, and reports and bills before the schemas of those who make the formats.

use std::process::Command;

use serde_json::{Value, json};

use crate::{
    scan::secret,
    support::{Place, tool},
};

/// git, in the folder `src` of the place.
pub(crate) fn git(place: &Place, arguments: &[&str]) {
    let output = Command::new("git")
        .arg("-C")
        .arg(place.path("src"))
        .args(["-c", "user.name=t", "-c", "user.email=t@t.test", "-c", "init.defaultBranch=main"])
        .args(["-c", "commit.gpgsign=false"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The places of the findings, sorted.
fn places(findings: &Value) -> Vec<String> {
    let mut places: Vec<String> = findings
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| format!("{}:{}", finding["location"].as_str().unwrap(), finding["line"]))
        .collect();
    places.sort();
    // Two rules may fit one secret.
    places.dedup();
    places
}

/// A repository that does what it can to hide secrets from gitleaks, in its files and in its history.
fn hiding(place: &Place) {
    let token = secret();
    place.write("src/.gitleaks.toml", "[extend]\nuseDefault = true\n[allowlist]\npaths = ['''.*''']\n");
    place.write("src/.gitattributes", "*.env -diff\n");
    place.write("src/plain.txt", &format!("one\ntoken {token}\n"));
    place.write("src/listed.txt", &format!("token {token}\n"));
    place.write("src/.gitleaksignore", "listed.txt:github-pat:1\n");
    place.write("src/commented.txt", &format!("token {token} # gitleaks:allow\n"));
    place.write("src/gone.env", &format!("TOKEN={token}\n"));
    // What git calls binary.
    place.write("src/nul.txt", &format!("\0\ntoken {token}\n"));
    place.write("src/nul-gone.txt", &format!("\0\ntoken {token}\n"));
    git(place, &["init", "--quiet"]);
    std::os::unix::fs::symlink("plain.txt", place.path("src/link.txt")).unwrap();
    git(place, &["add", "."]);
    git(place, &["commit", "--quiet", "-m", "one"]);
    std::fs::remove_file(place.path("src/link.txt")).unwrap();
    place.write("src/link.txt", &format!("token {token}\n"));
    git(place, &["commit", "--quiet", "-a", "-m", "two"]);
    git(place, &["rm", "--quiet", "link.txt", "gone.env", "nul-gone.txt"]);
    git(place, &["commit", "--quiet", "-m", "three"]);
    for (name, value) in [("format.pretty", "oneline"), ("color.ui", "always"), ("diff.noprefix", "true")] {
        git(place, &["config", name, value]);
    }
}

#[test]
fn what_is_searched_cannot_hide_from_the_real_gitleaks() {
    let Some(gitleaks) = tool("gitleaks") else { return };
    let place = Place::new();
    hiding(&place);
    place.link(&gitleaks);
    // Left to itself, it finds none of them: the trap is a real one.
    for verb in ["dir", "git"] {
        let mut alone = Command::new(&gitleaks);
        alone.args([verb, "--no-banner", "--report-format", "json", "--report-path", "-"]);
        let output = alone.arg(place.path("src")).env("HOME", place.path(".")).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "[]", "{verb}");
    }
    let scan = ["secrets", "scan", "src", "--scanner", "gitleaks", "--history", "--json"];
    let run = place.run(&scan);
    assert_eq!(run.code, 5, "{}", run.shown());
    let value = run.json();
    assert_eq!(
        places(&value["findings"]),
        ["gone.env:1", "link.txt:1", "listed.txt:1", "nul.txt:2", "plain.txt:2"]
    );
    let by_comment = &value["suppressed"][0];
    assert_eq!(
        (&by_comment["finding"]["location"], &by_comment["by"]),
        (&json!("commented.txt"), &json!({ "kind": "comment" }))
    );
    let said: Vec<&str> = value["warnings"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(said[0].starts_with("`.gitleaks.toml` does not count"), "{said:?}");
    assert!(said[1].starts_with("`.gitleaksignore` does not count"), "{said:?}");
    let strict = place.run(&[&scan[..], &["--strict"]].concat()).json();
    assert_eq!(
        places(&strict["findings"]),
        [
            "commented.txt:1",
            "gone.env:1",
            "link.txt:1",
            "listed.txt:1",
            "nul-gone.txt:2",
            "nul.txt:2",
            "plain.txt:2"
        ],
        "who writes the secret writes the comment, and the byte that makes a file binary"
    );
    // Asked for, the repository's rules hold.
    let asked = place.run(&[&scan[..], &["--gitleaks-config", "src/.gitleaks.toml"]].concat());
    assert_eq!((asked.code, &asked.json()["findings"]), (0, &json!([])), "{}", asked.shown());
}

#[test]
fn a_history_that_git_cannot_read_is_no_clean_one_for_the_real_gitleaks() {
    let Some(gitleaks) = tool("gitleaks") else { return };
    let place = Place::new();
    hiding(&place);
    place.link(&gitleaks);
    let blob = Command::new("git")
        .args(["-C", place.path("src").to_str().unwrap(), "rev-parse", "HEAD:plain.txt"])
        .output()
        .unwrap();
    let blob = String::from_utf8(blob.stdout).unwrap();
    let (folder, name) = blob.trim().split_at(2);
    std::fs::remove_file(place.path("src/.git/objects").join(folder).join(name)).unwrap();
    let run = place.run(&["secrets", "scan", "src", "--scanner", "gitleaks", "--history"]);
    assert_eq!(run.code, 1, "{}", run.shown());
    assert!(run.stderr.contains("error[SPX-364]: `gitleaks` failed"), "{}", run.stderr);
}

/// Texts as scanners and repositories have them at their worst.
fn odd(place: &Place) {
    let long = "x".repeat(4000);
    let report = json!({ "SchemaVersion": 2, "Results": [{ "Target": "app/100% ü\u{1b}[2J:a#b?.lock", "Class": "lang-pkgs",
        "Vulnerabilities": [
            { "VulnerabilityID": "CVE-1", "PkgName": "lib\u{0}foo\u{7f}", "InstalledVersion": "1 \u{2028}", "Severity": "CRITICAL",
              "Title": format!("{long}\u{202e}\u{1f600}"), "PrimaryURL": "https://x.test/a b#c#d|ü%zz[" },
            { "VulnerabilityID": "CVE-1", "PkgName": "other", "Severity": "LOW", "PrimaryURL": "javascript:alert(1)" },
            { "VulnerabilityID": "", "PkgName": "", "Severity": "?" },
            { "VulnerabilityID": "CVE-2", "PkgName": "waived", "InstalledVersion": "1", "FixedVersion": "2", "Severity": "HIGH",
              "PkgPath": "//etc/./x" },
        ] }] });
    place.write("odd.json", &report.to_string());
    let file = place.path("odd.json").display().to_string();
    place.program("trivy", &format!("cat '{file}'"));
    place.write("in/etc/os-release", "ID=\u{fc} \u{1b}[2J\nVERSION_ID=\n");
    let package = |name: &str, rest: &str| {
        format!(
            "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2~\u{e9} +\n{rest}\n\n"
        )
    };
    let status = [
        package("plain", "Maintainer: \nSource: other ()"),
        package("plain", "Maintainer: \u{1f600} <\u{1b}[2J>"),
        package("b/c@d?e#f%zz", &format!("Maintainer: {}", &long[..3900])),
        package("\u{0}\u{7f}\u{202e}", ""),
    ];
    place.write("in/var/lib/dpkg/status", &status.concat());
    place.write(
        "in/lib/apk/db/installed",
        "P:musl\nV:1\nA:x86_64\nL:\no:\n\nP:\u{fc}\nV:\u{1b}\nL:no such licence\n\n",
    );
    let build = ["image", "build", "in", "--output", "layout", "--entrypoint", "/app", "--created", "1000"];
    place.run(&build).done();
    place.write(
        "waivers.toml",
        "[[waiver]]\nid = \"CVE-2\"\nreason = \"\"\"two\nlines \\u001b[2J\"\"\"\nexpires = \"2999-12-31\"\n",
    );
    let token = secret();
    place.write(
        "src/100% ü\u{1b}[2J:a.txt",
        &format!("token {token}\ntoken {token}1 # spectra:allow-secret\n"),
    );
    place.write("src/listed", &format!("token {token}2\n"));
    let found = place.run(&["secrets", "scan", "src", "--scanner", "builtin", "--json"]).json();
    let findings = found["findings"].as_array().unwrap();
    let listed = findings.iter().find(|finding| finding["location"] == "listed").unwrap();
    let fingerprint = listed["fingerprint"].as_str().unwrap();
    place.write("src/.spectra-secrets-ignore", &format!("{fingerprint} # a \u{1b}[2J \u{9b}2J test\n"));
    let leak = json!([{ "RuleID": "r\u{0}", "Description": long, "StartLine": 0, "EndLine": u64::MAX, "File": "ROOT/\t\u{e000}",
                        "Secret": token, "Commit": "" }]);
    place.write("leak.json", &leak.to_string());
    let file = place.path("leak.json").display().to_string();
    place.program("gitleaks", &format!("sed \"s,ROOT,$2/files,\" '{file}'"));
}

#[test]
fn bills_of_odd_packages_are_valid() {
    let Some(check) = tool("check-report") else { return };
    let place = Place::new();
    odd(&place);
    let bill = |format: &str| {
        let arguments = ["image", "sbom", "layout", "--generator", "builtin", "--format", format];
        place.run(&[&arguments[..], &["--output", &format!("{format}.json")]].concat()).done();
        let text = std::fs::read_to_string(place.path(&format!("{format}.json"))).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    assert_eq!(bill("cyclonedx")["components"].as_array().unwrap().len(), 7, "the system and six packages");
    let output = Command::new(check).arg(place.path("cyclonedx.json")).output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    bill("spdx");
    let Some(check) = tool("pyspdxtools") else { return };
    let output = Command::new(check).arg("--infile").arg(place.path("spdx.json")).output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
}

#[test]
fn reports_in_sarif_are_valid() {
    let Some(check) = tool("check-report") else { return };
    let place = Place::new();
    odd(&place);
    place.write(
        "empty.sarif",
        r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"none"}},"results":[]}]}"#,
    );
    place.write("src2/a", "fine");
    let scan = ["image", "scan", "layout", "--scanner", "trivy"];
    let builtin = ["secrets", "scan", "src", "--scanner", "builtin"];
    let gitleaks = ["secrets", "scan", "src", "--scanner", "gitleaks"];
    let runs: [(&[&str], i32, usize); 8] = [
        (&[&scan[..], &["--waivers", "waivers.toml"]].concat(), 0, 1),
        (&[&scan[..], &["--ignore-unfixed", "--fail-on", "low"]].concat(), 5, 0),
        (&["image", "scan", "--sarif", "empty.sarif"], 0, 0),
        (&builtin, 5, 2),
        (&[&builtin[..], &["--strict"]].concat(), 5, 0),
        (&["secrets", "scan", "src2", "--scanner", "builtin"], 0, 0),
        (&gitleaks, 5, 0),
        // What was written is read again.
        (&["image", "scan", "--sarif", "0.sarif", "--sarif", "3.sarif"], 0, 0),
    ];
    let mut files = Vec::new();
    for (number, (arguments, code, suppressed)) in runs.into_iter().enumerate() {
        let name = format!("{number}.sarif");
        let run = place.run(&[arguments, &["--format", "sarif", "--output", &name]].concat());
        assert_eq!(run.code, code, "{}", run.shown());
        let controls = |text: &str| text.contains(|c: char| c.is_control() && c != '\n');
        assert!(!controls(&run.stdout) && !controls(&run.stderr), "{:?}{:?}", run.stdout, run.stderr);
        let log: Value = serde_json::from_str(&std::fs::read_to_string(place.path(&name)).unwrap()).unwrap();
        let results = log["runs"][0]["results"].as_array().unwrap();
        let found = results.iter().filter(|result| result["suppressions"].is_array()).count();
        assert_eq!(found, suppressed, "{arguments:?}");
        files.push(place.path(&name));
    }
    let output = Command::new(check).args(&files).output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
}

#[test]
fn a_report_that_is_not_valid_is_seen() {
    let Some(check) = tool("check-report") else { return };
    let place = Place::new();
    place.write(
        "a",
        r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"a","informationUri":"a b"}}}]}"#,
    );
    place.write("b", r#"{"version":"2.1.0","runs":[{"tool":{"driver":{}}}]}"#);
    for name in ["a", "b"] {
        let output = Command::new(&check).arg(place.path(name)).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
