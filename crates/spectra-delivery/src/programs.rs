//! Hooks and migrations, with the variables of the service.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use spectra_probe::{Programs, ServiceVariables, Value, Variables};
use spectra_railway::{Client, InstanceRef};
use spectra_rollout::spec::CommandSpec;
use spectra_rollout::{Place, RolloutRequest, RunContext, RunError, Runner};
use spectra_types::{Redactor, Secret, error_chain};
use tokio_util::sync::CancellationToken;
use url::Url;

/// Values that are shorter, in bytes, are no secrets: they occur in ordinary text.
const SHORTEST_SECRET: usize = 8;
/// The longest value of small letters and underscores alone that is a word: the record's own words look like that.
const LONGEST_WORD: usize = 20;

/// The variables of services on Railway, read when a program needs them.
pub(crate) struct RailwayVariables {
    client: Client,
    /// What stands in the record from its first line. A value that occurs in it is no secret, and must not become one: the
    /// record could not be read any more.
    public: String,
    /// What could not be read, as of the last read of each place.
    unreadable: Mutex<BTreeMap<Place, BTreeSet<String>>>,
}

impl RailwayVariables {
    pub(crate) fn new(client: &Client, request: &RolloutRequest) -> Arc<Self> {
        // A request that cannot be written as JSON is not begun: its first record is that text.
        let public = serde_json::to_string(request).unwrap_or_default();
        Arc::new(Self { client: client.clone(), public, unreadable: Mutex::default() })
    }

    /// The sealed variables that programs at `place` lacked.
    fn lacking(&self, place: &Place) -> Option<String> {
        let unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        let names = unreadable.get(place).filter(|names| !names.is_empty())?;
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        Some(format!(
            "it ran without the sealed variables of the service, which Railway shows to nobody: `{}`",
            names.join("`, `")
        ))
    }

    fn value(&self, name: &str, text: &str) -> Value {
        if !is_secret(name, text, &self.public) {
            return Value::Plain(text.to_owned());
        }
        // Programs like to print a password without the rest of its URL.
        if let Some(password) = Url::parse(text).ok().as_ref().and_then(Url::password)
            && password.len() >= SHORTEST_SECRET
        {
            Redactor::global().register(password);
        }
        Value::Secret(Secret::from(text))
    }
}

/// Whether a value has to be kept out of everything that is written.
fn is_secret(name: &str, value: &str, public: &str) -> bool {
    let word = value.len() <= LONGEST_WORD && value.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_'));
    // Railway's own ones are names, ids and addresses.
    !name.starts_with("RAILWAY_")
        && value.trim().len() >= SHORTEST_SECRET
        && !word
        && !public.contains(value.trim())
}

impl ServiceVariables for RailwayVariables {
    fn variables<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<Variables, String>> {
        Box::pin(async move {
            let at = InstanceRef::from(place);
            let rendered = self.client.rendered_variables(&at).await.map_err(|error| error_chain(&error))?;
            let hidden = self.client.unreadable_variables(&at).await.map_err(|error| error_chain(&error))?;
            let mut unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
            unreadable.insert(place.clone(), hidden.clone());
            drop(unreadable);
            // An empty text in the place of a sealed value would be a value that nobody has set.
            let readable = rendered.into_iter().filter(|(name, _)| !hidden.contains(name));
            Ok(readable.map(|(name, value)| (name.clone(), self.value(&name, value.expose()))).collect())
        })
    }
}

/// A runner that says which variables a program had to do without.
pub(crate) struct ServicePrograms {
    pub(crate) programs: Programs,
    pub(crate) variables: Arc<RailwayVariables>,
}

impl Runner for ServicePrograms {
    fn run<'a>(
        &'a self,
        place: &'a Place,
        command: &'a CommandSpec,
        context: &'a RunContext,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<String, RunError>> {
        Box::pin(async move {
            let ran = self.programs.run(place, command, context, cancel).await;
            let Some(lacking) = self.variables.lacking(place).filter(|_| command.service_variables) else {
                return ran;
            };
            match ran {
                Ok(tail) => Ok(format!("{lacking}\n{tail}").trim_end().to_owned()),
                Err(error) => Err(RunError { message: format!("{}\n{lacking}", error.message), ..error }),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_record_is_made_of_is_no_secret() {
        let public =
            r#"{"place":{"environment":"8f0e6f3c-production"},"candidate":"ghcr.io/team/app@sha256:1"}"#;
        for (name, value) in [
            ("LOG_LEVEL", "info"),
            ("PHASE", "rolled_back"),
            ("KIND", "point_of_no_return"),
            ("STAGE", "8f0e6f3c-production"),
            ("IMAGE", "ghcr.io/team/app"),
            ("PORT", "8080"),
            ("RAILWAY_PRIVATE_DOMAIN", "web.railway.internal"),
        ] {
            assert!(!is_secret(name, value, public), "{name}");
        }
        for value in ["postgres://u:p@db:5432/shop", "hunter2-hunter2", "CORRECTHORSE", "a1b2c3d4"] {
            assert!(is_secret("ANY", value, public), "{value}");
        }
    }
}
