//! Archives that were made to do harm, given to the program itself: what it says, how much memory it takes, and that nothing is
//! left behind.

use std::{
    fs::File,
    io::{Seek as _, SeekFrom, Write as _},
    path::Path,
    process::Command,
};

use spectra_sandbox::registry::RegistryAuth;

use crate::{image::registry, image_copy::docker_archive_of, support::Place};

/// Most memory that a refusal may take, in KiB.
const MOST: u64 = 64 * 1000 * 1000 / 1024;

/// Runs the command given to it and writes its exit code and its peak of resident memory (KiB) to a file.
pub(crate) const MEASURE: &str = "import resource,subprocess,sys
code = subprocess.run(sys.argv[2:]).returncode
open(sys.argv[1], 'w').write(f'{code} {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss}')";

/// Runs `image inspect` on a source. Returns what it says; it has failed within the memory, and left nothing behind.
fn refused(place: &Place, arguments: &[&str]) -> String {
    let (scratch, result) = (place.path("scratch"), place.path("result"));
    std::fs::create_dir_all(&scratch).unwrap();
    let output = Command::new("python3")
        .args(["-c", MEASURE])
        .arg(&result)
        .arg(env!("CARGO_BIN_EXE_railway-deployer"))
        .args(["image", "inspect"])
        .args(arguments)
        .current_dir(place.path("."))
        .env("TMPDIR", &scratch)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let result = std::fs::read_to_string(result).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    let (code, memory) = result.split_once(' ').unwrap();
    assert_eq!(code, "1", "{stderr}");
    assert!(memory.parse::<u64>().unwrap() < MOST, "{arguments:?}: {memory} KiB");
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0, "{arguments:?}");
    stderr
}

pub(crate) fn header(name: &str, kind: u8, size: u64) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    let size = if size < 1 << 33 {
        format!("{size:011o}").into_bytes()
    } else {
        [&[0x80, 0, 0, 0][..], &size.to_be_bytes()].concat()
    };
    block[124..124 + size.len()].copy_from_slice(&size);
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar  \0");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// A file that is a header and then a hole of `size` bytes.
fn hole(path: &Path, kind: u8, size: u64) {
    let mut file = File::create(path).unwrap();
    file.write_all(&header("manifest.json", kind, size)).unwrap();
    file.set_len(512 + size + 1024).unwrap();
}

#[test]
fn bombs_are_stopped_in_time() {
    let place = Place::new();
    // Sixteen GiB of zeros, in parts of four MiB each.
    let zeros = vec![0; 4 << 20];
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&zeros).unwrap();
    std::fs::write(place.path("bomb.tar.gz"), encoder.finish().unwrap().repeat(4096)).unwrap();
    let text = refused(&place, &["bomb.tar.gz"]);
    assert!(text.starts_with("error[SPX-313]: cannot read `bomb.tar.gz` as an image: what it decompresses to is more than 200 times its size\n"), "{text}");
    assert!(text.contains("hint: if you trust the archive, raise the limit"), "{text}");
    let text = refused(&place, &["bomb.tar.gz", "--max-ratio", "1000000", "--max-unpacked", "100000000"]);
    assert!(text.contains("what it decompresses to is more than 100000000 bytes"), "{text}");
    let frame = zstd::stream::encode_all(&zeros[..], 1).unwrap();
    std::fs::write(place.path("bomb.tar.zst"), frame.repeat(4096)).unwrap();
    let text = refused(&place, &["bomb.tar.zst"]);
    assert!(text.contains("more than 200 times its size"), "{text}");
}

