//! Rules between the attributes and blocks of one object: which of them go together, and which do not.

use std::collections::BTreeMap;

use super::{Attribute, NestedBlock, Nesting};
use crate::{AttributePath, Diagnostic, Diagnostics, Value};

/// A rule between the attributes and blocks of one object, by their names in HCL.
///
/// "Set" is what the user writes: null is not set, and neither is a block that does not occur; defaults count for
/// nothing. While any of the values is unknown there is no verdict: validation comes again when more is known.
///
/// ```
/// use tfplugin::schema::Rule;
/// use tfplugin::{Attr, Model};
///
/// #[derive(Clone, Model)]
/// #[tf(exactly_one_of("image", "source"))]
/// struct Service {
///     #[tf(optional)]
///     image: Attr<String>,
///     #[tf(optional)]
///     source: Attr<String>,
///     #[tf(optional, required_with("source"))]
///     branch: Attr<String>,
/// }
///
/// let rules: Vec<_> = Service::block().rules.iter().map(Rule::description).collect();
/// assert_eq!(rules, ["`branch` needs `source`.", "Exactly one of `image` and `source` must be set."]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Where `name` is set, none of the others is.
    ConflictsWith {
        /// The attribute or block that has the rule.
        name: String,
        /// Those that must not be set next to it.
        others: Vec<String>,
    },
    /// Where `name` is set, all the others are.
    RequiredWith {
        /// The attribute or block that has the rule.
        name: String,
        /// Those that must be set next to it.
        others: Vec<String>,
    },
    /// One of these is set, and no two.
    ExactlyOneOf(Vec<String>),
    /// One of these is set, or more.
    AtLeastOneOf(Vec<String>),
}

/// What a configuration says of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Set,
    NotSet,
    Unknown,
}

/// Where one object of a configuration stands.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The path of the object; of the set, inside a set.
    pub(crate) path: &'a AttributePath,
    /// Whether the object has no path of its own.
    pub(crate) in_set: bool,
}

impl Place<'_> {
    fn of(self, name: &str) -> AttributePath {
        if self.in_set { self.path.clone() } else { self.path.attribute(name) }
    }

    /// `name` as the message shows it.
    fn show(self, name: &str) -> String {
        if self.in_set { format!("`{name}`") } else { format!("`{}`", self.path.attribute(name)) }
    }

    fn list<'a>(self, names: impl IntoIterator<Item = &'a String>, last: &str) -> String {
        let shown: Vec<_> = names.into_iter().map(|name| self.show(name)).collect();
        match shown.as_slice() {
            [rest @ .., end] if !rest.is_empty() => format!("{} {last} {end}", rest.join(", ")),
            few => few.concat(),
        }
    }
}

impl Rule {
    /// The rule in words, for documentation: "Conflicts with `b`."
    #[must_use]
    pub fn description(&self) -> String {
        let path = AttributePath::root();
        let place = Place { path: &path, in_set: false };
        match self {
            Self::ConflictsWith { name, others } => {
                format!("`{name}` conflicts with {}.", place.list(others, "and"))
            }
            Self::RequiredWith { name, others } => format!("`{name}` needs {}.", place.list(others, "and")),
            Self::ExactlyOneOf(names) => format!("Exactly one of {} must be set.", place.list(names, "and")),
            Self::AtLeastOneOf(names) => format!("At least one of {} must be set.", place.list(names, "and")),
        }
    }

    /// The name that the rule belongs to, and all other names that it mentions.
    fn names(&self) -> (Option<&String>, &[String]) {
        match self {
            Self::ConflictsWith { name, others } | Self::RequiredWith { name, others } => {
                (Some(name), others)
            }
            Self::ExactlyOneOf(names) | Self::AtLeastOneOf(names) => (None, names),
        }
    }

