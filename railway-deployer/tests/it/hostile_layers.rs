//! Layers that were made to do harm, in a docker archive and in an OCI layout, given to `image sbom` and `image scan`: each ends with a
//! clear error or a right result, and takes little more memory than a usual image.

use std::io::Write as _;

use serde_json::{Value, json};
use sha2::Digest as _;

use crate::{
    hostile::{MEASURE, header},
    image_copy::docker_archive,
    support::Place,
};

/// What a hostile image may take beyond a usual one, in KiB.
const MOST: u64 = 64 << 10;

/// How an image with a layer ended: exit code, what it printed, and its peak of memory in KiB.
struct Ended {
    code: u32,
    stdout: String,
    stderr: String,
    memory: u64,
}

fn run(place: &Place, arguments: &[&str]) -> Ended {
    let program = env!("CARGO_BIN_EXE_railway-deployer");
    let run = place.run_other("python3", &[&["-c", MEASURE, "result", program, "image"], arguments].concat());
    let result = std::fs::read_to_string(place.path("result"))
        .unwrap_or_else(|error| panic!("{error}: {}", run.stderr));
    let (code, memory) = result.split_once(' ').unwrap();
    let (code, memory) = (code.parse().unwrap(), memory.parse().unwrap());
    Ended { code, stdout: run.stdout, stderr: run.stderr, memory }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An OCI layout of one layer, as stored; `content` is what it decompresses to, or what claims to be.
fn layout(place: &Place, name: &str, stored: &[u8], content: &[u8]) {
    let digest = |bytes: &[u8]| {
        let hash = sha2::Sha256::digest(bytes);
        spectra_types::Digest::from_bytes(spectra_types::Algorithm::Sha256, &hash).unwrap()
    };
    std::fs::create_dir_all(place.path(&format!("{name}/blobs/sha256"))).unwrap();
    let blob = |media_type: &str, bytes: &[u8]| {
        let digest = digest(bytes);
        std::fs::write(place.path(&format!("{name}/blobs/sha256/{}", digest.hex())), bytes).unwrap();
        json!({ "mediaType": format!("application/vnd.oci.image.{media_type}"), "digest": digest, "size": bytes.len() })
    };
    let config = json!({ "architecture": "amd64", "os": "linux",
                         "rootfs": { "type": "layers", "diff_ids": [digest(content)] } });
    let kind = if stored.starts_with(&[0x1f, 0x8b]) {
        "layer.v1.tar+gzip"
    } else if stored == content {
        "layer.v1.tar"
    } else {
        "layer.v1.tar+zstd"
    };
    let config = blob("config.v1+json", config.to_string().as_bytes());
    let layers = [blob(kind, stored)];
    let manifest = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                           "config": config, "layers": layers });
    let manifest = blob("manifest.v1+json", manifest.to_string().as_bytes());
    place.write(&format!("{name}/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
    place.write(
        &format!("{name}/index.json"),
        &json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string(),
    );
}

/// The same layer in both kinds of image.
fn images(place: &Place, layer: &[u8]) -> [&'static str; 2] {
    docker_archive(&place.path("saved.tar"), layer);
    let _ = std::fs::remove_dir_all(place.path("layout"));
    layout(place, "layout", &gzip(layer), layer);
    ["saved.tar", "layout"]
}

/// What `image sbom` of a usual image takes, in KiB.
fn usual(place: &Place) -> u64 {
    let [saved, layout] = images(place, &[file("a", b""), vec![0; 1024]].concat());
    [saved, layout].into_iter().map(|image| sbom(place, image)).map(|ended| ended.memory).max().unwrap()
}

fn sbom(place: &Place, image: &str) -> Ended {
    run(place, &["sbom", image, "--generator", "builtin", "--output", "bill.json"])
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = [&header(name, b'0', content.len() as u64)[..], content].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn packages(place: &Place) -> Vec<String> {
    let bill: Value =
        serde_json::from_str(&std::fs::read_to_string(place.path("bill.json")).unwrap()).unwrap();
    let components = bill["components"].as_array().unwrap().iter();
    components.filter_map(|component| Some(component["purl"].as_str()?.to_owned())).collect()
}

/// Each kind of image with the layer is refused, in these words, and soon.
fn refused(place: &Place, usual: u64, layer: &[u8], reason: &str) {
    for image in images(place, layer) {
        let ended = sbom(place, image);
        assert_eq!(ended.code, 1, "{image}: {}", ended.stderr);
        assert!(ended.stderr.contains(reason), "{image}: {}", ended.stderr);
        assert!(ended.memory < usual + MOST, "{image}: {} KiB, usually {usual} KiB", ended.memory);
    }
}

/// Each kind of image with the layer has these packages.
fn listed(place: &Place, usual: u64, layer: &[u8], expected: &[&str]) {
    for image in images(place, layer) {
        let ended = sbom(place, image);
        assert_eq!(ended.code, 0, "{image}: {}", ended.stderr);
        assert_eq!(packages(place), expected, "{image}");
        assert!(ended.memory < usual + MOST, "{image}: {} KiB, usually {usual} KiB", ended.memory);
    }
}

/// So many empty files.
fn empty(count: u32) -> Vec<u8> {
    let mut block = header("0000000", b'0', 0);
    block[148..156].fill(b' ');
    let least: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let mut layer = Vec::new();
    for number in 0..count {
        let name = format!("{number:07}");
        let more: u32 = name.bytes().map(|digit| u32::from(digit - b'0')).sum();
        block[..7].copy_from_slice(name.as_bytes());
        block[148..156].copy_from_slice(format!("{:06o}\0 ", least + more).as_bytes());
        layer.extend_from_slice(&block);
    }
    layer
}

const STATUS: &[u8] = b"Package: one\nVersion: 1\n";
const ONE: &str = "pkg:deb/debian/one@1";

#[test]
fn names_of_gigabytes_in_a_layer() {
    let place = Place::new();
    let usual = usual(&place);
    for (kind, reason) in [
        (b'L', "the length of a name is more than 4096 bytes"),
        (b'K', "the length of a name is more than 4096 bytes"),
        (b'x', "the length of an extended header is more than 1048576 bytes"),
        (b'g', "the length of an extended header is more than 1048576 bytes"),
    ] {
        let lie = [&header("././@LongLink", kind, 10 << 30)[..], &[b'a'; 4096]].concat();
        refused(&place, usual, &lie, reason);
    }
    // And one that is really there.
    let long =
        [gzip(&header("././@LongLink", b'L', 10 << 30)), gzip(&vec![b'a'; 4 << 20]).repeat(2560)].concat();
    layout(&place, "long", &long, b"");
    let ended = sbom(&place, "long");
    assert!(ended.code == 1 && ended.stderr.contains("the length of a name"), "{}", ended.stderr);
    assert!(ended.memory < usual + MOST, "{} KiB, usually {usual} KiB", ended.memory);
}

#[test]
fn bombs_in_a_layer() {
    let place = Place::new();
    let usual = usual(&place);
    // Two gigabytes in a file that nobody asks for: that is no harm.
    let zeros = vec![0; 4 << 20];
    let parts = [
        gzip(&[&file("var/lib/dpkg/status", STATUS)[..], &header("zeros", b'0', 2 << 30)].concat()),
        gzip(&zeros).repeat(512),
        gzip(&[0; 1024]),
    ];
    layout(&place, "zeros", &parts.concat(), b"");
    let ended = sbom(&place, "zeros");
    assert_eq!((ended.code, packages(&place)), (0, vec![ONE.to_owned()]), "{}", ended.stderr);
    assert!(ended.memory < usual + MOST, "{} KiB, usually {usual} KiB", ended.memory);
    // Four thousand times its size.
    let frame = zstd::stream::encode_all(&zeros[..], 1).unwrap();
    let parts =
        [zstd::stream::encode_all(&header("zeros", b'0', 16 << 30)[..], 1).unwrap(), frame.repeat(4096)];
    layout(&place, "bomb", &parts.concat(), b"");
    let ended = sbom(&place, "bomb");
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("2000 times its size"), "{}", ended.stderr);
    assert!(ended.memory < usual + MOST, "{} KiB, usually {usual} KiB", ended.memory);
}

#[test]
fn a_million_empty_entries_in_a_layer() {
    let place = Place::new();
    let usual = usual(&place);
    let mut layer = file("var/lib/dpkg/status", STATUS);
    layer.extend(empty(1_000_000));
    layer.extend([0; 1024]);
    listed(&place, usual, &layer, &[ONE]);
}

#[test]
fn databases_that_fill_the_memory() {
    let place = Place::new();
    let usual = usual(&place);
    // Bytes that are no text take three times as much when they are looked at.
    let database = |number: usize| file(&format!("var/lib/dpkg/status.d/{number}"), &vec![0xff; 12_000_000]);
    let two = [database(0), database(1), vec![0; 1024]].concat();
    listed(&place, usual, &two, &[]);
    let three = [database(0), database(1), database(2), vec![0; 1024]].concat();
    refused(&place, usual, &three, "the image has more than 25165824 bytes in package databases");
    let packages = (0..400_000).map(|number| format!("Package: {number}\nVersion: 1\n\n"));
    let status = packages.collect::<Vec<_>>().concat();
    let many = [file("var/lib/dpkg/status", status.as_bytes()), vec![0; 1024]].concat();
    refused(&place, usual, &many, "the image has more than 50000 packages");
    let large = [file("var/lib/dpkg/status", &vec![b'\n'; 20 << 20]), vec![0; 1024]].concat();
    listed(&place, usual, &large, &[]);
}

#[test]
fn links_and_names_that_lead_round_in_a_layer() {
    let place = Place::new();
    let usual = usual(&place);
    let link = |name: &str, target: &str| {
        let mut block = header(name, b'2', 0);
        block[157..157 + target.len()].copy_from_slice(target.as_bytes());
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block.to_vec()
    };
    let status =
        |name: &str, package: &str| file(name, format!("Package: {package}\nVersion: 1\n").as_bytes());
    let layer = [
        link("a", "b"),
        link("b", "a"),
        link("etc/os-release", "os-release"),
        link("var/lib/dpkg/status.d/self", "."),
        // The last of several counts, as it does when they are unpacked.
        status("var/lib/dpkg/status", "gone"),
        status("./var//lib/dpkg/status", "gone"),
        status("x/../var/lib/dpkg/status", "one"),
        status("../../var/lib/dpkg/status.d/x", "two"),
        vec![0; 1024],
    ];
    listed(&place, usual, &layer.concat(), &[ONE, "pkg:deb/debian/two@1"]);
}

#[test]
fn names_that_are_no_text_in_a_layer() {
    let place = Place::new();
    let usual = usual(&place);
    let named = |last: u8, package: &str| {
        let mut bytes =
            file("var/lib/dpkg/status.d/?", format!("Package: {package}\nVersion: 1\n").as_bytes());
        bytes[22] = last;
        bytes[148..156].fill(b' ');
        let sum: u32 = bytes[..512].iter().map(|byte| u32::from(*byte)).sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes
    };
    let layer = [named(0xff, "one"), named(0xfe, "two"), vec![0; 1024]].concat();
    listed(&place, usual, &layer, &[ONE, "pkg:deb/debian/two@1"]);
}

/// Scanners read layers themselves: what is asked here is that they get them, and that it takes no memory.
#[test]
fn a_scanner_is_given_hostile_layers_as_they_are() {
    let place = Place::new();
    place.program("trivy", "[ -f \"$8/oci-layout\" ] || exit 9\necho '{\"SchemaVersion\":2,\"Results\":[]}'");
    let scan = |image: &str| run(&place, &["scan", image, "--scanner", "trivy"]);
    let [saved, layout] = images(&place, &[0; 1024]);
    let usual = [saved, layout].map(|image| scan(image).memory).into_iter().max().unwrap();
    let lie = [&header("././@LongLink", b'L', 10 << 30)[..], &[b'a'; 4096]].concat();
    for layer in [lie, empty(100_000), vec![0; 64 << 20]] {
        for image in images(&place, &layer) {
            let ended = scan(image);
            assert_eq!(ended.code, 0, "{image}: {} {}", ended.stdout, ended.stderr);
            assert!(ended.memory < usual + MOST, "{image}: {} KiB, usually {usual} KiB", ended.memory);
        }
    }
}
