//! What a program prints.

use std::collections::VecDeque;

use spectra_types::Redactor;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

/// How many lines the tail has at most.
const LINES: usize = 20;
/// How long the tail is at most, in bytes.
const BYTES: usize = 4 << 10;
/// What is read of one line at most, in bytes. Much more than is shown, so that a secret that the cut goes through
/// lies behind what is shown.
const LONGEST_LINE: usize = 64 << 10;

/// Where a line was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// Reads a pipe to its end, line by line; bytes that are not UTF-8 are replaced.
pub(crate) async fn lines(pipe: impl AsyncRead + Unpin, mut take: impl FnMut(&str)) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        // A pipe that cannot be read any more has ended.
        let available = reader.fill_buf().await.unwrap_or_default();
        if available.is_empty() {
            break;
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let piece = &available[..end.unwrap_or(available.len())];
        line.extend_from_slice(&piece[..piece.len().min(LONGEST_LINE - line.len())]);
        let used = piece.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            take(&String::from_utf8_lossy(&line));
            line.clear();
        }
    }
    if !line.is_empty() {
        take(&String::from_utf8_lossy(&line));
    }
}

/// A line as it may be shown: what a progress bar overwrote, control characters and secrets are gone.
pub(crate) fn presentable(line: &str) -> String {
    let line = line.trim_end();
    let last = line.rsplit('\r').next().unwrap_or(line);
    let text: String =
        last.chars().filter(|character| *character == '\t' || !character.is_control()).collect();
    cut(&Redactor::global().redact(&text)).to_owned()
}

/// As much of the beginning as the tail can hold.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The last lines that were printed, in the order of their arrival.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Tail {
    /// Takes a line that may be shown, of no more than [`BYTES`].
    pub(crate) fn push(&mut self, line: String) {
        self.bytes += line.len() + 1;
        self.lines.push_back(line);
        // The line feed of the last one is not part of the text.
        while self.lines.len() > LINES || self.bytes > BYTES + 1 {
            let Some(dropped) = self.lines.pop_front() else { break };
            self.bytes -= dropped.len() + 1;
        }
    }

    pub(crate) fn text(&self) -> String {
        self.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use spectra_types::Secret;

    use super::*;

    fn tail_of(lines: impl IntoIterator<Item = String>) -> String {
        let mut tail = Tail::default();
        lines.into_iter().for_each(|line| tail.push(presentable(&line)));
        tail.text()
    }

    #[test]
    fn the_tail_is_short_in_lines_and_in_bytes() {
        let many = tail_of((1..=30).map(|number| format!("line {number}")));
        assert!(many.starts_with("line 11\n") && many.ends_with("line 30"), "{many}");
        let long = tail_of((1..=9).map(|number| number.to_string().repeat(1_000)));
        assert!(long.len() <= BYTES && long.starts_with('6') && long.ends_with('9'), "{}", long.len());
        let one = tail_of(["ü".repeat(BYTES)]);
        assert_eq!(one.len(), BYTES);
    }

    #[test]
    fn what_a_terminal_would_obey_is_gone() {
        assert_eq!(presentable("10 %\r20 %\r\u{1b}[31mdone\u{7}\tall\r\n"), "[31mdone\tall");
    }

    #[test]
    fn a_secret_at_the_cut_is_recognised() {
        let secret: Secret<String> = Secret::from("a-password-in-a-line");
        let shown = presentable(&format!("{}{}", "x".repeat(BYTES - 8), secret.expose()));
        assert!(!shown.contains("a-pass"));
    }

    #[tokio::test]
    async fn lines_are_read_whatever_they_hold() {
        let mut printed = b"one\n\nt\xffo\n".to_vec();
        printed.extend(std::iter::repeat_n(b'x', 3 * LONGEST_LINE));
        printed.extend(b"\nlast");
        let mut seen = Vec::new();
        lines(printed.as_slice(), |line| seen.push(line.to_owned())).await;
        assert_eq!(seen.len(), 5);
        assert_eq!(seen[..3], ["one", "", "t\u{fffd}o"]);
        assert_eq!(seen[3].len(), LONGEST_LINE);
        assert_eq!(seen[4], "last");
    }
}
