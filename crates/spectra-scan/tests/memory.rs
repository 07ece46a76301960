//! Layers that are larger than memory. Alone in its process, since what is measured is the process's.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::{
    io::{Cursor, Read, Write as _},
    sync::{Mutex, PoisonError},
};

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

/// Who measures.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn nothing_that_is_large_is_held() {
    const LARGE: u64 = 192 << 20;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
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

/// A program with a section of this content, in which `cargo auditable` puts its list, and nothing else.
fn program(section: &[u8]) -> Vec<u8> {
    let names = b"\0.shstrtab\0.dep-v0\0";
    let table = 64 + names.len() + section.len();
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(40, 0);
    file.extend((table as u64).to_le_bytes());
    file.resize(58, 0);
    file.extend([64, 0, 3, 0, 1, 0]);
    file.extend(names);
    file.extend(section);
    for (name, offset, length) in [(0, 0, 0), (1, 64, names.len()), (11, 64 + names.len(), section.len())] {
        let start = file.len();
        file.extend(u32::to_le_bytes(name));
        file.resize(start + 24, 0);
        file.extend([(offset as u64).to_le_bytes(), (length as u64).to_le_bytes()].concat());
        file.resize(start + 64, 0);
    }
    file
}

/// An image with a program that holds a list of one crate, which needs itself nine hundred thousand times.
fn image(name_length: usize) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    write!(encoder, r#"{{"packages":[{{"name":"{}","version":"1","#, "n".repeat(name_length)).unwrap();
    write!(encoder, r#""dependencies":[{}0]}}]}}"#, "0,".repeat(900_000)).unwrap();
    let program = program(&encoder.finish().unwrap());
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(program.len() as u64);
    builder.append_data(&mut header, "app", program.as_slice()).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn a_name_is_not_copied_for_each_time_that_it_is_needed() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let input = |layer: Vec<u8>| LayerInput {
        digest: format!("sha256:{:064}", 0).parse().unwrap(),
        open: Box::new(move || Ok(Box::new(Cursor::new(layer.clone())))),
    };
    let (short, long) = (image(200), image(2 << 20));
    let before = peak();
    let inventory = read(&[input(short)]).unwrap();
    assert_eq!(inventory.packages[0].needs, [inventory.packages[0].purl.clone()]);
    let inventory = read(&[input(long)]).unwrap();
    assert!(inventory.packages.is_empty(), "the name is too long");
    assert!(inventory.notes[1].ends_with("a field has 2097152 bytes"), "{:?}", inventory.notes);
    let grown = peak() - before;
    assert!(grown < 64 << 20, "{grown} bytes");
}
