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
    segments: Vec<String>,
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
                        segments.push(segment.to_owned());
                    }
                }
            }
            // `.` and `/` mean the directory itself, and so everything in it.
            if segments.is_empty() {
                segments.push("**".to_owned());
            }
            patterns.push(Pattern { brings_back, segments });
        }
        Ok(Self { patterns })
    }

    /// Whether a path, relative to the directory that is copied, fits.
    #[must_use]
    pub fn fits(&self, path: &Path) -> bool {
        let names: Vec<String> =
            path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
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
    fn fits_or_holds(&self, names: &[&str]) -> bool {
        (1..=names.len()).rev().any(|length| fits_path(&self.segments, &names[..length]))
    }
}

fn fits_path(segments: &[String], names: &[&str]) -> bool {
    match segments.split_first() {
        None => names.is_empty(),
        // A last `**` wants at least one name below.
        Some((first, [])) if first == "**" => !names.is_empty(),
        Some((first, rest)) if first == "**" => {
            (0..=names.len()).any(|skipped| fits_path(rest, &names[skipped..]))
        }
        Some((first, rest)) => {
            let Some((name, below)) = names.split_first() else { return false };
            let pattern: Vec<char> = first.chars().collect();
            let name: Vec<char> = name.chars().collect();
            fits_name(&pattern, &name) && fits_path(rest, below)
        }
    }
}

fn fits_name(pattern: &[char], name: &[char]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some(('*', rest)) => (0..=name.len()).any(|taken| fits_name(rest, &name[taken..])),
        Some(('?', rest)) => !name.is_empty() && fits_name(rest, &name[1..]),
        Some(('[', rest)) => {
            let (Some(end), Some((character, below))) = (class_end(rest), name.split_first()) else {
                return false;
            };
            in_class(&rest[..end], *character) && fits_name(&rest[end + 1..], below)
        }
        Some(('\\', rest)) => {
            rest.first() == name.first() && !rest.is_empty() && fits_name(&rest[1..], &name[1..])
        }
        Some((character, rest)) => name.first() == Some(character) && fits_name(rest, &name[1..]),
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
