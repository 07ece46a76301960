//! Text of others in what we say.

/// How many names an error lists, and how long each may be, in characters.
const MOST_NAMES: usize = 20;
const LONGEST_NAME: usize = 200;

/// A text on one line: white space and what a terminal obeys are one space each time, and what is longer than `longest` characters is cut.
pub(crate) fn one_line(text: &str, longest: usize) -> String {
    let breaks = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let words: Vec<&str> = text.split(breaks).filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    match line.char_indices().nth(longest) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// The names, in backticks, for an error that says what there is; of many, the first and how many more there are.
pub(crate) fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let mut text: Vec<String> =
        names.iter().take(MOST_NAMES).map(|name| format!("`{}`", one_line(name, LONGEST_NAME))).collect();
    if names.len() > MOST_NAMES {
        text.push(format!("and {} more", names.len() - MOST_NAMES));
    }
    text.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_others_is_one_line_and_a_long_list_is_short() {
        assert_eq!(
            list(&["a".to_owned(), "b\n::error::\u{1b}[2J\u{202e}x".to_owned()]),
            "`a`, `b ::error:: [2J x`"
        );
        let text = list(&vec!["x".repeat(10_000); 10_000]);
        assert!(text.ends_with("…`, and 9980 more"), "{text}");
        assert!(text.chars().count() < (LONGEST_NAME + 8) * MOST_NAMES, "{}", text.len());
    }
}
