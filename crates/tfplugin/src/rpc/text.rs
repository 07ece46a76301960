//! What people are to read. Much of it is of others: an answer of a server, the name of an object. Terraform prints it as it comes, so
//! it is made harmless here: it may neither drive the terminal nor give orders to the CI system that reads the output.

/// A text without what a terminal obeys, and without lines that a CI system takes for orders. Line feeds and tabs stay.
pub(super) fn harmless(text: String) -> String {
    // Nearly all of it is ours, and has nothing to change.
    if !text.contains(|c| c == '\r' || is_order(c)) && !text.contains("::") && !text.contains("##") {
        return text;
    }
    let plain: String =
        text.chars().filter(|c| *c != '\r').map(|c| if is_order(c) { ' ' } else { c }).collect();
    let lines: Vec<String> = plain.split('\n').map(without_orders).collect();
    lines.join("\n")
}

/// Control characters, and the marks that turn the direction of what follows.
const fn is_order(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => c.is_ascii_control() || matches!(c, '\u{80}'..='\u{9f}'),
    }
}

/// GitHub Actions takes a line that begins with `::`, white space aside, for an order, as it does one that has `##[` anywhere; Azure
/// Pipelines and `TeamCity` have marks of that kind.
fn without_orders(line: &str) -> String {
    let start = line.trim_start();
    let mut line = line.to_owned();
    if start.starts_with("::") {
        line.insert(line.len() - start.len() + 1, ' ');
    }
    for mark in ["##[", "##vso[", "##teamcity["] {
        if line.contains(mark) {
            line = line.replace(mark, &mark.replacen("##", "## ", 1));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_drove_the_terminal_and_gave_orders_to_ci() {
        let forged =
            "bad\u{1b}[2J\r\n::error::forged\n\t ::add-mask::x\na ##[group]\u{9b}1m\u{202e} ##vso[task.x]";
        assert_eq!(
            harmless(forged.to_owned()),
            "bad [2J\n: :error::forged\n\t : :add-mask::x\na ## [group] 1m  ## vso[task.x]"
        );
        let ours = "The image `a::b` is\n\n  - here: `sha256:00…`\n";
        assert_eq!(harmless(ours.to_owned()), ours);
    }
}
