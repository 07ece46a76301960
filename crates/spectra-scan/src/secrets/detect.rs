//! Searching one text.

use std::{
    collections::BTreeMap,
    sync::{LazyLock, OnceLock},
};

use aho_corasick::{AhoCorasick, AhoCorasickBuilder};
use regex::bytes::{Regex, RegexBuilder};

use super::{
    Trust,
    checks::{Candidate, entropy},
    rules::{RULES, Rule},
};
use crate::{Finding, finding::fingerprint};

/// The name under which findings of this crate's own rules are reported.
pub(super) const TOOL: &str = "spectra-secrets";

/// What stands in the place of a secret.
const MASK: &str = "[redacted]";

/// Keywords of all rules, and whose they are.
static KEYWORDS: LazyLock<Option<(AhoCorasick, Vec<usize>)>> = LazyLock::new(|| {
    let words: Vec<(usize, &str)> = RULES
        .iter()
        .enumerate()
        .flat_map(|(index, rule)| rule.keywords.iter().map(move |word| (index, *word)))
        .collect();
    let search = AhoCorasickBuilder::new()
        .ascii_case_insensitive(true)
        .build(words.iter().map(|(_, word)| *word))
        .ok()?;
    Some((search, words.into_iter().map(|(index, _)| index).collect()))
});

/// Patterns, made when they are first needed: most are not.
static PATTERNS: [OnceLock<Option<Regex>>; RULES.len()] = [const { OnceLock::new() }; RULES.len()];

/// The pattern of a rule. That each can be made is tested.
pub(super) fn pattern(index: usize) -> Option<&'static Regex> {
    let make = || RegexBuilder::new(RULES[index].pattern).unicode(false).size_limit(64 << 20).build().ok();
    PATTERNS[index].get_or_init(make).as_ref()
}

/// What was found in a text.
#[derive(Debug, Default)]
pub(super) struct Hits {
    /// Without a trace of the secrets.
    pub(super) findings: Vec<Finding>,
    /// Those that the text itself allows, as little of a trace.
    pub(super) allowed: Vec<Finding>,
}

struct Hit {
    rule: &'static Rule,
    end: usize,
}

/// Searches a text; `first_line` is the number of its first line.
pub(super) fn search(path: &str, text: &[u8], first_line: u64, trust: Trust) -> Hits {
    let mut hits = Hits::default();
    let (mut line_number, mut counted) = (first_line, 0);
    for (start, hit) in candidates(path, text) {
        let secret = &text[start..hit.end];
        line_number += text[counted..start].split(|byte| *byte == b'\n').count() as u64 - 1;
        counted = start;
        let line_start = text[..start].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        // A key of several lines is allowed in its first one.
        let line_end =
            text[start..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| start + at);
        let line = &text[line_start..line_end];
        let Rule { id, title, severity, .. } = hit.rule;
        let list = if trust.allows(line) { &mut hits.allowed } else { &mut hits.findings };
        list.push(report(TOOL, id, title, *severity, path, line_number, secret));
    }
    hits
}

/// A finding that does not hold the secret, however it is written.
pub(super) fn report(
    tool: &str,
    rule: &str,
    title: &str,
    severity: crate::Severity,
    path: &str,
    line: u64,
    secret: &[u8],
) -> Finding {
    let text = String::from_utf8_lossy(secret);
    let masked = |part: &str| {
        // Short values occur in paths and titles by chance; masking them would tell where.
        if text.len() >= 6 { part.replace(text.as_ref(), MASK) } else { part.to_owned() }
    };
    let mut finding = Finding::new(
        tool,
        rule,
        severity,
        &format!("{} ({} characters)", masked(title), text.chars().count()),
    );
    finding.location = Some(masked(path));
    finding.line = Some(line);
    finding.fingerprint = fingerprint(&["secret", rule, path, &text]);
    finding
}

/// Where the secrets begin and end, no two overlapping.
fn candidates(path: &str, text: &[u8]) -> BTreeMap<usize, Hit> {
    let Some((search, owners)) = KEYWORDS.as_ref() else { return BTreeMap::new() };
    let mut wanted = [false; RULES.len()];
    let mut left = RULES.len();
    for found in search.find_overlapping_iter(text) {
        let rule = owners[found.pattern().as_usize()];
        if !std::mem::replace(&mut wanted[rule], true) {
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    let mut hits: BTreeMap<usize, Hit> = BTreeMap::new();
    for (index, rule) in RULES.iter().enumerate().filter(|(index, _)| wanted[*index]) {
        let Some(pattern) = pattern(index) else { continue };
        for captures in pattern.captures_iter(text) {
            let Some(whole) = captures.get(0) else { continue };
            let secret = captures.get(1).unwrap_or(whole);
            let candidate = Candidate {
                path,
                secret: secret.as_bytes(),
                whole: whole.as_bytes(),
                second: captures.get(2).map(|group| group.as_bytes()),
            };
            // Of those that begin before its end, the last one reaches farthest.
            let known =
                hits.range(..secret.end()).next_back().is_some_and(|(_, hit)| secret.start() < hit.end);
            if !known && entropy(candidate.secret) >= rule.entropy && (rule.check)(&candidate) {
                hits.insert(secret.start(), Hit { rule, end: secret.end() });
            }
        }
    }
    hits
}

/// The text in a file's bytes; the bytes themselves as the error if they are none. Windows programs write two bytes a character.
pub(super) fn text(bytes: Vec<u8>) -> Result<Vec<u8>, Vec<u8>> {
    let wide = |bytes: &[u8], read: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| read([pair[0], pair[1]])).collect();
        let mut text = String::from_utf16_lossy(&units).into_bytes();
        // Two bytes in front make no text of two bytes a character: what reads without them is searched as it stands, too.
        if has_words(bytes) {
            text.extend_from_slice(bytes);
        }
        Ok(text)
    };
    match bytes.as_slice() {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        _ if is_binary(&bytes) => Err(bytes),
        _ => Ok(bytes),
    }
}

/// Whether something in it reads as one byte a character, and is long enough for a secret.
fn has_words(bytes: &[u8]) -> bool {
    const SHORTEST: usize = 8;
    bytes.split(|byte| !(b' '..=b'~').contains(byte)).any(|word| word.len() >= SHORTEST)
}

/// How much of a file's beginning says whether it is text.
pub(super) const HEAD: usize = 8000;

/// Whether something that begins so is no text, as git decides it. Two bytes a character are one, if they begin with a mark.
pub(super) fn is_binary(head: &[u8]) -> bool {
    !has_mark(head) && head.iter().take(HEAD).any(|byte| *byte == 0)
}

/// Whether it begins with the mark of two bytes a character.
pub(super) fn has_mark(head: &[u8]) -> bool {
    head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff])
}
