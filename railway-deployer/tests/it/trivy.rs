//! `image scan` with the real Trivy, which looks into a database that is made here.

use serde_json::{Value, json};

use crate::support::{Place, tool};

/// Of the file that the database is.
const PAGE: usize = 4096;

/// Writes the database: bbolt's format, with what Trivy's schema 2 has for one package of Debian 12.
fn database(place: &Place) {
    let overflow = json!({ "Title": "overflow", "Severity": "CRITICAL" });
    let leak = json!({ "Title": "leak", "Severity": "MEDIUM" });
    let source =
        json!({ "ID": "debian", "Name": "Debian Security Tracker", "URL": "https://security.example" });
    let fixes =
        inline(&[("CVE-2026-0001", json!({ "FixedVersion": "1.0-2" })), ("CVE-2026-0002", json!({}))]);
    let details = inline(&[("CVE-2026-0001", overflow), ("CVE-2026-0002", leak)]);
    let debian = [4_u64.to_le_bytes(), [0; 8]].concat();
    let root = [
        (BUCKET, "data-source", inline(&[("debian 12", source)])),
        (BUCKET, "debian 12", debian),
        (BUCKET, "vulnerability", details),
    ];
    let pages =
        [meta(0), meta(1), header(2, FREE_LIST, 0), leaf(3, &root), leaf(4, &[(BUCKET, "libfoo1", fixes)])];
    let mut file = Vec::new();
    for mut page in pages {
        assert!(page.len() <= PAGE);
        page.resize(PAGE, 0);
        file.extend(page);
    }
    place.write(
        "cache/db/metadata.json",
        &json!({ "Version": 2, "UpdatedAt": "2026-01-01T00:00:00Z", "NextUpdate": "2999-01-01T00:00:00Z" })
            .to_string(),
    );
    std::fs::write(place.path("cache/db/trivy.db"), file).unwrap();
}

const LEAF: u16 = 2;
const META: u16 = 4;
const FREE_LIST: u16 = 16;
/// The flag of an element whose value is a bucket.
const BUCKET: u32 = 1;

/// What a page begins with: its number, its kind, how many elements it has, and on how many pages it goes on.
fn header(number: u64, kind: u16, elements: usize) -> Vec<u8> {
    let elements = u16::try_from(elements).unwrap();
    [&number.to_le_bytes()[..], &kind.to_le_bytes(), &elements.to_le_bytes(), &[0; 4]].concat()
}

/// One of the two pages that say where everything is: the root is page 3, and 5 is the first that there is not.
fn meta(number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [0xED0C_DAED, 2, u32::try_from(PAGE).unwrap(), 0] {
        bytes.extend(word.to_le_bytes());
    }
    for word in [3, 0, 2, 5, number] {
        bytes.extend(word.to_le_bytes());
    }
    // FNV-1a of all that is before it.
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for byte in &bytes {
        sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    bytes.extend(sum.to_le_bytes());
    [header(number, META, 0), bytes].concat()
}

/// A page with elements, which have to be in the order of their keys.
fn leaf(number: u64, elements: &[(u32, &str, Vec<u8>)]) -> Vec<u8> {
    assert!(elements.is_sorted_by_key(|element| element.1));
    let (mut index, mut data) = (Vec::new(), Vec::new());
    for (at, (flags, key, value)) in elements.iter().enumerate() {
        // Where the key begins, counted from this entry of the index.
        let position = 16 * (elements.len() - at) + data.len();
        for number in [position, key.len(), value.len()] {
            if index.len() % 16 == 0 {
                index.extend(flags.to_le_bytes());
            }
            index.extend(u32::try_from(number).unwrap().to_le_bytes());
        }
        data.extend(key.as_bytes());
        data.extend(value);
    }
    [header(number, LEAF, elements.len()), index, data].concat()
}

/// A small bucket, which is the value of its element: no page of its own, then what would be on it.
fn inline(elements: &[(&str, Value)]) -> Vec<u8> {
    let elements: Vec<_> =
        elements.iter().map(|(key, value)| (0, *key, value.to_string().into_bytes())).collect();
    [vec![0; 16], leaf(0, &elements)].concat()
}

#[test]
fn a_scan_by_the_real_trivy() {
    let Some(trivy) = tool("trivy") else { return };
    let mut place = Place::new();
    place.link(&trivy);
    // Trivy knows Debian by this file.
    place.write("in/etc/debian_version", "12.5\n");
    let digest = super::scan::image(&place);
    place.set("TRIVY_CACHE_DIR", place.path("cache").to_str().unwrap());
    place.set("TRIVY_SKIP_DB_UPDATE", "true");
    // These would hide findings.
    place.write(".trivyignore", "CVE-2026-0001\n");
    place.set("TRIVY_IGNORE_UNFIXED", "true");
    let blind = place.run(&["image", "scan", "layout", "--scanner", "trivy"]);
    assert_eq!(blind.code, 1, "{}", blind.shown());
    assert!(blind.stderr.starts_with("error[SPX-364]: `trivy` failed: "), "{}", blind.stderr);

    database(&place);
    let refused = place.run(&["image", "scan", "layout", "--fail-on", "high"]);
    insta::assert_snapshot!(refused.shown(), @"
    exit 5
    --- stdout
    SEVERITY  ID             PACKAGE  INSTALLED  FIXED  LOCATION
    critical  CVE-2026-0001  libfoo1  1.0-1      1.0-2
    medium    CVE-2026-0002  libfoo1  1.0-1

    linux/amd64: 1 critical, 1 medium
    --- stderr
    warning: the database of trivy is from 2026-01-01: what became known since is not looked up
    refused: findings that are high or worse: 1
    ");
    let scan = place.run(&["image", "scan", "layout", "--ignore-unfixed", "--json"]).done().json();
    assert_eq!((&scan["tools"], &scan["digest"]), (&json!(["trivy"]), &json!(digest)));
    assert_eq!(scan["databases"], json!({ "trivy": "2026-01-01" }));
    let [found] = scan["findings"].as_array().unwrap().as_slice() else { panic!("{scan}") };
    assert_eq!((&found["id"], &scan["unfixed_left_out"]), (&json!("CVE-2026-0001"), &json!(1)));
    let inspected = place.run(&["image", "inspect", "layout", "--json"]).done().json();
    assert_eq!(found["layer"], inspected["layers"][0]["digest"]);
}
