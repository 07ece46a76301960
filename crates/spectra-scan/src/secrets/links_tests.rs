//! Links: what git has of them is searched, and they lead nowhere.

use std::{
    ffi::OsStr,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::Path,
};

use super::{
    tests::{git, options, places, run, secret, write},
    *,
};

fn found(root: &Path, trust: Trust, history: bool) -> Outcome {
    run(&Options { history, trust, ..options(root) }, Ignores::default()).unwrap()
}

#[test]
fn where_a_link_leads_is_in_the_commit_and_was_not_searched() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = folder.path();
    git(root, &["init", "--quiet"]);
    write(root, ".gitignore", "*.env\n");
    write(outside.path(), "file", &secret('x'));
    write(outside.path(), "folder/file", &secret('y'));
    symlink(format!("../{}", secret('a')), root.join("dangling")).unwrap();
    // As a program of the shell would have it, and no UTF-8.
    symlink(OsStr::from_bytes(&[b"\xff ".as_slice(), secret('b').as_bytes()].concat()), root.join("bytes"))
        .unwrap();
    symlink(secret('c'), root.join("ignored.env")).unwrap();
    symlink(secret('d'), root.join("left-out.env")).unwrap();
    symlink(format!("{} spectra:allow-secret", secret('e')), root.join("allowed")).unwrap();
    for name in ["file", "folder"] {
        symlink(outside.path().join(name), root.join(name)).unwrap();
    }
    symlink(".", root.join("circle")).unwrap();
    git(root, &["add", "--force", "--", ".", ":!left-out.env"]);
    git(root, &["commit", "--quiet", "-m", "one"]);
    let names = |outcome: &Outcome| places(outcome).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    let given = found(root, Trust::Given, false);
    assert_eq!(
        (names(&given), given.by_comment()),
        (vec!["bytes".into(), "dangling".into(), "ignored.env".into()], 1)
    );
    assert!(given.unread.is_empty(), "{:?}", given.unread);
    assert_eq!(given.files, 8, "`.gitignore` and seven links");
    let strict = found(root, Trust::Withheld, false);
    assert_eq!(names(&strict), ["allowed", "bytes", "dangling", "ignored.env"]);
    // The history has the same findings, and none besides.
    assert_eq!(found(root, Trust::Withheld, true).findings, strict.findings);
    for name in ["dangling", "bytes", "ignored.env", "allowed"] {
        std::fs::remove_file(root.join(name)).unwrap();
    }
    let past: Vec<_> =
        found(root, Trust::Withheld, true).findings.into_iter().map(|finding| finding.fingerprint).collect();
    let here: Vec<_> = strict.findings.into_iter().map(|finding| finding.fingerprint).collect();
    assert_eq!(past, here);
}

#[test]
fn a_link_that_leads_farther_than_may_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    symlink("nowhere", folder.path().join("link")).unwrap();
    let outcome = run(&Options { max_size: 6, ..options(folder.path()) }, Ignores::default()).unwrap();
    assert_eq!((outcome.unread, outcome.files), (vec!["`link`: it has more than 6 bytes".to_owned()], 0));
    let enough = run(&Options { max_size: 7, ..options(folder.path()) }, Ignores::default()).unwrap();
    assert_eq!((enough.unread, enough.files, enough.bytes), (vec![], 1, 7));
}
