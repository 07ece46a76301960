//! Which layer a finding of `image scan` names, with scanners that are scripts and print what the real ones do.

use serde_json::{Value, json};

use crate::{image_copy::docker_archive, scan::image, support::Place};

/// A report of Trivy: a layer has the digest that it has in the layout, and the one of its content.
fn by_trivy(place: &Place, stored: &str, content: &str) {
    let report = json!({ "SchemaVersion": 2, "Results": [{ "Target": "t", "Class": "os-pkgs", "Vulnerabilities": [{
        "VulnerabilityID": "CVE-2026-0001", "PkgName": "libfoo1", "InstalledVersion": "1.0-1", "Severity": "CRITICAL",
        "Layer": { "Digest": stored, "DiffID": content },
    }] }] });
    place.program("trivy", &format!("cat <<'END'\n{report}\nEND"));
}

/// A report of Grype: a layer has the digest of its content.
fn by_grype(place: &Place, content: &str) {
    let report = json!({ "descriptor": { "name": "grype", "version": "0.90.0" }, "source": {}, "matches": [{
        "vulnerability": { "id": "CVE-2026-0001", "severity": "Critical" },
        "artifact": { "name": "libfoo1", "version": "1.0-1",
                      "locations": [{ "path": "/var/lib/dpkg/status", "layerID": content }] },
    }] });
    place.program("grype", &format!("cat <<'END'\n{report}\nEND"));
}

/// The layer in JSON and in SARIF, which are the same.
fn layer(place: &Place, image: &str, scanner: &str) -> Value {
    let scan = ["image", "scan", image, "--scanner", scanner];
    let found = place.run(&[&scan[..], &["--json"]].concat()).done().json()["findings"][0]["layer"].clone();
    let log = place.run(&[&scan[..], &["--format", "sarif"]].concat()).done().json();
    let properties = log["runs"][0]["results"][0]["properties"].as_object().unwrap();
    assert_eq!(properties.get("layer"), Some(&found).filter(|layer| !layer.is_null()), "{scanner}");
    found
}

/// Grype's findings had the digest of the content, those of Trivy the one in the layout that it was given.
#[test]
fn a_finding_names_the_layer_that_inspect_lists() {
    let place = Place::new();
    image(&place);
    let document = |digest: &Value| -> Value {
        let path = digest.as_str().unwrap().replace("sha256:", "layout/blobs/sha256/");
        serde_json::from_str(&std::fs::read_to_string(place.path(&path)).unwrap()).unwrap()
    };
    let index: Value =
        serde_json::from_str(&std::fs::read_to_string(place.path("layout/index.json")).unwrap()).unwrap();
    let manifest = document(&index["manifests"][0]["digest"]);
    let (stored, content) =
        (&manifest["layers"][0]["digest"], &document(&manifest["config"]["digest"])["rootfs"]["diff_ids"][0]);
    assert_ne!(stored, content);
    let text = |digest: &Value| digest.as_str().unwrap().to_owned();
    let listed = |image: &str| {
        place.run(&["image", "inspect", image, "--json"]).done().json()["layers"][0]["digest"].clone()
    };
    assert_eq!(&listed("layout"), stored);
    by_trivy(&place, &text(stored), &text(content));
    by_grype(&place, &text(content));
    assert_eq!((&layer(&place, "layout", "trivy"), &layer(&place, "layout", "grype")), (stored, stored));
    // A layer that is raw there is compressed for the scanner.
    docker_archive(&place.path("saved.tar"), &[0; 1024]);
    let raw = listed("saved.tar");
    by_trivy(&place, &text(stored), &text(&raw));
    by_grype(&place, &text(&raw));
    assert_eq!((&layer(&place, "saved.tar", "trivy"), &layer(&place, "saved.tar", "grype")), (&raw, &raw));
    by_grype(&place, &text(content));
    assert_eq!(layer(&place, "saved.tar", "grype"), Value::Null, "no layer of the image");
}
