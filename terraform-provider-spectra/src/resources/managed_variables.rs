//! Variables and secrets that a resource manages: what three resources do alike.

use std::collections::{BTreeMap, BTreeSet};

use spectra_railway::{Deploys, Variable, VariableChanges, VariableScope, VariableValue};
use spectra_types::{EnvironmentId, ProjectId, Secret};
use tfplugin::{Attr, AttributePath, Diagnostic, Diagnostics, Model, Plan, Sensitive, Set};

use crate::errors::railway;
use crate::provider::Cx;

/// Variables by name, as a model has them.
pub(crate) type Variables = Attr<BTreeMap<String, Attr<String>>>;
/// Secrets by name, as configuration has them.
pub(crate) type Secrets = Attr<BTreeMap<String, Attr<Sensitive<String>>>>;
/// The names of the secrets, as state has them.
pub(crate) type SecretNames = Attr<Set<String>>;

/// The attributes of a model that this module works on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Managed {
    pub(crate) variables: Variables,
    pub(crate) secrets_wo_version: Attr<i64>,
    pub(crate) secret_names: SecretNames,
}

/// Plans the names of the secrets from configuration, the one place where they are seen: a name that was added, or
/// that vanished from Railway, is a change even where nobody raised the version.
pub(crate) fn plan_secret_names<M: Model>(plan: &mut Plan<M>, secrets: &Secrets) {
    match secrets {
        Attr::Unknown => plan.set_unknown("secret_names"),
        Attr::Null => plan.set("secret_names", Set::<String>::from_iter([])),
        Attr::Known(secrets) => plan.set("secret_names", secrets.keys().cloned().collect::<Set<String>>()),
    }
}

/// Refuses a name that is among the variables and among the secrets: one of the two would be lost.
pub(crate) fn refuse_twice(variables: &Variables, secrets: &Secrets, diagnostics: &mut Diagnostics) {
    let (Some(variables), Some(secrets)) = (variables.as_known(), secrets.as_known()) else { return };
    for name in secrets.keys().filter(|name| variables.contains_key(*name)) {
        diagnostics.push(
            Diagnostic::error(
                "A variable is given twice",
                format!("`{name}` is among `variables` and among `secrets_wo`: it can be one of them only."),
            )
            .at(AttributePath::from("variables").key(name.clone())),
        );
    }
}

/// What has to be written to get from `prior` to `planned`.
pub(crate) fn changes(prior: Option<&Managed>, planned: &Managed, secrets: &Secrets) -> VariableChanges {
    let mut changes = VariableChanges::default();
    let nothing = BTreeMap::new();
    let before = prior.and_then(|prior| prior.variables.as_known()).unwrap_or(&nothing);
    let after = planned.variables.as_known().unwrap_or(&nothing);
    for (name, value) in after {
        if before.get(name) != Some(value)
            && let Some(text) = value.as_known()
        {
            changes.set.insert(name.clone(), VariableValue::from(text.clone()));
        }
    }
    let known_names: BTreeSet<String> = prior
        .and_then(|prior| prior.secret_names.as_known())
        .map(|names| names.iter().cloned().collect())
        .unwrap_or_default();
    let raised = prior.is_none_or(|prior| prior.secrets_wo_version != planned.secrets_wo_version);
    let empty = BTreeMap::new();
    let secrets = secrets.as_known().unwrap_or(&empty);
    for (name, secret) in secrets {
        if let Some(secret) = secret.as_known()
            && (raised || !known_names.contains(name))
        {
            let secret = Secret::new(secret.expose().clone());
            changes.seal.insert(name.clone(), VariableValue::from(&secret));
        }
    }
    // A name that changed sides is written above; removing it as well would undo that.
    let gone = |name: &&String| !after.contains_key(*name) && !secrets.contains_key(*name);
    changes.delete.extend(before.keys().chain(&known_names).filter(gone).cloned());
    changes
}

/// After an import nothing is known of the variables; what has its value already is then not written again.
pub(crate) async fn drop_equal(
    cx: &Cx,
    project: &ProjectId,
    environment: &EnvironmentId,
    scope: &VariableScope,
    prior: Option<&Managed>,
    changes: &mut VariableChanges,
) -> Result<(), Diagnostics> {
    if changes.set.is_empty() || prior.is_none_or(|prior| !prior.variables.is_null()) {
        return Ok(());
    }
    let found = cx.client.railway()?.variables(project, environment, scope).await.map_err(|error| {
        railway("The variables could not be read", &error, "None of the variables was changed.")
            .at("variables")
    })?;
    changes
        .set
        .retain(|name, value| found.get(name).is_none_or(|variable| variable.value.as_ref() != Some(value)));
    Ok(())
}

/// Writes; nothing is deployed unless `deploys` says so.
pub(crate) async fn write(
    cx: &Cx,
    project: &ProjectId,
    environment: &EnvironmentId,
    scope: &VariableScope,
    changes: &VariableChanges,
    deploys: Deploys,
) -> Result<(), Diagnostics> {
    cx.client.railway()?.change_variables(project, environment, scope, changes, deploys).await.map_err(
        |error| {
            let left = if error.changed_nothing() {
                "None of the variables was changed."
            } else {
                "Some of the variables may have been changed; the next apply writes them again."
            };
            railway("The variables could not be written", &error, left).at("variables").into()
        },
    )
}

