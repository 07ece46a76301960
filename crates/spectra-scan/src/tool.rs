//! Running the tools of others.

use std::{
    ffi::OsStr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use crate::{
    Error,
    environment::{Environment, Own, for_scanner},
};

/// The most of a report that is read: real ones have some megabytes.
const MAX_OUTPUT: u64 = 512 * 1024 * 1024;
/// How much of a failed program's last words is shown.
const LAST_WORDS: usize = 2000;

/// A program that was found on PATH.
#[derive(Debug, Clone)]
pub struct Tool {
    name: &'static str,
    path: PathBuf,
}

/// How a program is run.
#[derive(Debug)]
pub(crate) struct Setting<'a> {
    /// Where. Scanners read settings from their directory, which must not be the user's by chance.
    pub(crate) directory: &'a Path,
    /// The environment that it is run from.
    pub(crate) environment: &'a Environment,
    /// What it gets of its own variables.
    pub(crate) own: Own,
    /// Variables to set.
    pub(crate) with: &'a [(&'a str, &'a OsStr)],
    /// How long it may take.
    pub(crate) timeout: Duration,
}

impl Tool {
    /// Looks for the program on the process's PATH.
    #[must_use]
    pub fn find(name: &'static str) -> Option<Self> {
        Self::find_in(name, &std::env::var_os("PATH").unwrap_or_default())
    }

    /// Looks for the program in the directories of a PATH.
    #[must_use]
    pub fn find_in(name: &'static str, path: &OsStr) -> Option<Self> {
        let runs = |file: &PathBuf| {
            std::fs::metadata(file)
                .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
        };
        let path = std::env::split_paths(path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(name))
            .find(runs)?;
        Some(Self { name, path })
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Runs the program to its end and returns what it printed to standard output. See [`Self::run_and_listen`].
    pub(crate) async fn run(&self, arguments: &[&OsStr], setting: &Setting<'_>) -> Result<Vec<u8>, Error> {
        Ok(self.run_and_listen(arguments, setting).await?.0)
    }

    /// Runs the program to its end and returns what it printed to standard output, and its last words, as lines.
    ///
    /// Whatever else than exit code 0 is an error, with its last words. The program and everything that it started in its process
    /// group are ended if they take too long, and when the future is dropped.
    pub(crate) async fn run_and_listen(
        &self,
        arguments: &[&OsStr],
        setting: &Setting<'_>,
    ) -> Result<(Vec<u8>, Vec<String>), Error> {
        let failed = |reason: String| Error::ToolFailed { program: self.name.to_owned(), reason };
        let mut command = Command::new(&self.path);
        command.args(arguments).current_dir(setting.directory).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_clear().envs(for_scanner(setting.environment, setting.own));
        command.envs(setting.with.iter().copied());
        let mut child = command.spawn().map_err(|error| failed(format!("it did not start: {error}")))?;
        let mut group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let all = async {
            let output = async {
                let mut output = Vec::new();
                if let Some(stdout) = stdout {
                    stdout.take(MAX_OUTPUT + 1).read_to_end(&mut output).await?;
                }
                Ok::<_, std::io::Error>(output)
            };
            let (output, words) = tokio::join!(output, last_words(stderr));
            (output, words, child.wait().await)
        };
        let Ok((output, words, status)) = tokio::time::timeout(setting.timeout, all).await else {
            return Err(Error::ToolTimeout { program: self.name.to_owned(), limit: setting.timeout });
        };
        group.0 = None;
        let status = status.map_err(|error| failed(error.to_string()))?;
        let output = output.map_err(|error| failed(format!("its output was lost: {error}")))?;
        if output.len() as u64 > MAX_OUTPUT {
            return Err(failed(format!("it printed more than {} MiB", MAX_OUTPUT >> 20)));
        }
        if !status.success() {
            let words = if words.is_empty() { "it said nothing".to_owned() } else { words.join("; ") };
            return Err(failed(format!("{status}; {words}")));
        }
        Ok((output, words))
    }
}

/// Makes a file without any settings in the directory that a program will run in, and returns its name.
///
/// Some programs read settings in the user's home, unless they are given a file.
pub(crate) fn no_settings(directory: &Path) -> Result<&'static str, Error> {
    let name = "no-settings.yaml";
    let path = directory.join(name);
    std::fs::write(&path, "").map_err(Error::io("write", path))?;
    Ok(name)
}

/// A process group that ends with this value, unless it has ended already.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Fails if nothing of it is left, which is what is wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Reads to the end and keeps the last of it, without colours and other control characters.
async fn last_words(pipe: Option<impl AsyncRead + Unpin>) -> Vec<String> {
    let Some(mut pipe) = pipe else { return Vec::new() };
    let mut tail: Vec<u8> = Vec::new();
    let mut buffer = vec![0; 8192];
    while let Ok(count) = pipe.read(&mut buffer).await
        && count > 0
    {
        tail.extend_from_slice(&buffer[..count]);
        let surplus = tail.len().saturating_sub(LAST_WORDS);
        tail.drain(..surplus);
    }
    let text = String::from_utf8_lossy(&tail);
    text.lines().map(plain).filter(|line| !line.is_empty()).collect()
}

