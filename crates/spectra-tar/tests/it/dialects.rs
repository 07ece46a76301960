//! What readers do not agree about: here it is read as by those that unpack images, or refused. Most tests are named after what one of
//! our own readers made of it before there was this one.

use spectra_tar::{Error, Kind, Stream};

use crate::{Block, archive, entries, long, pax, refusal};

const TWO_NAMES: &str = "two headers give the same entry different names";
const MIXED: &str = "a header mixes dialects, which give the entry different names";
const EMPTY: &str = "a header gives an entry an empty name, link or size";

/// Name and kind of all entries.
fn list(parts: &[Vec<u8>]) -> Vec<(String, Kind)> {
    let found = entries(archive(parts).as_slice()).unwrap();
    found.into_iter().map(|(entry, _)| (String::from_utf8(entry.name).unwrap(), entry.kind)).collect()
}

fn refused(parts: &[Vec<u8>]) -> String {
    refusal(archive(parts).as_slice())
}

fn file(name: &str) -> Vec<u8> {
    Block::gnu(b'0', name, 0).header()
}

#[test]
fn each_kind_has_what_belongs_to_it() {
    let link = |kind, name| Block::posix(kind, name, 7).set(157, b"target").set(100, b"0001755\0").header();
    let parts = [
        Block::posix(b'0', "file", 3).set(108, b"0001750\0").set(116, b"     12\0").with(b"abc"),
        link(b'2', "symbolic"),
        link(b'1', "hard"),
        link(b'3', "device"),
        Block::posix(b'5', "directory/", 7).set(345, b"above").header(),
        Block::posix(b'7', "contiguous", 1).with(b"x"),
        Block::old(0, "old/", 0).header(),
        Block::old(0, "oldest", 2).with(b"ab"),
    ];
    let found = entries(archive(&parts).as_slice()).unwrap();
    let shown: Vec<String> = found
        .iter()
        .map(|(entry, content)| {
            format!(
                "{:?} {} -> {} {:o} {}:{} {}",
                entry.kind,
                String::from_utf8_lossy(&entry.name),
                String::from_utf8_lossy(&entry.target),
                entry.mode,
                entry.user,
                entry.group,
                String::from_utf8_lossy(content),
            )
        })
        .collect();
    let expected = [
        "File file ->  0 1000:10 abc",
        "Symlink symbolic -> target 1755 0:0 ",
        "HardLink hard -> target 1755 0:0 ",
        "Device device ->  1755 0:0 ",
        "Directory above/directory/ ->  0 0:0 ",
        "File contiguous ->  0 0:0 x",
        "Directory old/ ->  0 0:0 ",
        "File oldest ->  0 0:0 ab",
    ];
    assert_eq!(shown, expected);
}

/// The inventory took the content of a kind that it did not know for headers; the tree took it for a file's.
#[test]
fn the_content_of_an_unknown_kind_was_read_as_entries() {
    let hidden = file("hidden");
    for kind in [b'V', b'D', b'?', 0xff] {
        let reason = refused(&[Block::gnu(kind, "x", 512).with(&hidden)]);
        assert!(reason.starts_with("an entry is of the unknown kind `"), "{reason}");
    }
}

/// The tree took a directory for what the inventory, and those that unpack images, take for a file.
#[test]
fn a_file_whose_name_ends_with_a_slash_was_a_directory() {
    let named = |kind| Block::gnu(kind, "etc/", 0).header();
    assert_eq!(list(&[named(b'0')]), [("etc/".to_owned(), Kind::File)]);
    assert_eq!(list(&[named(0)]), [("etc/".to_owned(), Kind::Directory)], "as the oldest format has them");
}

