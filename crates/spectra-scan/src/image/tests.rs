//! Reports of scanners, waivers, and the gate.

use std::{ffi::OsStr, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use jiff::civil::date;
use proptest::prelude::*;

use super::*;
use crate::Severity;

const TRIVY: &str = r#"{"SchemaVersion":2,"ArtifactName":"x","Results":[
    {"Target":"x (debian 12.5)","Class":"os-pkgs","Type":"debian","Vulnerabilities":[
        {"VulnerabilityID":"CVE-2026-0001","PkgName":"libssl3","InstalledVersion":"3.0.1","FixedVersion":"3.0.2","Severity":"CRITICAL",
         "Title":"one","PrimaryURL":"https://avd.aquasec.com/nvd/cve-2026-0001","Layer":{"Digest":"STORED","DiffID":"CONTENT"},
         "CVSS":{"nvd":{"V3Score":9.8},"redhat":{"V3Score":7.4}}},
        {"VulnerabilityID":"CVE-2026-0002","PkgName":"zlib1g","InstalledVersion":"1.2","Severity":"HIGH","Description":"two\nmore"}]},
    {"Target":"app/package-lock.json","Class":"lang-pkgs","Vulnerabilities":[
        {"VulnerabilityID":"CVE-2026-0003","PkgName":"left-pad","InstalledVersion":"1","FixedVersion":"","Severity":"UNKNOWN"}]},
    {"Target":"nothing","Class":"lang-pkgs"}]}"#;

const GRYPE: &str = r#"{"matches":[{"vulnerability":{"id":"CVE-2026-0001","dataSource":"https://d","severity":"Unknown","cvss":[],
      "fix":{"versions":["3.0.2"],"state":"fixed"}},
    "relatedVulnerabilities":[{"id":"CVE-2026-0001","severity":"High","description":"one\ntwo","cvss":[{"metrics":{"baseScore":8.1}}]}],
    "artifact":{"name":"libssl3","version":"3.0.1","locations":[{"path":"/var/lib/dpkg/status","layerID":"CONTENT"}]}},
   {"vulnerability":{"id":"CVE-2026-0009","severity":"Negligible","fix":{"versions":[],"state":"not-fixed"}},
    "artifact":{"name":"bash","version":"5","locations":[]}}],
   "ignoredMatches":[{}],"source":{},"descriptor":{"name":"grype","version":"0.90.0"}}"#;

fn digest(number: u8) -> spectra_types::Digest {
    format!("sha256:{}", format!("{number:02x}").repeat(32)).parse().unwrap()
}

/// The report, with the digests of a layer as stored and of its content.
fn about(report: &str, stored: u8, content: u8) -> Vec<u8> {
    report
        .replace("STORED", &digest(stored).to_string())
        .replace("CONTENT", &digest(content).to_string())
        .into_bytes()
}

fn shown(scan: &Scan) -> String {
    let line = |f: &Finding| {
        format!(
            "{} {} {:?} {:?} -> {:?} at {:?} in {:?}: {}",
            f.severity, f.id, f.package, f.installed, f.fixed, f.location, f.layer, f.title
        )
    };
    let mut lines: Vec<String> = scan.findings.iter().map(line).collect();
    lines.extend(scan.notes.iter().cloned());
    lines.join("\n").replace("Some(", "(")
}

fn trivy() -> Scan {
    let mut scan = trivy::parse(TRIVY.as_bytes(), &Layers::default()).unwrap();
    scan.tidy();
    scan
}

