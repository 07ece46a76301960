//! Import ids made of several parts: `project/environment/service`.

use std::fmt::Display;
use std::str::FromStr;

use tfplugin::{Attr, Diagnostic, Diagnostics, Text};

/// One part of an import id.
pub(crate) struct Part {
    text: String,
    name: &'static str,
}

impl Part {
    /// The part as an id.
    pub(crate) fn parse<T: FromStr<Err: Display>>(self) -> Result<Attr<Text<T>>, Diagnostics> {
        let parsed: Text<T> = self.text.parse().map_err(|error: T::Err| {
            Diagnostic::error(
                "Not an import id",
                format!("The {} part `{}` is not an id: {error}.", self.name, self.text),
            )
        })?;
        Ok(parsed.into())
    }

    /// The part as it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// Takes an import id apart.
pub(crate) fn import_id<const N: usize>(
    id: &str,
    names: [&'static str; N],
) -> Result<[Part; N], Diagnostics> {
    let parts: Vec<&str> = id.split('/').collect();
    let parts: Result<[&str; N], _> = parts.try_into();
    match parts {
        Ok(parts) if parts.iter().all(|part| !part.trim().is_empty()) => {
            let mut names = names.into_iter();
            Ok(parts.map(|text| Part { text: text.to_owned(), name: names.next().unwrap_or_default() }))
        }
        _ => {
            let pattern = names.map(|name| format!("{name}_id")).join("/");
            Err(Diagnostic::error(
                "Not an import id",
                format!("An import id of this resource has the form `{pattern}`; got `{id}`."),
            )
            .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use spectra_types::{EnvironmentId, ProjectId};

    use super::*;

    #[test]
    fn parts_come_in_order() {
        let [project, environment] = import_id("p-1/e-1", ["project", "environment"]).unwrap();
        let project: Attr<Text<ProjectId>> = project.parse().unwrap();
        let environment: Attr<Text<EnvironmentId>> = environment.parse().unwrap();
        assert_eq!(project.as_known().unwrap().as_str(), "p-1");
        assert_eq!(environment.as_known().unwrap().as_str(), "e-1");
    }

    #[test]
    fn wrong_shape_quotes_the_pattern() {
        for id in ["p-1", "p-1/", "p-1/e-1/s-1", "/e-1"] {
            let Err(diagnostics) = import_id(id, ["project", "environment"]) else { panic!("{id}") };
            let text = format!("{diagnostics:?}");
            assert!(text.contains("project_id/environment_id"), "{text}");
        }
    }
}