/// A line without colours, its tabs and other control characters as spaces.
fn plain(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let mut text = parts.next().unwrap_or_default().to_owned();
    // What follows the mark is numbers, and one letter at the end.
    for part in parts {
        let mut rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').chars();
        rest.next();
        text.push_str(rest.as_str());
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _};

    use super::*;

    fn program(folder: &Path, script: &str) -> Tool {
        let path = folder.join("scanner");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Tool::find_in("scanner", folder.as_os_str()).unwrap()
    }

    const OWN: Own = &["SCANNER_CACHE", "SCANNER_DB_"];

    fn run(folder: &Path, script: &str, timeout: Duration) -> Result<Vec<u8>, Error> {
        run_from(folder, script, timeout, &crate::environment::of_process())
    }

    fn run_from(
        folder: &Path,
        script: &str,
        timeout: Duration,
        environment: &Environment,
    ) -> Result<Vec<u8>, Error> {
        let tool = program(folder, script);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let setting = Setting {
            directory: folder,
            environment,
            own: OWN,
            with: &[("QUIET", OsStr::new("yes"))],
            timeout,
        };
        runtime.block_on(tool.run(&[OsStr::new("a b")], &setting))
    }

    #[test]
    fn what_it_prints_and_how_it_fails() {
        let folder = tempfile::tempdir().unwrap();
        let minute = Duration::from_mins(1);
        let output = run(folder.path(), r#"printf '%s|%s' "$1" "$QUIET""#, minute).unwrap();
        assert_eq!(output, b"a b|yes");
        let error =
            run(folder.path(), r"printf '\033[1;31mno\033[0m\tdatabase\n' >&2; exit 3", minute).unwrap_err();
        insta::assert_snapshot!(error, @"`scanner` failed: exit status: 3; no database");
        let error = run(folder.path(), "kill -9 $$", minute).unwrap_err();
        insta::assert_snapshot!(error, @"`scanner` failed: signal: 9 (SIGKILL); it said nothing");
    }

    #[test]
    fn a_scanner_gets_neither_our_secrets_nor_settings_that_nobody_listed() {
        let folder = tempfile::tempdir().unwrap();
        let gone = [
            "SCANNER_SOMETHING_NEW",
            "SCANNER_CACHE_ELSEWHERE",
            "SPECTRA_TOKEN",
            "RAILWAY_TOKEN",
            "COSIGN_PASSWORD",
            "TF_TOKEN_app_terraform_io",
            "TERRAFORM_API_TOKEN",
            "AWS_SECRET_ACCESS_KEY",
            "DOCKER_PASSWORD",
        ];
        let stays = ["SCANNER_CACHE", "SCANNER_DB_URL", "HOME", "HTTPS_PROXY"];
        let mut environment: Environment =
            gone.into_iter().chain(stays).map(|name| (name.into(), "set".into())).collect();
        environment.push(("PATH".into(), std::env::var_os("PATH").unwrap()));
        let output = run_from(folder.path(), "env", Duration::from_mins(1), &environment).unwrap();
        let output = String::from_utf8(output).unwrap();
        let names: Vec<&str> = output.lines().filter_map(|line| line.strip_suffix("=set")).collect();
        assert!(stays.iter().all(|name| names.contains(name)), "{output}");
        assert!(gone.iter().all(|name| !names.contains(name)), "{output}");
    }

    /// A program that says when it and its child run, and which both hold a pipe that has its end when neither does.
    struct Lasting {
        tool: Tool,
        pipe: PathBuf,
    }

    impl Lasting {
        fn new(folder: &Path) -> Self {
            let pipe = folder.join("pipe");
            assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
            // A child that is not ended would write more before it closes the pipe.
            let tool = program(folder, "exec 3> pipe; { sleep 60; echo late >&3; } & echo started >&3; wait");
            Self { tool, pipe }
        }

        /// Waits until both run.
        async fn started(&self) -> BufReader<std::fs::File> {
            let pipe = self.pipe.clone();
            let wait = move || {
                let mut reader = BufReader::new(std::fs::File::open(pipe).unwrap());
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                assert_eq!(line, "started\n");
                reader
            };
            tokio::task::spawn_blocking(wait).await.unwrap()
        }
    }

    /// Waits until nothing holds the pipe.
    fn assert_ended(mut reader: BufReader<std::fs::File>) {
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "the child went on");
    }

    #[test]
    fn one_that_takes_too_long_is_ended_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let (lasting, environment) = (Lasting::new(folder.path()), crate::environment::of_process());
        let timeout = Duration::from_hours(1);
        let setting =
            Setting { directory: folder.path(), environment: &environment, own: OWN, with: &[], timeout };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (result, reader) = runtime.block_on(async {
            let late = async {
                let reader = lasting.started().await;
                tokio::time::pause();
                tokio::time::advance(timeout).await;
                reader
            };
            tokio::join!(lasting.tool.run(&[], &setting), late)
        });
        insta::assert_snapshot!(result.unwrap_err(), @"`scanner` was ended after 3600 s");
        assert_ended(reader);
    }

    #[test]
    fn one_that_nobody_waits_for_any_more_is_ended_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let (lasting, environment) = (Lasting::new(folder.path()), crate::environment::of_process());
        let timeout = Duration::from_hours(1);
        let setting =
            Setting { directory: folder.path(), environment: &environment, own: OWN, with: &[], timeout };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let reader = runtime.block_on(async {
            tokio::select! {
                _ = lasting.tool.run(&[], &setting) => panic!("it ended by itself"),
                reader = lasting.started() => reader,
            }
        });
        assert_ended(reader);
    }

    #[test]
    fn only_what_can_be_run_is_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("scanner"), "").unwrap();
        assert!(Tool::find_in("scanner", folder.path().as_os_str()).is_none());
        assert!(Tool::find_in("scanner", OsStr::new(".:")).is_none(), "not from where one stands");
    }
}