/// Both skipped what a directory of the oldest format states to have; to Go these are entries.
#[test]
fn an_old_directory_that_states_a_size_hid_what_follows() {
    let reason = refused(&[Block::old(0, "d/", 512).header(), file("d/x")]);
    assert_eq!(reason, "a directory of the oldest format states content");
    let parts = [Block::posix(b'5', "d/", 512).header(), file("d/x")];
    assert_eq!(
        list(&parts),
        [("d/".to_owned(), Kind::Directory), ("d/x".to_owned(), Kind::File)],
        "nobody takes it for content"
    );
}

/// The tree dropped the prefix where the version is another one, the inventory kept it.
#[test]
fn a_name_lost_its_prefix_where_the_version_is_unusual() {
    let header = Block::posix(b'0', "status", 0).set(345, b"var/lib/dpkg");
    for version in [b"00", b"\0\0", b" \0"] {
        let found = list(&[header.clone().set(263, version).header()]);
        assert_eq!(found, [("var/lib/dpkg/status".to_owned(), Kind::File)], "{version:?}");
    }
}

/// Go and Python's readers take for a prefix of the name what both readers passed over.
#[test]
fn a_prefix_in_a_dialect_that_has_none_went_unseen() {
    let dpkg = |block: Block| refused(&[block.set(345, b"var/lib/dpkg").header()]);
    assert_eq!(dpkg(Block::gnu(b'0', "status", 0)), MIXED);
    assert_eq!(dpkg(Block::old(b'0', "status", 0)), MIXED);
    assert_eq!(dpkg(Block::posix(b'0', "status", 0).set(508, b"tar\0")), MIXED, "that of star is shorter");
    // What GNU tar writes there, when it is asked to.
    let times = Block::gnu(b'0', "a", 0).set(345, b"15003215463\0").set(357, &[0xff; 12]);
    assert_eq!(list(&[times.header()]), [("a".to_owned(), Kind::File)]);
}

/// The tree took the last 64 bits of a number and never saw a sign; the inventory refused it for the size alone.
#[test]
fn numbers_that_nothing_can_have_were_cut_to_fit() {
    let with = |at, bytes: &[u8]| refused(&[Block::gnu(b'0', "a", 0).set(at, bytes).header()]);
    let beyond = [&[0x80, 0, 0, 1][..], &[0; 8]].concat();
    assert_eq!(with(124, &beyond), "an entry states a size that no file can have");
    assert_eq!(with(124, &[0xff; 12]), "an entry states a negative size");
    assert_eq!(with(124, b"-0000000001\0"), "an entry states a negative size");
    assert_eq!(with(124, b"0000000009z\0"), "an entry states a size that is not a number");
    assert_eq!(with(124, b"7\x0000000001\0"), "an entry states a size with a zero byte in it");
    // These were root's.
    assert_eq!(with(108, &[0xff; 8]), "an entry states a negative user");
    assert_eq!(with(108, &[0x80, 0, 0, 1, 0, 0, 0, 0]), "an entry states a user that no file can have");
    assert_eq!(with(116, b"nobody\0\0"), "an entry states a group that is not a number");
    assert_eq!(with(100, b"rwxr-xr-"), "an entry states a mode that is not a number");
    let large = [&[0x80, 0, 0, 0][..], &5_u64.to_be_bytes()].concat();
    let header = Block::gnu(b'0', "a", 0).set(124, &large).set(108, &[0x80, 0, 0, 0, 0, 1, 0x11, 0x70]);
    let found = entries(archive(&[header.with(b"12345")]).as_slice()).unwrap();
    assert_eq!((found[0].0.size, found[0].0.user), (5, 70_000));
}

/// The tree refused an empty size, which is zero to all who unpack images.
#[test]
fn an_empty_size_was_no_number() {
    let link = Block::old(b'2', "a", 0).set(124, &[0; 12]).set(157, b"b");
    assert_eq!(list(&[link.header(), file("c")]).len(), 2);
    assert_eq!(list(&[link.set(124, &[b' '; 12]).header()]).len(), 1);
}

