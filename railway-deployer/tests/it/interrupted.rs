//! What is left on disk when the program is ended in the middle of something: nothing, by whatever signal.

use std::{
    fs::File,
    io::{Seek as _, SeekFrom, Write as _},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use sha2::Digest as _;
use spectra_sandbox::registry::RegistryAuth;

use crate::{image::registry, support::Place};

/// More than is written before the signal comes, of zeros, which take no room where they come from.
const MUCH: u64 = 4 << 30;
/// How long the program may take until it has opened the file that is watched for.
const PATIENCE: Duration = Duration::from_mins(1);

/// An archive of `docker save` whose layer is a hole.
fn archive(path: &Path) {
    let digest = format!("sha256:{}", "0".repeat(64));
    let config = json!({
        "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": [digest] },
    });
    let manifest = json!([{ "Config": "c.json", "RepoTags": ["app:1"], "Layers": ["l.tar"] }]);
    let mut file = File::create(path).unwrap();
    let mut entry = |name: &str, size: u64, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        file.write_all(header.as_bytes()).unwrap();
        file.write_all(bytes).unwrap();
        let rest = size.next_multiple_of(512) - bytes.len() as u64;
        let end = file.seek(SeekFrom::Current(i64::try_from(rest).unwrap())).unwrap();
        file.set_len(end + 1024).unwrap();
    };
    entry("l.tar", MUCH, &[]);
    for (name, document) in [("c.json", config), ("manifest.json", manifest)] {
        let bytes = document.to_string().into_bytes();
        entry(name, bytes.len() as u64, &bytes);
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found
}

/// Whether a process has written into a file below `folder`. It has one without a name, too: the system shows it by its folder.
fn writes(process: Pid, folder: &Path) -> bool {
    let open = std::fs::read_dir(format!("/proc/{}/fd", process.as_raw_nonzero())).into_iter().flatten();
    open.flatten().map(|file| file.path()).any(|file| {
        std::fs::read_link(&file).is_ok_and(|target| target.starts_with(folder))
            && std::fs::metadata(&file).is_ok_and(|file| file.is_file() && file.len() > 0)
    })
}

/// Runs a command, and ends it once `then` says so.
fn end(place: &Place, arguments: &[&str], signal: Signal, then: impl Fn(Pid) -> bool) {
    std::fs::create_dir_all(place.path("scratch")).unwrap();
    let mut child = place
        .command()
        .args(arguments)
        .env("TMPDIR", place.path("scratch"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let process = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let begun = Instant::now();
    while !then(process) {
        assert!(begun.elapsed() < PATIENCE && child.try_wait().unwrap().is_none(), "{arguments:?}");
        std::thread::yield_now();
    }
    kill_process(process, signal).unwrap();
    let status = child.wait().unwrap();
    // Otherwise the command was done before the signal came.
    assert_eq!(status.code(), (signal != Signal::KILL).then_some(130), "{arguments:?}");
}

/// Runs a command, ends it once it writes a file below `watched`, and returns the files that are left there.
fn ended(place: &Place, arguments: &[&str], watched: &Path, signal: Signal) -> Vec<String> {
    end(place, arguments, signal, |process| writes(process, watched));
    files(watched)
}

const NOTHING: [String; 0] = [];

#[test]
fn threads_that_were_ended_with_the_process_left_what_they_unpacked() {
    let place = Place::new();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&vec![0; 64 << 20]).unwrap();
    std::fs::write(place.path("app.tar.gz"), encoder.finish().unwrap().repeat(64)).unwrap();
    let inspect = ["image", "inspect", "app.tar.gz", "--max-ratio", "1000000"];
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        assert_eq!(ended(&place, &inspect, &place.path("scratch"), signal), NOTHING, "{signal:?}");
    }
}

#[test]
fn threads_that_were_ended_with_the_process_left_what_they_compressed() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    archive(&place.path("app.tar"));
    let target = format!("{}/team/app:1", running.address);
    for signal in [Signal::INT, Signal::KILL] {
        let push = ["image", "push", "app.tar", &target];
        assert_eq!(ended(&place, &push, &place.path("scratch"), signal), NOTHING, "{signal:?}");
        let copy = ["image", "copy", "docker-archive:app.tar", "oci:layout"];
        for blob in ended(&place, &copy, &place.path("layout/blobs"), signal) {
            // What was whole by then has its name: its digest.
            let hash = sha2::Sha256::digest(std::fs::read(&blob).unwrap());
            let hash = spectra_types::Digest::from_bytes(spectra_types::Algorithm::Sha256, &hash).unwrap();
            assert!(blob.ends_with(&format!("/{}", hash.hex())), "{signal:?}: {blob}");
        }
        assert_eq!(files(&place.path("scratch")), NOTHING);
    }
}

#[test]
fn an_interrupted_scan_left_the_layout_for_its_scanner() {
    let place = Place::new();
    archive(&place.path("app.tar"));
    place.program("trivy", "exit 0");
    let scan = ["image", "scan", "app.tar", "--scanner", "trivy"];
    assert_eq!(ended(&place, &scan, &place.path("scratch"), Signal::INT), NOTHING);
    assert_eq!(std::fs::read_dir(place.path("scratch")).unwrap().count(), 0);
}

#[test]
fn a_thread_went_on_to_copy_files_for_gitleaks_when_its_folder_was_gone() {
    let place = Place::new();
    for number in 0..500 {
        place.write(&format!("src/{number}/f"), "x");
    }
    // If all are copied before the signal comes.
    place.program("gitleaks", "exec sleep 60");
    let scratch = place.path("scratch");
    for signal in [Signal::INT, Signal::TERM] {
        let scan = ["secrets", "scan", "src", "--scanner", "gitleaks"];
        end(&place, &scan, signal, |_| files(&scratch).len() > 10);
        assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0, "{signal:?}");
    }
}
