//! Templates of PromQL queries.

use std::time::Duration;

use spectra_rollout::Place;
use spectra_types::{DeploymentId, HumanDuration};
use thiserror::Error;

/// What a template is filled in with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'a> {
    /// The service that is measured.
    pub(crate) place: &'a Place,
    /// The deployment that is measured, once there is one.
    pub(crate) deployment: Option<&'a DeploymentId>,
    /// How far the window reaches back.
    pub(crate) window: Duration,
}

/// A query that cannot be filled in.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum TemplateError {
    #[error(
        "`{{{{{0}}}}}` is nothing that is filled in; there are `{{{{service}}}}`, `{{{{environment}}}}`, \
         `{{{{deployment}}}}` and `{{{{window}}}}`"
    )]
    Unknown(String),
    #[error("a `{{{{` of the query has no `}}}}`")]
    Open,
    #[error("`{{{{{0}}}}}` stands outside of a string; write it as `\"{{{{{0}}}}}\"`")]
    Unquoted(String),
    #[error("`{value}` cannot stand between backticks; put `{{{{{name}}}}}` between double quotes")]
    Backtick { name: String, value: String },
}

/// The query with everything filled in; `None` when it asks for a deployment and there is none.
///
/// Ids are the platform's own words, so they are put into string literals only, escaped for the kind of quotes they stand
/// in. A window is a duration of PromQL and may stand anywhere. Comments are left alone.
pub(crate) fn resolve(template: &str, values: &Values<'_>) -> Result<Option<String>, TemplateError> {
    let mut output = String::with_capacity(template.len());
    let mut quote: Option<char> = None;
    let mut rest = template;
    while let Some(next) = rest.chars().next() {
        if let Some(inside) = rest.strip_prefix("{{") {
            let (name, after) = inside.split_once("}}").ok_or(TemplateError::Open)?;
            let name = name.trim();
            let value = match name {
                "window" => {
                    output.push_str(&window(values.window));
                    rest = after;
                    continue;
                }
                "service" => values.place.service.as_str(),
                "environment" => values.place.environment.as_str(),
                "deployment" => match values.deployment {
                    Some(deployment) => deployment.as_str(),
                    None => return Ok(None),
                },
                _ => return Err(TemplateError::Unknown(name.to_owned())),
            };
            let quote = quote.ok_or_else(|| TemplateError::Unquoted(name.to_owned()))?;
            escape(&mut output, name, value, quote)?;
            rest = after;
            continue;
        }
        let mut taken = next.len_utf8();
        match (quote, next) {
            (None, '#') => taken = rest.find('\n').unwrap_or(rest.len()),
            (None, '"' | '\'' | '`') => quote = Some(next),
            // What is escaped ends no literal.
            (Some('"' | '\''), '\\') => taken += rest[taken..].chars().next().map_or(0, char::len_utf8),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
        output.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    Ok(Some(output))
}

fn escape(output: &mut String, name: &str, value: &str, quote: char) -> Result<(), TemplateError> {
    if quote == '`' {
        // A raw literal has no escapes.
        if value.contains('`') {
            return Err(TemplateError::Backtick { name: name.to_owned(), value: value.to_owned() });
        }
        output.push_str(value);
        return Ok(());
    }
    for character in value.chars() {
        // Ids hold neither white space nor control characters. Prometheus refuses `\'` between double quotes, and the
        // other way round, so only the literal's own quote is escaped.
        if character == '\\' || character == quote {
            output.push('\\');
        }
        output.push(character);
    }
    Ok(())
}

/// PromQL knows no unit below milliseconds, and no window of nothing.
pub(crate) fn window(window: Duration) -> String {
    let milliseconds = u64::try_from(window.as_millis()).unwrap_or(u64::MAX).max(1);
    HumanDuration::new(Duration::from_millis(milliseconds)).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(service: &str) -> Place {
        Place {
            project: "project".parse().unwrap(),
            environment: "env-1".parse().unwrap(),
            service: service.parse().unwrap(),
        }
    }

    fn filled(template: &str, service: &str) -> Result<Option<String>, TemplateError> {
        let deployment = "dep-1".parse().unwrap();
        let place = place(service);
        let window = Duration::from_secs(90);
        resolve(template, &Values { place: &place, deployment: Some(&deployment), window })
    }

    /// Reads the first double-quoted literal the way Prometheus does.
    fn first_literal(query: &str) -> String {
        let mut characters = query.chars().skip_while(|character| *character != '"').skip(1);
        let mut text = String::new();
        loop {
            match characters.next().expect("the literal ends") {
                '"' => return text,
                '\\' => text.push(characters.next().expect("something is escaped")),
                other => text.push(other),
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_an_id_holds_stays_in_its_literal(service in "[!-~]{1,12}") {
            let query = filled(r#"up{service="{{service}}"} > 0"#, &service).unwrap().unwrap();
            prop_assert_eq!(first_literal(&query), service);
            prop_assert!(query.ends_with("\"} > 0"), "{}", query);
        }
    }

    #[test]
    fn everything_is_filled_in() {
        let query = r#"sum(rate(errors{service="{{service}}",env='{{ environment }}',d=`{{deployment}}`}[{{window}}]))"#;
        let expected = r#"sum(rate(errors{service="svc-1",env='env-1',d=`dep-1`}[1m30s]))"#;
        assert_eq!(filled(query, "svc-1"), Ok(Some(expected.to_owned())));
    }

    #[test]
    fn only_the_own_quote_is_escaped() {
        assert_eq!(filled(r#"a{b="{{service}}"}"#, r#"x"y'z"#).unwrap().unwrap(), r#"a{b="x\"y'z"}"#);
        assert_eq!(filled("a{b='{{service}}'}", r#"x"y'z"#).unwrap().unwrap(), r#"a{b='x"y\'z'}"#);
    }

    #[test]
    fn ids_stand_in_literals_only() {
        assert_eq!(filled("{{service}}", "svc"), Err(TemplateError::Unquoted("service".to_owned())));
        let closed = r#"a{b="\"", c={{service}}}"#;
        assert_eq!(filled(closed, "svc"), Err(TemplateError::Unquoted("service".to_owned())));
        assert!(matches!(filled("a{b=`{{service}}`}", "s`c"), Err(TemplateError::Backtick { .. })));
    }

    #[test]
    fn a_comment_opens_no_literal() {
        let query = "# it's {{nothing}}\nup{service=\"{{service}}\"}";
        assert_eq!(filled(query, "svc").unwrap().unwrap(), "# it's {{nothing}}\nup{service=\"svc\"}");
    }

    #[test]
    fn what_cannot_be_filled_in_is_named() {
        let message = filled("a{b=\"{{svc}}\"}", "svc").unwrap_err().to_string();
        assert!(message.starts_with("`{{svc}}` is nothing that is filled in"), "{message}");
        assert_eq!(filled("a{b=\"{{service\"}", "svc"), Err(TemplateError::Open));
    }

    #[test]
    fn without_a_deployment_there_is_no_query_for_one() {
        let place = place("svc");
        let values = Values { place: &place, deployment: None, window: Duration::from_mins(1) };
        assert_eq!(resolve("a{d=\"{{deployment}}\"}", &values), Ok(None));
        assert_eq!(resolve("a[{{window}}]", &values), Ok(Some("a[1m]".to_owned())));
    }

    #[test]
    fn windows_are_durations_of_promql() {
        assert_eq!(window(Duration::from_micros(2_500_500)), "2s500ms");
        assert_eq!(window(Duration::ZERO), "1ms");
    }
}
