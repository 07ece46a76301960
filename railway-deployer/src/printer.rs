//! The one way to the terminal. Everything passes the process's redactor, as a last resort: what holds a secret
//! cannot be printed in the first place. What is of others is kept from doing harm on the way; `lines` says how.

use std::io::{self, IsTerminal as _, Write};

use serde::Serialize;
use serde_json::{Value, json};
use spectra_types::{ExitCode, Redactor};

use crate::{
    cli::{Color, Global},
    failure::Failure,
    lines::{Lines, harmless, harmless_json, plain, quoted},
};

/// Version of every JSON document that commands print.
const JSON_VERSION: u32 = 1;

/// How to print.
#[expect(clippy::struct_excessive_bools, reason = "four independent flags of the command line")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    json: bool,
    quiet: bool,
    progress: bool,
    color: bool,
}

/// How good or bad a line is; shown by its word, and by colour where that is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Ok,
    Warn,
    Fail,
}

impl Printer {
    pub(crate) fn new(global: &Global) -> Self {
        let color = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                io::stderr().is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        };
        Self { json: global.json, quiet: global.quiet, progress: !global.no_progress && !global.quiet, color }
    }

    /// Whether data is printed as JSON.
    pub(crate) const fn is_json(self) -> bool {
        self.json
    }

    /// Whether progress is shown at all.
    pub(crate) const fn shows_progress(self) -> bool {
        self.progress
    }

    /// Whether nothing but the result is wanted.
    pub(crate) const fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Whether progress may be drawn and redrawn.
    pub(crate) fn is_interactive(self) -> bool {
        self.progress && io::stderr().is_terminal()
    }

    /// Prints the command's result: the lines, or the value with `version` and `kind` added.
    pub(crate) fn data(
        self,
        kind: &str,
        value: &impl Serialize,
        text: impl Into<Lines>,
    ) -> Result<(), Failure> {
        if self.json { to_stdout(&Self::document(kind, value)?) } else { self.text(&text.into()) }
    }

    /// Prints what became of something, as [`Printer::data`] does, and returns its exit code. One that says more than that something
    /// failed stays when the result cannot be printed, which is then said on standard error: 1 would say that nothing was changed.
    pub(crate) fn outcome(
        self,
        kind: &str,
        value: &impl Serialize,
        text: impl Into<Lines>,
        exit: ExitCode,
    ) -> Result<ExitCode, Failure> {
        match self.data(kind, value, text) {
            Err(failure) if exit != ExitCode::Done => {
                self.fail(&failure);
                Ok(exit)
            }
            result => result.map(|()| exit),
        }
    }

    /// Prints lines, whatever the flags say, as the result that was asked for in that form.
    #[expect(clippy::unused_self, reason = "printing is the printer's")]
    pub(crate) fn text(self, text: &Lines) -> Result<(), Failure> {
        to_stdout(&format!("{}\n", text.as_str().trim_end()))
    }

    /// Prints a document of JSON, as the result that was asked for in that form.
    #[expect(clippy::unused_self, reason = "printing is the printer's")]
    pub(crate) fn json(self, document: &str) -> Result<(), Failure> {
        to_stdout(&harmless_json(document))
    }

    /// The document of a result: the value with `version` and `kind` added, and a line feed behind it.
    pub(crate) fn document(kind: &str, value: &impl Serialize) -> Result<String, Failure> {
        let invalid = |source: serde_json::Error| Failure::io("write JSON", source.into());
        let mut document = json!({ "version": JSON_VERSION, "kind": kind });
        let value = serde_json::to_value(value).map_err(invalid)?;
        if let (Value::Object(document), Value::Object(fields)) = (&mut document, value) {
            document.extend(fields);
            // A document of its own with a version keeps it under another name.
            document.insert("version".to_owned(), JSON_VERSION.into());
            document.insert("kind".to_owned(), kind.into());
        }
        Ok(format!("{}\n", harmless_json(&serde_json::to_string_pretty(&document).map_err(invalid)?)))
    }

    /// Warns of something; also a machine that reads the result wants to know, so `quiet` alone silences it.
    pub(crate) fn warn(self, text: &str) {
        if !self.quiet {
            to_stderr(&format!("{}: {}\n", self.paint("warning", Status::Warn), plain(text)));
        }
    }

    /// Says something that is not the result.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            self.line(text);
        }
    }

    /// Writes a line to standard error, whatever the flags say: for those who asked them already.
    #[expect(clippy::unused_self, reason = "printing is the printer's")]
    pub(crate) fn line(self, text: &str) {
        to_stderr(&format!("{}\n", plain(text)));
    }

    /// Says what a tool says, marked as that.
    pub(crate) fn quote(self, text: &str) {
        if !self.quiet {
            self.line(&format!("| {text}"));
        }
    }

    /// Prints a failure and returns its exit code.
    pub(crate) fn fail(self, failure: &Failure) -> ExitCode {
        let exit = failure.exit_code();
        let chain = failure.chain();
        if self.json {
            let document = json!({
                "version": JSON_VERSION,
                "kind": "error",
                "error": {
                    "code": failure.code(),
                    "message": chain.first(),
                    "causes": chain.get(1..),
                    "hint": failure.hint(),
                    "exit_code": exit.code(),
                },
            });
            to_stderr(&format!("{}\n", harmless_json(&document.to_string())));
            return exit;
        }
        let code = failure.code().map(|code| format!("[{code}]")).unwrap_or_default();
        let mut text =
            format!("{}: {}\n", self.paint(&format!("error{code}"), Status::Fail), quoted(&chain[0]));
        for cause in &chain[1..] {
            text.extend(["  caused by: ", &quoted(cause), "\n"]);
        }
        if let Some(hint) = failure.hint() {
            text.extend(["hint: ", &quoted(hint), "\n"]);
        }
        to_stderr(&text);
        exit
    }

    /// Colours a word by its status, if colour is on.
    pub(crate) fn paint(self, text: &str, status: Status) -> String {
        if !self.color {
            return text.to_owned();
        }
        let code = match status {
            Status::Ok => 32,
            Status::Warn => 33,
            Status::Fail => 31,
        };
        format!("\u{1b}[1;{code}m{text}\u{1b}[0m")
    }

    /// Sends the log of all crates to standard error; `SPECTRA_LOG` chooses what, by default warnings.
    pub(crate) fn install_logging(self) {
        let filter = tracing_subscriber::EnvFilter::try_from_env("SPECTRA_LOG")
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(self.color)
            .with_writer(|| RedactingLines { buffer: Vec::new() })
            .finish();
        // Fails only if a subscriber is set already, which nothing in this process does.
        let _ = tracing::subscriber::set_global_default(subscriber);
    }
}