#[test]
fn sizes_are_not_believed_and_not_allocated() {
    let place = Place::new();
    hole(&place.path("tebibyte.tar"), b'0', 1 << 40);
    let text = refused(&place, &["tebibyte.tar"]);
    assert!(text.contains("its size is more than 68719476736 bytes"), "{text}");
    for (kind, expected) in [
        (b'0', "`manifest.json` has 8589934592 bytes"),
        (b'L', "the length of a name is more than 4097 bytes"),
        (b'x', "the length of a PAX header is more than 1048576 bytes"),
    ] {
        hole(&place.path("large.tar"), kind, 1 << 33);
        let text = refused(&place, &["large.tar"]);
        assert!(text.contains(expected), "{text}");
    }
    let mut lie = header("manifest.json", b'0', 1 << 40).to_vec();
    lie.resize(4096, 0);
    std::fs::write(place.path("lie.tar"), lie).unwrap();
    let text = refused(&place, &["lie.tar"]);
    assert!(
        text.contains("it is cut off inside `manifest.json`, which states 1099511627776 bytes"),
        "{text}"
    );
    place.write("layout/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    File::create(place.path("layout/index.json")).unwrap().set_len(1 << 40).unwrap();
    let text = refused(&place, &["layout"]);
    assert!(text.contains("it has more than 4194304 bytes"), "{text}");
}

#[test]
fn many_small_things() {
    let place = Place::new();
    let mut many = Vec::new();
    for number in 0..200_000 {
        many.extend_from_slice(&header(&format!("{number:x}"), b'0', 0));
    }
    std::fs::write(place.path("many.tar"), many).unwrap();
    let text = refused(&place, &["many.tar"]);
    assert!(text.contains("the number of its entries is more than 65536"), "{text}");
    // A million empty objects: four MB of text, a hundred in memory.
    let config = format!(r#"{{"history":[{}{{}}]}}"#, "{},".repeat(1_000_000));
    let manifest = r#"[{"Config":"c","RepoTags":[],"Layers":[]}]"#;
    let mut file = File::create(place.path("values.tar")).unwrap();
    for (name, content) in [("c", config.as_str()), ("manifest.json", manifest)] {
        file.write_all(&header(name, b'0', content.len() as u64)).unwrap();
        file.write_all(content.as_bytes()).unwrap();
        let end = file.stream_position().unwrap().next_multiple_of(512);
        file.seek(SeekFrom::Start(end)).unwrap();
    }
    let end = file.stream_position().unwrap();
    file.set_len(end + 1024).unwrap();
    let text = refused(&place, &["values.tar"]);
    assert!(text.contains("the number of values in one of its documents is more than 100000"), "{text}");
}

/// A layer of empty files with long names.
fn layer_of(names: impl Iterator<Item = String>) -> Vec<u8> {
    let mut layer = Vec::new();
    for name in names {
        layer.extend_from_slice(&header("././@LongLink", b'L', name.len() as u64 + 1));
        layer.extend_from_slice(name.as_bytes());
        layer.resize((layer.len() + 1).next_multiple_of(512), 0);
        layer.extend_from_slice(&header("f", b'0', 0));
    }
    layer.resize(layer.len() + 1024, 0);
    layer
}

/// A layer of so many files, each below two thousand directories of its own.
fn deep_layer(files: u32) -> Vec<u8> {
    layer_of((0..files).map(|number| format!("{number}/{}f", "d/".repeat(2000))))
}

/// A layer of so many files in one directory, with names of four thousand bytes.
fn wide_layer(files: u32) -> Vec<u8> {
    layer_of((0..files).map(|number| format!("d/{number:05}{}", "x".repeat(4000))))
}

/// 34 KB of a layer took two and a half gigabytes: each directory above each file was kept with its whole path, and not counted.
#[test]
fn paths_of_two_thousand_names_in_a_base_image() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    place.write("recipe/file", "x");
    let program = env!("CARGO_BIN_EXE_railway-deployer");
    // What a build on an image with this layer ends with, says and takes, in KiB.
    let build = |layers: &[&[u8]]| -> (u32, String, u64) {
        docker_archive_of(&place.path("base.tar"), layers);
        let repository = format!("{}/team/base", running.address);
        let digest = place.run(&["image", "push", "base.tar", &format!("{repository}:v1")]).done().stdout;
        let recipe = "cmd = [\"x\"]\n[[files]]\nfrom = \"file\"\nto = \"/x\"\n";
        place.write("recipe/image.toml", &format!("base = \"{repository}@{}\"\n{recipe}", digest.trim()));
        let arguments = ["-c", MEASURE, "result", program, "image", "build", "recipe", "--output", "out"];
        let built = place.run_other("python3", &[&arguments[..], &["--base-cache", "cache"]].concat());
        let result = std::fs::read_to_string(place.path("result")).unwrap();
        let (code, memory) = result.split_once(' ').unwrap();
        (code.parse().unwrap(), built.stderr, memory.parse().unwrap())
    };
    // What every build takes depends on the machine and on how much of the program it keeps in memory.
    let (code, text, usual) = build(&[&deep_layer(1)]);
    assert_eq!(code, 0, "{text}");
    let (code, text, memory) = build(&[&deep_layer(400)]);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("error[SPX-313]: ") && text.contains("the memory for all paths in its layers"),
        "{text}"
    );
    // The limit of the paths, and what two runs may differ in.
    let most = usual + (56 << 10) + (16 << 10);
    assert!(memory < most, "{memory} KiB, usually {usual} KiB");
    // What a layer hides was copied before it was removed, as much again as the limit, and nobody counted.
    let hides = [&header("d/.wh..wh..opq", b'0', 0)[..], &[0; 1024]].concat();
    let (code, text, memory) = build(&[&wide_layer(13_600), &hides]);
    assert_eq!(code, 0, "{text}");
    assert!(memory < most, "{memory} KiB, usually {usual} KiB");
}
