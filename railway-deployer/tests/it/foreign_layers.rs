//! Layers that may not be distributed: those of bases of Windows, which stay where their manifest says that they are.

use std::net::TcpListener;

use serde_json::{Value, json};
use sha2::Digest as _;
use spectra_sandbox::registry::RegistryAuth;
use spectra_types::{Algorithm, Digest};

use crate::{
    image::{build, registry},
    support::Place,
};

const OCI: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
const DOCKER: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
const CONTENT: &[u8] = b"the base of another maker";

fn digest(bytes: &[u8]) -> String {
    Digest::from_bytes(Algorithm::Sha256, &sha2::Sha256::digest(bytes)).unwrap().to_string()
}

/// Makes of the built layout one whose image has one layer more, below the others, and returns that layer's digest. The layer itself
/// is not there.
fn with_layer_elsewhere(place: &Place, layer_type: &str, urls: &[String]) -> String {
    let blobs = place.path("layout/blobs/sha256");
    let read = |digest: &Value| -> Value {
        let hex = digest.as_str().unwrap().trim_start_matches("sha256:");
        serde_json::from_slice(&std::fs::read(blobs.join(hex)).unwrap()).unwrap()
    };
    let write = |document: &Value| {
        let bytes = document.to_string().into_bytes();
        let digest = digest(&bytes);
        std::fs::write(blobs.join(digest.trim_start_matches("sha256:")), &bytes).unwrap();
        (digest, bytes.len())
    };
    let index = place.path("layout/index.json");
    let mut root: Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    let entry = &mut root["manifests"][0];
    let mut manifest = read(&entry["digest"]);
    let mut config = read(&manifest["config"]["digest"]);
    config["rootfs"]["diff_ids"].as_array_mut().unwrap().insert(0, json!(digest(b"unpacked")));
    config.as_object_mut().unwrap().remove("history");
    let (config_digest, size) = write(&config);
    manifest["config"]["digest"] = config_digest.into();
    manifest["config"]["size"] = size.into();
    let mut layer = json!({ "mediaType": layer_type, "digest": digest(CONTENT), "size": CONTENT.len() });
    if !urls.is_empty() {
        layer["urls"] = json!(urls);
    }
    manifest["layers"].as_array_mut().unwrap().insert(0, layer);
    if layer_type == DOCKER {
        let docker = "application/vnd.docker.distribution.manifest.v2+json";
        manifest["mediaType"] = docker.into();
        manifest["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json".into();
        entry["mediaType"] = docker.into();
    }
    let (manifest_digest, size) = write(&manifest);
    entry["digest"] = manifest_digest.into();
    entry["size"] = size.into();
    std::fs::write(index, root.to_string()).unwrap();
    digest(CONTENT)
}

/// Where the layer is said to be, and nobody is to ask.
fn elsewhere(place: &mut Place) -> (TcpListener, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    place.scrub(&address.to_string(), "[ELSEWHERE]");
    (listener, vec![format!("http://{address}/base.tar.gz")])
}

#[test]
fn an_image_with_layers_that_stay_elsewhere_could_not_be_copied() {
    for layer_type in [OCI, DOCKER] {
        let mut place = Place::new();
        let running = registry(&mut place, RegistryAuth::Anonymous);
        let (listener, urls) = elsewhere(&mut place);
        build(&place);
        let layer = with_layer_elsewhere(&place, layer_type, &urls);
        let image = |name: &str| format!("{}/{name}/app:v1", running.address);
        let (first, second, third) = (image("first"), image("second"), image("third"));
        let steps = [
            ("push", "layout", first.as_str()),
            ("copy", &first, &second),
            ("copy", &second, "oci:out"),
            ("push", "out", &third),
        ];
        let mut digests = Vec::new();
        for (verb, from, to) in steps {
            let run = place.run(&["image", verb, from, to, "--json"]).done();
            assert_eq!(run.json()["layers_left"], 1, "{verb} {from}");
            for said in ["left out", &layer, &urls[0]] {
                assert!(run.stderr.contains(said), "{verb} {from}: {}", run.stderr);
            }
            digests.push(run.json()["digest"].clone());
        }
        digests.dedup();
        assert_eq!(digests.len(), 1, "the manifest is copied as it is");
        assert!(running.registry.violations().is_empty(), "{:?}", running.registry.violations());
        assert!(listener.accept().is_err(), "somebody asked where the layer is said to be");
    }
}

#[test]
fn a_layer_that_may_not_be_distributed_goes_along_where_it_is_there() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    let (_listener, urls) = elsewhere(&mut place);
    build(&place);
    let layer = with_layer_elsewhere(&place, OCI, &urls);
    std::fs::write(place.path("layout/blobs/sha256").join(layer.trim_start_matches("sha256:")), CONTENT)
        .unwrap();
    let image = format!("{}/first/app:v1", running.address);
    let pushed = place.run(&["image", "push", "layout", &image, "--json"]).done();
    assert_eq!((&pushed.json()["layers_left"], &pushed.json()["uploaded_blobs"]), (&json!(0), &json!(3)));
    let copied = place.run(&["image", "copy", &image, "oci-archive:out.tar", "--json"]).done();
    assert_eq!(copied.json()["layers_left"], 0);
    assert!(!copied.stderr.contains("left out"), "{}", copied.stderr);
}

