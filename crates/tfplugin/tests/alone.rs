//! The framework is a crate of its own: it could leave this repository, and what it teaches fits on one page.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

/// Every text file of the crate and of its macros: sources, examples, tests, fuzz targets, documents.
fn files() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![here.to_owned(), here.with_file_name("tfplugin-macros")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            // What a tool has made.
            let made = ["target", "corpus", "artifacts", "proptest-regressions"];
            if path.is_dir() {
                folders.extend(Some(path).filter(|path| made.iter().all(|name| !path.ends_with(name))));
            } else {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn nothing_names_the_product_around_it() {
    // In parts, for this file is read too.
    let words = [["spec", "tra"], ["rail", "way"]].map(|parts| parts.concat());
    let files = files();
    for must in
        ["src/lib.rs", "README.md", "examples/files.rs", "tests/alone.rs", "tfplugin-macros/src/lib.rs"]
    {
        assert!(files.iter().any(|file| file.ends_with(must)), "{must} was not looked at");
    }
    let mut named = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        for (index, line) in text.lines().enumerate() {
            let line = line.to_lowercase();
            if words.iter().any(|word| line.contains(word.as_str())) {
                named.push(format!("{}:{}: {line}", file.display(), index + 1));
            }
        }
    }
    assert!(named.is_empty(), "the framework knows nothing of these:\n{}", named.join("\n"));
}

/// README.md promises it.
#[test]
fn the_example_is_a_whole_provider_in_fewer_than_120_lines() {
    let example = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/files.rs")).unwrap();
    let lines = example.lines().count();
    assert!(lines < 120, "it has {lines} lines");
}
