//! Archives, layouts and indices that somebody made to do harm, and good ones that were damaged.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::Digest as _;
use spectra_oci::{Error, OpenLimits, open, open_within};

/// A tar archive, written byte by byte, so that it can lie.
#[derive(Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    /// A header of the GNU dialect with a right sum.
    pub(crate) fn header(&mut self, name: &[u8], kind: u8, size: &[u8], link: &[u8]) -> &mut Self {
        let mut block = [0; 512];
        block[..name.len()].copy_from_slice(name);
        block[100..107].copy_from_slice(b"0000644");
        block[124..124 + size.len()].copy_from_slice(size);
        block[156] = kind;
        block[157..157 + link.len()].copy_from_slice(link);
        block[257..265].copy_from_slice(b"ustar  \0");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self
    }

    pub(crate) fn data(&mut self, data: &[u8]) -> &mut Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(&mut self, name: &str, data: &[u8]) -> &mut Self {
        self.kind(name, b'0', data)
    }

    pub(crate) fn kind(&mut self, name: &str, kind: u8, data: &[u8]) -> &mut Self {
        self.header(name.as_bytes(), kind, format!("{:011o}", data.len()).as_bytes(), b"").data(data)
    }

    pub(crate) fn link(&mut self, name: &str, kind: u8, target: &str) -> &mut Self {
        self.header(name.as_bytes(), kind, b"00000000000", target.as_bytes())
    }

    pub(crate) fn pax(&mut self, key: &str, value: &str) -> &mut Self {
        let mut length = key.len() + value.len() + 3;
        while format!("{length} {key}={value}\n").len() != length {
            length += 1;
        }
        self.kind("pax", b'x', format!("{length} {key}={value}\n").as_bytes())
    }

    pub(crate) fn end(&self) -> Vec<u8> {
        let mut bytes = self.0.clone();
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let hash = sha2::Sha256::digest(bytes);
    spectra_types::Digest::from_bytes(spectra_types::Algorithm::Sha256, &hash).unwrap().hex().to_owned()
}

/// What `docker save` would have written, of one layer.
fn saved() -> Tar {
    let layer = b"no tar, but nobody looks".repeat(20);
    let config = json!({ "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers",
        "diff_ids": [format!("sha256:{}", sha256(&layer))] } });
    let manifest = json!([{ "Config": "config.json", "RepoTags": ["app:1"], "Layers": ["l/layer.tar"] }]);
    let mut tar = Tar::default();
    tar.kind("l/", b'5', b"").file("l/layer.tar", &layer);
    tar.file("config.json", config.to_string().as_bytes());
    tar.file("manifest.json", manifest.to_string().as_bytes());
    tar
}

