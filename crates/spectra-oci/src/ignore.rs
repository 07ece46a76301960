//! Which files a layer leaves out, in the language of `.dockerignore`.

use std::path::Path;

use crate::Error;

/// An ordered list of patterns; the last one that fits decides.
///
/// A pattern is relative to the directory that is copied, and fits what lies below it too. `*` and `?` stay within one name,
/// `[a-z]` is one character of a set, `**` is any number of directories, `\` takes the next character as it is, and a leading
/// `!` brings back what an earlier pattern left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    brings_back: bool,
    segments: Vec<Vec<char>>,
}

impl Patterns {
    /// Reads patterns, one a line; empty lines and lines that begin with `#` say nothing.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let mut patterns = Vec::new();
        for line in lines {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (brings_back, text) =
                line.strip_prefix('!').map_or((false, line), |rest| (true, rest.trim()));
            let refuse = |why: &str| Error::Build { reason: format!("the pattern `{line}` {why}") };
            let mut segments = Vec::new();
            for segment in text.split('/') {
                match segment {
                    "" | "." => {}
                    ".." => return Err(refuse("leads out of the directory that is copied")),
                    segment => {
                        check_segment(segment).map_err(refuse)?;
                        segments.push(segment.chars().collect());
                    }
                }
            }
            // `.` and `/` mean the directory itself, and so everything in it.
            if segments.is_empty() {
                segments.push(vec!['*', '*']);
            }
            // A last `**` wants at least one name below.
            if segments.last().is_some_and(|last| *last == ['*', '*']) {
                segments.push(vec!['*']);
            }
            patterns.push(Pattern { brings_back, segments });
        }
        Ok(Self { patterns })
    }

    /// Whether a path, relative to the directory that is copied, fits.
    #[must_use]
    pub fn fits(&self, path: &Path) -> bool {
        let names: Vec<Vec<char>> =
            path.components().map(|part| part.as_os_str().to_string_lossy().chars().collect()).collect();
        let last = self.patterns.iter().rev().find(|pattern| pattern.fits_or_holds(&names));
        last.is_some_and(|pattern| !pattern.brings_back)
    }

    /// Whether something below a directory that fits could still be brought back.
    #[must_use]
    pub(crate) fn brings_back(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.brings_back)
    }
}

impl Pattern {
    /// Whether the pattern fits the path or a directory above it.
    fn fits_or_holds(&self, names: &[Vec<char>]) -> bool {
        (1..=names.len()).rev().any(|length| fits_path(&self.segments, &names[..length]))
    }
}

/// Whether segments fit names, where `**` fits any number of them.
fn fits_path(segments: &[Vec<char>], names: &[Vec<char>]) -> bool {
    let is_star = |at: usize| segments.get(at).is_some_and(|segment| *segment == ['*', '*']);
    let step = |at: usize, name: &Vec<char>| {
        segments.get(at).is_some_and(|segment| fits_name(segment, name)).then_some(1)
    };
    fits(segments.len(), names, is_star, step)
}

/// Whether a pattern fits a name, where `*` fits any part of it.
fn fits_name(pattern: &[char], name: &[char]) -> bool {
    fits(
        pattern.len(),
        name,
        |at| pattern.get(at) == Some(&'*'),
        |at, character| one(&pattern[at..], *character),
    )
}

/// Whether a pattern of `length` parts fits all of `items`. `is_star` says whether any number of items fits the part at a place, and
/// `step` how many parts of the pattern fit one item.
///
/// When what is behind a star does not fit, the star takes one item more; what stars before it took need not be asked again, for the
/// last one can take as much. So the cost is at most the product of the lengths, however many stars there are.
fn fits<T>(
    length: usize,
    items: &[T],
    is_star: impl Fn(usize) -> bool,
    step: impl Fn(usize, &T) -> Option<usize>,
) -> bool {
    let (mut at, mut from) = (0, 0);
    // Behind the last star, and what it has taken.
    let mut last: Option<(usize, usize)> = None;
    while at < length || from < items.len() {
        if is_star(at) {
            at += 1;
            last = Some((at, from));
        } else if let Some(parts) = items.get(from).and_then(|item| step(at, item)) {
            at += parts;
            from += 1;
        } else {
            let Some((behind, taken)) = last.filter(|(_, taken)| *taken < items.len()) else { return false };
            last = Some((behind, taken + 1));
            (at, from) = (behind, taken + 1);
        }
    }
    true
}

