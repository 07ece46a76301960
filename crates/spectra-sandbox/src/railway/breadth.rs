//! The gateway's limits on how much one request may ask for. Over them it answers `Problem processing request` and
//! nothing is executed; how much is too much is known from clients that counted.

use std::collections::HashMap;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{FragmentDefinition, Selection, SelectionSet};
use async_graphql::{Name, Positioned};

use crate::settings::Settings;

/// What a root field adds to the breadth of its request.
fn cost(field: &str) -> u32 {
    match field {
        "metrics" => 12,
        "environmentLogs" | "buildLogs" | "deploymentLogs" => 13,
        "httpLogs" => 21,
        "httpMetrics" | "httpDurationMetrics" | "httpMetricsGroupedByStatus" => 5,
        _ => 1,
    }
}

/// What one request asks for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Breadth {
    /// Of its root fields.
    cost: u32,
    /// Of its root fields.
    aliases: u32,
    /// Selections at every level once all fragments are in their places.
    size: u32,
}

/// How deep selections may lie in each other, fragments followed.
const DEPTH: usize = 64;

/// Most selections with all fragments in their places. Eight spreads of eight spreads, and so on, are a short
/// document that would keep validation busy for ever.
const SIZE: u32 = 200_000;

/// Counts a document; each fragment once, however often it is spread.
struct Count<'a> {
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    /// `None` while it is being counted: a cycle, which validation refuses.
    known: HashMap<&'a str, Option<Breadth>>,
    too_deep: bool,
}

impl<'a> Count<'a> {
    fn set(&mut self, set: &'a SelectionSet, depth: usize) -> Breadth {
        let mut sum = Breadth::default();
        if depth > DEPTH {
            self.too_deep = true;
            return sum;
        }
        for item in &set.items {
            let one = match &item.node {
                Selection::Field(field) => Breadth {
                    cost: cost(&field.node.name.node),
                    aliases: u32::from(field.node.alias.is_some()),
                    size: self.set(&field.node.selection_set.node, depth + 1).size,
                },
                Selection::InlineFragment(inline) => self.set(&inline.node.selection_set.node, depth + 1),
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node, depth),
            };
            sum.cost = sum.cost.saturating_add(one.cost);
            sum.aliases = sum.aliases.saturating_add(one.aliases);
            sum.size = sum.size.saturating_add(one.size).saturating_add(1);
        }
        sum
    }

    fn fragment(&mut self, name: &'a str, depth: usize) -> Breadth {
        if let Some(known) = self.known.get(name) {
            return known.unwrap_or_default();
        }
        let Some(fragment) = self.fragments.get(name) else { return Breadth::default() };
        self.known.insert(name, None);
        let breadth = self.set(&fragment.node.selection_set.node, depth + 1);
        self.known.insert(name, Some(breadth));
        breadth
    }
}

/// Why the gateway does not process `query`; nothing when it does. What cannot be read is left to validation.
pub(crate) fn refusal(settings: &Settings, query: &str, name: Option<&str>) -> Option<String> {
    let document = parse_query(query).ok()?;
    let (_, operation) =
        document.operations.iter().find(|(found, _)| name.is_none() || found.map(Name::as_str) == name)?;
    let mut count = Count { fragments: &document.fragments, known: HashMap::new(), too_deep: false };
    let mut breadth = count.set(&operation.node.selection_set.node, 0);
    // Validation walks through all operations, also those that do not run.
    for (_, other) in document.operations.iter() {
        breadth.size = breadth.size.max(count.set(&other.node.selection_set.node, 0).size);
    }
    if count.too_deep {
        return Some(format!("selections lie more than {DEPTH} deep in each other"));
    }
    if breadth.size > SIZE {
        return Some(format!("the document spreads to more than {SIZE} selections"));
    }
    let over = |count: u32, most: Option<u32>| most.filter(|most| count > *most);
    if let Some(most) = over(breadth.cost, settings.query_breadth) {
        return Some(format!("the breadth is {}, at most {most} is processed", breadth.cost));
    }
    let most = over(breadth.aliases, settings.query_aliases)?;
    Some(format!("there are {} aliases, at most {most} are processed", breadth.aliases))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(count: usize, field: &str) -> String {
        (0..count).map(|number| format!("a{number}: {field}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_costs_of_all_root_fields_add_up() {
        let mut settings = Settings { query_aliases: None, ..Settings::default() };
        let logs =
            |count| format!("query Q {{ {} }}", fields(count, "httpLogs(deploymentId: \"d\") { path }"));
        // 23 × 21 = 483, 24 × 21 = 504.
        assert_eq!(refusal(&settings, &logs(23), None), None);
        let why = refusal(&settings, &logs(24), None).unwrap();
        assert_eq!(why, "the breadth is 504, at most 500 is processed");
        let hidden = format!(
            "query Q {{ ...F }} fragment F on Query {{ ... on Query {{ {} }} }}",
            fields(24, "httpLogs")
        );
        assert!(refusal(&settings, &hidden, None).is_some());
        let cyclic = "query Q { ...F } fragment F on Query { me { id } ...F }";
        assert_eq!(refusal(&settings, cyclic, None), None);
        settings.query_breadth = None;
        assert_eq!(refusal(&settings, &logs(240), None), None);
    }

    #[test]
    fn spreads_of_spreads_are_counted_once_each_and_refused_for_what_they_grow_to() {
        let nested = |levels: usize, field: &str| {
            let mut query = "query Q { ...F0 }".to_owned();
            for level in 0..levels {
                let inner = format!("...F{} ", level + 1).repeat(8);
                query = format!("{query} fragment F{level} on Query {{ {inner} }}");
            }
            query + &format!(" fragment F{levels} on Query {{ {field} }}")
        };
        let mut settings = Settings::default();
        assert_eq!(refusal(&settings, &nested(2, "me { id }"), None), None, "8 times 8 is 64");
        assert!(refusal(&settings, &nested(3, "me { id }"), None).unwrap().contains("breadth is 512"));
        settings.query_breadth = None;
        assert_eq!(refusal(&settings, &nested(3, "me { id }"), None), None);
        // Without the memory of what is counted 8^16 steps would not end.
        assert!(refusal(&settings, &nested(16, "me { id }"), None).unwrap().contains("spreads to more than"));
        assert!(refusal(&settings, &nested(60, "me { id }"), None).is_some());
        assert!(refusal(&settings, &nested(90, "me { id }"), None).unwrap().contains("deep"));
        let inside = nested(16, "id").replace("query Q { ...F0 }", "query Q { me { ...F0 } }");
        assert!(refusal(&settings, &inside, None).unwrap().contains("spreads to more than"));
    }

    #[test]
    fn aliases_are_counted_in_the_operation_that_runs() {
        let settings = Settings::default();
        let query = format!("query Few {{ me {{ id }} }} query Many {{ {} }}", fields(21, "me { id }"));
        assert_eq!(refusal(&settings, &query, Some("Few")), None);
        assert!(refusal(&settings, &query, Some("Many")).unwrap().contains("21 aliases"));
        let query = format!("query Q {{ {} }}", fields(20, "me { id }"));
        assert_eq!(refusal(&settings, &query, None), None);
        assert_eq!(refusal(&settings, "query {", None), None);
    }
}
