//! Where places in reports begin.

use std::path::{Path, PathBuf};

use super::{
    tests::{git, options, places, run, secret, write},
    *,
};

fn named(outcome: &Outcome) -> Vec<(String, String)> {
    let mut list: Vec<_> = outcome
        .findings
        .iter()
        .map(|finding| (finding.location.clone().unwrap(), finding.fingerprint.clone()))
        .collect();
    list.sort();
    list
}

fn found(root: &Path, history: bool) -> Outcome {
    run(&Options { history, ..options(root) }, Ignores::default()).unwrap()
}

/// A repository with a file of one name in two folders, committed.
fn repository(root: &Path) {
    std::fs::create_dir_all(root).unwrap();
    git(root, &["init", "--quiet"]);
    write(root, "sec/sub/a.txt", &secret('a'));
    write(root, "sec/other/a.txt", &secret('a'));
    git(root, &["add", "."]);
    git(root, &["commit", "--quiet", "-m", "one"]);
}

#[test]
fn files_of_one_name_in_two_folders_were_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let root = &folder.path().join("repository");
    repository(root);
    let whole = named(&found(root, false));
    assert_eq!((whole[0].0.as_str(), whole[1].0.as_str()), ("sec/other/a.txt", "sec/sub/a.txt"));
    assert_ne!(whole[0].1, whole[1].1);
    // The same place and fingerprint, by whatever way it is reached.
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(root.join("sec/sub"), &link).unwrap();
    let file = folder.path().join("file");
    std::os::unix::fs::symlink(root.join("sec/sub/a.txt"), &file).unwrap();
    let ways = ["sec/sub", "sec/sub/", "sec/other/../sub", "sec/sub/a.txt"].map(|way| root.join(way));
    for way in ways.iter().chain([&link, &file]) {
        for history in [false, true] {
            let outcome = found(way, history);
            assert_eq!(named(&outcome), whole[1..], "{}", way.display());
            assert_eq!(outcome.base, None);
        }
    }
    // What is no longer there but in the history, also where the repository's settings have paths of their own.
    git(root, &["config", "diff.relative", "true"]);
    git(root, &["rm", "--quiet", "-r", "sec/sub"]);
    git(root, &["commit", "--quiet", "-m", "two"]);
    std::fs::create_dir(root.join("sec/sub")).unwrap();
    assert_eq!(named(&found(&root.join("sec/sub"), true)), whole[1..]);
    assert_eq!(named(&found(&root.join("sec"), true)), whole);
}

#[test]
fn a_worktree_has_the_places_of_its_repository() {
    let folder = tempfile::tempdir().unwrap();
    let root = &folder.path().join("repository");
    repository(root);
    let tree = root.join("tree");
    git(root, &["worktree", "add", "--quiet", tree.to_str().unwrap()]);
    assert!(tree.join(".git").is_file());
    let whole = named(&found(&root.join("sec"), false));
    assert_eq!(named(&found(&tree.join("sec"), false)), whole);
    assert_eq!(named(&found(&tree, true)), whole);
}

#[test]
fn outside_of_a_repository_places_are_those_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(folder.path()).unwrap();
    write(&root, "sub/a.txt", &secret('a'));
    for (path, place, base) in
        [(".", "sub/a.txt", ""), ("sub", "a.txt", "sub"), ("sub/a.txt", "a.txt", "sub")]
    {
        let outcome = found(&root.join(path), false);
        assert_eq!(places(&outcome), [(place.to_owned(), 1)]);
        // By their parts: one of them has a slash at its end.
        assert_eq!(outcome.base, Some(root.join(base).components().collect::<PathBuf>()));
    }
}

#[test]
fn what_only_has_the_name_of_a_repository_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let root = &folder.path().join("repository");
    repository(root);
    std::fs::create_dir(root.join("sec/sub/.git")).unwrap();
    write(root, "sec/other/.git", "no pointer");
    for part in ["sub", "other"] {
        let path = format!("sec/{part}/a.txt");
        assert_eq!(places(&found(&root.join("sec").join(part), false)), [(path, 1)]);
    }
}

#[test]
fn an_entry_by_the_path_in_the_folder_allows_nothing_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    // The fingerprint of `a.txt` in a folder without a repository.
    write(folder.path(), "a.txt", &secret('a'));
    let (_, old) = named(&found(folder.path(), false)).remove(0);
    let root = &folder.path().join("repository");
    repository(root);
    let list = folder.path().join("list");
    std::fs::write(&list, format!("{old} # by the name alone\n")).unwrap();
    let scan = |part: &str| {
        let options = Options { history: true, ..options(&root.join(part)) };
        run(&options, Ignores::read(&list).unwrap()).unwrap()
    };
    let outcome = scan("sec/sub");
    assert_eq!((outcome.findings.len(), outcome.by_list()), (1, 0));
    assert_eq!(
        outcome.warnings,
        [format!(
            "`{old}` in `list` fits no finding in `sec/sub`; remove it, unless it stands for one elsewhere in the repository"
        )]
    );
    assert_eq!(scan(".").warnings, [format!("`{old}` in `list` fits no finding; remove it")]);
}
