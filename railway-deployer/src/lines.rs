//! Text on its way to a terminal. Much of it is of others: labels of images, answers of registries, names of services, logs. It may
//! neither make lines that look like our own, nor drive the terminal, nor give orders to the CI system that reads our output.
//!
//! Two things see to that. Whoever makes lines makes them one by one, through [`plain`], [`quoted`] or [`Lines`], which keep a text to its
//! line; this alone can tell our line feeds from those of others. And whatever is written passes [`harmless`], or [`harmless_json`]
//! where it is JSON, so that what was forgotten above drives nothing.

use std::fmt::Write as _;

use spectra_types::Redactor;

/// What a terminal obeys or shows as a break, and the marks that turn the direction of what follows.
fn is_order(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text on one line, without secrets and without what a terminal obeys.
pub(crate) fn plain(text: &str) -> String {
    // First the secrets, which are known as they are: a key has several lines.
    let text = Redactor::global().redact(text);
    text.chars().map(|c| if is_order(c) { ' ' } else { c }).collect()
}

/// A text that may have several lines: those behind the first are marked as what they are, a part of it.
pub(crate) fn quoted(text: &str) -> String {
    let text = Redactor::global().redact(text);
    let mut lines = text.lines();
    let mut output = plain(lines.next().unwrap_or_default());
    for line in lines {
        output.extend(["\n  | ", &plain(line)]);
    }
    output
}

/// What is about to be written: no control characters but line feeds, tabs and our own colours, and no line that is an order to a CI
/// system.
pub(crate) fn harmless(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        let mut orderly = String::with_capacity(line.len());
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            let length = colour(rest).unwrap_or(c.len_utf8());
            let obeyed = is_order(c) && c != '\t' && length == c.len_utf8();
            orderly.push_str(if obeyed { " " } else { &rest[..length] });
            rest = &rest[length..];
        }
        output.push_str(&without_orders(&orderly));
        output.push_str(end);
    }
    output
}

/// How long the escape sequence is that a text begins with, if it is one that we or the log write: colours and emphasis, nothing that
/// hides.
fn colour(text: &str) -> Option<usize> {
    let codes = text.strip_prefix("\u{1b}[")?;
    let (codes, _) = codes.split_once('m')?;
    let ours = |code: &str| matches!(code, "0" | "1" | "2" | "3" | "31" | "32" | "33" | "34" | "35");
    codes.split(';').all(ours).then_some(codes.len() + "\u{1b}[m".len())
}

/// GitHub Actions takes a line that begins with `::`, white space aside, and one that has `##[` anywhere for an order; Azure Pipelines and
/// `TeamCity` have marks of that kind.
fn without_orders(line: &str) -> String {
    let mut line = line.to_owned();
    let indent = line.len() - line.trim_start().len();
    if line[indent..].starts_with("::") {
        line.insert(indent + 1, ' ');
    }
    for mark in ["##[", "##vso[", "##teamcity["] {
        if line.contains(mark) {
            line = line.replace(mark, &mark.replacen("##", "## ", 1));
        }
    }
    line
}

/// A JSON document that says the same and has no control characters but line feeds between its tokens, and no order to a CI system.
pub(crate) fn harmless_json(document: &str) -> String {
    // First the secrets, since a mark could stand in one.
    let document = Redactor::global().redact(document);
    let mut output = String::with_capacity(document.len());
    for c in document.chars() {
        // Such a character, or two number signs in a row, can only stand in a string.
        if is_order(c) && c != '\n' || c == '#' && output.ends_with('#') {
            // Writing to a String cannot fail.
            let _ = write!(output, "\\u{:04x}", u32::from(c));
        } else {
            output.push(c);
        }
    }
    output
}

/// Lines for people, each kept to itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines(String);

impl Lines {
    /// Adds a line. A line feed in it is of others: ours are where lines end.
    pub(crate) fn push(&mut self, line: &str) {
        self.marked("", line);
    }

    /// Adds a line that begins with a word of ours, which may have a colour.
    pub(crate) fn marked(&mut self, word: &str, rest: &str) {
        self.0.push_str(format!("{word}{}", plain(rest)).trim_end());
        self.0.push('\n');
    }

    /// Adds the lines of another.
    pub(crate) fn append(&mut self, other: &Self) {
        self.0.push_str(&other.0);
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All lines, each with its line feed.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: AsRef<str>> From<T> for Lines {
    /// One line.
    fn from(line: T) -> Self {
        let mut lines = Self::default();
        lines.push(line.as_ref());
        lines
    }
}

impl<T: AsRef<str>> FromIterator<T> for Lines {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut lines = Self::default();
        texts.into_iter().for_each(|line| lines.push(line.as_ref()));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_makes_no_line_of_its_own() {
        let forged = "application/x\r\naccepted  signature\u{1b}[2K\u{9b}1m\u{2028}\u{202e}";
        assert_eq!(plain(forged), "application/x  accepted  signature [2K 1m  ");
        assert_eq!(plain("größer als `x`"), "größer als `x`");
        assert_eq!(quoted("it said:\n::error::x\n\nhint: y"), "it said:\n  | ::error::x\n  | \n  | hint: y");
        let lines: Lines = ["a\nb", "c"].into_iter().collect();
        assert_eq!(lines.as_str(), "a b\nc\n");
    }

    #[test]
    fn a_secret_of_several_lines_is_known_before_they_are_one() {
        let secret = "-----BEGIN KEY-----\nlines-test-6f1d\n-----END KEY-----";
        Redactor::global().register(secret);
        assert_eq!(plain(&format!("the key {secret}!")), "the key [redacted]!");
        assert_eq!(quoted(&format!("the key {secret}!")), "the key [redacted]!");
    }

    #[test]
    fn a_line_is_no_order_to_a_terminal_or_a_ci_system() {
        assert_eq!(harmless("\u{1b}[1;31merror\u{1b}[0m: x\ty\n"), "\u{1b}[1;31merror\u{1b}[0m: x\ty\n");
        // Conceal, black, erase, a title, a cursor key, and one that does not end.
        assert_eq!(
            harmless("\u{1b}[8mx\u{1b}[30m\u{1b}[2J\u{1b}]0;t\u{7}\u{1b}[A\u{1b}[1"),
            " [8mx [30m [2J ]0;t  [A [1"
        );
        assert_eq!(harmless("a\n \u{a0}::error::b\n::c\n"), "a\n \u{a0}: :error::b\n: :c\n");
        assert_eq!(harmless("a\r::error::b"), "a ::error::b");
        assert_eq!(harmless("say ##[add-mask]x, ##vso[task.x]"), "say ## [add-mask]x, ## vso[task.x]");
        assert_eq!(harmless("Error::Io, ## heading, fe80::1"), "Error::Io, ## heading, fe80::1");
    }

    #[test]
    fn json_is_no_order_and_says_the_same() {
        let value =
            serde_json::json!({ "###[x]\u{1b}": "::a\n\u{9b}2J\u{202e}\u{7f}", "plain": ["#1", "ä"] });
        let document = serde_json::to_string_pretty(&value).unwrap();
        let text = harmless_json(&document);
        assert!(!text.contains("##") && !text.replace('\n', "").contains(is_order), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        assert_eq!(harmless(&text), text);
    }
}