/// A sum over signed bytes, as old writers have it, was wrong to both and right to the index of archives.
#[test]
fn sums_of_old_writers() {
    let header = Block::gnu(b'0', "\u{e4}", 0);
    let signed = |by: i64| {
        let mut block = header.header();
        let sum: i64 =
            block[..148].iter().chain(&block[156..]).map(|byte| i64::from(byte.cast_signed())).sum();
        block[148..156].copy_from_slice(format!("{:06o}\0 ", sum + 8 * 32 + by).as_bytes());
        block
    };
    assert_eq!(list(&[signed(0)]).len(), 1);
    let wrong = "it is not a tar, or damaged: the sum of a header is wrong";
    assert_eq!(refused(&[signed(1)]), wrong);
    let mut binary = header.header();
    let sum: u32 = binary[..148].iter().chain(&binary[156..]).map(|byte| u32::from(*byte)).sum();
    binary[148..156].copy_from_slice(&[&[0x80, 0, 0, 0][..], &(sum + 8 * 32).to_be_bytes()].concat());
    assert_eq!(refused(&[binary]), wrong, "it is always in digits");
    assert_eq!(refusal(&[7; 600][..]), wrong);
}

/// An empty name was a name, which is none: what others see by the name of the header was not seen.
#[test]
fn an_empty_name_hid_an_entry() {
    for key in ["path", "linkpath", "size", "uid"] {
        assert_eq!(refused(&[pax(b'x', &[(key, "")]), file("a")]), EMPTY, "{key}");
    }
    for kind in [b'L', b'K'] {
        assert_eq!(refused(&[long(kind, ""), file("a")]), EMPTY);
    }
}

/// Which of two names counts went by the order of the headers; others go by their kind.
#[test]
fn of_two_names_the_last_counted() {
    let (posix, gnu) = (pax(b'x', &[("path", "a")]), long(b'L', "b"));
    assert_eq!(refused(&[posix.clone(), gnu.clone(), file("c")]), TWO_NAMES);
    assert_eq!(refused(&[gnu, posix.clone(), file("c")]), TWO_NAMES);
    assert_eq!(list(&[posix.clone(), long(b'L', "a"), file("c")])[0].0, "a", "they agree");
    let link = Block::gnu(b'2', "l", 0).header();
    assert_eq!(refused(&[pax(b'x', &[("linkpath", "a")]), long(b'K', "b"), link]), TWO_NAMES);
    let twice = "two headers in a row describe the same entry";
    assert_eq!(refused(&[posix.clone(), posix, file("c")]), twice);
    assert_eq!(refused(&[long(b'L', "a"), long(b'L', "a"), file("c")]), twice);
    let same = "an extended header says the same thing twice";
    assert_eq!(refused(&[pax(b'x', &[("path", "a"), ("path", "b")]), file("c")]), same);
}

/// The extended header's size counted, whatever the header said; there are readers to which it does not.
#[test]
fn of_two_sizes_one_counted() {
    let sized = |size: &str| pax(b'x', &[("size", size)]);
    let found = list(&[sized("512"), file("a"), file("content of a")]);
    assert_eq!(found, [("a".to_owned(), Kind::File)], "zero is what is written where it does not fit");
    let three = Block::gnu(b'0', "a", 3).with(b"abc");
    assert_eq!(refused(&[sized("512"), three.clone()]), "an entry states two sizes, 3 and 512 bytes");
    assert_eq!(list(&[sized("3"), three]).len(), 1);
    // What does not fit has its lower part in the header.
    let large = [sized("8589934597"), Block::gnu(b'0', "a", 5).header()].concat();
    assert_eq!(Stream::new(large.as_slice()).next().unwrap().unwrap().size, (8 << 30) + 5);
    for wrong in ["-1", "+3", "3 ", "0x3", "99999999999999999999"] {
        let reason = refused(&[sized(wrong), file("a")]);
        assert_eq!(reason, "an extended header states a size that is not a number", "{wrong}");
    }
}

