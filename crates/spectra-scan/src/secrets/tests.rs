//! Directories, histories, and what never leaves.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path, process::Command};

use proptest::prelude::*;

use super::{detect::search, *};
use crate::sarif::{Kind, Suppressed, Writer};

pub(super) fn options(root: &Path) -> Options {
    Options {
        root: root.to_owned(),
        history: false,
        trust: Trust::Given,
        gitleaks_config: None,
        max_size: 1 << 20,
        timeout: Duration::from_mins(1),
        work: None,
    }
}

pub(super) fn run(options: &Options, ignores: Ignores) -> Result<Outcome, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(scan(&Searcher::Builtin, options, ignores))
}

pub(super) fn secret(seed: char) -> String {
    format!("{}_{}{seed}Zk3Q9xV7bN5mT1rW8yL2pH6dJ4sG0fXq7u", "ghp", "aB")
}

pub(super) fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

pub(super) fn git(root: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@t.test",
            "-c",
            "init.defaultBranch=main",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(super) fn places(outcome: &Outcome) -> Vec<(String, u64)> {
    outcome
        .findings
        .iter()
        .map(|finding| (finding.location.clone().unwrap(), finding.line.unwrap()))
        .collect()
}

#[test]
fn two_bytes_in_front_hid_everything_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (name, mark) in [("little", b"\xff\xfe"), ("large", b"\xfe\xff")] {
        // With and without what makes the rest of the file stand on odd places.
        for (more, filling) in [("", ""), ("-odd", "x")] {
            let text = format!("{filling}one\ntwo {}\n", secret('a'));
            std::fs::write(root.join(format!("{name}{more}")), [mark, text.as_bytes()].concat()).unwrap();
        }
    }
    let expected = ["large", "large-odd", "little", "little-odd"].map(|name| (name.to_owned(), 2));
    for trust in [Trust::Given, Trust::Withheld] {
        let outcome = run(&Options { trust, ..options(root) }, Ignores::default()).unwrap();
        assert_eq!(places(&outcome), expected);
    }
}

#[test]
fn a_directory_as_git_would_take_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root, ".gitignore", "target\n*.log\n");
    write(root, "a.txt", &format!("one\ntwo {}\n", secret('a')));
    write(root, ".hidden/b.env", &format!("X={}\n", secret('b')));
    write(root, "target/c.txt", &secret('c'));
    write(root, "d.log", &secret('d'));
    write(root, "binary", &format!("\0{}", secret('e')));
    write(root, "large", &format!("{}{}", secret('f'), "x".repeat(1 << 20)));
    write(root, ".git/config", &secret('g'));
    let wide: Vec<u8> =
        format!("\u{feff}\n\n{}", secret('h')).encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(root.join("wide.txt"), wide).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root.join("link")).unwrap();
    // No repository yet: git is not asked, and `.gitignore` holds all the same.
    std::fs::remove_dir_all(root.join(".git")).unwrap();
    let outcome = run(&options(root), Ignores::default()).unwrap();
    assert_eq!(
        places(&outcome),
        [(".hidden/b.env".to_owned(), 1), ("a.txt".to_owned(), 2), ("wide.txt".to_owned(), 3)]
    );
    assert_eq!(outcome.unread, ["`large`: it has more than 1048576 bytes"]);
    assert_eq!((outcome.files, outcome.binary), (5, 1), "four files and the link");
    let distrustful = run(&Options { trust: Trust::Withheld, ..options(root) }, Ignores::default()).unwrap();
    let more: Vec<_> = places(&distrustful).into_iter().map(|(path, _)| path).collect();
    assert_eq!(
        more,
        [".hidden/b.env", "a.txt", "binary", "d.log", "target/c.txt", "wide.txt"],
        "who writes them writes the list"
    );
    let file = run(&options(&root.join("a.txt")), Ignores::default()).unwrap();
    assert_eq!(places(&file), [("a.txt".to_owned(), 2)]);
    assert!(matches!(run(&options(&root.join("missing")), Ignores::default()), Err(Error::Io { .. })));
}

#[test]
fn a_file_that_git_has_is_searched_though_it_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    git(root, &["init", "--quiet"]);
    write(root, ".gitignore", ".env*\n");
    write(root, ".env", &secret('a'));
    write(root, ".env.local", &secret('b'));
    git(root, &["add", "--force", ".gitignore", ".env"]);
    let outcome = run(&options(root), Ignores::default()).unwrap();
    assert_eq!(places(&outcome), [(".env".to_owned(), 1)]);
}

