//! Durations as people write them.

use std::{fmt, str::FromStr, time::Duration};

use crate::text::serde_as_text;

/// A span of time written with units, largest first, each at most once: `90s`, `5m`, `1h30m`, `250ms`, `0s`.
///
/// Units are `h`, `m`, `s`, `ms`, `us` (or `µs`) and `ns`. Bare numbers are refused because nobody can tell
/// seconds from milliseconds; so are signs and fractions. `Display` writes the canonical form: `90s` comes back
/// as `1m30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct HumanDuration(Duration);

/// Nanoseconds in each unit, largest first; the position is the rank.
const UNITS: [(&str, u128); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

impl HumanDuration {
    /// No time at all.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// Wraps a duration.
    #[must_use]
    pub const fn new(duration: Duration) -> Self {
        Self(duration)
    }

    /// The wrapped duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Duration> for HumanDuration {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<HumanDuration> for Duration {
    fn from(duration: HumanDuration) -> Self {
        duration.0
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_nanos();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in UNITS {
            let count = rest / size;
            rest %= size;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for HumanDuration {
    type Err = HumanDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let owned = || text.to_owned();
        if text.is_empty() {
            return Err(HumanDurationError::Empty);
        }
        if text.starts_with(['-', '+']) {
            return Err(HumanDurationError::Sign { text: owned() });
        }
        if text.contains(['.', ',']) {
            return Err(HumanDurationError::Fraction { text: owned() });
        }
        let mut rest = text;
        let mut next_rank = 0;
        let mut nanos: u128 = 0;
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, tail) = rest.split_at(digits);
            let name_length = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (name, tail) = tail.split_at(name_length);
            if number.is_empty() {
                return Err(HumanDurationError::NoNumber { text: owned(), unit: name.to_owned() });
            }
            if name.is_empty() {
                return Err(HumanDurationError::NoUnit { text: owned(), number: number.to_owned() });
            }
            let name = if matches!(name, "µs" | "μs") { "us" } else { name };
            let Some(rank) = UNITS.iter().position(|(unit, _)| *unit == name) else {
                return Err(HumanDurationError::Unit { text: owned(), unit: name.to_owned() });
            };
            if rank < next_rank {
                return Err(HumanDurationError::Order { text: owned(), unit: name.to_owned() });
            }
            next_rank = rank + 1;
            nanos = number
                .parse::<u128>()
                .ok()
                .and_then(|count| count.checked_mul(UNITS[rank].1))
                .and_then(|part| nanos.checked_add(part))
                .ok_or_else(|| HumanDurationError::Overflow { text: owned() })?;
            rest = tail;
        }
        let overflow = |_| HumanDurationError::Overflow { text: owned() };
        let seconds = u64::try_from(nanos / 1_000_000_000).map_err(overflow)?;
        let subsecond = u32::try_from(nanos % 1_000_000_000).map_err(overflow)?;
        Ok(Self(Duration::new(seconds, subsecond)))
    }
}

serde_as_text!(HumanDuration);

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HumanDurationError {
    /// Nothing was written.
    #[error("a duration is empty; write for example `30s`, `5m` or `1h30m`")]
    Empty,
    /// A plus or minus sign.
    #[error("duration `{text}` has a sign; durations cannot be negative, write for example `30s`")]
    Sign {
        /// The text.
        text: String,
    },
    /// A decimal point or comma.
    #[error("duration `{text}` has a fraction; use a smaller unit, for example `1m30s` or `250ms`")]
    Fraction {
        /// The text.
        text: String,
    },
    /// A number without a unit.
    #[error("duration `{text}` does not say the unit of `{number}`; write `{number}s` for seconds")]
    NoUnit {
        /// The text.
        text: String,
        /// The number.
        number: String,
    },
    /// A unit without a number.
    #[error("duration `{text}` has no number before `{unit}`; write for example `30s`")]
    NoNumber {
        /// The text.
        text: String,
        /// What stands where a number should.
        unit: String,
    },
    /// An unknown unit.
    #[error(
        "duration `{text}` has the unknown unit `{unit}`; expected h, m, s, ms, us or ns (a day is `24h`)"
    )]
    Unit {
        /// The text.
        text: String,
        /// The unit.
        unit: String,
    },
    /// A unit that comes after a smaller one, or twice.
    #[error(
        "duration `{text}` has `{unit}` twice or after a smaller unit; write units once, largest first: `1h30m`"
    )]
    Order {
        /// The text.
        text: String,
        /// The unit.
        unit: String,
    },
    /// More than 2^64 seconds.
    #[error("duration `{text}` is longer than Spectra can count")]
    Overflow {
        /// The text.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parse_after_display_is_identity(seconds: u64, nanos in 0..1_000_000_000_u32) {
            let duration = HumanDuration::new(Duration::new(seconds, nanos));
            prop_assert_eq!(duration.to_string().parse::<HumanDuration>().unwrap(), duration);
        }

        #[test]
        fn arbitrary_text_never_panics(text in "[0-9hmsunµ.+-]{0,40}") {
            let _ = text.parse::<HumanDuration>();
        }
    }

    #[test]
    fn canonical_form() {
        for (text, canonical) in [
            ("90s", "1m30s"),
            ("5m", "5m"),
            ("1h30m", "1h30m"),
            ("250ms", "250ms"),
            ("0h", "0s"),
            ("7µs", "7us"),
        ] {
            assert_eq!(text.parse::<HumanDuration>().unwrap().to_string(), canonical);
        }
    }

    #[test]
    fn names_the_mistake() {
        let messages: Vec<String> =
            ["", "30", "-5s", "1.5h", "1d", "s", "5s1m", "1m1m", "99999999999999999999h", "5 s"]
                .map(|text| text.parse::<HumanDuration>().unwrap_err().to_string())
                .into();
        insta::assert_snapshot!(messages.join("\n"), @"
        a duration is empty; write for example `30s`, `5m` or `1h30m`
        duration `30` does not say the unit of `30`; write `30s` for seconds
        duration `-5s` has a sign; durations cannot be negative, write for example `30s`
        duration `1.5h` has a fraction; use a smaller unit, for example `1m30s` or `250ms`
        duration `1d` has the unknown unit `d`; expected h, m, s, ms, us or ns (a day is `24h`)
        duration `s` has no number before `s`; write for example `30s`
        duration `5s1m` has `m` twice or after a smaller unit; write units once, largest first: `1h30m`
        duration `1m1m` has `m` twice or after a smaller unit; write units once, largest first: `1h30m`
        duration `99999999999999999999h` is longer than Spectra can count
        duration `5 s` has the unknown unit ` s`; expected h, m, s, ms, us or ns (a day is `24h`)
        ");
    }
}
