//! Layers that are larger than memory. Alone in its process, since what is measured is the process's.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::io::{Cursor, Read};

use spectra_scan::inventory::{LayerInput, read};

/// A tar of these files, full of zeroes that are nowhere until they are read.
fn layer(files: &[(&str, u64)]) -> Box<dyn Read + Send> {
    let mut all: Box<dyn Read + Send> = Box::new(std::io::empty());
    for (path, size) in files {
        let mut header = tar::Header::new_gnu();
        header.set_path(path).unwrap();
        header.set_size(*size);
        header.set_cksum();
        let header = Cursor::new(header.as_bytes().to_vec());
        all = Box::new(all.chain(header).chain(std::io::repeat(0).take(size.next_multiple_of(512))));
    }
    Box::new(all.chain(std::io::repeat(0).take(1024)))
}

/// The most memory that the process has had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}

#[test]
fn nothing_that_is_large_is_held() {
    const LARGE: u64 = 192 << 20;
    let input = LayerInput {
        digest: format!("sha256:{:064}", 0).parse().unwrap(),
        open: Box::new(|| Ok(layer(&[("data", LARGE), ("var/lib/dpkg/status", LARGE), ("app.so", LARGE)]))),
    };
    let before = peak();
    let inventory = read(&[input]).unwrap();
    assert!(inventory.packages.is_empty() && inventory.notes.len() == 2, "{:?}", inventory.notes);
    let grown = peak() - before;
    assert!(grown < 16 << 20, "{grown} bytes");
}