#[test]
fn records_that_are_none() {
    for content in
        [&b"x"[..], b"5 a=b", b"99 a=b\n", b"+6 a=b\n", b"5 ab\n", b"0 a=b\n", b"1 a=b\n", b"2 a=b\n"]
    {
        let header = Block::posix(b'x', "pax", content.len() as u64).with(content);
        assert_eq!(refused(&[header, file("a")]), "an extended header is malformed", "{content:?}");
    }
    assert_eq!(refused(&[pax(b'x', &[("path", "a\0b")]), file("a")]), "a name has a zero byte in it");
    assert_eq!(list(&[pax(b'x', &[("comment", "a=\0\n"), ("path", "b\nc=d")]), file("a")])[0].0, "b\nc=d");
}

/// A header for all entries was passed over, also where it says something about them that other readers go by, and where Go forgets
/// what it has read about the next one.
#[test]
fn headers_for_all_entries() {
    let global = |records: &[(&str, &str)]| pax(b'g', records);
    let comment = global(&[("comment", "0123abcd"), ("mtime", "1")]);
    assert_eq!(list(&[comment.clone(), file("a"), comment.clone(), file("b")]).len(), 2);
    for key in ["path", "linkpath", "size", "uid", "gid", "GNU.sparse.map"] {
        let reason = refused(&[global(&[(key, "1")]), file("a")]);
        assert!(reason.starts_with("a header gives all entries the same "), "{reason}");
    }
    let between = "a header for all entries stands between an entry and what describes it";
    assert_eq!(refused(&[long(b'L', "x"), comment, file("a")]), between);
}

#[test]
fn owners_in_extended_headers() {
    let parts = [pax(b'x', &[("uid", "70000"), ("gid", "4294967295")]), file("a")];
    let found = entries(archive(&parts).as_slice()).unwrap();
    assert_eq!((found[0].0.user, found[0].0.group), (70_000, u32::MAX));
    let reason = refused(&[pax(b'x', &[("uid", "4294967296")]), file("a")]);
    assert_eq!(reason, "an entry states a user that no file can have", "it was root's");
}

