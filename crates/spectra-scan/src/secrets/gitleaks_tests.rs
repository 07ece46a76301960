//! What gitleaks is given, and what is made of what it says. The program is a script here.

use std::{
    ffi::OsStr,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::Path,
};

use super::{
    tests::{git, options, places, run, secret, write},
    *,
};

/// A program of this name and folder that writes down what it was given and prints the report that lies beside it.
fn gitleaks(folder: &Path) -> Searcher {
    let path = folder.join("gitleaks");
    let here = folder.display();
    let script = format!(
        "#!/bin/sh\nenv > '{here}/environment'\necho \"$@\" > '{here}/arguments'\nls -A \"$2\" > '{here}/given'\n\
         [ ! -e \"$2/files/wide.txt\" ] || cp \"$2/files/wide.txt\" '{here}/wide'\n\
         [ ! -d \"$2/files\" ] || (cd \"$2/files\" && ls -AlR && cat link) > '{here}/mirror' 2>&1\n\
         report=\"{here}/$1-report\"\nif [ -e \"$report\" ]; then sed \"s,ROOT,$2/files,g\" \"$report\"; else echo '[]'; fi\n"
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    Searcher::Gitleaks(Tool::find_in("gitleaks", folder.as_os_str()).unwrap())
}

fn run_gitleaks(folder: &Path, options: &Options) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(scan(&gitleaks(folder), options, Ignores::default())).unwrap()
}

fn said(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).unwrap()
}

/// A report on the files or the history, by `dir` or `git`, with one leak a line of these.
fn report(folder: &Path, verb: &str, file: &str, lines: &[u64], commit: &str) {
    let leaks: Vec<_> = lines
        .iter()
        .map(|line| {
            serde_json::json!({ "RuleID": "github-pat", "Description": "A token", "StartLine": line, "EndLine": line,
                                "File": file, "Secret": format!("{}{line}", secret('a')), "Commit": commit, "Date": "" })
        })
        .collect();
    std::fs::write(folder.join(format!("{verb}-report")), serde_json::to_string(&leaks).unwrap()).unwrap();
}

#[test]
fn the_git_of_gitleaks_has_no_transport() {
    let (folder, tools) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    git(folder.path(), &["init", "--quiet"]);
    run_gitleaks(tools.path(), &Options { history: true, ..options(folder.path()) });
    let environment = said(tools.path(), "environment");
    let directory = std::fs::canonicalize(folder.path()).unwrap().join(".git");
    for line in [
        "GIT_ALLOW_PROTOCOL=none",
        "GIT_NO_LAZY_FETCH=1",
        "GIT_NO_REPLACE_OBJECTS=1",
        "GIT_CONFIG_COUNT=7",
        "GIT_CONFIG_KEY_0=attr.tree",
        "GIT_CONFIG_KEY_4=log.showSignature",
        &format!("GIT_DIR={}", directory.display()),
    ] {
        assert!(environment.lines().any(|other| other == line), "{line}: {environment}");
    }
}

