//! Layers that are put together here, and what is found in them.

use std::{
    io::{Cursor, Read as _, Write as _},
    sync::atomic::{AtomicUsize, Ordering},
};

use spectra_types::Digest;

use super::*;
use crate::sbom::{self, Format, Generator, Subject};

/// Our own words in the form of dpkg.
const STATUS: &str = "\
Package: libfoo1
Status: install ok installed
Priority: optional
Maintainer: Foo Makers <foo@example.com>
Architecture: amd64
Multi-Arch: same
Source: foo (1:2.0-3)
Version: 1:2.0-3+b1
Description: makes foo
 Package: not-a-package
 .
 Version: 9

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: half
Status: install reinstreq half-installed
Architecture: amd64
Version: 1

Package: base-files
Status: install ok installed
Architecture: all
Version: 12.4+deb12u5
";

const APK: &str = "\
C:Q1abc=
P:musl
V:1.2.5-r0
A:x86_64
L:MIT
o:musl
m:Someone <s@example.com>
F:lib
R:ld-musl-x86_64.so.1

P:musl-utils
V:1.2.5-r0
A:x86_64
L:MIT AND BSD-2-Clause
o:musl

";

const CRATES: &str = r#"{"packages":[
    {"name":"anyhow","version":"1.0.1","source":"crates.io"},
    {"name":"app","version":"0.1.0","source":"local","dependencies":[0,2,3],"root":true},
    {"name":"cc","version":"1.2.0","source":"crates.io","kind":"build"},
    {"name":"serde","version":"1.0.200","source":"crates.io","dependencies":[0]}],"format":8}"#;

enum Node<'a> {
    File(&'a str, Vec<u8>),
    Folder(&'a str),
    Link(&'a str, &'a str),
}

fn text<'a>(path: &'a str, content: &str) -> Node<'a> {
    Node::File(path, content.as_bytes().to_vec())
}

