//! Documents that are one image to readers by the exact key, and another to those in Go.

use std::{path::Path, sync::Arc};

use serde_json::{Value, json};
use spectra_oci::{Error, NoProgress, media_type, open};

use crate::{
    fake::{Fake, client},
    hostile::{Tar, sha256, write},
};

const CLASH: &str = "a document has the key `Layers`, which some readers take for `layers`";

/// Blobs by their digest.
#[derive(Default)]
pub(crate) struct Blobs(pub(crate) Vec<(String, Vec<u8>)>);

impl Blobs {
    pub(crate) fn add(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let hex = sha256(bytes);
        self.0.push((hex.clone(), bytes.to_vec()));
        json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len() })
    }

    pub(crate) fn json(&mut self, media_type: &str, document: &Value) -> Value {
        self.add(media_type, document.to_string().as_bytes())
    }

    /// A configuration and a layer.
    fn image(&mut self, who: &str) -> (Value, Value) {
        let layer = Tar::default().file("who", who.as_bytes()).end();
        let config = json!({ "os": "linux", "architecture": "amd64", "config": { "Labels": { "who": who } },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))] } });
        (self.json(media_type::CONFIG, &config), self.add(media_type::LAYER_TAR, &layer))
    }

    /// An OCI archive that leads to `root`.
    fn archive(&self, root: &Value) -> Vec<u8> {
        let mut tar = Tar::default();
        tar.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        let index = json!({ "schemaVersion": 2, "manifests": [root] });
        tar.file("index.json", index.to_string().as_bytes());
        for (hex, bytes) in &self.0 {
            tar.file(&format!("blobs/sha256/{hex}"), bytes);
        }
        tar.end()
    }

    fn layout(&self, root: &Value, directory: &Path) {
        std::fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
        std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let index = json!({ "schemaVersion": 2, "manifests": [root] });
        std::fs::write(directory.join("index.json"), index.to_string()).unwrap();
        for (hex, bytes) in &self.0 {
            std::fs::write(directory.join("blobs/sha256").join(hex), bytes).unwrap();
        }
    }

    /// Puts all into the registry: as blobs, as manifests, and `root` under the tag `app:1`.
    fn serve(&self, root: &Value, fake: &Fake) {
        let mut state = fake.lock();
        for (hex, bytes) in &self.0 {
            let digest = format!("sha256:{hex}");
            state.blobs.insert(("app".to_owned(), digest.clone()), bytes.clone());
            let media_type = root["mediaType"].as_str().unwrap().to_owned();
            let own = serde_json::from_slice::<Value>(bytes).unwrap_or_default();
            let media_type = own["mediaType"].as_str().map_or(media_type, str::to_owned);
            state.manifests.insert(("app".to_owned(), digest.clone()), (media_type.clone(), bytes.clone()));
            if root["digest"] == *digest {
                state.manifests.insert(("app".to_owned(), "1".to_owned()), (media_type, bytes.clone()));
            }
        }
    }
}

/// What an archive, a layout and a registry with these documents say.
async fn everywhere(blobs: &Blobs, root: &Value) -> Vec<Result<(), Error>> {
    let directory = tempfile::tempdir().unwrap();
    let archive = open(&write(directory.path(), &blobs.archive(root)), None).map(drop);
    blobs.layout(root, &directory.path().join("layout"));
    let layout = open(&directory.path().join("layout"), None).map(drop);
    let fake = Fake::start().await;
    blobs.serve(root, &fake);
    let opened = client().open(&fake.image("app:1"), None, Arc::new(NoProgress)).await.map(drop);
    let inspected = client().inspect(&fake.image("app:1"), None).await.map(drop);
    vec![archive, layout, opened, inspected]
}

