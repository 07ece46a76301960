//! What a library writes is read back the same, and nothing else does harm.

use std::io::{self, Read};

use proptest::{collection::vec, prelude::*, sample::select};
use spectra_tar::{Kind, MAX_EXTENSION, Stream};

use crate::entries;

/// An entry to be written and found again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Written {
    kind: Kind,
    name: Vec<u8>,
    target: Vec<u8>,
    content: Vec<u8>,
    mode: u32,
    user: u32,
    group: u32,
}

/// How names and owners are written.
#[derive(Debug, Clone, Copy)]
enum Form {
    Gnu,
    Posix,
}

/// A name of up to 4096 bytes, with bytes of any kind.
fn name() -> impl Strategy<Value = Vec<u8>> {
    // Directories of up to a hundred bytes and whole names around the lengths at which forms change.
    let part = vec(1_u8..=255, 1..100).prop_map(|mut part| {
        part.iter_mut().filter(|byte| **byte == b'/').for_each(|byte| *byte = b'_');
        if matches!(part.as_slice(), b"." | b"..") { b"x".to_vec() } else { part }
    });
    let longest = select(vec![20_usize, 99, 100, 101, 255, 256, 4095, 4096]);
    (vec(part, 1..60), longest).prop_map(|(parts, longest)| {
        // The writer wants some text in the first bytes of a long name.
        let mut name = [b"n", parts.join(&b'/').as_slice()].concat();
        name.truncate(longest);
        while name.last() == Some(&b'/') {
            name.pop();
        }
        // The writer leaves `.` out, and refuses `..`.
        if name.ends_with(b"/.") || name.ends_with(b"/..") {
            name.pop();
            name.push(b'x');
        }
        name
    })
}

fn written() -> impl Strategy<Value = Written> {
    let kind = select(vec![Kind::File, Kind::Directory, Kind::Symlink, Kind::HardLink]);
    let ids = (0..0o10000_u32, any::<u32>(), any::<u32>());
    (kind, name(), name(), vec(any::<u8>(), 0..1500), ids).prop_map(|(kind, name, target, content, ids)| {
        Written {
            kind,
            name,
            target: if matches!(kind, Kind::Symlink | Kind::HardLink) { target } else { vec![] },
            content: if kind == Kind::File { content } else { vec![] },
            mode: ids.0,
            user: ids.1,
            group: ids.2,
        }
    })
}

fn write(builder: &mut tar::Builder<Vec<u8>>, form: Form, entry: &Written) {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let mut header = match form {
        Form::Gnu => tar::Header::new_gnu(),
        Form::Posix => tar::Header::new_ustar(),
    };
    header.set_entry_type(match entry.kind {
        Kind::Directory => tar::EntryType::Directory,
        Kind::Symlink => tar::EntryType::Symlink,
        Kind::HardLink => tar::EntryType::Link,
        _ => tar::EntryType::Regular,
    });
    header.set_size(entry.content.len() as u64);
    header.set_mode(entry.mode);
    let path = OsStr::from_bytes(&entry.name);
    match form {
        Form::Gnu => {
            header.set_uid(entry.user.into());
            header.set_gid(entry.group.into());
            if entry.target.is_empty() {
                builder.append_data(&mut header, path, entry.content.as_slice()).unwrap();
            } else {
                builder.append_link(&mut header, path, OsStr::from_bytes(&entry.target)).unwrap();
            }
        }
        Form::Posix => {
            let (user, group) = (entry.user.to_string(), entry.group.to_string());
            let mut records =
                vec![("uid", user.as_bytes()), ("path", &entry.name), ("gid", group.as_bytes())];
            let size = entry.content.len().to_string();
            if !entry.target.is_empty() {
                records.push(("linkpath", &entry.target));
            }
            records.push(("size", size.as_bytes()));
            builder.append_pax_extensions(records).unwrap();
            header.set_path("cut").unwrap();
            header.set_cksum();
            builder.append(&header, entry.content.as_slice()).unwrap();
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(all in vec((written(), select(vec![Form::Gnu, Form::Posix])), 0..6)) {
        let mut builder = tar::Builder::new(Vec::new());
        for (entry, form) in &all {
            write(&mut builder, *form, entry);
        }
        let bytes = builder.into_inner().unwrap();
        let read = entries(bytes.as_slice()).unwrap().into_iter().map(|(entry, content)| Written {
            kind: entry.kind,
            name: entry.name,
            target: entry.target,
            content,
            mode: entry.mode,
            user: entry.user,
            group: entry.group,
        });
        prop_assert_eq!(read.collect::<Vec<_>>(), all.into_iter().map(|(entry, _)| entry).collect::<Vec<_>>());
    }

    /// Whatever comes, it is read or refused; and what is held of a name or a header never exceeds its limit.
    #[test]
    fn garbage_does_no_harm(
        bytes in vec(any::<u8>(), 0..4096),
        kinds in vec(select(b"\x0001234567LKxgSVX".to_vec()), 1..6),
        sizes in vec(prop_oneof![0..3000_u64, any::<u64>()], 6),
        flips in vec((0..512_usize, any::<u8>()), 0..4),
    ) {
        let _ = entries(bytes.as_slice());
        let mut archive = Vec::new();
        for (kind, size) in kinds.into_iter().zip(sizes) {
            let mut header = tar::Header::new_gnu();
            header.as_mut_bytes()[156] = kind;
            header.set_size(size);
            for (at, byte) in &flips {
                header.as_mut_bytes()[*at] = *byte;
            }
            header.set_cksum();
            archive.extend_from_slice(header.as_bytes());
            archive.extend_from_slice(&bytes[..bytes.len().min(usize::try_from(size % 4096).unwrap())]);
            archive.resize(archive.len().next_multiple_of(512), 0);
        }
        let source = io::Cursor::new(archive).chain(io::repeat(b'a').take(4 * MAX_EXTENSION));
        let mut stream = Stream::new(source);
        while let Ok(Some(entry)) = stream.next() {
            prop_assert!(entry.name.len().max(entry.target.len()) <= 4096);
            let mut some = [0; 100];
            let _ = stream.read(&mut some);
        }
    }
}
