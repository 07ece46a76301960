//! Words that stand alone, for serde: `#[serde(deserialize_with = "nothing_more")]`.

use serde::{Deserialize, Deserializer};

/// Refuses fields beside the word: serde itself overlooks them.
pub(super) fn nothing_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    let Nothing {} = Nothing::deserialize(deserializer)?;
    Ok(())
}
