//! What a program finds in its environment.

use std::collections::BTreeMap;
use std::ffi::OsString;

use futures::future::BoxFuture;
use spectra_rollout::spec::CommandSpec;
use spectra_rollout::{Place, RunContext};
use spectra_types::{Redactor, Secret};

/// What every program gets of this process's own environment: enough to be found and to run, and nothing else, for a
/// CI job's environment is full of tokens.
const OWN: [&str; 4] = ["PATH", "HOME", "LANG", "TMPDIR"];

/// Lines of a secret that are shorter than this, in bytes, occur in ordinary output: `}` and `-----`.
const SHORTEST_LINE: usize = 8;

/// Names and values.
pub type Variables = Vec<(String, Value)>;

/// The value of a variable.
///
/// The process's redactor removes every secret from whatever is written, the record of a rollout included. So what is
/// none must not become one: a variable `LOG_LEVEL=info` or the id of an environment would tear holes into the record.
#[derive(Clone, Debug)]
pub enum Value {
    /// Must not be seen.
    Secret(Secret<String>),
    /// May be seen.
    Plain(String),
}

impl Value {
    /// The text. Every call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &str {
        match self {
            Self::Secret(secret) => secret.expose(),
            Self::Plain(text) => text,
        }
    }
}

impl From<Secret<String>> for Value {
    fn from(secret: Secret<String>) -> Self {
        Self::Secret(secret)
    }
}

/// The variables that a service runs with.
pub trait ServiceVariables: Send + Sync {
    /// The variables of the service at `place`, references rendered. An `Err` says in words why they cannot be read.
    fn variables<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<Variables, String>>;
}

/// The part of this process's environment that programs get.
pub(crate) fn own(read: impl Fn(&str) -> Option<OsString>) -> Vec<(&'static str, OsString)> {
    OWN.into_iter().filter_map(|name| Some((name, read(name)?))).collect()
}

/// The whole environment of a program. Later ones win: this process's, the service's, the command's, the rollout's. A
/// service's own `PATH` or `HOME` describes another machine and is passed over.
pub(crate) fn environment(
    own: &[(&'static str, OsString)],
    of_service: &[(String, Value)],
    spec: &CommandSpec,
    of_rollout: Vec<(&'static str, String)>,
) -> Result<BTreeMap<String, OsString>, String> {
    let mut all: BTreeMap<String, OsString> = BTreeMap::new();
    for (name, value) in of_service.iter().filter(|(name, _)| !OWN.contains(&name.as_str())) {
        all.insert(name.clone(), value.expose().into());
        if let Value::Secret(secret) = value {
            register_lines(secret);
        }
    }
    all.extend(own.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    all.extend(spec.environment.iter().map(|(name, value)| (name.clone(), value.into())));
    all.extend(of_rollout.into_iter().map(|(name, value)| (name.to_owned(), value.into())));
    for (name, value) in &all {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(format!("`{}` cannot be the name of an environment variable", name.escape_debug()));
        }
        if value.as_encoded_bytes().contains(&0) {
            return Err(format!(
                "the value of `{name}` holds a zero byte, which no environment variable can"
            ));
        }
    }
    Ok(all)
}

/// What the rollout tells a program.
pub(crate) fn of_rollout(place: &Place, context: &RunContext) -> Vec<(&'static str, String)> {
    vec![
        ("SPECTRA_ROLLOUT_ID", context.rollout.clone()),
        ("SPECTRA_IMAGE", context.candidate.to_string()),
        ("SPECTRA_DIGEST", context.candidate.digest().to_string()),
        ("SPECTRA_PURPOSE", context.purpose.clone()),
        ("SPECTRA_SERVICE", place.service.to_string()),
        ("SPECTRA_ENVIRONMENT", place.environment.to_string()),
    ]
}

/// Output is looked at line by line, where a key of many lines is never found as a whole.
fn register_lines(value: &Secret<String>) {
    if value.expose().trim().contains('\n') {
        for line in value.expose().lines().filter(|line| line.trim().len() >= SHORTEST_LINE) {
            Redactor::global().register(line);
        }
    }
}