/// Holds back what is written until it is whole, so that a secret cut in two writes is still seen.
struct RedactingLines {
    buffer: Vec<u8>,
}

impl Write for RedactingLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for RedactingLines {
    fn drop(&mut self) {
        // A line feed before the last one is in a field, and of others. The colours are the log's own.
        let text = String::from_utf8_lossy(&self.buffer);
        let text = Redactor::global().redact(text.trim_end());
        to_stderr(&format!("{}\n", text.replace('\n', "\n  | ")));
    }
}

/// Standard output without the standard library's buffer, of which a rest could fail when nobody looks any more, and without its
/// indulgence: it takes a descriptor that is not open for writing for one that swallows everything.
pub(crate) struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(io::stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What it means that standard output did not take a result.
pub(crate) fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        // A reader that has gone away, such as `head`, had what it wanted. The command did what it was asked for, and its exit code
        // says how that went: a pipeline under `pipefail` must not fail because its last part was content early.
        Err(source) if source.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|source| Failure::Output { source }),
    }
}

/// Writes to standard output.
fn to_stdout(text: &str) -> Result<(), Failure> {
    script_to_stdout(&harmless(&Redactor::global().redact(text)))
}

/// Writes a script of ours to standard output as it is: nothing in it is of others, and a shell reads it.
pub(crate) fn script_to_stdout(text: &str) -> Result<(), Failure> {
    written(Stdout.write_all(Redactor::global().redact(text).as_bytes()))
}

/// Writes to standard error.
fn to_stderr(text: &str) {
    let _ = io::stderr().lock().write_all(harmless(&Redactor::global().redact(text)).as_bytes());
}

/// Prints what was asked for about the command line itself: help or the version.
pub(crate) fn help(text: &str) -> ExitCode {
    match to_stdout(text) {
        Ok(()) => ExitCode::Done,
        // No flag was read that would say how.
        Err(failure) => Printer { json: false, quiet: false, progress: false, color: false }.fail(&failure),
    }
}

/// Prints what is wrong with a command line, which may have several lines.
pub(crate) fn usage(text: &str) -> ExitCode {
    to_stderr(text);
    ExitCode::Usage
}

/// A line that something else than this module puts on the terminal, above bars or in a window.
pub(crate) fn drawn(text: &str) -> String {
    harmless(&plain(text))
}

/// A size for people, in the units that registries use.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut scaled = u128::from(count) * 10;
    while scaled >= 10_240 && unit + 1 < UNITS.len() {
        scaled /= 1024;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{}.{} {}", scaled / 10, scaled % 10, UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes() {
        assert_eq!(super::bytes(1023), "1023 B");
        assert_eq!(super::bytes(1536), "1.5 KiB");
        assert_eq!(super::bytes(5 * 1024 * 1024 * 1024), "5.0 GiB");
    }
}
