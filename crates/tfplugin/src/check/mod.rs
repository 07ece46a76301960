//! Local twins of the checks that Terraform core makes on plans and results, and of the proposal it makes.
//!
//! Core's own messages come after the fact, name Go values and blame the provider; these come before anything
//! leaves the process and name the place. A check answers with the violations it finds (a value of another type is one
//! alone, as nothing else can be said of it); none means that core accepts the value as far as these rules go. Messages never show values of sensitive or write-only attributes.

mod compatible;
mod implied;
mod mask;
mod planned;
mod proposed;
mod replace;
mod result;

use std::fmt;

pub use self::planned::plan_valid;
pub use self::proposed::proposed_new_state;
pub(crate) use self::replace::replace_path;
pub use self::replace::replace_paths_valid;
pub use self::result::{apply_consistent, final_plan, read_valid, wholly_known, write_only_null};
use crate::value::Mismatch;
use crate::{AttributePath, Diagnostic, Value};

/// A rule of Terraform core that a value breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The place; inside a set it is the set.
    pub path: AttributePath,
    /// The rule.
    pub rule: Rule,
    /// What core would say about this place.
    pub message: String,
}

/// The rules that core enforces, by what breaks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// The value is not of the schema's type.
    WrongType,
    /// A planned value differs from the configuration and from the prior state.
    PlannedOtherThanConfigured,
    /// A value is planned for an attribute that is not configured and not computed.
    PlannedNotComputed,
    /// Unknown is planned for a configured value.
    PlannedUnknown,
    /// An object or block is planned although it is not configured, or the other way round.
    PlannedExistence,
    /// Elements or blocks planned do not match those configured.
    PlannedElements,
    /// A block that is a collection is null; absent ones are empty.
    BlockNull,
    /// A path that demands a replacement leads nowhere.
    ReplacePath,
    /// A write-only attribute has a value outside configuration.
    WriteOnly,
    /// The result differs from the plan.
    Inconsistent,
    /// The result breaks a promise made about a planned unknown.
    Refinement,
    /// The result is not known.
    Unknown,
}

impl Rule {
    /// The rule in words.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::WrongType => "a value must be of the type that the schema says",
            Self::PlannedOtherThanConfigured => {
                "a configured value must be planned as it is configured, or as it was before"
            }
            Self::PlannedNotComputed => {
                "an attribute that is neither configured nor computed must be planned null"
            }
            Self::PlannedUnknown => "a configured value must not be planned as unknown",
            Self::PlannedExistence => "objects and blocks must be planned exactly where they are configured",
            Self::PlannedElements => "planned elements and blocks must be those configured",
            Self::BlockNull => {
                "blocks that are a list, set or map must be empty, not null, when there are none"
            }
            Self::ReplacePath => "what demands a replacement must be a place of the schema, outside of sets",
            Self::WriteOnly => "a write-only attribute must be null everywhere but in configuration",
            Self::Inconsistent => "what was planned as known must be the result",
            Self::Refinement => "the result must keep what the plan promised about an unknown value",
            Self::Unknown => "a result must be wholly known",
        }
    }
}

impl Violation {
    fn new(path: &AttributePath, rule: Rule, message: impl Into<String>) -> Self {
        Self { path: path.clone(), rule, message: message.into() }
    }

    fn mismatch(at: &AttributePath, mismatch: &Mismatch) -> Self {
        let path: AttributePath = at.steps().iter().chain(mismatch.path.steps()).cloned().collect();
        let message = format!("wrong type: expected {}, found {}", mismatch.expected, mismatch.found);
        Self { path, rule: Rule::WrongType, message }
    }

    /// The violation as an error at its place.
    #[must_use]
    pub fn to_diagnostic(&self, summary: impl Into<String>) -> Diagnostic {
        let diagnostic = Diagnostic::error(summary, format!("{self}."));
        if self.path.is_root() { diagnostic } else { diagnostic.at(self.path.clone()) }
    }
}

/// "`name`: was \"a\", but now \"b\" (rule: …)".
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} (rule: {})", crate::value::at(&self.path), self.message, self.rule.description())
    }
}

/// The element of an object by name; what a null object has under any name is null.
fn child<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}

/// Whether two values are the same but for what is promised about unknowns.
fn same_but_promises(a: &Value, b: &Value) -> bool {
    a == b || (!a.is_wholly_known() && !b.is_wholly_known() && without_promises(a) == without_promises(b))
}

fn without_promises(value: &Value) -> Value {
    value.clone().transform(&mut |_, value| match value {
        Value::Unknown(_) => Value::unknown(),
        other => other,
    })
}

/// How much of a text is shown.
const SHOWN: usize = 60;

/// A value for a message: short, and on one line.
pub(crate) fn show(value: &Value) -> String {
    let count = |count: usize, what: &str| match count {
        1 => format!("a {what} of 1 element"),
        count => format!("a {what} of {count} elements"),
    };
    match value {
        Value::Null => "null".to_owned(),
        Value::Unknown(_) => "(known after apply)".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => shorten(&number.to_string()),
        Value::String(text) => format!("{:?}", shorten(text)),
        Value::List(elements) => count(elements.len(), "list"),
        Value::Set(elements) => count(elements.len(), "set"),
        Value::Map(entries) => count(entries.len(), "map"),
        Value::Tuple(elements) => count(elements.len(), "tuple"),
        Value::Object(_) => "an object".to_owned(),
        Value::Dynamic(inner) => show(&inner.1),
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
