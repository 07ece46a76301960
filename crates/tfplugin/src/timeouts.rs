//! How long the operations of a resource may take, as the user says.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;
use std::time::Duration;

use crate::schema::{Attribute, Block, NestedObject, Nesting, Shape};
use crate::{Attr, Model, Text, Value};

/// How long the operations of a managed resource may take. The framework itself enforces it, in a resource whose model
/// has the attribute `timeouts` of this type:
///
/// ```
/// use tfplugin::{Attr, Model, Timeouts};
///
/// #[derive(Clone, Model)]
/// struct Service {
///     #[tf(required)]
///     name: Attr<String>,
///     /// How long each operation may take.
///     #[tf(optional)]
///     timeouts: Attr<Timeouts>,
/// }
/// ```
///
/// When the time is up, [`Context::cancel`](crate::Context::cancel) trips, as it does when Terraform is asked to stop. A
/// handler that then fails gets a message that names the timeout before its own; one that succeeds all the same has
/// succeeded. One that goes on for more than five seconds is left to itself, and Terraform gets what was saved so far. It
/// ends with the process at the latest, which is gone within 400 milliseconds after Terraform has shut it down.
///
/// What `read` and `delete` may take is what state says; a change is in force once it was applied. A plan in which
/// nothing but `timeouts` differs is shown as an update in place, but updates nothing: computed values stay as they
/// are, [`Resource::update`](crate::Resource::update) is not called, and state takes over the new timeouts. Handlers
/// need not carry the attribute through what they read or save: the framework keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Model)]
pub struct Timeouts {
    /// How long creating may take, such as `1h30m` or `90s`.
    #[tf(optional)]
    pub create: Attr<Text<Timeout>>,
    /// How long reading may take, such as `90s`.
    #[tf(optional)]
    pub read: Attr<Text<Timeout>>,
    /// How long a change in place may take, such as `1h30m` or `90s`.
    #[tf(optional)]
    pub update: Attr<Text<Timeout>>,
    /// How long deleting may take, such as `1h30m` or `90s`.
    #[tf(optional)]
    pub delete: Attr<Text<Timeout>>,
}

/// The attribute that [`Timeouts`] stand in.
pub(crate) const ATTRIBUTE: &str = "timeouts";

/// Whether an attribute is of type [`Timeouts`], whatever its name.
pub(crate) fn is_timeouts(attribute: &Attribute) -> bool {
    static INSIDE: LazyLock<Vec<Attribute>> = LazyLock::new(|| Timeouts::block().attributes);
    matches!(
        &attribute.shape,
        Shape::Nested(NestedObject { nesting: Nesting::Single, attributes, .. }) if *attributes == *INSIDE
    )
}

/// Whether objects of this schema have timeouts to enforce.
pub(crate) fn declared(block: &Block) -> bool {
    block.attribute(ATTRIBUTE).is_some_and(is_timeouts)
}

/// Whether two objects differ in anything but their timeouts.
pub(crate) fn differ_beyond(block: &Block, one: &Value, other: &Value) -> bool {
    if one == other {
        return false;
    }
    match (one, other) {
        (Value::Object(one), Value::Object(other)) if declared(block) => {
            one.len() != other.len()
                || one.iter().any(|(name, value)| name != ATTRIBUTE && other.get(name) != Some(value))
        }
        _ => true,
    }
}

/// Gives an object the timeouts of another: no one but the user knows them.
pub(crate) fn keep(block: &Block, object: &mut Value, from: &Value) {
    if let (true, Value::Object(object), Some(timeouts)) = (declared(block), object, from.get(ATTRIBUTE)) {
        object.insert(ATTRIBUTE.to_owned(), timeouts.clone());
    }
}

/// A length of time, written as in Go: `1h30m`, `90s`, `1.5h`, `250ms`. Longer than nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeout(Duration);