    /// What is wrong with one object of a configuration.
    fn check(&self, presence: &dyn Fn(&String) -> Presence, place: Place<'_>) -> Option<Diagnostic> {
        let (owner, others) = self.names();
        if owner.into_iter().chain(others).any(|name| presence(name) == Presence::Unknown) {
            return None;
        }
        let set: Vec<_> = others.iter().filter(|name| presence(name) == Presence::Set).collect();
        let all = || place.list(others, "and");
        match self {
            Self::ConflictsWith { name, .. } => {
                (presence(name) == Presence::Set && !set.is_empty()).then(|| {
                    let detail = format!(
                        "{} cannot be set together with {}. Leave one of them out.",
                        place.show(name),
                        place.list(set, "and")
                    );
                    Diagnostic::error("Conflicting attributes", detail).at(place.of(name))
                })
            }
            Self::RequiredWith { name, .. } => {
                let missing: Vec<_> = others.iter().filter(|other| !set.contains(other)).collect();
                (presence(name) == Presence::Set && !missing.is_empty()).then(|| {
                    let (name_shown, missing) = (place.show(name), place.list(missing, "and"));
                    let detail = format!(
                        "Where {name_shown} is set, {missing} must be set too. Set all of them, or none."
                    );
                    Diagnostic::error("Missing attribute", detail).at(place.of(name))
                })
            }
            Self::ExactlyOneOf(_) => match set.as_slice() {
                [] => {
                    let detail = format!("Exactly one of {} must be set, and none is.", all());
                    Some(Diagnostic::error("Missing attribute", detail).at(place.path.clone()))
                }
                [_] => None,
                [_, second, ..] => {
                    let path = place.of(second);
                    let detail = format!(
                        "Exactly one of {} must be set. Set here: {}.",
                        all(),
                        place.list(set.iter().copied(), "and")
                    );
                    Some(Diagnostic::error("Conflicting attributes", detail).at(path))
                }
            },
            Self::AtLeastOneOf(_) => set.is_empty().then(|| {
                let detail = format!("At least one of {} must be set, and none is.", all());
                Diagnostic::error("Missing attribute", detail).at(place.path.clone())
            }),
        }
    }
}

/// Every rule that one object of a configuration breaks.
pub(crate) fn broken_rules(
    rules: &[Rule],
    blocks: &[NestedBlock],
    object: &BTreeMap<String, Value>,
    place: Place<'_>,
) -> Diagnostics {
    let presence = |name: &String| {
        let block = blocks.iter().find(|block| block.name == *name);
        presence(object.get(name).unwrap_or(&Value::Null), block.map(|block| block.nesting))
    };
    rules.iter().filter_map(|rule| rule.check(&presence, place)).collect()
}

/// A block that does not occur is an empty collection, or an object of nulls.
fn presence(value: &Value, block: Option<Nesting>) -> Presence {
    let occurs = match (block, value.unwrap_dynamic()) {
        (_, Value::Null) => false,
        (_, Value::Unknown(_)) => return Presence::Unknown,
        (Some(Nesting::Group), Value::Object(parts)) => parts.values().any(|part| !part.is_null()),
        (Some(Nesting::Map), Value::Map(elements) | Value::Object(elements)) => !elements.is_empty(),
        (Some(_), Value::List(elements) | Value::Set(elements) | Value::Tuple(elements)) => {
            !elements.is_empty()
        }
        _ => true,
    };
    if occurs { Presence::Set } else { Presence::NotSet }
}

/// How a user can come to set a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Settable {
    Always,
    Maybe,
    Never,
    NoSuchName,
}