#[test]
fn a_file_that_git_has_was_missed_for_a_name_that_is_no_utf_8() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    git(root, &["init", "--quiet"]);
    write(root, ".gitignore", "*.env\n");
    let name = OsStr::from_bytes(b"\xff.env");
    std::fs::write(root.join(name), secret('a')).unwrap();
    git(root, &["add", "--force", "."]);
    let outcome = run(&options(root), Ignores::default()).unwrap();
    assert_eq!(places(&outcome), [("\u{fffd}.env".to_owned(), 1)]);
    let mut unread = Vec::new();
    let paths = walk::paths(root, &Places::of(root).unwrap(), Trust::Withheld, &mut unread);
    assert!(paths.contains(Path::new(name)) && unread.is_empty(), "{paths:?}");
}

#[test]
fn what_git_has_and_nobody_can_look_at_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    git(root, &["init", "--quiet"]);
    write(root, ".gitignore", "*.env\n");
    write(root, "gone.env", "x");
    write(root, "folder/gone.env", "x");
    std::os::unix::fs::symlink("/etc/passwd", root.join("link.env")).unwrap();
    git(root, &["add", "--force", "."]);
    std::fs::remove_file(root.join("gone.env")).unwrap();
    std::fs::remove_dir_all(root.join("folder")).unwrap();
    write(root, "folder", "a file");
    let clean = run(&options(root), Ignores::default()).unwrap();
    assert!(clean.unread.is_empty(), "{:?}", clean.unread);
    // Longer than names may be here, and elsewhere not.
    let long = format!("{}.env", "n".repeat(300));
    let blob = git(root, &["hash-object", "-w", "folder"]);
    git(root, &["update-index", "--add", "--cacheinfo", &format!("100644,{blob},{long}")]);
    let outcome = run(&options(root), Ignores::default()).unwrap();
    let [unread] = outcome.unread.as_slice() else { panic!("{:?}", outcome.unread) };
    assert!(unread.starts_with(&format!("`{long}`: ")), "{unread}");
}

#[test]
fn one_nul_byte_hid_a_file_from_a_scan_that_trusts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    git(root, &["init", "--quiet"]);
    write(root, "a.env", &format!("\0\nTOKEN={}\n", secret('a')));
    write(root, "large.bin", &format!("\0{}", "x".repeat(1 << 20)));
    let trusting = run(&options(root), Ignores::default()).unwrap();
    assert_eq!((places(&trusting), trusting.files, trusting.binary), (vec![], 0, 2));
    git(root, &["add", "a.env"]);
    git(root, &["commit", "--quiet", "-m", "one"]);
    let strict = Options { trust: Trust::Withheld, ..options(root) };
    let outcome = run(&strict, Ignores::default()).unwrap();
    assert_eq!((places(&outcome), outcome.files, outcome.binary), (vec![("a.env".to_owned(), 2)], 1, 2));
    assert_eq!(outcome.unread, ["`large.bin`: it has more than 1048576 bytes"]);
    // And in the history.
    std::fs::remove_file(root.join("a.env")).unwrap();
    let outcome = run(&Options { history: true, ..strict }, Ignores::default()).unwrap();
    assert_eq!(places(&outcome), [("a.env".to_owned(), 2)]);
}

#[test]
fn what_is_allowed_and_what_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(
        root,
        "a",
        &format!("{} # spectra:allow-secret\n{} gitleaks:allow\n{}\n", secret('a'), secret('b'), secret('c')),
    );
    let outcome = run(&options(root), Ignores::default()).unwrap();
    assert_eq!((places(&outcome), outcome.by_comment()), (vec![("a".to_owned(), 3)], 2));
    let allowed: Vec<_> =
        outcome.allowed.iter().map(|entry| (entry.finding.line, entry.justification())).collect();
    assert_eq!(allowed, [1, 2].map(|line| (Some(line), "a comment in its line".to_owned())));
    let distrustful = Options { trust: Trust::Withheld, ..options(root) };
    let all = run(&distrustful, Ignores::default()).unwrap();
    assert_eq!((all.findings.len(), all.allowed.len()), (3, 0), "who wrote the secret wrote the comment");
    let list = root.join(IGNORE_FILE);
    let stale = "0".repeat(32);
    std::fs::write(&list, format!("# looked at\n{} # a test\n\n{stale}\n", outcome.findings[0].fingerprint))
        .unwrap();
    // The fingerprint stays when the line moves.
    write(root, "a", &format!("\n\n\n{}\n", secret('c')));
    git(root, &["init", "--quiet"]);
    let options = Options { history: true, ..options(root) };
    let scanned = run(&options, Ignores::read(&list).unwrap()).unwrap();
    assert_eq!((scanned.findings.len(), scanned.by_list()), (0, 1));
    assert_eq!(scanned.allowed[0].justification(), format!("`{IGNORE_FILE}`: a test"));
    assert_eq!(scanned.warnings, [format!("`{stale}` in `{IGNORE_FILE}` fits no finding; remove it")]);
    // Or above it.
    std::fs::write(&list, format!("# a list\n\n# two\n# lines\n{}\n", outcome.findings[0].fingerprint))
        .unwrap();
    let scanned = run(&options, Ignores::read(&list).unwrap()).unwrap();
    assert_eq!(scanned.allowed[0].justification(), format!("`{IGNORE_FILE}`: two lines"));
    std::fs::write(&list, format!("# a list\n\n{}\n", outcome.findings[0].fingerprint)).unwrap();
    let scanned = run(&options, Ignores::read(&list).unwrap()).unwrap();
    assert_eq!(
        scanned.warnings,
        [format!("`{IGNORE_FILE}` lets 1 findings stay without a reason; write it behind a `#`")]
    );
    std::fs::write(&list, "not a fingerprint\n").unwrap();
    assert!(Ignores::read(&list).unwrap_err().to_string().ends_with("line 1 is no fingerprint of a finding"));
}

