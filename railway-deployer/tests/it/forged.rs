//! Text of others in what is printed: it makes no line that looks like ours, drives no terminal and gives no order to a CI system.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
};

use serde_json::json;

use crate::support::{Place, Run};

const FORGED: &str = "1\ndigest       sha256:ffff\r\n::add-mask::x\u{1b}[2J\u{9b}1A\n  ##[warning]y\u{202e}";

/// An archive of `docker save` with images of these tags, whose label is forged.
fn archive(path: &Path, tags: &[&str]) {
    let config =
        json!({ "os": "linux", "architecture": "amd64", "config": { "Labels": { "note": FORGED } } });
    let images: Vec<_> =
        tags.iter().map(|tag| json!({ "Config": "c.json", "RepoTags": [tag], "Layers": [] })).collect();
    let mut archive = tar::Builder::new(std::fs::File::create(path).unwrap());
    for (name, document) in [("c.json", config), ("manifest.json", json!(images))] {
        let bytes = document.to_string().into_bytes();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    archive.into_inner().unwrap();
}

/// Every line of both outputs begins with one of these, and none drives or orders anything.
fn assert_ours(run: &Run, beginnings: &[&str]) {
    for line in run.stdout.lines().chain(run.stderr.lines()) {
        assert!(
            beginnings.iter().any(|beginning| line.starts_with(beginning)),
            "{line:?} in {}",
            run.shown()
        );
    }
    let all = format!("{}{}", run.stdout, run.stderr);
    assert!(!all.contains("##["), "{}", run.shown());
    assert!(!all.replace('\n', "").contains(|c: char| c.is_control() || c == '\u{202e}'), "{all:?}");
}

#[test]
fn labels_forged_lines_of_inspect() {
    let place = Place::new();
    archive(&place.path("image.tar"), &["app:1"]);
    let run = place.run(&["image", "inspect", "image.tar"]).done();
    assert_ours(
        &run,
        &["digest       made by", "type ", "platform ", "size ", "label        note=1 digest "],
    );
    let run = place.run(&["image", "inspect", "image.tar", "--json"]).done();
    assert!(!run.stdout.contains("##[") && !run.stdout.contains(['\u{9b}', '\u{202e}']), "{}", run.stdout);
    assert_eq!(run.json()["labels"]["note"], FORGED);
}

#[test]
fn names_in_an_archive_forged_lines_of_errors_and_were_all_listed() {
    let place = Place::new();
    let many: Vec<String> = (0..1000).map(|number| format!("app:{number}")).collect();
    let mut tags = vec![FORGED, "::error::forged\n::error::again"];
    tags.extend(many.iter().map(String::as_str));
    archive(&place.path("image.tar"), &tags);
    let run = place.run(&["image", "inspect", "image.tar"]);
    assert_eq!(run.code, 1);
    assert_ours(&run, &["error[SPX-"]);
    assert!(run.stderr.contains("`::error::forged ::error::again`, `app:0`"), "{}", run.stderr);
    assert!(run.stderr.trim_end().ends_with("`app:17`, and 982 more"), "{}", run.stderr);
}

#[test]
fn answers_of_registries_forged_lines_and_orders() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let body = json!({ "errors": [{ "code": "DENIED", "message": FORGED }] }).to_string();
            let _ = write!(
                stream,
                "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    let image = format!("{address}/team/app:1");
    let run = place.run(&["image", "inspect", &image]);
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("DENIED: 1 digest"), "{}", run.stderr);
    assert_ours(&run, &["error[SPX-", "  caused by: ", "hint: "]);
    let run = place.run(&["image", "inspect", &image, "--json"]);
    assert_ours(&run, &["{\"error\":{"]);
}

#[test]
fn a_build_tool_gave_orders_and_spoke_in_our_name() {
    let place = Place::new();
    place.write("app/Dockerfile", "FROM scratch\n");
    let words = "echo '::add-mask::x'; echo 'pushed `x`'; printf '\\033[2J##[error]y\\n'";
    place.program("buildah", &format!("{words}; ({words}) >&2; exit 3"));
    let run = place.run(&["image", "build", "app", "--output", "out"]);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("\n  | pushed `x`\n"), "{}", run.stderr);
    assert_ours(&run, &["| ", "  | ", "error[SPX-354]: `buildah build` failed", "hint: "]);
}
