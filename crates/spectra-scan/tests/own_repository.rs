//! This repository holds no secret, by its own rules.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::{path::Path, time::Duration};

use spectra_scan::secrets::{IGNORE_FILE, Ignores, Options, Searcher, Trust, scan};

#[test]
fn the_repository_scans_clean() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let options = Options {
        root: root.to_owned(),
        history: false,
        trust: Trust::Given,
        gitleaks_config: None,
        max_size: 10 << 20,
        timeout: Duration::from_mins(1),
        work: None,
    };
    let ignores = Ignores::read(&root.join(IGNORE_FILE)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(scan(&Searcher::Builtin, &options, ignores)).unwrap();
    assert!(outcome.files > 500, "{} files are not the whole repository", outcome.files);
    assert!(outcome.findings.is_empty(), "{:#?}", outcome.findings);
    assert!(outcome.unread.is_empty(), "{:?}", outcome.unread);
}