/// How much of the beginning of a pattern fits one character.
fn one(pattern: &[char], character: char) -> Option<usize> {
    match pattern.split_first()? {
        ('?', _) => Some(1),
        ('[', rest) => {
            let end = class_end(rest)?;
            in_class(&rest[..end], character).then_some(end + 2)
        }
        ('\\', rest) => (rest.first() == Some(&character)).then_some(2),
        (first, _) => (*first == character).then_some(1),
    }
}

/// Where the `]` of a set is; right after the beginning it is a member.
fn class_end(rest: &[char]) -> Option<usize> {
    let skipped = usize::from(rest.first() == Some(&'^')) + 1;
    rest.iter().skip(skipped).position(|character| *character == ']').map(|at| at + skipped)
}

fn in_class(class: &[char], character: char) -> bool {
    let (negated, members) = class.strip_prefix(&['^'][..]).map_or((false, class), |rest| (true, rest));
    let mut found = false;
    let mut at = 0;
    while at < members.len() {
        if at + 2 < members.len() && members[at + 1] == '-' {
            found |= (members[at]..=members[at + 2]).contains(&character);
            at += 3;
        } else {
            found |= members[at] == character;
            at += 1;
        }
    }
    found != negated
}

fn check_segment(segment: &str) -> Result<(), &'static str> {
    let characters: Vec<char> = segment.chars().collect();
    let mut at = 0;
    while at < characters.len() {
        match characters[at] {
            '\\' if at + 1 == characters.len() => return Err("ends with a lone `\\`"),
            '\\' => at += 2,
            '[' => match class_end(&characters[at + 1..]) {
                Some(end) => at += end + 2,
                None => return Err("has a `[` without `]`"),
            },
            _ => at += 1,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fits(patterns: &[&str], path: &str) -> bool {
        Patterns::parse(patterns.iter().copied()).unwrap().fits(Path::new(path))
    }

    #[test]
    fn patterns_mean_what_dockerignore_means() {
        for (patterns, path, expected) in [
            (&["*.map"][..], "a.map", true),
            (&["*.map"], "js/a.map", false),
            (&["**/*.map"], "js/x/a.map", true),
            (&["**/*.map"], "a.map", true),
            (&["js"], "js/x/a.map", true),
            (&["/js/"], "js/a", true),
            (&["js/**"], "js", false),
            (&["js/**"], "js/a/b", true),
            (&["a/**/z"], "a/z", true),
            (&["a/**/z"], "a/b/c/z/deep", true),
            (&["*", "!keep"], "other", true),
            (&["*", "!keep"], "keep/this", false),
            (&["*", "!keep", "keep/not"], "keep/not", true),
            (&["?.txt"], "ab.txt", false),
            (&["[a-c].txt"], "b.txt", true),
            (&["[^a-c].txt"], "b.txt", false),
            (&["[]x].txt"], "].txt", true),
            (&[r"\*.txt"], "a.txt", false),
            (&[r"\*.txt"], "*.txt", true),
            (&["# all", "", "  x  "], "x", true),
            (&["."], "anything/at/all", true),
            (&[], "x", false),
        ] {
            assert_eq!(fits(patterns, path), expected, "{patterns:?} {path}");
        }
    }

    #[test]
    fn many_stars_are_not_tried_in_every_combination() {
        let name = "a".repeat(200);
        assert!(!fits(&[&format!("{}b", "*a".repeat(60))], &name));
        assert!(fits(&[&"*a".repeat(60)], &name));
        let path = "a/".repeat(200);
        assert!(!fits(&[&format!("{}b", "**/a/".repeat(30))], &path));
        assert!(fits(&[&format!("{}a", "**/a/".repeat(30))], &path));
        assert!(fits(&["*[a-c]?d*e"], "xxbydze") && !fits(&["*[a-c]?d*e"], "xxbydz"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let refused = |text: &str| Patterns::parse([text]).unwrap_err().to_string();
        insta::assert_snapshot!(refused("../x"), @"cannot build an image: the pattern `../x` leads out of the directory that is copied");
        insta::assert_snapshot!(refused("a[b"), @"cannot build an image: the pattern `a[b` has a `[` without `]`");
        insta::assert_snapshot!(refused("a\\"), @r"cannot build an image: the pattern `a\` ends with a lone `\`");
    }

    proptest! {
        #[test]
        fn whatever_parses_can_be_asked(pattern in r"[\*\?\[\]\\a/!^-]{0,12}", path in "[a/*-]{1,12}") {
            if let Ok(patterns) = Patterns::parse([pattern.as_str()]) {
                let _ = patterns.fits(Path::new(&path));
            }
        }
    }
}
