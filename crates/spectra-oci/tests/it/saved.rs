//! Archives of `docker save` whose layers are compressed, and archives that are both `docker save`'s and OCI's.

use serde_json::json;
use spectra_oci::{Error, OpenLimits, open, open_within};

use crate::hostile::{Tar, gzipped, sha256, write};

/// A tar of one file.
fn tar_of(name: &str, data: &[u8]) -> Vec<u8> {
    Tar::default().file(name, data).end()
}

/// Names that nothing repeats, so that the layer does not compress to next to nothing.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// `docker save`'s archive: `layers` are name, what is in the archive, and the tar that the configuration promises.
fn save(layers: &[(&str, &[u8], &[u8])]) -> Vec<u8> {
    let mut tar = Tar::default();
    for (name, stored, _) in layers {
        tar.file(name, stored);
    }
    let diff_ids: Vec<String> = layers.iter().map(|(.., raw)| format!("sha256:{}", sha256(raw))).collect();
    let names: Vec<&str> = layers.iter().map(|(name, ..)| *name).collect();
    let config = json!({ "os": "linux", "architecture": "amd64",
        "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    let manifest = json!([{ "Config": "c.json", "RepoTags": ["app:1"], "Layers": names }]);
    tar.file("c.json", config.to_string().as_bytes());
    tar.file("manifest.json", manifest.to_string().as_bytes());
    tar.end()
}

fn fails(bytes: &[u8]) -> Error {
    let directory = tempfile::tempdir().unwrap();
    open(&write(directory.path(), bytes), None).unwrap_err()
}

#[test]
fn a_compressed_layer_that_was_damaged_was_pushed() {
    let raw = tar_of("a", &noise(30_000));
    for stored in [gzipped(&raw), zstd::stream::encode_all(&raw[..], 3).unwrap()] {
        let name = format!("blobs/sha256/{}", sha256(&stored));
        let directory = tempfile::tempdir().unwrap();
        let good = open(&write(directory.path(), &save(&[(&name, &stored, &raw)])), None).unwrap();
        assert_eq!(good.inspect(None).unwrap().layers[0].digest.hex(), sha256(&stored));
        let mut bad = stored.clone();
        bad[stored.len() / 2] ^= 1;
        let error = fails(&save(&[(&name, &bad, &raw)]));
        let Error::DigestMismatch { what, expected, found } = error else { panic!("{error}") };
        assert!(what.starts_with(&format!("the file `{name}` of `")), "{what}");
        assert_eq!((expected.hex(), found.hex()), (&*sha256(&stored), &*sha256(&bad)));
        // The name promises nothing: then it is the decompressor that says so, or the digest of what it made.
        let error = fails(&save(&[("l/layer.tar", &bad, &raw)]));
        assert!(
            matches!(error, Error::Io { action: "decompress a layer of", .. } | Error::DigestMismatch { .. }),
            "{error}"
        );
        let cut = &stored[..stored.len() - 6];
        assert!(matches!(fails(&save(&[("l/layer.tar", cut, &raw)])), Error::Io { .. }));
    }
}

#[test]
fn a_compressed_layer_of_another_image_was_pushed() {
    let (raw, other) = (tar_of("a", b"wanted"), tar_of("a", b"something else entirely"));
    let stored = gzipped(&other);
    let error = fails(&save(&[("l/layer.tar", &stored, &raw)]));
    let Error::DigestMismatch { what, expected, found } = error else { panic!("{error}") };
    assert!(what.starts_with("the layer `l/layer.tar` of `"), "{what}");
    assert_eq!((expected.hex(), found.hex()), (&*sha256(&raw), &*sha256(&other)));
    // A true name helps no layer that the configuration does not know.
    let name = format!("blobs/sha256/{}", sha256(&stored));
    assert!(matches!(fails(&save(&[(&name, &stored, &raw)])), Error::DigestMismatch { .. }));
    // A raw layer is compared when it is compressed; that its name says another digest is seen now.
    let name = format!("blobs/sha256/{}", sha256(&other));
    assert!(matches!(fails(&save(&[(&name, &raw, &raw)])), Error::DigestMismatch { .. }));
}

#[test]
fn one_compressed_layer_under_many_names_was_read_for_each() {
    let raw = tar_of("a", &noise(100_000));
    let mut tar = Tar::default();
    tar.file("l", &gzipped(&raw));
    let names: Vec<String> = (0..100).map(|number| format!("s{number}")).collect();
    for name in &names {
        tar.link(name, b'2', "l");
    }
    let diff_ids = vec![format!("sha256:{}", sha256(&raw)); names.len()];
    let config = json!({ "rootfs": { "type": "layers", "diff_ids": diff_ids } }).to_string();
    let manifest = json!([{ "Config": "c", "RepoTags": [], "Layers": names }]).to_string();
    tar.file("c", config.as_bytes()).file("manifest.json", manifest.as_bytes());
    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), &tar.end());
    // Room for the archive itself, and for the layer once or twice.
    let limits = OpenLimits { unpacked: 250_000, ..OpenLimits::default() };
    let image = open_within(&path, None, &limits).unwrap();
    assert_eq!(image.inspect(None).unwrap().layers.len(), 100);
}

#[test]
fn layers_are_decompressed_within_limits() {
    let raw = tar_of("a", &vec![0; 1 << 20]);
    let bytes = save(&[("l", &gzipped(&raw), &raw), ("m", &gzipped(&[&raw[..], &raw[..]].concat()), &raw)]);
    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), &bytes);
    let limits = OpenLimits { unpacked: 2 << 20, ..OpenLimits::default() };
    let error = open_within(&path, None, &limits).unwrap_err();
    assert!(error.to_string().ends_with("what it decompresses to is more than 2097152 bytes"), "{error}");
    assert!(error.hint().unwrap().contains("--max-unpacked"));
}