/// Sparse files by GNU tar's old header, and by its three extended ones.
#[test]
fn sparse_files_are_known() {
    let name = "d/".repeat(60) + "name";
    let stored = |kind, name: &str| Block::posix(kind, name, 3).with(b"abc");
    let map = [
        pax(b'x', &[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", &name)]),
        pax(b'x', &[("GNU.sparse.name", &name), ("GNU.sparse.map", "0,3"), ("path", "./GNUSparseFile.1/n")]),
        pax(b'x', &[("path", "./GNUSparseFile.1/n"), ("GNU.sparse.map", "0,3"), ("GNU.sparse.name", &name)]),
        // The oldest has the name in its usual place, behind the map: the inventory took the header's own.
        pax(b'x', &[("GNU.sparse.offset", "0"), ("GNU.sparse.numbytes", "3"), ("path", &name)]),
    ];
    for header in map {
        let found = list(&[header, stored(b'0', "cut"), file("a")]);
        assert_eq!(found, [(name.clone(), Kind::Sparse), ("a".to_owned(), Kind::File)]);
    }
    let more = Block::gnu(b'S', "s", 3).set(482, &[1]).header();
    let mut block = vec![1; 512];
    block[504] = 1;
    let last = [&block[..504], &[0; 8]].concat();
    let found = list(&[more.clone(), block.clone(), last, [&b"abc"[..], &[0; 509]].concat(), file("a")]);
    assert_eq!(found, [("s".to_owned(), Kind::Sparse), ("a".to_owned(), Kind::File)]);
    assert_eq!(refusal([more, block].concat().as_slice()), "it is cut off");
}

/// Go takes the other name where it does not know the form.
#[test]
fn what_is_sparse_to_some_had_the_name_of_a_sparse_file() {
    let form = |records: &[(&str, &str)]| {
        let name = [&[("path", "a"), ("GNU.sparse.name", "b")], records].concat();
        refused(&[pax(b'x', &name), file("c")])
    };
    let unknown = "a file is sparse in a form that is not known";
    assert_eq!(form(&[]), unknown);
    assert_eq!(form(&[("GNU.sparse.numblocks", "0")]), unknown);
    assert_eq!(form(&[("GNU.sparse.map", "")]), unknown);
    assert_eq!(form(&[("GNU.sparse.major", "2"), ("GNU.sparse.minor", "0")]), unknown);
    assert_eq!(form(&[("GNU.sparse.major", "0"), ("GNU.sparse.minor", "1")]), unknown);
    assert_eq!(form(&[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "1")]), unknown);
    let both = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.map", "0,3")];
    assert_eq!(form(&both), unknown);
    let directory = Block::posix(b'5', "d", 0).header();
    let reason = refused(&[pax(b'x', &[("GNU.sparse.map", "0,3")]), directory]);
    assert_eq!(reason, "something that is no file is stored sparse");
}

/// After one block of zeros some readers stop; Go wants a second, and nothing of the kind was looked at.
#[test]
fn a_lone_block_of_zeros_ended_an_archive() {
    let zeros = |count: usize| vec![0; count * 512];
    let read = |bytes: Vec<u8>| entries(bytes.as_slice()).map(|found| found.len());
    assert_eq!(read([file("a"), zeros(2), file("b")].concat()).unwrap(), 1, "nobody reads that");
    let lone = read([file("a"), zeros(1), file("b"), zeros(2)].concat()).unwrap_err();
    assert_eq!(lone.to_string(), "it goes on after a block of zeros");
    for end in 0..=4 {
        assert_eq!(read([file("a"), zeros(end)].concat()).unwrap(), 1, "{end} blocks");
    }
    // The tree took some zeros for the end, the inventory did not.
    assert!(matches!(read([file("a"), vec![0; 100]].concat()), Err(Error::CutOff)));
    let described = [long(b'L', "x"), zeros(2)].concat();
    assert_eq!(refusal(described.as_slice()), "it ends after a header that describes another entry");
}

/// A name that fills its blocks was taken for whole when it was cut off, and the archive for ended.
#[test]
fn what_is_cut_off() {
    let whole = Block::gnu(b'0', "a", 700).with(&[1; 700]);
    for length in [1, 511, 512, 513, 512 + 699] {
        assert_eq!(refusal(&whole[..length]), "it is cut off", "{length}");
    }
    let mut unread = Stream::new(&whole[..1000]);
    assert_eq!(unread.next().unwrap().unwrap().size, 700);
    assert!(matches!(unread.next(), Err(Error::CutOff)), "nobody has read the content");
    assert_eq!(entries(&whole[..512 + 700]).unwrap().len(), 1, "what fills the last block may lack");
    for header in [Block::gnu(b'L', "l", 512).with(&[b'n'; 512]), pax(b'x', &[("comment", &"c".repeat(499))])]
    {
        assert_eq!(header.len(), 1024);
        for length in [513, 600, 1023] {
            assert_eq!(refusal(&header[..length]), "it is cut off", "{length}");
        }
    }
}

#[test]
fn paths_are_those_that_images_are_unpacked_to() {
    let clean = |name: &str| String::from_utf8(spectra_tar::clean(name.as_bytes())).unwrap();
    for (name, path) in [
        ("./a//b/./c/", "a/b/c"),
        ("/etc/os-release", "etc/os-release"),
        ("a/../etc/x", "etc/x"),
        ("a/b/../../etc/x", "etc/x"),
        ("a/../../etc/x", "etc/x"),
        ("../..", ""),
        ("./", ""),
        ("", ""),
        ("..a/.b/c..", "..a/.b/c.."),
    ] {
        assert_eq!(clean(name), path, "{name}");
    }
}
