//! Who reviewed a run's deployment to an environment.

use serde::Deserialize;

use crate::error::Error;
use crate::run::Run;

/// What a reviewer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Approved,
    /// Do not.
    Rejected,
}

/// A review that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// Who, by their login.
    pub login: String,
    /// What they said.
    pub verdict: Verdict,
}

/// The reviews of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reviews {
    /// Those of the environment in question.
    pub counted: Vec<Review>,
    /// Who does not count, and why.
    pub ignored: Vec<(String, String)>,
}

/// One of GitHub's `environment-approvals`, as far as it is needed.
#[derive(Debug, Deserialize)]
struct Entry {
    environments: Vec<Environment>,
    state: String,
    user: User,
}

#[derive(Debug, Deserialize)]
struct Environment {
    name: String,
}

#[derive(Debug, Deserialize)]
struct User {
    login: String,
}

/// GitHub's `workflow-run`, as far as it is needed.
#[derive(Debug, Deserialize)]
struct WorkflowRun {
    /// Counts from 1. Left out by servers that know no attempts.
    run_attempt: Option<u64>,
    status: Option<String>,
}

impl Run {
    /// The reviews of deployments to `environment` in this run.
    ///
    /// A review says neither when it was given nor in which attempt of the run. In a run that was started again, reviews of
    /// an earlier attempt look like those of this one, so none of them counts. The same holds for a run that is over: this
    /// process would be part of it.
    pub async fn reviews(&self, environment: &str) -> Result<Reviews, Error> {
        // Environments are one and the same however their names are written.
        let wanted = environment.to_lowercase();
        let run: WorkflowRun = self.get("").await?;
        let entries: Vec<Entry> = self.get("/approvals").await?;
        let of_no_use = match (run.run_attempt, run.status.as_deref()) {
            (_, Some("completed")) => Some("the run is over".to_owned()),
            (None | Some(1), _) => None,
            (Some(attempt), _) => Some(format!(
                "this is attempt {attempt} of the run, and GitHub does not say which attempt was reviewed: start a new run"
            )),
        };
        let mut reviews = Reviews::default();
        for Entry { environments, state, user } in entries {
            let why = if environments.iter().any(|found| found.name.to_lowercase() == wanted) {
                of_no_use.clone()
            } else {
                let names: Vec<_> = environments.iter().map(|found| format!("`{}`", found.name)).collect();
                Some(format!("the review is of {}, and not of `{environment}`", names.join(", ")))
            };
            let verdict = match state.as_str() {
                "approved" => Some(Verdict::Approved),
                "rejected" => Some(Verdict::Rejected),
                _ => None,
            };
            match (why, verdict) {
                (Some(why), _) => reviews.ignored.push((user.login, why)),
                (None, Some(verdict)) => reviews.counted.push(Review { login: user.login, verdict }),
                (None, None) => reviews.ignored.push((user.login, format!("the review is `{state}`"))),
            }
        }
        Ok(reviews)
    }
}
