//! The paths that demand a replacement.

use super::{Rule, Violation};
use crate::{AttributePath, PathStep, Type, Value};

/// Checks the paths of `requires_replace` as core does: each must lead to a value in the prior or in the planned
/// state. Core: "Provider produced invalid plan".
#[must_use]
pub fn replace_paths_valid(prior: &Value, planned: &Value, paths: &[AttributePath]) -> Vec<Violation> {
    paths
        .iter()
        .filter(|path| prior.get_path(path).is_none() && planned.get_path(path).is_none())
        .map(|path| Violation::new(path, Rule::ReplacePath, "there is no such place in either state"))
        .collect()
}

/// What to send of a path that demands a replacement: the path itself, or the set that it goes into, since elements of
/// sets have no address. `None` where there is nothing before and nothing planned, and so no change either.
pub(crate) fn replace_path(
    ty: &Type,
    prior: &Value,
    planned: &Value,
    path: &AttributePath,
) -> Result<Option<AttributePath>, Violation> {
    let refused = |reason: &str| Violation::new(path, Rule::ReplacePath, reason);
    if path.is_root() {
        return Err(refused("it names no attribute"));
    }
    let (mut at, mut cut) = (ty, None);
    let mut steps = path.steps().iter().enumerate().peekable();
    while let Some((position, step)) = steps.peek().copied() {
        at = match (at, step) {
            // An element may be named or not: there is one type for all.
            (Type::Set(element), step) => {
                cut = cut.or(Some(position));
                if !matches!(step, PathStep::Attribute(_)) {
                    steps.next();
                }
                element
            }
            (Type::Object(attributes), PathStep::Attribute(name)) => {
                steps.next();
                attributes.get(name).ok_or_else(|| refused("the schema has no such attribute"))?
            }
            (Type::List(element), PathStep::Index(_)) | (Type::Map(element), PathStep::Key(_)) => {
                steps.next();
                element
            }
            (Type::Tuple(elements), PathStep::Index(index)) => {
                steps.next();
                let element = usize::try_from(*index).ok().and_then(|index| elements.get(index));
                element.ok_or_else(|| refused("the schema has no such element"))?
            }
            (Type::Dynamic, _) => break,
            _ => return Err(refused("it does not fit the schema")),
        };
    }
    let kept = cut.unwrap_or(path.steps().len());
    let path: AttributePath = path.steps()[..kept].iter().cloned().collect();
    let there = prior.get_path(&path).is_some() || planned.get_path(&path).is_some();
    Ok(there.then_some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> (Type, Value) {
        let part = Type::object([("label", Type::String)]);
        let ty = Type::object([
            ("name", Type::String),
            ("list", Type::list(part.clone())),
            ("set", Type::set(part.clone())),
            ("any", Type::Dynamic),
        ]);
        let part = Value::object([("label", "x".into())]);
        let value = Value::object([
            ("name", "a".into()),
            ("list", Value::list([part.clone()])),
            ("set", Value::set([part])),
            ("any", Value::Null),
        ]);
        (ty, value)
    }

    #[test]
    fn paths_are_those_of_the_schema_and_stop_at_sets() {
        let (ty, value) = parts();
        let root = AttributePath::root();
        let ask = |path: &AttributePath| replace_path(&ty, &Value::Null, &value, path);
        let label = root.attribute("list").index(0).attribute("label");
        assert_eq!(ask(&label), Ok(Some(label.clone())));
        let set = root.attribute("set");
        for inside in [set.clone(), set.index(0), set.attribute("label"), set.index(0).attribute("label")] {
            assert_eq!(ask(&inside), Ok(Some(set.clone())), "{inside}");
        }
        // Nothing is there, so nothing changes there.
        for nothing in [root.attribute("list").index(7), root.attribute("any").attribute("x")] {
            assert_eq!(ask(&nothing), Ok(None), "{nothing}");
        }
        for (wrong, reason) in [
            (root.attribute("nmae"), "no such attribute"),
            (set.index(0).attribute("lable"), "no such attribute"),
            (root.attribute("list").key("a"), "does not fit"),
            (root.attribute("name").attribute("x"), "does not fit"),
            (root.clone(), "names no attribute"),
        ] {
            let violation = ask(&wrong).unwrap_err();
            assert!(violation.message.contains(reason) && violation.path == wrong, "{wrong}: {violation}");
        }
    }

    #[test]
    fn core_refuses_what_leads_nowhere() {
        let (_, value) = parts();
        let root = AttributePath::root();
        let paths = [root.attribute("name"), root.attribute("nmae"), root.attribute("set").index(0)];
        let refused = replace_paths_valid(&value, &Value::Null, &paths);
        let refused: Vec<_> = refused.into_iter().map(|violation| violation.path).collect();
        assert_eq!(refused, paths[1..]);
    }
}
