//! `/etc/os-release`.

use std::collections::BTreeMap;

use super::package::MAX_NAME;

/// Which distribution an image is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatingSystem {
    /// `debian`, `alpine`.
    pub id: String,
    /// `12`, `3.22.1`; rolling releases have none.
    pub version: Option<String>,
    /// `Debian GNU/Linux 12 (bookworm)`.
    pub name: Option<String>,
}

impl OperatingSystem {
    /// Reads the file; `None` if it names no distribution. Values that are too long to be names are taken for none: each package's
    /// URL repeats them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut values: BTreeMap<&str, String> = BTreeMap::new();
        for line in text.lines() {
            let line = line.trim();
            if let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
                let name = name.trim();
                // Nothing else is needed, and a hostile file may have millions.
                if matches!(name, "ID" | "VERSION_ID" | "PRETTY_NAME" | "NAME") {
                    values.insert(name, unquote(value.trim()).unwrap_or_default());
                }
            }
        }
        let mut take =
            |name: &str| values.remove(name).filter(|value| !value.is_empty() && value.len() <= MAX_NAME);
        let id = take("ID")?.to_ascii_lowercase();
        Some(Self { id, version: take("VERSION_ID"), name: take("PRETTY_NAME").or_else(|| take("NAME")) })
    }

    /// `debian-12`, as package URLs have it.
    #[must_use]
    pub fn distribution(&self) -> Option<String> {
        self.version.as_ref().map(|version| format!("{}-{version}", self.id))
    }
}

/// A value as a shell reads it: in either quotes or none, with backslashes where they escape; `None` if a quote has no end.
fn unquote(text: &str) -> Option<String> {
    let (inner, escapes) = match text.as_bytes() {
        [b'"', .., b'"'] => (&text[1..text.len() - 1], true),
        [b'\'', .., b'\''] => (&text[1..text.len() - 1], false),
        [b'"' | b'\'', ..] => return None,
        _ => (text, true),
    };
    if !escapes {
        return Some(inner.to_owned());
    }
    let mut output = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        output.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    Some(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_or_not() {
        let text = "# comment\nPRETTY_NAME=\"A \\\"Small\\\" System\"\nID='Small'\nVERSION_ID=3.22.1\nnonsense\n=x\n";
        let system = OperatingSystem::parse(text).unwrap();
        assert_eq!(system.name.as_deref(), Some("A \"Small\" System"));
        assert_eq!(system.distribution().as_deref(), Some("small-3.22.1"));
        assert_eq!(OperatingSystem::parse("ID=arch\n").unwrap().distribution(), None);
        assert_eq!(OperatingSystem::parse("ID=\"\"\nNAME=x\n"), None);
        assert_eq!(OperatingSystem::parse("ID=\""), None, "half a quote");
        assert_eq!(OperatingSystem::parse("ID='arch"), None, "half a quote");
    }
}