#[test]
fn whoever_needs_the_content_of_a_layer_that_is_elsewhere_is_refused() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    let (listener, urls) = elsewhere(&mut place);
    build(&place);
    let layer = with_layer_elsewhere(&place, OCI, &urls);
    place.program("trivy", "echo '{}'");
    let image = format!("{}/team/app:v1", running.address);
    let pinned = place.run(&["image", "push", "layout", &image, "--print", "image"]).done();
    let pinned = pinned.stdout.trim();
    place.write(
        "image.toml",
        &format!("base = \"{pinned}\"\ncmd = [\"/app\"]\n[[files]]\nfrom = \"in\"\nto = \"/app\"\n"),
    );
    insta::assert_snapshot!(place.run(&["image", "copy", &image, "oci-archive:out.tar"]).shown(), @"
    exit 1
    --- stdout
    --- stderr
    error[SPX-301]: cannot read `[REGISTRY]/team/app:v1` as an image: its layer `sha256:[HEX]` (application/vnd.oci.image.layer.nondistributable.v1.tar+gzip) may not be distributed and is not with the image; it says that it is at `http://[ELSEWHERE]/base.tar.gz`, and nothing is fetched from there
    ");
    for arguments in [
        &["image", "copy", "layout", "oci-archive:out.tar"] as &[&str],
        &["image", "sbom", &image, "--generator", "builtin"],
        &["image", "sbom", "layout", "--generator", "builtin"],
        &["image", "scan", &image, "--scanner", "trivy"],
        &["image", "build", ".", "--file", "image.toml", "--output", "built"],
    ] {
        let run = place.run(arguments);
        assert_eq!(run.code, 1, "{arguments:?}: {}", run.stderr);
        for said in ["error[SPX-301]", "may not be distributed", &layer, &urls[0]] {
            assert!(run.stderr.contains(said), "{arguments:?}: {}", run.stderr);
        }
    }
    assert!(!place.path("out.tar").exists());
    place.run(&["image", "inspect", "layout"]).done();
    assert!(listener.accept().is_err(), "somebody asked where the layer is said to be");
}

#[test]
fn a_layer_that_is_missing_without_a_reason_is_refused() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    let image = format!("{}/team/app:v1", running.address);
    let (_listener, urls) = elsewhere(&mut place);
    for (layer_type, urls) in
        [(OCI, &[] as &[String]), ("application/vnd.oci.image.layer.v1.tar+gzip", &urls)]
    {
        std::fs::remove_dir_all(place.path("layout")).ok();
        build(&place);
        let layer = with_layer_elsewhere(&place, layer_type, urls);
        let run = place.run(&["image", "push", "layout", &image]);
        let said = format!("blob `{layer}` is missing");
        assert!(run.code == 1 && run.stderr.contains(&said), "{layer_type}: {}", run.stderr);
    }
}
