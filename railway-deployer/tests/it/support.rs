//! Running the binary and making its output comparable.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// A place to run in, with an environment of its own.
pub(crate) struct Place {
    directory: TempDir,
    environment: Vec<(String, String)>,
    scrub: Vec<(String, String)>,
}

pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    shown: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().display().to_string();
        let environment =
            vec![("HOME".to_owned(), path.clone()), ("PATH".to_owned(), format!("{path}/bin:/usr/bin:/bin"))];
        Self { directory, environment, scrub: vec![(path, "[DIR]".to_owned())] }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn scrub(&mut self, text: &str, placeholder: &str) {
        self.scrub.push((text.to_owned(), placeholder.to_owned()));
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// A program on the place's PATH.
    pub(crate) fn program(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let name = format!("bin/{name}");
        self.write(&name, &format!("#!/bin/sh\n{script}\n"));
        std::fs::set_permissions(self.path(&name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Puts a program of this machine on the place's PATH, and nothing that lies beside it.
    pub(crate) fn link(&self, program: &Path) {
        std::fs::create_dir_all(self.path("bin")).unwrap();
        let name = Path::new("bin").join(program.file_name().unwrap());
        std::os::unix::fs::symlink(program, self.directory.path().join(name)).unwrap();
    }

    pub(crate) fn command(&self) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_railway-deployer"))
    }

    fn command_of(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.directory.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        self.run_with_input(arguments, "")
    }

    /// Another program, in the same place and environment.
    pub(crate) fn run_other(&self, program: &str, arguments: &[&str]) -> Run {
        self.finish(self.command_of(program).args(arguments), "")
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Run {
        self.finish(self.command().args(arguments), input)
    }

    fn finish(&self, command: &mut Command, input: &str) -> Run {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A program that does not read its input is right to close it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let code = output.status.code().unwrap_or(-1);
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let shown = format!("exit {code}\n--- stdout\n{stdout}--- stderr\n{stderr}");
        Run { code, shown: self.clean(&shown), stdout, stderr }
    }

    fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (from, to) in &self.scrub {
            text = text.replace(from, to);
        }
        let text = replace_runs(&text, "sha256:", |c| c.is_ascii_hexdigit(), "sha256:[HEX]");
        text.lines().map(clean_time).collect::<Vec<_>>().join("\n")
    }
}

impl Run {
    /// Exit code and both outputs, scrubbed.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.shown))
    }

    pub(crate) fn done(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.shown);
        self
    }
}

/// A program of others on PATH. Where there is none, a test can only be skipped: that is said, or is a failure if
/// `SPECTRA_REQUIRE_SKOPEO=1` (and so on, one for each program) asks for that, as `cargo xtask test` does for those that it found
/// or installed.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    let variable = format!("SPECTRA_REQUIRE_{}", name.to_uppercase().replace('-', "_"));
    if found.is_none() {
        assert!(
            std::env::var(&variable).as_deref() != Ok("1"),
            "{variable}=1, and there is no `{name}` on PATH"
        );
        eprintln!("skipped: there is no `{name}` on PATH");
    }
    found
}

fn replace_runs(text: &str, prefix: &str, belongs: fn(char) -> bool, to: &str) -> String {
    let mut output = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(prefix) {
        output.push_str(&rest[..at]);
        output.push_str(to);
        rest = rest[at + prefix.len()..].trim_start_matches(belongs);
    }
    output + rest
}

/// A line of progress begins with a time stamp.
fn clean_time(line: &str) -> String {
    match line.split_once(' ') {
        Some((time, rest)) if time.len() == 20 && time.ends_with('Z') && time.contains('T') => {
            format!("[TIME] {rest}")
        }
        _ => line.to_owned(),
    }
}

/// A directory that makes an image.
pub(crate) fn content(place: &Place, name: &str) -> PathBuf {
    place.write(&format!("{name}/bin/app"), "#!/bin/sh\necho hello\n");
    place.write(&format!("{name}/etc/motd"), "welcome\n");
    Path::new(name).to_owned()
}
