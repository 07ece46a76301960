//! What would fill the memory.

use std::io::{self, Cursor, Read};

use spectra_tar::{Error, MAX_EXTENSION, MAX_NAME};

use crate::{Block, archive, entries, long, pax, refusal};

/// A header with a size of ten gigabytes, and as much behind it.
fn endless(header: &Block) -> io::Take<impl Read + use<>> {
    let size = [&[0x80, 0, 0, 0][..], &(10_u64 << 30).to_be_bytes()].concat();
    let header = header.clone().set(124, &size).header();
    Cursor::new(header).chain(io::repeat(b'1')).take(10 << 30)
}

#[test]
fn a_name_of_gigabytes_is_not_read() {
    for (kind, reason) in [
        (b'L', "the length of a name is more than 4096 bytes"),
        (b'K', "the length of a name is more than 4096 bytes"),
        (b'x', "the length of an extended header is more than 1048576 bytes"),
        // The tree read through it, and the inventory did not.
        (b'g', "the length of an extended header is more than 1048576 bytes"),
    ] {
        let mut stream = endless(&Block::gnu(kind, "././@LongLink", 0));
        assert_eq!(refusal(&mut stream), reason);
        assert_eq!((10 << 30) - stream.limit(), 512, "nothing but the header was read");
    }
    let mut longer =
        Cursor::new(Block::gnu(b'L', "l", MAX_NAME + 2).header()).chain(io::repeat(b'a')).take(1 << 20);
    assert_eq!(refusal(&mut longer), "the length of a name is more than 4096 bytes");
    assert_eq!((1 << 20) - longer.limit(), 512);
}

/// The inventory had a limit for names, and none for where links lead, up to a megabyte each.
#[test]
fn names_and_targets_that_no_system_takes() {
    let length = usize::try_from(MAX_NAME).unwrap();
    let read = |text: &str| {
        let link = Block::gnu(b'2', "l", 0).header();
        let forms = [
            vec![pax(b'x', &[("path", text)]), link.clone()],
            vec![pax(b'x', &[("linkpath", text)]), link.clone()],
            vec![long(b'L', text), link.clone()],
            vec![long(b'K', text), link],
        ];
        forms.map(|parts| entries(archive(&parts).as_slice()))
    };
    for found in read(&"a".repeat(length)) {
        let (entry, _) = &found.unwrap()[0];
        assert_eq!(entry.name.len().max(entry.target.len()), length);
    }
    for refused in read(&"a".repeat(length + 1)) {
        assert!(matches!(refused, Err(Error::TooLong { what: "a name", limit: MAX_NAME })), "{refused:?}");
    }
}

#[test]
fn a_map_of_holes_without_an_end() {
    let header = Block::gnu(b'S', "s", 0).set(482, &[1]).header();
    let mut stream = Cursor::new(header).chain(io::repeat(1)).take(1 << 30);
    assert_eq!(refusal(&mut stream), "the length of a map of a file's holes is more than 1048576 bytes");
    assert_eq!((1 << 30) - stream.limit(), 512 + MAX_EXTENSION);
}

#[test]
fn an_error_of_what_is_read_from_comes_through() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("another digest"))
        }
    }
    let part = Block::gnu(b'0', "a", 600).header();
    for before in
        [vec![], part[..100].to_vec(), part, vec![0; 512], vec![0; 1024], long(b'L', "x")[..520].to_vec()]
    {
        let failed = entries(Cursor::new(before).chain(Failing)).unwrap_err();
        assert!(matches!(&failed, Error::Read(_)) && failed.to_string() == "another digest", "{failed:?}");
    }
}