async fn refused(blobs: &Blobs, root: &Value, expected: &str) {
    for result in everywhere(blobs, root).await {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Input { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

fn manifest(config: &Value, layer: &Value) -> Value {
    json!({ "schemaVersion": 2, "mediaType": media_type::MANIFEST, "config": config, "layers": [layer] })
}

#[tokio::test]
async fn keys_that_differ_by_case_hid_an_image_from_the_scanner() {
    let mut blobs = Blobs::default();
    let (config, layer) = blobs.image("clean");
    let (hidden_config, hidden) = blobs.image("hidden");
    let mut document = manifest(&config, &layer);
    let good = blobs.json(media_type::MANIFEST, &document);
    for result in everywhere(&blobs, &good).await {
        result.unwrap();
    }
    document["Layers"] = json!([hidden]);
    let root = blobs.json(media_type::MANIFEST, &document);
    refused(&blobs, &root, CLASH).await;
    // Under an index, and in the configuration.
    let mut index = json!({ "schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": [root] });
    index["manifests"][0]["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    let root = blobs.json(media_type::INDEX, &index);
    refused(&blobs, &root, CLASH).await;
    let text =
        format!(r#"{{"config":{hidden_config},"Config":{config},"schemaVersion":2,"layers":[{layer}]}}"#);
    let root = blobs.add(media_type::MANIFEST, text.as_bytes());
    refused(&blobs, &root, "a document has the key `Config`, which some readers take for `config`").await;
    let config =
        json!({ "os": "linux", "architecture": "amd64", "rootfs": { "diff_ids": [] }, "RootFS": {} });
    let config = blobs.json(media_type::CONFIG, &config);
    let root = blobs.json(media_type::MANIFEST, &manifest(&config, &layer));
    refused(&blobs, &root, "a document has the key `RootFS`, which some readers take for `rootfs`").await;
}

#[tokio::test]
async fn a_key_that_stands_twice_counted_once() {
    let mut blobs = Blobs::default();
    let (config, layer) = blobs.image("clean");
    let (_, hidden) = blobs.image("hidden");
    let text = format!(
        r#"{{"schemaVersion":2,"subject":{hidden},"subject":{layer},"config":{config},"layers":[]}}"#
    );
    let root = blobs.add(media_type::MANIFEST, text.as_bytes());
    refused(&blobs, &root, "a document has the key `subject` twice").await;
}

#[test]
fn keys_that_differ_by_case_in_a_docker_archive() {
    let layer = Tar::default().file("who", b"x").end();
    let diff_id = format!("sha256:{}", sha256(&layer));
    let config = json!({ "os": "linux", "rootfs": { "type": "layers", "diff_ids": [diff_id] } });
    let archive = |manifest: &str, config: &str| {
        let mut tar = Tar::default();
        tar.file("a.tar", &layer).file("b.tar", &layer).file("a.json", config.as_bytes());
        tar.file("b.json", config.as_bytes()).file("manifest.json", manifest.as_bytes());
        let directory = tempfile::tempdir().unwrap();
        open(&write(directory.path(), &tar.end()), None).map(drop)
    };
    let good = r#"[{"Config":"a.json","RepoTags":["app:1"],"Layers":["a.tar"],"Parent":"x"}]"#;
    archive(good, &config.to_string()).unwrap();
    for (manifest, key) in [
        (r#"[{"Config":"a.json","config":"b.json","Layers":["a.tar"]}]"#, "config"),
        (r#"[{"Config":"a.json","Layers":["a.tar"],"layers":["b.tar"]}]"#, "layers"),
        (r#"[{"Config":"a.json","Layers":["a.tar"],"Layers":["b.tar"]}]"#, "Layers"),
    ] {
        let error = archive(manifest, &config.to_string()).unwrap_err().to_string();
        assert!(error.contains(&format!("a document has the key `{key}`")), "{error}");
    }
    let config = r#"{"os":"linux","rootfs":{"diff_ids":[]},"config":{"User":"app","user":"root"}}"#;
    let error = archive(good, config).unwrap_err().to_string();
    assert!(error.contains("the key `user`, which some readers take for `User`"), "{error}");
}

#[tokio::test]
async fn a_document_was_image_and_index_at_once() {
    let mut blobs = Blobs::default();
    let (config, layer) = blobs.image("one");
    let mut document = manifest(&config, &layer);
    document["manifests"] = json!([]);
    let root = blobs.json(media_type::MANIFEST, &document);
    refused(&blobs, &root, "a document has `layers` and `manifests`").await;
    let mut document = manifest(&config, &layer);
    document["mediaType"] = json!(media_type::INDEX);
    let root = blobs.json(media_type::INDEX, &document);
    refused(&blobs, &root, "a document has `layers`, and the type of an index").await;
}

#[tokio::test]
async fn the_type_where_it_is_named_and_its_own_type_could_differ() {
    let mut blobs = Blobs::default();
    let (config, layer) = blobs.image("one");
    let mut child = blobs.json(media_type::MANIFEST, &manifest(&config, &layer));
    child["mediaType"] = json!(media_type::DOCKER_MANIFEST);
    child["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    let index = json!({ "schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": [child] });
    let root = blobs.json(media_type::INDEX, &index);
    let expected = "has the type `application/vnd.oci.image.manifest.v1+json`, and `application/vnd.docker.distribution.manifest.v2+json` where it is named";
    refused(&blobs, &root, expected).await;
}
