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

/// What one request asks for at its root.
#[derive(Debug, Default, PartialEq, Eq)]
struct Breadth {
    cost: u32,
    aliases: u32,
}

/// How deep fragments may lie in fragments before the count gives up; validation refuses cycles.
const DEPTH: usize = 16;

impl Breadth {
    fn add(
        &mut self,
        set: &SelectionSet,
        fragments: &HashMap<Name, Positioned<FragmentDefinition>>,
        depth: usize,
    ) {
        for item in &set.items {
            match &item.node {
                Selection::Field(field) => {
                    self.cost = self.cost.saturating_add(cost(&field.node.name.node));
                    self.aliases = self.aliases.saturating_add(u32::from(field.node.alias.is_some()));
                }
                Selection::InlineFragment(inline) if depth < DEPTH => {
                    self.add(&inline.node.selection_set.node, fragments, depth + 1);
                }
                Selection::FragmentSpread(spread) if depth < DEPTH => {
                    if let Some(fragment) = fragments.get(&spread.node.fragment_name.node) {
                        self.add(&fragment.node.selection_set.node, fragments, depth + 1);
                    }
                }
                Selection::InlineFragment(_) | Selection::FragmentSpread(_) => {}
            }
        }
    }
}

/// Why the gateway does not process `query`; nothing when it does. What cannot be read is left to validation.
pub(crate) fn refusal(settings: &Settings, query: &str, name: Option<&str>) -> Option<String> {
    let document = parse_query(query).ok()?;
    let (_, operation) =
        document.operations.iter().find(|(found, _)| name.is_none() || found.map(Name::as_str) == name)?;
    let mut breadth = Breadth::default();
    breadth.add(&operation.node.selection_set.node, &document.fragments, 0);
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
