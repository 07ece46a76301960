//! Text of others on its way to a terminal.

/// The text, each control character as a space: a terminal obeys them, and a layer or a repository may name its files as it likes.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