impl Timeout {
    /// The length.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

/// Why a text is no [`Timeout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeoutError {
    /// It is not a number with a unit, or several.
    #[error("it is not a duration such as `1h30m`, `90s` or `1.5h` (units: h, m, s, ms, us, ns)")]
    Malformed,
    /// It is zero.
    #[error("a timeout must be longer than 0")]
    Zero,
    /// It does not fit.
    #[error("it is longer than any timeout can be (580 years)")]
    TooLong,
}

/// No unit is a prefix of another that stands after it.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl FromStr for Timeout {
    type Err = TimeoutError;

    fn from_str(text: &str) -> Result<Self, TimeoutError> {
        let mut rest = text.strip_prefix('+').unwrap_or(text);
        if rest.is_empty() {
            return Err(TimeoutError::Malformed);
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let (part, after) = nanoseconds(rest)?;
            total = total.checked_add(part).ok_or(TimeoutError::TooLong)?;
            rest = after;
        }
        if total == 0 { Err(TimeoutError::Zero) } else { Ok(Self(Duration::from_nanos(total))) }
    }
}

/// One number with its unit, and what follows it.
fn nanoseconds(text: &str) -> Result<(u64, &str), TimeoutError> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(TimeoutError::Malformed);
    }
    let (unit, size) =
        UNITS.into_iter().find(|(unit, _)| rest.starts_with(unit)).ok_or(TimeoutError::Malformed)?;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| TimeoutError::TooLong)? };
    let mut total = whole.checked_mul(size).ok_or(TimeoutError::TooLong)?;
    // Digit by digit; what is shorter than a nanosecond is left out.
    let mut worth = size;
    for digit in fraction.bytes() {
        worth /= 10;
        total = total.checked_add(u64::from(digit - b'0') * worth).ok_or(TimeoutError::TooLong)?;
    }
    Ok((total, &rest[unit.len()..]))
}

/// In hours, minutes and seconds, without those that are zero: `1h30m`, `90s` is `1m30s`.
impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hours, minutes, seconds) =
            (self.0.as_secs() / 3600, self.0.as_secs() / 60 % 60, self.0.as_secs() % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        match (seconds, self.0.subsec_nanos()) {
            (0, 0) => Ok(()),
            (seconds, 0) => write!(f, "{seconds}s"),
            (seconds, nanos) => {
                write!(f, "{seconds}.{}s", format!("{nanos:09}").trim_end_matches('0'))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<Duration, TimeoutError> {
        text.parse().map(Timeout::get)
    }

    #[test]
    fn durations_are_written_as_in_go() {
        assert_eq!(parsed("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(parsed("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parsed("1.5h"), Ok(Duration::from_mins(90)));
        assert_eq!(parsed(".5s"), Ok(Duration::from_millis(500)));
        assert_eq!(parsed("+2m3.000000001s"), Ok(Duration::from_nanos(123_000_000_001)));
        assert_eq!(parsed("1ms2us3ns"), Ok(Duration::from_nanos(1_002_003)));
        assert_eq!(parsed("5\u{b5}s"), parsed("5us"));
        assert_eq!(parsed("1s1s"), Ok(Duration::from_secs(2)), "Go adds them up");
        for bad in ["", "+", "5", "-5s", "5 s", "s", ".s", "1..5s", "1.5.5s", "5d", "five", "5S", "5sx"] {
            assert_eq!(parsed(bad), Err(TimeoutError::Malformed), "{bad:?}");
        }
        assert_eq!(parsed("0s"), Err(TimeoutError::Zero));
        assert_eq!(parsed("0.0000000001s"), Err(TimeoutError::Zero));
        assert_eq!(parsed("9999999h"), Err(TimeoutError::TooLong));
        assert_eq!(parsed("99999999999999999999s"), Err(TimeoutError::TooLong));
    }

    proptest! {
        #[test]
        fn what_is_shown_means_the_same(nanos in prop_oneof![1..u64::MAX, 1_u64..10_000_000_000_000]) {
            let timeout = Timeout(Duration::from_nanos(nanos));
            prop_assert_eq!(timeout.to_string().parse(), Ok(timeout));
        }
    }
}
