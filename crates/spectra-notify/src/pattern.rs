//! Which events a channel wants.

use std::fmt;
use std::str::FromStr;

/// An event's name, in which `*` stands for any text: `rollout.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(String);

impl Pattern {
    /// The one that every event matches.
    pub(crate) fn any() -> Self {
        Self("*".to_owned())
    }

    /// Whether the name is meant.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return self.0 == name };
        let Some(mut open) = name.strip_prefix(first) else { return false };
        let mut parts: Vec<_> = rest.split('*').collect();
        let last = parts.pop().unwrap_or_default();
        for part in parts {
            // The first place is as good as any later one: what follows has more room.
            let Some(at) = open.find(part) else { return false };
            open = &open[at + part.len()..];
        }
        open.ends_with(last)
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty()
            || text.chars().any(|character| character.is_whitespace() || character.is_control())
        {
            return Err(format!("`{text}` is no event's name, such as `rollout.completed` or `rollout.*`"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text_and_nothing_else_does() {
        for (pattern, name, matches) in [
            ("*", "rollout.started", true),
            ("rollout.*", "rollout.started", true),
            ("rollout.*", "rollouts.started", false),
            ("*.started", "rollout.started", true),
            ("*.started", "rollout.started.late", false),
            ("rollout.*_failed", "rollout.rollback_failed", true),
            ("a*b*b", "ab", false),
            ("a*b*b", "abb", true),
            ("a*a", "a", false),
            ("*a*", "bab", true),
            ("rollout.started", "rollout.started", true),
            ("rollout.started", "rolloutxstarted", false),
            ("rollout.?tarted", "rollout.started", false),
        ] {
            assert_eq!(pattern.parse::<Pattern>().unwrap().matches(name), matches, "{pattern} {name}");
        }
    }
}