#[test]
fn the_history_of_all_branches() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    git(root, &["init", "--quiet"]);
    write(root, "kept", "fine\n");
    write(root, "with space/gone.txt", &format!("1\n2\n{}\n", secret('a')));
    git(root, &["add", "."]);
    git(root, &["commit", "--quiet", "-m", "one"]);
    let first = git(root, &["rev-parse", "HEAD"]);
    git(root, &["rm", "--quiet", "-r", "with space"]);
    write(root, "kept", &format!("fine\n{}\n", secret('b')));
    git(root, &["commit", "--quiet", "-a", "-m", "two"]);
    git(root, &["checkout", "--quiet", "-b", "side", &first]);
    write(root, "side", &format!("++ {}\n-- x\n{}\n", secret('c'), secret('d')));
    git(root, &["add", "."]);
    git(root, &["commit", "--quiet", "-m", "three"]);
    git(root, &["checkout", "--quiet", "main"]);
    git(root, &["merge", "--quiet", "--no-commit", "side"]);
    // Something that neither parent has.
    write(root, "kept", &format!("fine\n{}\n{}\n", secret('b'), secret('e')));
    git(root, &["commit", "--quiet", "-a", "-m", "merge"]);
    git(root, &["rm", "--quiet", "side"]);
    git(root, &["commit", "--quiet", "-m", "four"]);
    let here = run(&options(root), Ignores::default()).unwrap();
    assert_eq!(places(&here), [("kept".to_owned(), 2), ("kept".to_owned(), 3)]);
    let all = run(&Options { history: true, ..options(root) }, Ignores::default()).unwrap();
    let expected = [("kept", 2), ("kept", 3), ("side", 1), ("side", 3), ("with space/gone.txt", 3)];
    assert_eq!(places(&all), expected.map(|(path, line)| (path.to_owned(), line)));
    assert_eq!(all.findings[4].commit.as_deref(), Some(first.as_str()));
    assert_eq!(all.findings[0].commit, None, "it is still there");
    // In the history alone, what a merge brought in is found too.
    write(root, "kept", "fine\n");
    let past = run(&Options { history: true, ..options(root) }, Ignores::default()).unwrap();
    assert_eq!(places(&past), places(&all));
    assert!(past.findings.iter().all(|finding| finding.commit.is_some()));
    // One file: its own history alone.
    let one = run(&Options { history: true, ..options(&root.join("kept")) }, Ignores::default()).unwrap();
    assert_eq!(
        places(&one),
        expected[..2].iter().map(|(path, line)| ((*path).to_owned(), *line)).collect::<Vec<_>>()
    );
    // A part of the repository: its own paths alone.
    let from_dot = run(&Options { history: true, ..options(&root.join(".")) }, Ignores::default()).unwrap();
    assert_eq!(places(&from_dot), places(&all));
}

#[test]
fn a_history_that_is_not_there_is_an_error_and_a_shallow_one_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root, "a", "fine");
    let history = |root: &Path| run(&Options { history: true, ..options(root) }, Ignores::default());
    assert!(matches!(history(root).unwrap_err(), Error::History { .. }));
    git(root, &["init", "--quiet", "origin"]);
    let origin = root.join("origin");
    for number in ["1", "2"] {
        write(&origin, "a", number);
        git(&origin, &["add", "."]);
        git(&origin, &["commit", "--quiet", "-m", number]);
    }
    let url = format!("file://{}", origin.display());
    git(root, &["clone", "--quiet", "--depth", "1", &url, "clone"]);
    let outcome = history(&root.join("clone")).unwrap();
    assert!(outcome.warnings[0].starts_with("the clone is shallow"), "{:?}", outcome.warnings);
}