pub(crate) fn write(directory: &Path, bytes: &[u8]) -> PathBuf {
    let path = directory.join("x.tar");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Why the archive is refused.
fn refusal(bytes: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let error = open(&write(directory.path(), bytes), None).unwrap_err();
    assert!(matches!(error, Error::Input { .. } | Error::Limit { .. }), "{error:?}");
    let text = error.to_string();
    let prefix = format!("cannot read `{}` as an image: ", directory.path().join("x.tar").display());
    text.strip_prefix(&prefix).unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[test]
fn the_good_archive_is_good() {
    let directory = tempfile::tempdir().unwrap();
    let image = open(&write(directory.path(), &saved().end()), Some("app:1")).unwrap();
    assert_eq!(image.inspect(None).unwrap().layers.len(), 1);
    // Repeating an entry word for word is harmless, and a leading `./` is no other name.
    let mut twice = saved();
    twice.file("./config.json", &std::fs::read(directory.path().join("x.tar")).unwrap()[..0]);
    assert_eq!(refusal(&twice.end()), "two different entries have the name `./config.json`");
    let mut twice = saved();
    twice.kind("./l", b'5', b"").link("h", b'1', "l/layer.tar").link("h", b'1', "./l//layer.tar");
    open(&write(directory.path(), &twice.end()), None).unwrap();
}

#[test]
fn names_and_links_stay_inside() {
    for (name, shown) in
        [("../x", "../x"), ("/etc/passwd", "/etc/passwd"), ("a/../../x\x1b[2J", "a/../../x\\u{1b}[2J")]
    {
        assert_eq!(
            refusal(&saved().file(name, b"").end()),
            format!("the name `{shown}` leads out of the archive")
        );
    }
    for (kind, target) in [(b'2', "../../etc/passwd"), (b'2', "/etc/passwd"), (b'1', "../x"), (b'1', "/x")] {
        let text = refusal(&saved().link("a/link", kind, target).end());
        assert_eq!(text, format!("the link `a/link` leads out of the archive, to `{target}`"));
    }
    let mut loops = Tar::default();
    loops.link("manifest.json", b'2', "b").link("b", b'2', "manifest.json");
    assert_eq!(
        refusal(&loops.end()),
        "the links from `manifest.json` lead in a circle, or through more than 16"
    );
    let mut dangling = Tar::default();
    dangling.link("manifest.json", b'2', "b");
    assert_eq!(refusal(&dangling.end()), "`manifest.json` is a link to `b`, which is missing");
    let mut directory = Tar::default();
    directory.kind("manifest.json/", b'5', b"");
    assert_eq!(refusal(&directory.end()), "`manifest.json` is a directory");
}

#[test]
fn what_no_image_needs() {
    for kind in [b'3', b'4', b'6'] {
        assert_eq!(refusal(&saved().kind("dev", kind, b"").end()), "`dev` is a device or a pipe");
    }
    assert_eq!(
        refusal(&saved().kind("hole", b'S', b"").end()),
        "`hole` is stored sparse, which cannot be read by offset"
    );
    assert_eq!(refusal(&saved().kind("x", b'Q', b"").end()), "`x` is of the unknown kind `Q`");
    assert_eq!(
        refusal(&saved().pax("GNU.sparse.realsize", "1099511627776").file("x", b"").end()),
        "an entry is stored sparse, which cannot be read by offset"
    );
    assert_eq!(refusal(&saved().header(b"\xff\xfe", b'0', b"0", b"").end()), "the name `��` is not UTF-8");
    assert_eq!(
        refusal(&saved().pax("path", "a\0b").file("x", b"").end()),
        "the name `a\\0b` has a zero byte in it"
    );
}

#[test]
fn sizes_that_lie() {
    let cases: [(&[u8], &str); 7] = [
        (b"77777777777\0", "it is cut off inside `x`, which states 8589934591 bytes"),
        (b"\x80\0\0\0\0\0\x01\0\0\0\0\0", "it is cut off inside `x`, which states 1099511627776 bytes"),
        (
            b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
            "it is cut off inside `x`, which states 18446744073709551615 bytes",
        ),
        (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "an entry states a size that no file can have"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "an entry states a negative size"),
        (b"-0000000001\0", "an entry states a negative size"),
        (b"0000000009z\0", "an entry states a size that is not a number"),
    ];
    for (size, expected) in cases {
        assert_eq!(refusal(&saved().header(b"x", b'0', size, b"").end()), expected);
    }
    let lie = saved().pax("size", "512").file("x", b"four").data(&[0; 512]).end();
    assert_eq!(refusal(&lie), "`x` states two sizes, 4 and 512 bytes");
    assert_eq!(
        refusal(&saved().pax("size", "-1").file("x", b"").end()),
        "a PAX header states a size that is not a number"
    );
    assert_eq!(
        refusal(&saved().header(b"d/", b'5', b"00000001000", b"").end()),
        "`d/` has no content, but states 512 bytes"
    );
    assert_eq!(
        refusal(&saved().header(b"long", b'L', b"77777777777", b"").end()),
        "the length of a name is more than 4097 bytes"
    );
    assert_eq!(
        refusal(&saved().header(b"pax", b'x', b"77777777777", b"").end()),
        "the length of a PAX header is more than 1048576 bytes"
    );
    assert_eq!(
        refusal(&saved().pax("path", &"n".repeat(4097)).file("x", b"").end()),
        "the length of a name is more than 4096 bytes"
    );
}

#[test]
fn headers_that_can_be_read_in_two_ways() {
    assert_eq!(
        refusal(&saved().file("config.json", b"{}").end()),
        "two different entries have the name `config.json`"
    );
    assert_eq!(
        refusal(&saved().link("config.json", b'2', "x").end()),
        "two different entries have the name `config.json`"
    );
    assert_eq!(
        refusal(&saved().pax("path", "a").pax("path", "b").file("x", b"").end()),
        "two headers in a row describe the same entry"
    );
    assert_eq!(
        refusal(&saved().kind("l", b'L', b"other\0").pax("path", "a").file("x", b"").end()),
        "two headers give the same entry different names"
    );
    assert_eq!(
        refusal(&saved().kind("p", b'x', b"9 path=a\n\n").file("x", b"").end()),
        "a PAX header is malformed"
    );
    assert_eq!(
        refusal(&saved().kind("p", b'x', b"99999999999999999999999 a=b\n").end()),
        "a PAX header is malformed"
    );
    assert_eq!(
        refusal(&saved().kind("g", b'g', b"10 path=a\n").file("x", b"").end()),
        "a header gives all entries the same name or size"
    );
    assert_eq!(
        refusal(&saved().pax("path", "a").end()),
        "it ends after a header that describes another entry"
    );
    assert_eq!(refusal(&saved().data(&[0; 512]).file("x", b"").end()), "it goes on after a block of zeros");
}

/// A header whose sum is made right again after `change`.
fn changed(name: &str, data: &[u8], change: impl Fn(&mut [u8])) -> Tar {
    let mut tar = Tar::default();
    tar.file(name, data);
    change(&mut tar.0[..512]);
    tar.0[148..156].fill(b' ');
    let sum: u32 = tar.0[..512].iter().map(|byte| u32::from(*byte)).sum();
    tar.0[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar
}

/// `saved()` and then this.
fn with(more: &Tar) -> Vec<u8> {
    let mut tar = saved();
    tar.0.extend_from_slice(&more.0);
    tar.end()
}

/// Go's reader drops the long name at the header for all entries, others keep it: to one, `manifest.json` is the second file.
#[test]
fn a_long_name_before_a_header_for_all_was_kept() {
    let global = b"14 comment=hi\n";
    let expected = "a header for all entries stands between an entry and what describes it";
    let mut long = saved();
    long.kind("L", b'L', b"manifest.json\0").kind("g", b'g', global).file("junk", b"[]");
    assert_eq!(refusal(&long.end()), expected);
    let mut pax = saved();
    pax.pax("path", "manifest.json").kind("g", b'g', global).file("junk", b"[]");
    assert_eq!(refusal(&pax.end()), expected);
    let directory = tempfile::tempdir().unwrap();
    let mut before = saved();
    before.kind("g", b'g', global).kind("L", b'L', b"other\0").file("junk", b"[]");
    open(&write(directory.path(), &before.end()), None).unwrap();
}

/// Go and GNU tar skip a zero byte and read the digits: what they take for the content was a hidden archive to us.
#[test]
fn a_zero_byte_before_the_digits_of_a_size_was_its_end() {
    let sizes: [&[u8]; 4] = [b"\x000000001000", b" \x00000000100", b"00000\x0010000", b"0000000100\0z"];
    for size in sizes {
        let mut tar = saved();
        tar.header(b"pad", b'0', size, b"");
        assert_eq!(refusal(&tar.end()), "an entry states a size with a zero byte in it", "{size:?}");
    }
    let mut digits = saved();
    digits.header(b"pad", b'0', b"12 34", b"");
    assert_eq!(refusal(&digits.end()), "an entry states a size that is not a number");
    let directory = tempfile::tempdir().unwrap();
    let fine: [&[u8]; 5] = [b"", b"   0", b"00000000000 ", b"        0 \0", b"0\0 \0 "];
    for size in fine {
        let mut tar = saved();
        tar.header(b"pad", b'0', size, b"");
        open(&write(directory.path(), &tar.end()), None).unwrap();
    }
}

/// The prefix of a name has 131 bytes in `star`'s dialect and 155 in that of POSIX; the GNU dialect has none, but times.
#[test]
fn a_prefix_was_read_beyond_its_dialect() {
    let expected = "a header mixes dialects, which give the entry different names";
    let star = changed("manifest.json", b"[]", |header| {
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[345 + 140..345 + 144].copy_from_slice(b"deep");
        header[508..].copy_from_slice(b"tar\0");
    });
    assert_eq!(refusal(&with(&star)), expected);
    let gnu = changed("manifest.json", b"[]", |header| header[345..348].copy_from_slice(b"dir"));
    assert_eq!(refusal(&with(&gnu)), expected);
    let old = changed("manifest.json", b"[]", |header| {
        header[257..265].fill(0);
        header[345..348].copy_from_slice(b"dir");
    });
    assert_eq!(refusal(&with(&old)), expected);
    let posix = changed("manifest.json", b"[]", |header| {
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[345..348].copy_from_slice(b"dir");
    });
    let directory = tempfile::tempdir().unwrap();
    open(&write(directory.path(), &with(&posix)), None).unwrap();
}

/// Two archives in one file: `tar -i` reads both, others the first.
#[test]
fn a_second_archive_after_the_end_was_ignored() {
    let directory = tempfile::tempdir().unwrap();
    for gap in [512, 1024, 10_240, 200_000] {
        let mut twice = saved().0;
        twice.resize(twice.len() + gap, 0);
        twice.extend_from_slice(&Tar::default().file("manifest.json", b"[]").end());
        let expected = "it goes on after a block of zeros";
        assert_eq!(refusal(&twice), expected, "{gap}");
        let mut padded = saved().0;
        padded.resize(padded.len() + gap, 0);
        open(&write(directory.path(), &padded), None).unwrap();
    }
    let mut odd = saved().end();
    odd.extend_from_slice(b"\0\0x");
    assert_eq!(refusal(&odd), "it goes on after a block of zeros");
    let path = write(directory.path(), &saved().end());
    File::options().write(true).open(&path).unwrap().set_len(65 << 20).unwrap();
    let error = open(&path, None).unwrap_err().to_string();
    assert!(error.ends_with("what follows its end is more than 67108864 bytes"), "{error}");
}

/// Go takes an empty name in such a header for none, and the one of the entry itself.
#[test]
fn an_empty_long_name_was_a_name() {
    let expected = "a header gives an entry an empty name or size";
    for key in ["path", "linkpath", "size"] {
        assert_eq!(refusal(&saved().pax(key, "").file("x", b"").end()), expected, "{key}");
    }
    for kind in [b'L', b'K'] {
        assert_eq!(refusal(&saved().kind("long", kind, b"\0").file("x", b"").end()), expected);
    }
    assert_eq!(
        refusal(&saved().pax("size", "+0").file("x", b"").end()),
        "a PAX header states a size that is not a number"
    );
}

#[test]
fn truncated_anywhere() {
    let whole = saved().end();
    let content = whole.len() - 1024;
    for length in (0..content).step_by(97) {
        let text = refusal(&whole[..length]);
        assert!(text.contains("cut off"), "{length}: {text}");
    }
    let mut damaged = whole;
    damaged[3] ^= 1;
    assert_eq!(refusal(&damaged), "it is not a tar archive, or damaged: the sum of a header is wrong");
}

#[test]
fn numbers_have_limits() {
    let mut many = Tar::default();
    for number in 0..65_537 {
        many.file(&format!("{number:x}"), b"");
    }
    assert_eq!(refusal(&many.end()), "the number of its entries is more than 65536");
    let layers: Vec<&str> = vec!["l/layer.tar"; 1025];
    let diff_ids: Vec<String> = vec![format!("sha256:{}", sha256(b"")); 1025];
    let manifest = json!([{ "Config": "c", "RepoTags": [], "Layers": layers }]).to_string();
    let config = json!({ "rootfs": { "type": "layers", "diff_ids": diff_ids } }).to_string();
    let mut tar = Tar::default();
    tar.file("l/layer.tar", b"").file("c", config.as_bytes()).file("manifest.json", manifest.as_bytes());
    assert_eq!(refusal(&tar.end()), "the number of its layers is more than 1024");
}

pub(crate) fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressed_archives_are_read_within_limits() {
    let directory = tempfile::tempdir().unwrap();
    let plain = saved().end();
    // Two members and two frames, as parallel compressors write them.
    let (one, two) = plain.split_at(700);
    let gzip = [gzipped(one), gzipped(two)].concat();
    let zstd = [one, two].map(|part| zstd::stream::encode_all(part, 3).unwrap()).concat();
    for packed in [&gzip, &zstd] {
        let path = write(directory.path(), packed);
        assert_eq!(open(&path, None).unwrap().inspect(None).unwrap().layers.len(), 1);
        let limits = OpenLimits { unpacked: 1000, ..OpenLimits::default() };
        let error = open_within(&path, None, &limits).unwrap_err();
        assert_eq!(error.code().to_string(), "SPX-313");
        assert!(error.to_string().ends_with("what it decompresses to is more than 1000 bytes"), "{error}");
        assert!(error.hint().unwrap().contains("--max-unpacked"));
    }
    let cut = write(directory.path(), &gzip[..gzip.len() - 9]);
    assert!(matches!(open(&cut, None).unwrap_err(), Error::Io { action: "decompress", .. }));
}

/// A layout whose index leads to indices that lead to indices, a hundred of each.
#[test]
fn an_index_that_multiplies_is_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = directory.path().join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(directory.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let store = |document: &Value| {
        let text = document.to_string();
        std::fs::write(blobs.join(sha256(text.as_bytes())), &text).unwrap();
        let media_type = document["mediaType"].as_str().unwrap_or("application/vnd.oci.image.config.v1+json");
        json!({ "mediaType": media_type, "digest": format!("sha256:{}", sha256(text.as_bytes())), "size": text.len() })
    };
    let config = store(
        &json!({ "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": [] } }),
    );
    let mut child =
        store(&json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": [] }));
    for _ in 0..2 {
        let manifests: Vec<&Value> = std::iter::repeat_n(&child, 100).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests });
        child = store(&index);
    }
    let index = json!({ "schemaVersion": 2, "manifests": [child] });
    std::fs::write(directory.path().join("index.json"), index.to_string()).unwrap();
    let error = open(directory.path(), None).unwrap_err();
    assert!(
        error.to_string().ends_with("the number of its manifests and configurations is more than 1024"),
        "{error}"
    );
    // An index file without end.
    File::create(directory.path().join("index.json")).unwrap().set_len(1 << 40).unwrap();
    let error = open(directory.path(), None).unwrap_err();
    assert!(error.to_string().ends_with("it has more than 4194304 bytes"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever becomes of a good archive, it is read or refused; what is read lies inside of it.
    #[test]
    fn a_damaged_archive_is_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        right_sums in any::<bool>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = saved().link("other", b'2', "l/layer.tar").pax("path", "long").file("x", b"data").end();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
            let block = at / 512 * 512;
            if right_sums && bytes[block + 257..block + 262] == *b"ustar" {
                bytes[block + 148..block + 156].fill(b' ');
                let sum: u32 = bytes[block..block + 512].iter().map(|byte| u32::from(*byte)).sum();
                bytes[block + 148..block + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let directory = tempfile::tempdir().unwrap();
        let path = write(directory.path(), &bytes);
        if let Ok(image) = open(&path, None) {
            for layer in image.inspect(None).map(|inspection| inspection.layers).unwrap_or_default() {
                prop_assert!(layer.size <= bytes.len() as u64);
            }
        }
    }
}
