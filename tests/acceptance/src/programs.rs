//! Finds the built programs and a Terraform.

use std::path::{Path, PathBuf};

fn program(name: &str) -> PathBuf {
    let directory = std::env::var_os("SPECTRA_BIN_DIR").map_or_else(
        || {
            // `target/debug/deps/lifecycle-…` → `target/debug`.
            let test = std::env::current_exe().expect("a test knows its own path");
            test.parent().and_then(Path::parent).expect("tests lie in `deps`").to_owned()
        },
        PathBuf::from,
    );
    let path = directory.join(name);
    assert!(path.is_file(), "`{}` is not built; run `cargo build --bins` first", path.display());
    path
}

/// The provider.
#[must_use]
pub fn provider() -> PathBuf {
    program("terraform-provider-spectra")
}

/// The command-line program.
#[must_use]
pub fn deployer() -> PathBuf {
    program("railway-deployer")
}

/// The Terraform that `$TERRAFORM_LATEST` names, for what came with 1.14: queries and actions. Where it is not set the caller
/// says so and does without; with `REQUIRE_TERRAFORM=1`, as in `cargo xtask test`, that fails, since a skipped
/// acceptance test looks like a passed one.
///
/// # Panics
/// When it is required and not set.
#[must_use]
pub fn latest_terraform() -> Option<PathBuf> {
    let path = std::env::var_os("TERRAFORM_LATEST").filter(|path| !path.is_empty()).map(PathBuf::from);
    let required = std::env::var_os("REQUIRE_TERRAFORM").is_some_and(|value| value == "1");
    assert!(path.is_some() || !required, "$TERRAFORM_LATEST has to name a Terraform of 1.14 or later");
    path
}

/// `$TERRAFORM`, else the first `terraform` or `tofu` on PATH, else what `cargo xtask` installed. A missing
/// Terraform fails the test: a skipped acceptance test would look like a passed one.
#[must_use]
pub fn terraform_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("TERRAFORM").filter(|path| !path.is_empty()) {
        return PathBuf::from(path);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<_> = std::env::split_paths(&path).collect();
    let on_path = ["terraform", "tofu"]
        .iter()
        .flat_map(|name| directories.iter().map(move |directory| directory.join(name)))
        .find(|candidate| candidate.is_file());
    on_path.unwrap_or_else(|| {
        let test = std::env::current_exe().expect("a test knows its own path");
        let installed =
            test.ancestors().map(|parent| parent.join("tools/bin/terraform")).find(|p| p.is_file());
        installed.expect("no terraform: set $TERRAFORM, or run `cargo xtask test`, which installs one")
    })
}