/// Rules that no configuration can break, or that make an attribute useless, in words for the provider's developer.
pub(crate) fn lint_rules(
    rules: &[Rule],
    attributes: &[Attribute],
    blocks: &[NestedBlock],
    path: &AttributePath,
    problems: &mut Vec<String>,
) {
    let settable = |name: &str| {
        if let Some(attribute) = attributes.iter().find(|attribute| attribute.name == name) {
            return match (attribute.required, attribute.optional) {
                (true, _) => Settable::Always,
                (false, true) => Settable::Maybe,
                (false, false) => Settable::Never,
            };
        }
        match blocks.iter().find(|block| block.name == name) {
            Some(block) if block.min_items > 0 => Settable::Always,
            Some(_) => Settable::Maybe,
            None => Settable::NoSuchName,
        }
    };
    let at = Place { path, in_set: false };
    for rule in rules {
        let (owner, others) = rule.names();
        for name in owner.into_iter().chain(others) {
            let shown = at.show(name);
            let problem = match (settable(name), rule) {
                (Settable::NoSuchName, _) => "which is not there",
                (Settable::Never, _) => "which the user cannot set",
                (Settable::Always, Rule::ConflictsWith { .. } | Rule::ExactlyOneOf(_)) => {
                    "which is required: the others could never be set"
                }
                (Settable::Always, Rule::AtLeastOneOf(_)) => {
                    "which is required: the rule can never be broken"
                }
                (Settable::Always, Rule::RequiredWith { .. }) if owner != Some(name) => {
                    "which is required anyway: the rule can never be broken"
                }
                (Settable::Always | Settable::Maybe, _) => continue,
            };
            problems.push(format!("a rule names {shown}, {problem} ({})", rule.description()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn check(rule: &Rule, values: [Value; 3], path: &AttributePath, in_set: bool) -> Option<Diagnostic> {
        let object = ["a", "b", "c"].map(str::to_owned).into_iter().zip(values).collect();
        broken_rules(std::slice::from_ref(rule), &[], &object, Place { path, in_set }).into_iter().last()
    }

    fn message(rule: &Rule, values: [Value; 3]) -> Option<String> {
        check(rule, values, &AttributePath::root(), false).map(|found| found.detail)
    }

    fn set() -> Value {
        Value::from("x")
    }

    #[test]
    fn each_rule_says_what_is_missing_or_too_much() {
        let conflict = Rule::ConflictsWith { name: "a".into(), others: names(&["b", "c"]) };
        let refused = message(&conflict, [set(), Value::Null, set()]);
        assert_eq!(refused.unwrap(), "`a` cannot be set together with `c`. Leave one of them out.");
        assert_eq!(message(&conflict, [Value::Null, set(), set()]), None);
        assert_eq!(message(&conflict, [set(), Value::Null, Value::Null]), None);

        let needs = Rule::RequiredWith { name: "a".into(), others: names(&["b", "c"]) };
        let refused = message(&needs, [set(), Value::Null, Value::Null]);
        assert_eq!(
            refused.unwrap(),
            "Where `a` is set, `b` and `c` must be set too. Set all of them, or none."
        );
        assert_eq!(message(&needs, [set(), set(), set()]), None);
        assert_eq!(message(&needs, [Value::Null, set(), Value::Null]), None);

        let one = Rule::ExactlyOneOf(names(&["a", "b", "c"]));
        let refused = message(&one, [set(), Value::Null, set()]);
        assert_eq!(refused.unwrap(), "Exactly one of `a`, `b` and `c` must be set. Set here: `a` and `c`.");
        let refused = message(&one, [Value::Null, Value::Null, Value::Null]);
        assert_eq!(refused.unwrap(), "Exactly one of `a`, `b` and `c` must be set, and none is.");
        assert_eq!(message(&one, [Value::Null, set(), Value::Null]), None);

        let some = Rule::AtLeastOneOf(names(&["a", "b"]));
        assert!(message(&some, [Value::Null, Value::Null, set()]).is_some());
        assert_eq!(message(&some, [set(), set(), Value::Null]), None);
    }

    #[test]
    fn an_unknown_on_any_side_gives_no_verdict() {
        let abc = names(&["a", "b", "c"]);
        let rules = [
            Rule::ConflictsWith { name: "a".into(), others: names(&["b", "c"]) },
            Rule::RequiredWith { name: "a".into(), others: names(&["b", "c"]) },
            Rule::ExactlyOneOf(abc.clone()),
            Rule::AtLeastOneOf(abc),
        ];
        for rule in rules {
            for unknown in 0..3 {
                for other in [Value::Null, set()] {
                    let mut values = [other.clone(), other.clone(), other.clone()];
                    values[unknown] = Value::unknown();
                    assert_eq!(message(&rule, values), None, "{rule:?}");
                }
            }
        }
    }

    #[test]
    fn a_message_stands_at_the_place() {
        let path = AttributePath::from("list").index(1);
        let one = Rule::ExactlyOneOf(names(&["a", "b"]));
        let both = || [set(), set(), Value::Null];
        let found = check(&one, both(), &path, false).unwrap();
        assert_eq!(found.attribute.unwrap().to_string(), "list[1].b");
        assert!(found.detail.contains("`list[1].a`"), "{}", found.detail);
        let found = check(&one, [Value::Null, Value::Null, Value::Null], &path, false).unwrap();
        assert_eq!(found.attribute.unwrap().to_string(), "list[1]");
        let found = check(&one, both(), &"bag".into(), true).unwrap();
        assert_eq!(found.attribute.unwrap().to_string(), "bag", "elements of sets have no address");
    }

    #[test]
    fn a_block_that_does_not_occur_is_not_set() {
        assert_eq!(presence(&Value::list([]), Some(Nesting::List)), Presence::NotSet);
        assert_eq!(presence(&Value::list([]), None), Presence::Set, "an empty list is what the user wrote");
        assert_eq!(presence(&Value::list([Value::Null]), Some(Nesting::List)), Presence::Set);
        assert_eq!(presence(&Value::Set(Vec::new()), Some(Nesting::Set)), Presence::NotSet);
        assert_eq!(presence(&Value::Map(BTreeMap::new()), Some(Nesting::Map)), Presence::NotSet);
        let group = |inner: Value| presence(&Value::object([("x", inner)]), Some(Nesting::Group));
        assert_eq!(group(Value::Null), Presence::NotSet);
        assert_eq!(group(set()), Presence::Set);
        assert_eq!(presence(&Value::unknown(), Some(Nesting::List)), Presence::Unknown);
    }
}
