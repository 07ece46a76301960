//! How a registry asks who we are.

use std::collections::HashMap;

/// One challenge of a `WWW-Authenticate` header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// In lower case.
    pub(super) scheme: String,
    pub(super) parameters: HashMap<String, String>,
}

impl Challenge {
    /// Reads `Scheme name="value",name=value`. One challenge a header, as registries send them.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (scheme, mut rest) = text.split_once(' ').unwrap_or((text, ""));
        if scheme.is_empty() {
            return None;
        }
        let mut parameters = HashMap::new();
        while let Some((name, after)) = rest.split_once('=') {
            let (value, next) = match after.strip_prefix('"') {
                Some(quoted) => {
                    let end = quoted.find('"')?;
                    (&quoted[..end], &quoted[end + 1..])
                }
                None => after.split_at(after.find(',').unwrap_or(after.len())),
            };
            let name = name.trim_matches([' ', ',']).to_ascii_lowercase();
            parameters.insert(name, value.trim().to_owned());
            rest = next;
        }
        Some(Self { scheme: scheme.to_ascii_lowercase(), parameters })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_challenge_never_panics(text in "\\PC{0,60}") {
            let _ = Challenge::parse(&text);
        }

        #[test]
        fn a_challenge_reads_back(realm in "[a-z:/.]{1,20}", scope in "[a-z:/,]{1,20}") {
            let challenge =
                Challenge::parse(&format!("Bearer realm=\"{realm}\", service=x,scope=\"{scope}\"")).unwrap();
            prop_assert_eq!(&challenge.scheme, "bearer");
            prop_assert_eq!(&challenge.parameters["realm"], &realm);
            prop_assert_eq!(&challenge.parameters["service"], "x");
            prop_assert_eq!(&challenge.parameters["scope"], &scope);
        }
    }
}
