//! What the compiler says of mistakes in models: every case in `ui/*.rs` is compiled, and the messages are compared
//! with the `.stderr` beside it. `UPDATE_UI=1` writes them anew. `docs/design/005-compile-errors-without-trybuild.md`
//! says why this is no more than a loop around `rustc`.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::thread;

/// The case that compiles.
const FINE: &str = "fine";

/// The crate as cargo has just built it for this test, and the directory of all that it depends on.
struct Built {
    library: PathBuf,
    dependencies: PathBuf,
}

impl Built {
    /// The library lies beside the test, among those of other sets of features. The newest was built from the sources
    /// of today: cargo has seen to it, before it started the test, that at least one of them is.
    fn find() -> Self {
        let dependencies = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let library = fs::read_dir(&dependencies)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| {
                let path = entry.path();
                let name = path.file_name().unwrap().to_string_lossy();
                name.starts_with("libtfplugin-") && path.extension().is_some_and(|ending| ending == "rlib")
            })
            .max_by_key(|entry| entry.metadata().unwrap().modified().unwrap())
            .unwrap_or_else(|| panic!("there is no libtfplugin-*.rlib in {}", dependencies.display()))
            .path();
        Self { library, dependencies }
    }

    /// Compiles one case as far as messages need it.
    fn compile(&self, name: &str, out: &Path) -> Output {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        Command::new(rustc)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .arg(format!("tests/ui/{name}.rs"))
            .args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "--cap-lints", "allow"])
            .args(["--color", "never", "--diagnostic-width", "120"])
            .arg("--extern")
            .arg(format!("tfplugin={}", self.library.display()))
            .arg("-L")
            .arg(format!("dependency={}", self.dependencies.display()))
            .arg("--out-dir")
            .arg(out)
            .output()
            .unwrap()
    }
}

/// The messages without what changes with the machine, with the compiler's own library, or with every new impl: what
/// follows on notes about other files, the lists of types that would have done, and the closing count of errors.
fn normalised(output: &Output) -> String {
    let mut kept = Vec::new();
    let mut skip_note = false;
    let mut list = None;
    let said = String::from_utf8_lossy(&output.stderr);
    for line in said.lines() {
        let indent = line.len() - line.trim_start().len();
        if list.is_some_and(|least| indent > least && !line.trim_start().starts_with('=')) {
            continue;
        }
        list = None;
        if indent == 0 && !line.starts_with(|first: char| first.is_ascii_digit()) {
            skip_note = false;
        }
        if line.trim_start().starts_with("--> ") && !line.contains("--> tests/ui/") {
            skip_note = true;
        }
        if skip_note && !line.is_empty() {
            continue;
        }
        if line.starts_with("error: aborting") || line.starts_with("For more information") {
            continue;
        }
        if line.contains("help: the following other types implement trait") {
            // Below an error it is a list; when one of the types is in the case, it is a section of its own.
            list = (indent > 0).then_some(indent + 2);
            skip_note = indent == 0;
            continue;
        }
        kept.push(line.trim_end());
    }
    let text = kept.join("\n");
    format!("{}\n", text.trim_end())
}

/// The names of the files with this ending.
fn names(ending: &str) -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == ending))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// What is wrong with one case.
fn judge(built: &Built, name: &str, out: &Path, update: bool) -> Option<String> {
    let output = built.compile(name, out);
    let said = normalised(&output);
    match (name == FINE, output.status.success()) {
        (true, true) => return None,
        (true, false) => return Some(format!("`{name}` must compile:\n{said}")),
        (false, true) => return Some(format!("`{name}` compiles, and must not")),
        (false, false) => {}
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/ui/{name}.stderr"));
    if update {
        fs::write(&path, said).unwrap();
        return None;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    (expected != said).then(|| {
        format!("`{name}` is refused in other words.\n--- expected\n{expected}--- found\n{said}(UPDATE_UI=1 accepts them)")
    })
}

#[test]
fn mistakes_are_named_where_they_are() {
    let cases = names("rs");
    assert!(cases.iter().any(|name| name == FINE), "`{FINE}` is among the cases: {cases:?}");
    let orphans: Vec<_> = names("stderr").into_iter().filter(|name| !cases.contains(name)).collect();
    assert!(orphans.is_empty(), "messages without a case: {orphans:?}");

    let built = Built::find();
    let out = tempfile::tempdir().unwrap();
    let update = std::env::var_os("UPDATE_UI").is_some_and(|value| value == "1");
    let queue = Mutex::new(cases.iter());
    let wrong = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let Some(name) = queue.lock().unwrap().next() else { break };
                    if let Some(reason) = judge(&built, name, out.path(), update) {
                        wrong.lock().unwrap().push(reason);
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().unwrap();
    wrong.sort();
    assert!(wrong.is_empty(), "{} of {} cases:\n\n{}", wrong.len(), cases.len(), wrong.join("\n\n"));
}