#[test]
fn what_is_searched_does_not_tell_gitleaks_what_to_find() {
    let (folder, tools) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = folder.path();
    git(root, &["init", "--quiet"]);
    write(root, ".gitleaks.toml", "[allowlist]\npaths = ['.*']\n");
    write(root, ".gitleaksignore", "a:github-pat:1\n");
    for history in [false, true] {
        let outcome = run_gitleaks(tools.path(), &Options { history, ..options(root) });
        insta::allow_duplicates! {
            insta::assert_snapshot!(outcome.warnings.join("\n"), @"
            `.gitleaks.toml` does not count: what is searched must not say what is found in it; rules that do are named with `--gitleaks-config`
            `.gitleaksignore` does not count: what is searched must not say what is found in it; fingerprints that do are listed in `.spectra-secrets-ignore`
            ");
        }
        // Where gitleaks looks for them.
        assert_eq!(said(tools.path(), "given").trim(), if history { "" } else { "files" });
        let arguments = said(tools.path(), "arguments");
        let words: Vec<&str> = arguments.split_whitespace().collect();
        assert_eq!(words[2..5], ["--gitleaks-ignore-path", words[1], "--ignore-gitleaks-allow"]);
        assert!(!arguments.contains("--config"), "{arguments}");
    }
    let rules = root.join(".gitleaks.toml");
    let asked = Options { gitleaks_config: Some(rules.clone()), ..options(root) };
    let outcome = run_gitleaks(tools.path(), &asked);
    assert_eq!(outcome.warnings.len(), 1, "{:?}", outcome.warnings);
    let rules = std::fs::canonicalize(rules).unwrap();
    assert!(said(tools.path(), "arguments").contains(&format!("--config {}", rules.display())));
}

#[test]
fn comments_are_judged_where_they_leave_a_trace() {
    let (folder, tools) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = folder.path();
    git(root, &["init", "--quiet"]);
    write(root, "sub/a", "x # gitleaks:allow\nx # spectra:allow-secret\nx\n");
    git(root, &["add", "."]);
    git(root, &["commit", "--quiet", "-m", "one"]);
    let commit = git(root, &["rev-parse", "HEAD"]);
    let lines = |outcome: &Outcome| {
        let allowed: Vec<_> = outcome.allowed.iter().filter_map(|entry| entry.finding.line).collect();
        (
            places(outcome).into_iter().map(|(path, line)| format!("{path}:{line}")).collect::<Vec<_>>(),
            allowed,
        )
    };
    report(tools.path(), "dir", "ROOT/sub/a", &[1, 2, 3], "");
    let outcome = run_gitleaks(tools.path(), &options(root));
    assert_eq!(lines(&outcome), (vec!["sub/a:3".to_owned()], vec![1, 2]));
    let distrustful = Options { trust: Trust::Withheld, ..options(root) };
    assert_eq!(run_gitleaks(tools.path(), &distrustful).findings.len(), 3);
    // Of the history, the line is in the commit; the file has long been something else.
    write(root, "sub/a", "gone\n");
    std::fs::remove_file(tools.path().join("dir-report")).unwrap();
    report(tools.path(), "git", "sub/a", &[1, 2, 3], &commit);
    let history = Options { history: true, ..options(&root.join("sub")) };
    let outcome = run_gitleaks(tools.path(), &history);
    assert_eq!(lines(&outcome), (vec!["sub/a:3".to_owned()], vec![1, 2]), "from the top level");
    assert_eq!(outcome.findings[0].commit.as_ref(), Some(&commit));
    // Outside of what is searched.
    report(tools.path(), "git", "other/a", &[3], &commit);
    assert_eq!(lines(&run_gitleaks(tools.path(), &history)), (vec![], vec![]));
}

#[test]
fn what_gitleaks_finds_in_a_part_of_a_repository_has_its_place_in_the_whole() {
    let (folder, tools) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = folder.path();
    git(root, &["init", "--quiet"]);
    write(root, "sub/deep/a", "x # gitleaks:allow\nx\n");
    report(tools.path(), "dir", "ROOT/deep/a", &[1, 2], "");
    let part = run_gitleaks(tools.path(), &options(&root.join("sub")));
    assert_eq!(places(&part), [("sub/deep/a".to_owned(), 2)]);
    assert_eq!(part.by_comment(), 1, "its lines are those of the copy");
    report(tools.path(), "dir", "ROOT/sub/deep/a", &[2], "");
    let whole = run_gitleaks(tools.path(), &options(root));
    assert_eq!(whole.findings, part.findings);
    report(tools.path(), "dir", "ROOT/a", &[2], "");
    let file = run_gitleaks(tools.path(), &options(&root.join("sub/deep/a")));
    assert_eq!(file.findings, part.findings);
}

#[test]
fn of_a_secret_in_several_commits_the_first_is_named() {
    let (folder, tools) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    git(folder.path(), &["init", "--quiet"]);
    let leak = |commit: &str, date: &str| serde_json::json!({ "RuleID": "r", "StartLine": 1, "File": "a", "Secret": secret('a'), "Commit": commit, "Date": date });
    let leaks = [leak("2", "2026-02-01T00:00:00Z"), leak("1", "2026-01-01T00:00:00Z")];
    std::fs::write(tools.path().join("git-report"), serde_json::to_string(&leaks).unwrap()).unwrap();
    let (searcher, options) = (gitleaks(tools.path()), Options { history: true, ..options(folder.path()) });
    let Searcher::Gitleaks(tool) = &searcher else { unreachable!() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(super::gitleaks::scan(tool, &options, true)).unwrap();
    let commits: Vec<_> = outcome.findings.iter().map(|finding| finding.commit.as_deref()).collect();
    assert_eq!(commits, [Some("1")]);
}

#[test]
fn a_text_of_two_bytes_a_character_is_given_as_one_that_gitleaks_reads() {
    let (folder, tools) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let wide: Vec<u8> = "\u{feff}one\ntwo".encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(folder.path().join("wide.txt"), &wide).unwrap();
    run_gitleaks(tools.path(), &options(folder.path()));
    assert_eq!(said(tools.path(), "wide"), "one\ntwo");
    assert_eq!(std::fs::read(folder.path().join("wide.txt")).unwrap(), wide, "the file itself stays");
}

#[test]
fn gitleaks_is_given_where_a_link_leads_and_no_link() {
    use std::os::unix::fs::symlink;
    let (folder, tools) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = folder.path();
    symlink(OsStr::from_bytes(b"/etc/../etc/\xffpasswd"), root.join("link")).unwrap();
    symlink("/etc", root.join("folder")).unwrap();
    report(tools.path(), "dir", "ROOT/link", &[1], "");
    let outcome = run_gitleaks(tools.path(), &options(root));
    assert_eq!((places(&outcome), outcome.files), (vec![("link".to_owned(), 1)], 2));
    let mirror = std::fs::read(tools.path().join("mirror")).unwrap();
    assert!(mirror.ends_with(b"/etc/../etc/\xffpasswd"), "{}", String::from_utf8_lossy(&mirror));
    let listed = String::from_utf8_lossy(&mirror);
    assert!(!listed.contains("->") && listed.contains("folder"), "{listed}");
    let small = run_gitleaks(tools.path(), &Options { max_size: 4, ..options(root) });
    assert_eq!((small.unread, small.files), (vec!["`link`: it has more than 4 bytes".to_owned()], 1));
}

#[test]
fn what_gitleaks_takes_for_no_text_is_searched_where_nothing_is_trusted() {
    let (folder, tools) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = folder.path();
    git(root, &["init", "--quiet"]);
    write(root, ".gitignore", "*.env\n");
    std::fs::write(root.join(OsStr::from_bytes(b"\xff.env")), format!("\0{}", secret('a'))).unwrap();
    git(root, &["add", "--force", "."]);
    let outcome = run_gitleaks(tools.path(), &options(root));
    assert_eq!((places(&outcome), outcome.files, outcome.binary), (vec![], 2, 1));
    assert!(outcome.unread.is_empty(), "a name that is no UTF-8 is copied: {:?}", outcome.unread);
    let strict = Options { trust: Trust::Withheld, history: true, ..options(root) };
    let outcome = run_gitleaks(tools.path(), &strict);
    assert_eq!((places(&outcome), outcome.files), (vec![("\u{fffd}.env".to_owned(), 1)], 2));
    assert!(said(tools.path(), "arguments").contains("--text"), "nor does git hide it in the history");
}

/// A chain of folders with a path that is longer than the system takes.
fn too_deep(root: &Path) {
    let name = "d".repeat(250);
    let chain = |first: &str| {
        let mut path = root.join(first);
        for _ in 0..10 {
            path.push(&name);
        }
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    let upper = chain("upper");
    chain("lower");
    std::fs::rename(root.join("lower"), upper.join("lower")).unwrap();
}

#[test]
fn with_gitleaks_too_what_cannot_be_looked_into_is_said() {
    let (folder, tools) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = folder.path();
    git(root, &["init", "--quiet"]);
    write(root, ".git/index", "garbage");
    write(root, "a", "fine");
    too_deep(root);
    let by_gitleaks = run_gitleaks(tools.path(), &options(root));
    let builtin = run(&options(root), Ignores::default()).unwrap();
    assert_eq!(by_gitleaks.unread.len(), builtin.unread.len());
    let said = |word: &str| by_gitleaks.unread.iter().any(|reason| reason.contains(word));
    assert!(said("although `.gitignore` names them"), "{:?}", by_gitleaks.unread);
    assert!(said("too long"), "{:?}", by_gitleaks.unread);
}