fn layer(nodes: Vec<Node<'_>>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for node in nodes {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(0);
        match node {
            Node::File(path, content) => {
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, path, content.as_slice()).unwrap();
            }
            Node::Folder(path) => {
                header.set_entry_type(tar::EntryType::Directory);
                builder.append_data(&mut header, path, std::io::empty()).unwrap();
            }
            Node::Link(path, target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                builder.append_link(&mut header, path, target).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

fn digest(number: usize) -> Digest {
    format!("sha256:{number:064x}").parse().unwrap()
}

fn inspect(layers: Vec<Vec<Node<'_>>>) -> Result<Inventory, Error> {
    let layers: Vec<Vec<u8>> = layers.into_iter().map(layer).collect();
    let inputs: Vec<LayerInput<'_>> = layers
        .iter()
        .enumerate()
        .map(|(number, bytes)| LayerInput {
            digest: digest(number),
            open: Box::new(move || Ok(Box::new(Cursor::new(bytes.clone())))),
        })
        .collect();
    read(&inputs)
}

fn program(json: &str) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(json.as_bytes()).unwrap();
    elf::tests::file(true, true, ".dep-v0", &encoder.finish().unwrap())
}

fn purls(inventory: &Inventory) -> Vec<&str> {
    inventory.packages.iter().map(|package| &*package.purl).collect()
}

#[test]
fn packages_of_dpkg() {
    let inventory = inspect(vec![vec![
        text(
            "usr/lib/os-release",
            "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
        ),
        Node::Link("etc/os-release", "../usr/lib/os-release"),
        text("./var/lib/dpkg/status", STATUS),
        text(
            "var/lib/dpkg/status.d/libssl3",
            "Package: libssl3\nArchitecture: arm64\nVersion: 3.0.1~rc1\nSource: openssl\n",
        ),
        text("var/lib/dpkg/status.d/libssl3.md5sums", "Package: x\nVersion: 1\n"),
    ]])
    .unwrap();
    assert_eq!(
        purls(&inventory),
        [
            "pkg:deb/debian/base-files@12.4%2Bdeb12u5?arch=all&distro=debian-12",
            "pkg:deb/debian/libfoo1@1:2.0-3%2Bb1?arch=amd64&distro=debian-12&upstream=foo%401:2.0-3",
            "pkg:deb/debian/libssl3@3.0.1~rc1?arch=arm64&distro=debian-12&upstream=openssl",
        ]
    );
    assert_eq!(inventory.packages[1].supplier.as_deref(), Some("Foo Makers <foo@example.com>"));
    assert_eq!(inventory.notes.len(), 1, "{:?}", inventory.notes);
}

#[test]
fn packages_of_apk_and_crates() {
    let inventory = inspect(vec![vec![
        text("etc/os-release", "ID=alpine\nVERSION_ID=3.22.1\n"),
        text("lib/apk/db/installed", APK),
        Node::File("usr/bin/app", program(CRATES)),
        Node::File("usr/bin/other", elf::tests::file(false, false, ".text", b"x")),
    ]])
    .unwrap();
    assert_eq!(
        purls(&inventory),
        [
            "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.22.1",
            "pkg:apk/alpine/musl-utils@1.2.5-r0?arch=x86_64&distro=alpine-3.22.1&upstream=musl",
            "pkg:cargo/anyhow@1.0.1",
            "pkg:cargo/app@0.1.0",
            "pkg:cargo/serde@1.0.200",
        ]
    );
    assert_eq!(
        inventory.packages[3].needs.iter().map(|purl| &**purl).collect::<Vec<_>>(),
        ["pkg:cargo/anyhow@1.0.1", "pkg:cargo/serde@1.0.200"],
        "without what builds"
    );
    assert_eq!(inventory.packages[1].licence.as_deref(), Some("MIT AND BSD-2-Clause"));
}

#[test]
fn upper_layers_replace_and_remove() {
    let one = "Package: one\nVersion: 1\n";
    let two = "Package: two\nVersion: 2\n";
    let names = |layers| -> Vec<String> {
        inspect(layers)
            .unwrap()
            .packages
            .into_iter()
            .map(|package| format!("{} {}", package.name, package.layer.hex().trim_start_matches('0')))
            .collect()
    };
    let base = || vec![text("var/lib/dpkg/status.d/one", one), text("var/lib/dpkg/status.d/two", two)];
    assert_eq!(names(vec![base(), vec![]]), ["one ", "two "]);
    assert_eq!(names(vec![base(), vec![text("var/lib/dpkg/status.d/.wh.one", "")]]), ["two "], "a file");
    assert!(names(vec![base(), vec![text("var/lib/.wh.dpkg", "")]]).is_empty(), "a folder above");
    assert_eq!(
        names(vec![
            base(),
            vec![text("var/lib/dpkg/status.d/two", one), text("var/lib/dpkg/.wh..wh..opq", "")]
        ]),
        ["one 1"],
        "all below, but not what the layer itself brings, wherever the mark stands"
    );
    assert_eq!(names(vec![base(), vec![text(".wh..wh..opq", "")]]), Vec::<String>::new(), "everything");
    assert_eq!(
        names(vec![base(), vec![Node::Folder("var/lib/dpkg/status.d")]]),
        ["one ", "two "],
        "folders join"
    );
    assert!(names(vec![base(), vec![Node::Link("var/lib", "elsewhere")]]).is_empty(), "a link in its place");
    assert_eq!(names(vec![base(), vec![text("var/lib/dpkg/status.d/one", two)]]), ["two 1", "two "]);
    let app = |json| vec![Node::File("app", program(json))];
    assert_eq!(names(vec![app(CRATES), vec![text("app", "#!/bin/sh\n")]]), Vec::<String>::new());
}

/// A header of GNU tar that states this name, whatever it is, and content.
fn named(name: &[u8], content: &str) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut bytes = [header.as_bytes(), content.as_bytes()].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn inspect_bytes(layers: &[Vec<u8>]) -> Result<Inventory, Error> {
    let inputs = layers.iter().enumerate().map(|(number, bytes)| LayerInput {
        digest: digest(number),
        open: Box::new(move || Ok(Box::new(Cursor::new(bytes.clone())))),
    });
    read(&inputs.collect::<Vec<_>>())
}

/// Only of databases it was said, and a program could hide its crates by having holes.
#[test]
fn a_file_that_is_stored_sparse_is_said_not_to_be_read() {
    let sparse = |name: &str| {
        let mut header = tar::Header::from_byte_slice(&named(name.as_bytes(), "")[..512]).clone();
        header.set_entry_type(tar::EntryType::GNUSparse);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    let inventory = inspect_bytes(&[[sparse("app"), sparse("var/lib/dpkg/status")].concat()]).unwrap();
    insta::assert_snapshot!(inventory.notes[1..].join("\n"), @"
    `/app` was not read: it is stored with its holes left out
    `/var/lib/dpkg/status` was not read: it is stored with its holes left out
    ");
}

/// A database of a megabyte took gigabytes: each package of a few letters becomes some kilobytes of the bill.
#[test]
fn packages_and_what_they_need_have_limits() {
    let many = |count: usize| "Package: a\nVersion: 1\n\n".repeat(count);
    let read = |status: &str| inspect(vec![vec![text("var/lib/dpkg/status", status)]]);
    assert_eq!(read(&many(50_000)).unwrap().packages.len(), 1, "each once");
    let refused = read(&many(50_001)).unwrap_err().to_string();
    assert_eq!(refused, "the image has more than 50000 packages; that is not looked into");
    // Each of a thousand crates needs those before it.
    let needs = |number: usize| (0..number).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    let crates = |count: usize| {
        let one =
            |number| format!(r#"{{"name":"c{number}","version":"1","dependencies":[{}]}}"#, needs(number));
        format!(r#"{{"packages":[{}]}}"#, (0..count).map(one).collect::<Vec<_>>().join(","))
    };
    let one = inspect(vec![vec![Node::File("a", program(&crates(900)))]]).unwrap();
    assert_eq!(one.packages.len(), 900);
    let two =
        inspect(vec![vec![Node::File("a", program(&crates(900))), Node::File("b", program(&crates(900)))]]);
    let refused = two.unwrap_err().to_string();
    assert_eq!(refused, "the image has more than 500000 dependencies of packages; that is not looked into");
}

/// A name with `..` was passed over, and those that unpack the image have the file.
#[test]
fn a_name_that_goes_up_and_down_hid_a_database() {
    let one = "Package: one\nVersion: 1\n";
    for name in ["a/../var/lib/dpkg/status", "../../var/lib/dpkg/status", "var/lib/./dpkg//status"] {
        let inventory = inspect_bytes(&[named(name.as_bytes(), one)]).unwrap();
        assert_eq!(purls(&inventory), ["pkg:deb/debian/one@1"], "{name}");
    }
}

/// Two names that are no text were one, and the packages of the first were not listed.
#[test]
fn names_that_are_no_text_are_told_apart() {
    let names = [&b"var/lib/dpkg/status.d/\xff"[..], b"var/lib/dpkg/status.d/\xfe"];
    let both = [named(names[0], "Package: one\nVersion: 1\n"), named(names[1], "Package: two\nVersion: 1\n")];
    let inventory = inspect_bytes(&[both.concat()]).unwrap();
    assert_eq!(purls(&inventory), ["pkg:deb/debian/one@1", "pkg:deb/debian/two@1"]);
    let hidden = named(b"var/lib/dpkg/status.d/.wh.\xff", "");
    let inventory = inspect_bytes(&[both.concat(), hidden]).unwrap();
    assert_eq!(purls(&inventory), ["pkg:deb/debian/two@1"], "and one of them is removed alone");
}

#[test]
fn what_is_no_tar_is_said_in_terms_of_the_layer() {
    let refused = |bytes: &[u8]| match inspect_bytes(&[bytes.to_vec()]).unwrap_err() {
        Error::Layer { source, .. } => source.to_string(),
        error => panic!("{error}"),
    };
    let database = named(b"var/lib/dpkg/status", &"Package: one\nVersion: 1\n".repeat(40));
    assert_eq!(refused(&database[..700]), "it is cut off");
    assert_eq!(refused(&[7; 512]), "it is not a tar, or damaged: the sum of a header is wrong");
    let mut long = tar::Header::from_byte_slice(&named(b"././@LongLink", "")[..512]).clone();
    long.set_entry_type(tar::EntryType::GNULongName);
    long.set_size(10 << 30);
    long.set_cksum();
    assert_eq!(refused(long.as_bytes()), "the length of a name is more than 4096 bytes");
}

#[test]
fn what_was_not_read_is_said() {
    let inventory = inspect(vec![vec![
        text("var/lib/rpm/rpmdb.sqlite", "x"),
        Node::Link("lib/apk/db/installed", "/somewhere"),
        Node::File("a", program("{")),
        Node::File("b", elf::tests::file(true, true, ".dep-v0", b"not zlib")),
    ]])
    .unwrap();
    insta::assert_snapshot!(inventory.notes[1..].join("\n"), @"
    `/b` was not read: its list of crates is damaged: corrupt deflate stream
    `/lib/apk/db/installed` was not read: it is no file, and links are not followed
    `/var/lib/rpm/rpmdb.sqlite` is a database of rpm, which is not read: its packages are missing here
    the list of crates in `/a` was not read: EOF while parsing an object at line 1 column 1
    ");
    assert!(inventory.packages.is_empty());
}

#[test]
fn fields_that_are_too_long_are_not_copied_and_that_is_said() {
    let long = "n".repeat(257);
    let crates = format!(r#"{{"packages":[{{"name":"{long}","version":"1"}}]}}"#);
    let inventory = inspect(vec![vec![
        text("etc/os-release", &format!("ID=debian\nVERSION_ID={long}\n")),
        text("lib/apk/db/installed", &format!("P:a\nV:{long}\n")),
        text("var/lib/dpkg/status", &format!("Package: a\nVersion: 1\n\nPackage: {long}\nVersion: 1\n")),
        Node::File("app\u{1b}[2J", program(&crates)),
    ]])
    .unwrap();
    assert_eq!(purls(&inventory), ["pkg:deb/debian/a@1"]);
    insta::assert_snapshot!(inventory.notes[1..].join("\n"), @"
    the list of crates in `/app [2J` was not read: a field has 257 bytes
    `/lib/apk/db/installed` was read only in part: a field has 257 bytes
    `/var/lib/dpkg/status` was read only in part: a field has 257 bytes
    ");
}

/// Counts what is read, and finds at the end that it is something else than was promised.
struct Counting<'a>(Cursor<Vec<u8>>, &'a AtomicUsize);
impl std::io::Read for Counting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1.fetch_add(count, Ordering::Relaxed);
        if count == 0 && !buffer.is_empty() {
            Err(std::io::Error::other("another digest"))
        } else {
            Ok(count)
        }
    }
}

#[test]
fn a_layer_is_read_to_its_end_so_that_its_digest_is_checked() {
    let bytes = layer(vec![text("a", "b")]);
    let length = bytes.len() + 4096;
    let read_bytes = AtomicUsize::new(0);
    // Leaked, since a reader that is handed over lives as long as it likes.
    let counter: &'static AtomicUsize = Box::leak(Box::new(read_bytes));
    let padded = [bytes, vec![0; 4096]].concat();
    let input = LayerInput {
        digest: digest(7),
        open: Box::new(move || Ok(Box::new(Counting(Cursor::new(padded.clone()), counter)))),
    };
    let error = read(&[input]).unwrap_err();
    assert_eq!(counter.load(Ordering::Relaxed), length);
    assert!(
        matches!(&error, Error::Layer { source, .. } if source.to_string() == "another digest"),
        "{error}"
    );
    let garbage =
        LayerInput { digest: digest(8), open: Box::new(|| Ok(Box::new(Cursor::new(vec![7; 600])))) };
    assert!(read(&[garbage]).is_err());
}

/// A reader that makes a file of zeroes out of nothing.
fn huge(path: &str, size: u64) -> Box<dyn std::io::Read + Send> {
    let mut header = tar::Header::new_gnu();
    header.set_path(path).unwrap();
    header.set_size(size);
    header.set_cksum();
    Box::new(Cursor::new(header.as_bytes().to_vec()).chain(std::io::repeat(0).take(size + 1024)))
}

#[test]
fn a_huge_file_is_not_held_whatever_it_calls_itself() {
    let open = |path: &'static str| LayerInput {
        digest: digest(1),
        open: Box::new(move || Ok(huge(path, 65 << 20))),
    };
    let inventory = read(&[open("var/lib/dpkg/status")]).unwrap();
    insta::assert_snapshot!(inventory.notes[1], @"`/var/lib/dpkg/status` was not read: it has 68157440 bytes, more than a package database has");
    assert_eq!(read(&[open("data")]).unwrap().notes.len(), 1);
}

fn bill(format: Format) -> serde_json::Value {
    let inventory = inspect(vec![
        vec![
            text("etc/os-release", "ID=debian\nVERSION_ID=12\n"),
            text("var/lib/dpkg/status", STATUS),
            Node::File("app", program(CRATES)),
        ],
        vec![Node::File("app2", program(CRATES))],
    ])
    .unwrap();
    let subject = Subject {
        name: "ghcr.io/team/web".to_owned(),
        repository: Some("ghcr.io/team/web".to_owned()),
        digest: digest(0xabc),
        platform: "linux/amd64".to_owned(),
        created: Some("2026-01-02T03:04:05.678Z".parse().unwrap()),
    };
    let generator = Generator { name: "railway-deployer", version: "0.1.0" };
    let text = sbom::write(format, &subject, &inventory, generator);
    assert_eq!(text, sbom::write(format, &subject, &inventory, generator), "the same bytes");
    let other = Subject { digest: digest(1), ..subject };
    assert_ne!(text, sbom::write(format, &other, &inventory, generator));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_bill_in_cyclonedx() {
    let bill = bill(Format::CycloneDx);
    let components = bill["components"].as_array().unwrap();
    assert_eq!(components.len(), 1 + 2 + 6);
    let references: std::collections::BTreeSet<&str> =
        components.iter().map(|component| component["bom-ref"].as_str().unwrap()).collect();
    assert_eq!(references.len(), components.len(), "each has a name of its own, also what is there twice");
    assert_eq!(bill["metadata"]["timestamp"], "2026-01-02T03:04:05Z");
    assert_eq!(
        bill["metadata"]["component"]["purl"],
        format!("pkg:oci/web@sha256%3A{}?repository_url=ghcr.io%2Fteam%2Fweb", digest(0xabc).hex())
    );
    for edge in bill["dependencies"].as_array().unwrap() {
        for target in edge["dependsOn"].as_array().unwrap() {
            assert!(references.contains(target.as_str().unwrap()), "{target} is nowhere");
        }
    }
    assert!(bill["serialNumber"].as_str().unwrap().starts_with("urn:uuid:"));
    insta::assert_json_snapshot!(components[2], @r#"
    {
      "bom-ref": "pkg:deb/debian/libfoo1@1:2.0-3%2Bb1?arch=amd64&distro=debian-12&upstream=foo%401:2.0-3",
      "name": "libfoo1",
      "properties": [
        {
          "name": "spectra:location",
          "value": "/var/lib/dpkg/status"
        },
        {
          "name": "spectra:layer",
          "value": "sha256:0000000000000000000000000000000000000000000000000000000000000000"
        },
        {
          "name": "spectra:source-package",
          "value": "foo 1:2.0-3"
        }
      ],
      "purl": "pkg:deb/debian/libfoo1@1:2.0-3%2Bb1?arch=amd64&distro=debian-12&upstream=foo%401:2.0-3",
      "supplier": {
        "name": "Foo Makers <foo@example.com>"
      },
      "type": "library",
      "version": "1:2.0-3+b1"
    }
    "#);
}

#[test]
fn a_bill_in_spdx() {
    let bill = bill(Format::Spdx);
    let packages = bill["packages"].as_array().unwrap();
    let ids: std::collections::BTreeSet<&str> =
        packages.iter().map(|package| package["SPDXID"].as_str().unwrap()).collect();
    assert_eq!((packages.len(), ids.len()), (1 + 2 + 6, 1 + 2 + 6));
    let legal = |id: &&str| {
        id["SPDXRef-".len()..].bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
    };
    assert!(ids.iter().all(legal));
    for relation in bill["relationships"].as_array().unwrap() {
        let id = relation["relatedSpdxElement"].as_str().unwrap();
        assert!(ids.contains(id), "{id} is nowhere");
    }
    assert_eq!(bill["creationInfo"]["created"], "2026-01-02T03:04:05Z");
    let depends =
        bill["relationships"].as_array().unwrap().iter().filter(|r| r["relationshipType"] == "DEPENDS_ON");
    assert_eq!(depends.count(), 6, "each program with its own crates");
}