/// What Railway has of the variables and secrets that are managed. Others are somebody else's.
pub(crate) fn read(prior: &Managed, found: &BTreeMap<String, Variable>) -> Managed {
    let variables = prior.variables.clone().map(|known| {
        known
            .into_iter()
            .filter_map(|(name, before)| {
                let value = match &found.get(&name)?.value {
                    Some(value) => Attr::Known(value.expose().to_owned()),
                    // Sealed by somebody: it cannot be compared any more, so what was written stands.
                    None => before,
                };
                Some((name, value))
            })
            .collect()
    });
    let secret_names = prior
        .secret_names
        .clone()
        .map(|names| names.iter().filter(|name| found.contains_key(*name)).cloned().collect::<Set<String>>());
    Managed { variables, secrets_wo_version: prior.secrets_wo_version.clone(), secret_names }
}

/// Everything that can be read, for an import. None at all is what configuration writes by leaving the attribute out.
pub(crate) fn read_all(found: &BTreeMap<String, Variable>) -> Managed {
    let readable: BTreeMap<_, _> = found
        .iter()
        .filter_map(|(name, variable)| {
            Some((name.clone(), Attr::Known(variable.value.as_ref()?.expose().to_owned())))
        })
        .collect();
    let sealed = found.iter().filter(|(_, variable)| variable.sealed).map(|(name, _)| name.clone()).collect();
    Managed {
        variables: if readable.is_empty() { Attr::Null } else { Attr::Known(readable) },
        secrets_wo_version: Attr::Null,
        secret_names: Attr::Known(sealed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn managed(variables: &[(&str, &str)], version: i64, names: &[&str]) -> Managed {
        Managed {
            variables: Attr::Known(
                variables
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), Attr::Known((*value).to_owned())))
                    .collect(),
            ),
            secrets_wo_version: version.into(),
            secret_names: Attr::Known(names.iter().map(|name| (*name).to_owned()).collect()),
        }
    }

    fn secrets(entries: &[(&str, &str)]) -> Secrets {
        Attr::Known(
            entries
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Attr::Known(Sensitive((*value).to_owned()))))
                .collect(),
        )
    }

    fn names(map: &BTreeMap<String, VariableValue>) -> Vec<&str> {
        map.keys().map(String::as_str).collect()
    }

    #[test]
    fn creating_writes_everything() {
        let planned = managed(&[("A", "1")], 1, &["S"]);
        let changes = changes(None, &planned, &secrets(&[("S", "hidden-value")]));
        assert_eq!((names(&changes.set), names(&changes.seal)), (vec!["A"], vec!["S"]));
        assert!(changes.delete.is_empty());
    }

    #[test]
    fn same_values_are_not_written_again() {
        let state = managed(&[("A", "1")], 1, &["S"]);
        assert!(changes(Some(&state), &state, &secrets(&[("S", "hidden-value")])).is_empty());
    }

    #[test]
    fn raised_version_writes_all_secrets_and_a_new_name_only_itself() {
        let prior = managed(&[], 1, &["S", "T"]);
        let all = secrets(&[("S", "hidden-value"), ("T", "other-hidden")]);
        assert_eq!(names(&changes(Some(&prior), &managed(&[], 2, &["S", "T"]), &all).seal), vec!["S", "T"]);
        let prior = managed(&[], 1, &["S"]);
        assert_eq!(names(&changes(Some(&prior), &managed(&[], 1, &["S", "T"]), &all).seal), vec!["T"]);
    }

    #[test]
    fn dropped_names_are_removed_but_not_when_they_changed_sides() {
        let prior = managed(&[("A", "1")], 1, &["S", "T"]);
        let planned = managed(&[("S", "plain now")], 1, &[]);
        let changes = changes(Some(&prior), &planned, &Attr::Null);
        assert_eq!(changes.delete, BTreeSet::from(["A".to_owned(), "T".to_owned()]));
        assert_eq!(names(&changes.set), vec!["S"]);
    }

    #[test]
    fn a_variable_that_becomes_a_secret_is_sealed_and_not_deleted() {
        let prior = managed(&[("A", "1")], 1, &[]);
        let changes = changes(Some(&prior), &managed(&[], 1, &["A"]), &secrets(&[("A", "hidden-value")]));
        assert_eq!(names(&changes.seal), vec!["A"]);
        assert_eq!(changes.delete, BTreeSet::new());
    }

    #[test]
    fn a_name_on_both_sides_is_refused_at_its_place() {
        let mut diagnostics = Diagnostics::new();
        let both = managed(&[("A", "1"), ("B", "2")], 1, &[]);
        refuse_twice(&both.variables, &secrets(&[("A", "hidden-value")]), &mut diagnostics);
        let places: Vec<_> = diagnostics.iter().map(|one| one.attribute.clone()).collect();
        assert_eq!(places, vec![Some(AttributePath::from("variables").key("A"))]);
    }

    #[test]
    fn importing_no_variables_reads_as_the_attribute_left_out() {
        let sealed = BTreeMap::from([("S".to_owned(), Variable { value: None, sealed: true })]);
        let read = read_all(&sealed);
        assert_eq!(read.variables, Attr::Null);
        assert_eq!(read.secret_names, managed(&[], 1, &["S"]).secret_names);
    }

    #[test]
    fn foreign_variables_are_left_alone_and_vanished_ones_are_drift() {
        let state = managed(&[("A", "1"), ("B", "2")], 1, &["S", "T"]);
        let found = BTreeMap::from([
            ("A".to_owned(), Variable { value: Some("changed".into()), sealed: false }),
            ("FOREIGN".to_owned(), Variable { value: Some("x".into()), sealed: false }),
            ("S".to_owned(), Variable { value: None, sealed: true }),
        ]);
        let read = read(&state, &found);
        assert_eq!(read.variables, managed(&[("A", "changed")], 1, &[]).variables);
        assert_eq!(read.secret_names, managed(&[], 1, &["S"]).secret_names);
    }
}
