//! What the person sees: one line a step, indented quotes of what programs said.

use std::io::{IsTerminal, Write};

/// Writes lines to standard output; a closed pipe is not an error worth failing for.
#[derive(Clone, Copy)]
pub(crate) struct Report {
    colour: bool,
}

impl Report {
    /// Colours only on a terminal that did not opt out.
    pub(crate) fn new() -> Self {
        Self { colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    /// Announces what happens next, in one line.
    pub(crate) fn step(self, text: &str) {
        self.line("1;36", "==>", text);
    }

    /// Something that was checked and holds.
    pub(crate) fn ok(self, text: &str) {
        self.line("32", " ok", text);
    }

    /// A remark that is neither a step nor a result.
    pub(crate) fn note(self, text: &str) {
        self.line("33", "  -", text);
    }

    /// The reason for a non-zero exit; goes to standard error.
    pub(crate) fn failure(self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{} {text}", self.paint("1;31", "error:"));
    }

    /// Bare text on its own line: figures and summaries that other programs read.
    #[expect(
        clippy::unused_self,
        reason = "every output goes through one object, also where it needs no colour"
    )]
    pub(crate) fn plain(self, text: &str) {
        // A reader that went away is no reason to fail differently.
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    /// Quotes what a program printed, indented, without its empty edges.
    pub(crate) fn quote(self, text: &str) {
        for line in text.trim_matches('\n').lines() {
            self.plain(&format!("      | {line}"));
        }
    }

    fn line(self, colour: &str, mark: &str, text: &str) {
        self.plain(&format!("{} {text}", self.paint(colour, mark)));
    }

    fn paint(self, colour: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