#[test]
fn reads_the_report_of_trivy() {
    let scan = trivy();
    insta::assert_snapshot!(shown(&scan), @r#"
    critical CVE-2026-0001 ("libssl3") ("3.0.1") -> ("3.0.2") at None in None: one
    high CVE-2026-0002 ("zlib1g") ("1.2") -> None at None in None: two
    unknown CVE-2026-0003 ("left-pad") ("1") -> None at ("app/package-lock.json") in None:
    "#);
    assert_eq!(scan.findings[0].score, Some(9.8));
}

#[test]
fn reads_the_report_of_grype() {
    let mut scan = grype::parse(GRYPE.as_bytes(), &Layers::default()).unwrap();
    scan.tidy();
    insta::assert_snapshot!(shown(&scan), @r#"
    high CVE-2026-0001 ("libssl3") ("3.0.1") -> ("3.0.2") at ("var/lib/dpkg/status") in None: one
    low CVE-2026-0009 ("bash") ("5") -> None at None in None: 
    grype's own settings ignore 1 matches; they do not count
    "#);
}

/// Grype's findings had the digest of what a layer decompresses to, those of Trivy the one of the layout that it was shown.
#[test]
fn a_layer_is_named_as_in_the_manifest_whoever_found_it() {
    // Stored as 1, 2 and 3; the second and the third have the same content.
    let stored = vec![digest(1), digest(2), digest(3)];
    let layers = Layers::new(stored.clone(), vec![digest(0xa), digest(0xb), digest(0xb)]);
    let by_trivy = |layers: &Layers, stored, content| {
        trivy::parse(&about(TRIVY, stored, content), layers).unwrap().findings[0].layer.clone()
    };
    let by_grype = |layers: &Layers, content| {
        grype::parse(&about(GRYPE, 0, content), layers).unwrap().findings[0].layer.clone()
    };
    let one = Some(digest(1).to_string());
    assert_eq!((by_trivy(&layers, 1, 0xa), by_grype(&layers, 0xa)), (one.clone(), one.clone()));
    assert_eq!(by_trivy(&layers, 9, 0xa), one, "stored otherwise in the layout");
    assert_eq!(by_trivy(&layers, 1, 9), one, "a configuration that knows it by another name");
    assert_eq!(by_trivy(&layers, 3, 0xb), Some(digest(3).to_string()), "which of two is said by the one");
    assert_eq!((by_trivy(&layers, 9, 0xb), by_grype(&layers, 0xb)), (None, None), "and not by the other");
    assert_eq!((by_trivy(&layers, 8, 9), by_grype(&layers, 9)), (None, None), "no layer of the image");
    let twice = Layers::new(vec![digest(1), digest(1)], vec![digest(0xa), digest(0xa)]);
    assert_eq!(by_grype(&twice, 0xa), one, "the same layer again");
    let other = Layers::new(stored, vec![digest(0xa)]);
    assert_eq!((by_trivy(&other, 1, 0xa), by_grype(&other, 0xa)), (one, None), "a list of another length");
    let nothing = |report: &str| report.replace("STORED", "").replace("CONTENT", "sha256:0").into_bytes();
    assert_eq!(trivy::parse(&nothing(TRIVY), &layers).unwrap().findings[0].layer, None);
    assert_eq!(grype::parse(&nothing(GRYPE), &layers).unwrap().findings[0].layer, None);
}

#[test]
fn what_a_scanner_cannot_know_is_said() {
    let notes = |system: &str, results: &str| {
        let report = format!(r#"{{"SchemaVersion":2,"Metadata":{{"OS":{system}}},"Results":[{results}]}}"#);
        trivy::parse(report.as_bytes(), &Layers::default()).unwrap().notes.join("; ")
    };
    let target = r#"{"Target":"app","Class":"lang-pkgs"}"#;
    insta::assert_snapshot!(notes(r#"{"Family":"debian","Name":"8.11","EOSL":true}"#, target), @"debian 8.11 gets no more advisories: what became known after its end is not looked up");
    insta::assert_snapshot!(notes(r#"{"Family":"none","Name":""}"#, target), @"trivy recognised no distribution: packages of one were not looked up");
    assert!(notes(r#"{"Family":"none"}"#, "").starts_with("trivy recognised no packages"));
    assert_eq!(notes(r#"{"Family":"debian","Name":"12"}"#, target), "");
    let report =
        GRYPE.replacen(r#""ignoredMatches":[{}]"#, r#""distro":{"name":"","version":"","idLike":null}"#, 1);
    let notes = grype::parse(report.as_bytes(), &Layers::default()).unwrap().notes;
    assert_eq!(notes, ["grype recognised no distribution: packages of one were not looked up"]);
}

#[test]
fn a_database_of_long_ago_is_warned_of() {
    let answer =
        br#"{"Version":"0.59.1","VulnerabilityDB":{"Version":2,"UpdatedAt":"2026-01-01T23:59:59.5Z"}}"#;
    assert_eq!(trivy::database(answer), Some(date(2026, 1, 1)));
    assert_eq!(trivy::database(TRIVY.as_bytes()), None);
    assert_eq!(trivy::database(br#"{"VulnerabilityDB":{"UpdatedAt":"0001-01-01T00:00:00Z"}}"#), None);
    for descriptor in
        [r#""db":{"built":"2026-01-01T02:00:00Z"}"#, r#""db":{"status":{"built":"2026-01-01T02:00:00Z"}}"#]
    {
        let report = GRYPE.replacen(r#""name":"grype""#, &format!(r#""name":"grype",{descriptor}"#), 1);
        let scan = grype::parse(report.as_bytes(), &Layers::default()).unwrap();
        let gate = Gate { fail_on: None, ignore_unfixed: false };
        let warnings = |today| gate.judge(&scan, &Waivers::default(), today).warnings;
        assert!(warnings(date(2026, 1, 8)).is_empty());
        insta::allow_duplicates! {
            insta::assert_snapshot!(warnings(date(2026, 1, 9))[0], @"the database of grype is from 2026-01-01: what became known since is not looked up");
        }
    }
}

#[test]
fn what_is_no_report_is_an_error() {
    let trivy = |report: &[u8]| trivy::parse(report, &Layers::default());
    let grype = |report: &[u8]| grype::parse(report, &Layers::default());
    assert!(trivy(b"").is_err() && trivy(b"{}").is_err() && grype(b"{}").is_err());
    assert!(trivy(br#"{"SchemaVersion":3}"#).is_err());
    assert!(grype(br#"{"matches":[],"descriptor":{"name":"syft"}}"#).is_err());
    let nothing = trivy(br#"{"SchemaVersion":2}"#).unwrap();
    assert!(nothing.notes[0].starts_with("trivy recognised no packages"), "{:?}", nothing.notes);
}

fn waivers(text: &str) -> Result<Waivers, Error> {
    Waivers::parse(Path::new("waivers.toml"), text)
}

#[test]
fn waivers_hold_until_their_last_day_and_are_told_apart() {
    let list = waivers(
        r#"
        version = 1
        [[waiver]]
        id = "CVE-2026-0001"
        package = "libssl*"
        reason = "not reachable"
        expires = "2026-06-30"
        approved-by = "ada"
        [[waiver]]
        id = "CVE-2026-0002"
        package = "other"
        reason = "x"
        expires = "2030-01-01"
        "#,
    )
    .unwrap();
    let gate = Gate { fail_on: Some(Severity::Critical), ignore_unfixed: false };
    let judged = gate.judge(&trivy(), &list, date(2026, 6, 30));
    assert_eq!((judged.passes(), judged.waived.len(), judged.findings.len()), (true, 1, 2));
    assert_eq!(judged.waived[0].waiver.justification(), "not reachable (until 2026-06-30, approved by ada)");
    insta::assert_snapshot!(judged.warnings.join("\n"), @"
    the waiver of `CVE-2026-0002` for `other` fits no finding; remove it
    1 findings have no known severity; the threshold says nothing about them
    ");
    let judged = gate.judge(&trivy(), &list, date(2026, 7, 1));
    assert_eq!((judged.passes(), judged.waived.len(), judged.refusing), (false, 0, 1));
    insta::assert_snapshot!(judged.warnings[0], @"the waiver of `CVE-2026-0001` for `libssl*` ran out on 2026-06-30; it does not count");
}

#[test]
fn a_waiver_for_years_is_warned_of() {
    let list = waivers("[[waiver]]\nid = \"CVE-2026-0001\"\nreason = \"x\"\nexpires = 2027-06-30\n").unwrap();
    let gate = Gate { fail_on: None, ignore_unfixed: false };
    let warnings = |today| gate.judge(&trivy(), &list, today).warnings;
    assert!(warnings(date(2026, 6, 30)).is_empty());
    insta::assert_snapshot!(warnings(date(2026, 6, 29)).join("\n"), @"the waiver of `CVE-2026-0001` holds until 2027-06-30, for more than a year; give it an end that somebody will see");
}

#[test]
fn a_waiver_with_a_mistake_is_refused() {
    let waiver = |fields: &str| waivers(&format!("[[waiver]]\n{fields}")).unwrap_err().to_string();
    let good = "id = \"CVE-1\"\nreason = \"x\"\nexpires = \"2026-01-01\"\n";
    let (text, date) = (format!("[[waiver]]\n{good}"), good.replace("\"2026-01-01\"", "2026-01-01"));
    assert_eq!(waivers(&text).unwrap(), waivers(&format!("[[waiver]]\n{date}")).unwrap(), "a date of TOML");
    let message = waiver(&good.replacen("2026-01-01", "+009999-12-31", 1));
    assert!(message.contains("`+009999-12-31` is no day, which is written `YYYY-MM-DD`"), "{message}");
    for (line, with) in [
        ("reason = \"x\"\n", ""),
        ("reason = \"x\"", "reason = \" \""),
        ("expires = \"2026-01-01\"\n", ""),
        ("2026-01-01", "2026-02-30"),
        ("2026-01-01", "never"),
        ("2026-01-01", "2026-11-26T00:00:00-10:00"),
        ("\"2026-01-01\"", "2026-11-26T00:00:00-10:00"),
        ("\"2026-01-01\"", "2026-11-26T00:00:00"),
        ("\"2026-01-01\"", "10:00:00"),
        ("\"2026-01-01\"", "20261231"),
        ("2026-01-01", "20261231"),
        ("2026-01-01", "+009999-12-31"),
        ("2026-01-01", "2026-W01-1"),
        ("2026-01-01", " 2026-01-01"),
        ("CVE-1", "CVE-*"),
        ("id", "pacakge = \"x\"\nid"),
    ] {
        let message = waiver(&good.replacen(line, with, 1));
        assert!(message.starts_with("cannot use the waivers in `waivers.toml`: "), "{message}");
    }
    assert!(waivers("version = 2").is_err() && waivers("[[waivers]]").is_err());
}

#[test]
fn thresholds_and_what_has_no_fix() {
    let judge = |fail_on, ignore_unfixed| {
        let judged = Gate { fail_on, ignore_unfixed }.judge(&trivy(), &Waivers::default(), date(2026, 1, 1));
        (judged.refusing, judged.findings.len(), judged.unfixed, judged.warnings.len())
    };
    assert_eq!(judge(None, false), (0, 3, 0, 0));
    assert_eq!(judge(Some(Severity::Critical), false), (1, 3, 0, 1));
    assert_eq!(judge(Some(Severity::High), false), (2, 3, 0, 1));
    assert_eq!(judge(Some(Severity::Low), false), (2, 3, 0, 1), "an unknown severity is warned of");
    assert_eq!(judge(Some(Severity::High), true), (1, 1, 2, 0));
}

#[test]
fn two_scanners_that_agree_are_one_finding() {
    let mut scan = trivy();
    scan.notes.push("a note about `a\u{1b}[2J`".to_owned());
    scan.merge(trivy());
    assert_eq!((scan.findings.len(), scan.tools.len()), (3, 1));
    assert_eq!(scan.notes, ["a note about `a [2J`"], "no terminal obeys it");
}

/// A finding from few possible ones, so that two lists often agree on what they are about.
fn any_finding() -> impl Strategy<Value = Finding> {
    let severity = prop::sample::select(Severity::ALL.to_vec());
    let maybe = |texts: &'static [&'static str]| prop::option::of(prop::sample::select(texts));
    let package = prop_oneof![6 => Just(Some("a")), 1 => Just(Some("")), 1 => Just(None)];
    let rarely = |text| prop_oneof![6 => Just(None), 1 => Just(Some(text))];
    let parts = (severity, package, rarely("1"), maybe(&["2", "3"]), rarely("f"));
    (parts, prop::option::of(0.0..10.0_f64), prop::option::of(0..2_u64)).prop_map(
        |((severity, package, installed, fixed, location), score, line)| {
            let mut finding = Finding::new("t", "CVE-1", severity, "");
            let text = |text: Option<&str>| text.map(ToOwned::to_owned);
            finding.package = text(package);
            finding.installed = text(installed);
            finding.fixed = text(fixed);
            finding.location = text(location);
            (finding.score, finding.line) = (score, line);
            finding.identified()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Who has to show a report cannot get through by adding another one.
    #[test]
    fn two_reports_never_pass_what_one_of_them_refuses(
        one in prop::collection::vec(any_finding(), 0..3),
        two in prop::collection::vec(any_finding(), 0..3),
        fail_on in prop::sample::select(vec![Severity::Low, Severity::Medium, Severity::High, Severity::Critical]),
        ignore_unfixed: bool,
        in_two_steps: bool,
    ) {
        let scan = |findings: &[Finding]| {
            let mut scan = Scan { findings: findings.to_vec(), ..Scan::default() };
            scan.tidy();
            scan
        };
        let passes = |scan: &Scan| {
            Gate { fail_on: Some(fail_on), ignore_unfixed }.judge(scan, &Waivers::default(), date(2026, 1, 1)).passes()
        };
        let both = if in_two_steps {
            let mut both = scan(&one);
            both.merge(scan(&two));
            both
        } else {
            scan(&[one.clone(), two.clone()].concat())
        };
        for finding in one.iter().chain(&two) {
            prop_assert!(!passes(&both) || passes(&scan(std::slice::from_ref(finding))), "{finding:?}: {both:?}");
        }
        prop_assert!(!passes(&both) || passes(&scan(&one)) && passes(&scan(&two)));
    }
}

#[test]
fn a_second_report_hid_the_fix_that_the_first_one_knew() {
    let report = |severity: &str, fixed: &str| {
        let message = format!("Package: libfoo\\nInstalled Version: 1\\nFixed Version: {fixed}");
        let result = format!(
            r#"{{"ruleId":"CVE-1","message":{{"text":"{message}"}},"properties":{{"security-severity":"{severity}"}}}}"#
        );
        let run = format!(r#"{{"tool":{{"driver":{{"name":"T"}}}},"results":[{result}]}}"#);
        ("r".to_owned(), format!(r#"{{"version":"2.1.0","runs":[{run}]}}"#).into_bytes())
    };
    let gate = Gate { fail_on: Some(Severity::High), ignore_unfixed: true };
    let judge = |reports: &[_]| {
        let scan = Scan::from_sarif(reports).unwrap();
        gate.judge(&scan, &Waivers::default(), date(2026, 1, 1))
    };
    let (fix, none) = (report("7.5", "2"), report("9.8", ""));
    assert!(!judge(std::slice::from_ref(&fix)).passes() && judge(std::slice::from_ref(&none)).passes());
    for both in [[fix.clone(), none.clone()], [none, fix]] {
        let judged = judge(&both);
        let [found] = judged.findings.as_slice() else { panic!("{judged:?}") };
        assert_eq!(
            (found.severity, found.score, found.fixed.as_deref()),
            (Severity::Critical, Some(9.8), Some("2"))
        );
    }
}

#[test]
fn a_scanner_is_run_on_the_layout_without_settings_that_hide_findings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grype");
    let script = format!(
        "#!/bin/sh\necho \"$@ $GRYPE_CHECK_FOR_APP_UPDATE $GRYPE_ONLY_FIXED$GRYPE_IGNORE_WONTFIX $GRYPE_DB_CACHE_DIR\" >&2\ncat no-settings.yaml >&2\n[ -f fail ] && exit 1\ncat <<'END'\n{GRYPE}\nEND\n"
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let scanner = Scanner::Grype(Tool::find_in("grype", folder.path().as_os_str()).unwrap());
    assert!(Tool::find_in("trivy", OsStr::new("/nowhere")).is_none());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut environment = of_process();
    for (name, value) in
        [("GRYPE_ONLY_FIXED", "true"), ("GRYPE_IGNORE_WONTFIX", "yes"), ("GRYPE_DB_CACHE_DIR", "/cache")]
    {
        environment.push((name.into(), value.into()));
    }
    let (minute, layers) = (Duration::from_mins(1), Layers::default());
    let run = || {
        let scan = scan_from(&environment, &scanner, Path::new("/layout"), &layers, folder.path(), minute);
        runtime.block_on(scan)
    };
    assert_eq!(run().unwrap().findings.len(), 2);
    std::fs::write(folder.path().join("fail"), "").unwrap();
    insta::assert_snapshot!(run().unwrap_err(), @"`grype` failed: exit status: 1; oci-dir:/layout --config no-settings.yaml --output json false  /cache");
}