#[test]
fn a_partial_clone_runs_no_program_that_the_repository_names() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let root = &folder.path().join("repository");
    std::fs::create_dir(root).unwrap();
    git(root, &["init", "--quiet"]);
    write(root, "a", "fine\n");
    git(root, &["add", "."]);
    git(root, &["commit", "--quiet", "-m", "one"]);
    let blob = git(root, &["rev-parse", "HEAD:a"]);
    std::fs::remove_file(root.join(".git/objects").join(&blob[..2]).join(&blob[2..])).unwrap();
    let (program, ran) = (folder.path().join("program"), folder.path().join("ran"));
    std::fs::write(&program, format!("#!/bin/sh\ntouch '{}'\n", ran.display())).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (name, value) in [
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.promisor", "true"),
        ("remote.origin.url", root.to_str().unwrap()),
        ("remote.origin.uploadpack", program.to_str().unwrap()),
    ] {
        git(root, &["config", name, value]);
    }
    let error = run(&Options { history: true, ..options(root) }, Ignores::default()).unwrap_err();
    assert!(matches!(error, Error::History { .. }), "what is missing was not searched: {error}");
    assert!(!ran.exists(), "the repository's program was run");
    // It would have been: the trap is a real one.
    let _ = Command::new("git").arg("-C").arg(root).args(["log", "-p"]).output().unwrap();
    assert!(ran.exists(), "git no longer gets what is missing");
}

#[test]
fn a_history_is_whole_though_attributes_call_it_binary_and_settings_hide_its_root() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    git(root, &["init", "--quiet"]);
    git(root, &["config", "log.showRoot", "false"]);
    write(root, ".gitattributes", "*.env -diff\n");
    write(root, "a.env", &format!("one\n{}\n", secret('a')));
    write(root, "b.txt", &format!("{}\n", secret('b')));
    write(root, "image", &format!("\0\n{}\nmore\n", secret('c')));
    git(root, &["add", "."]);
    git(root, &["commit", "--quiet", "-m", "one"]);
    git(root, &["rm", "--quiet", "a.env", "b.txt", "image"]);
    git(root, &["commit", "--quiet", "-m", "two"]);
    let outcome = run(&Options { history: true, ..options(root) }, Ignores::default()).unwrap();
    assert_eq!(places(&outcome), [("a.env".to_owned(), 2), ("b.txt".to_owned(), 1)]);
    assert_eq!(outcome.binary, 1, "what is no text is counted");
}

#[test]
fn a_name_with_an_escape_sequence_does_not_reach_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a\u{1b}[2J", &"x".repeat((1 << 20) + 1));
    let outcome = run(&options(folder.path()), Ignores::default()).unwrap();
    assert_eq!(outcome.unread, ["`a [2J`: it has more than 1048576 bytes"]);
}

proptest! {
    /// Whatever is written about a finding, the secret is not in it, nor any longer part of it.
    #[test]
    fn no_output_holds_the_secret(tail in "[A-Za-z0-9]{36}", lead in "[ -~]{0,40}", in_path: bool) {
        let secret = format!("{}_{tail}", "gho");
        let path = if in_path { format!("keys/{secret}.txt") } else { "file".to_owned() };
        let text = format!("{}\n'{secret}'", lead.replace(['g', 's'], ""));
        let hits = search(&path, text.as_bytes(), 1, Trust::Given);
        let tools = ["spectra-secrets".to_owned()];
        let writer = Writer { category: "c", program: "p", version: "1", fallback: ".", base: None, tools: &tools };
        let suppressed: Vec<Suppressed<'_>> = hits
            .findings
            .iter()
            .map(|finding| Suppressed { finding, kind: Kind::InSource, justification: "j".to_owned() })
            .collect();
        let outputs = [
            format!("{hits:?}"),
            serde_json::to_string(&hits.findings).unwrap(),
            writer.write(&hits.findings, &[]),
            writer.write(&[], &suppressed),
        ];
        for output in outputs {
            for part in secret.as_bytes()[4..].windows(8) {
                prop_assert!(!output.contains(std::str::from_utf8(part).unwrap()), "{output}");
            }
        }
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut text = b"password = '".to_vec();
        text.extend(&bytes);
        text.extend(b"' postgres://a:b@c -----BEGIN PRIVATE KEY-----");
        text.extend(&bytes);
        let _ = search("x", &text, 1, Trust::Given);
        let _ = detect::text(bytes);
    }
}
