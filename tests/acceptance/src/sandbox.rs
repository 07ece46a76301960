//! A sandbox process of one test's own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Group;
use crate::{eventually, http, programs};

/// One request that the sandbox answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Position in the journal, ascending.
    pub sequence: u64,
    /// `query` or `mutation` for requests to Railway's API; other surfaces have other words.
    pub kind: String,
    /// Operation name of the request.
    pub operation: String,
    /// What became of it: `ok`, `error`, `rate_limited`, `fault:…`.
    pub outcome: String,
}

/// A running sandbox with its state in a temporary directory; both are gone when it is dropped. A test during which a client broke a
/// rule of the registry fails then.
pub struct Sandbox {
    // Field order is drop order: the process ends before its directory goes.
    process: Group,
    info: Value,
    /// User and password of its registry, if that is private.
    login: Option<(String, String)>,
    directory: TempDir,
}

impl Sandbox {
    /// Starts one whose platform runs a hundred times faster than Railway.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&["--time-scale", "100"])
    }

    /// Starts one with further arguments for `sandbox start`.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start_with(arguments: &[&str]) -> Self {
        Self::start_as(arguments, None)
    }

    /// Starts one whose registry lets this user alone pull and push.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start_private(user: &str, password: &str) -> Self {
        let arguments = ["--time-scale", "100", "--registry-user", user];
        Self::start_as(&arguments, Some((user.to_owned(), password.to_owned())))
    }

    fn start_as(arguments: &[&str], login: Option<(String, String)>) -> Self {
        let directory = tempfile::Builder::new().prefix("spectra-acceptance-").tempdir().unwrap();
        let state = directory.path().join("state");
        let log = std::fs::File::create(directory.path().join("sandbox.log")).unwrap();
        let mut command = Command::new(programs::deployer());
        command
            .args(["sandbox", "start", "--foreground", "--exit-with-parent", "--port", "0", "--state-dir"])
            .arg(&state)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .envs(login.iter().map(|(_, password)| ("SPECTRA_REGISTRY_PASSWORD", password)));
        let mut process = Group::start(&mut command);
        let info = eventually("the sandbox answers", || {
            if let Some(code) = process.wait(std::time::Duration::ZERO) {
                let text = std::fs::read_to_string(directory.path().join("sandbox.log")).unwrap_or_default();
                panic!("the sandbox ended with {code}:\n{text}");
            }
            // The file is complete once it parses, and it is written when the port is bound.
            let info: Value =
                serde_json::from_slice(&std::fs::read(state.join("sandbox.json")).ok()?).ok()?;
            Some(info)
        });
        Self { process, info, login, directory }
    }

    fn text(&self, pointer: &str) -> &str {
        let found = self.info.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("sandbox.json has no `{pointer}`: {}", self.info))
    }

    /// URL of Railway's API.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.text("/endpoint")
    }

    /// `127.0.0.1:PORT` of the image registry.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.text("/registry")
    }

    /// What logs the command-line program in to a private registry; nothing for one that is not.
    #[must_use]
    pub fn registry_environment(&self) -> Vec<(&str, &str)> {
        let Some((user, password)) = &self.login else { return Vec::new() };
        vec![("DOCKER_USERNAME", user), ("DOCKER_PASSWORD", password), ("DOCKER_REGISTRY", self.registry())]
    }

    /// A token that may do everything.
    #[must_use]
    pub fn account_token(&self) -> &str {
        self.text("/tokens/account")
    }

    /// The workspace that the account token is of.
    #[must_use]
    pub fn workspace_id(&self) -> &str {
        self.text("/workspace_id")
    }

    /// The directory that holds the sandbox's state and log.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The sandbox's own state directory.
    #[must_use]
    pub fn state_directory(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// A fresh path inside the sandbox's temporary directory.
    #[must_use]
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What points the provider and the command-line program here.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![
            ("SPECTRA_RAILWAY_ENDPOINT".to_owned(), self.endpoint().to_owned()),
            ("RAILWAY_API_TOKEN".to_owned(), self.account_token().to_owned()),
        ]
    }

    /// What clients of the registry did wrong, one object each.
    ///
    /// # Panics
    /// When the answer is not what the contract says.
    #[must_use]
    pub fn violations(&self) -> Vec<Value> {
        let answer = http::get(&self.admin("violations"));
        let value: Value = serde_json::from_str(&answer.body).expect("the violations are JSON");
        value.get("violations").and_then(Value::as_array).cloned().expect("there is a list of violations")
    }

    fn admin(&self, path: &str) -> String {
        format!("{}/{path}", self.text("/admin"))
    }

    /// Requests answered after `sequence`, oldest first, however many pages that takes.
    ///
    /// # Panics
    /// When the journal is not what the contract says.
    #[must_use]
    pub fn journal(&self, sequence: u64) -> Vec<Entry> {
        let mut all = Vec::new();
        let mut after = sequence;
        loop {
            let page = Self::entries(&self.journal_page(after));
            match page.last() {
                Some(last) if last.sequence > after => after = last.sequence,
                _ => return all,
            }
            all.extend(page);
        }
    }

    fn journal_page(&self, sequence: u64) -> String {
        let answer = http::get(&self.admin(&format!("journal?since={sequence}")));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    fn entries(body: &str) -> Vec<Entry> {
        let value: Value = serde_json::from_str(body).expect("the journal is JSON");
        let entries = value.get("entries").and_then(Value::as_array).expect("the journal has entries");
        entries
            .iter()
            .map(|entry| Entry {
                sequence: entry.get("seq").and_then(Value::as_u64).expect("seq"),
                kind: entry.get("kind").and_then(Value::as_str).expect("kind").to_owned(),
                operation: entry.get("operation").and_then(Value::as_str).expect("operation").to_owned(),
                outcome: entry.get("outcome").and_then(Value::as_str).expect("outcome").to_owned(),
            })
            .collect()
    }

    /// The whole journal as it is, for searches.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn raw_journal(&self) -> String {
        let mut text = String::new();
        let mut after = 0;
        loop {
            let body = self.journal_page(after);
            match Self::entries(&body).last() {
                Some(last) if last.sequence > after => after = last.sequence,
                _ => return text,
            }
            text.push_str(&body);
        }
    }

    /// The rows of the journal after `sequence`, oldest first, with what was sent (secrets are blanked).
    ///
    /// # Panics
    /// When the journal is not what the contract says.
    #[must_use]
    pub fn rows(&self, sequence: u64) -> Vec<Value> {
        let mut all = Vec::new();
        let mut after = sequence;
        loop {
            let page: Value = serde_json::from_str(&self.journal_page(after)).expect("the journal is JSON");
            let rows = page.get("entries").and_then(Value::as_array).expect("the journal has entries");
            let Some(last) = rows.last().and_then(|row| row.get("seq")?.as_u64()) else { return all };
            after = last;
            all.extend(rows.iter().cloned());
        }
    }

    /// Sequence number of the latest request.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.journal(0).last().map_or(0, |entry| entry.sequence)
    }

    /// Mutations asked for after `sequence`.
    #[must_use]
    pub fn mutations(&self, sequence: u64) -> Vec<String> {
        let entries = self.journal(sequence).into_iter();
        entries.filter(|entry| entry.kind == "mutation").map(|entry| entry.operation).collect()
    }

    /// Requests to Railway's API after `sequence`, reads and writes.
    #[must_use]
    pub fn requests(&self, sequence: u64) -> Vec<Entry> {
        let entries = self.journal(sequence).into_iter();
        entries.filter(|entry| matches!(entry.kind.as_str(), "query" | "mutation")).collect()
    }

    /// Kinds of objects of which the platform still holds some, with their number.
    ///
    /// # Panics
    /// When the status is not what the contract says.
    #[must_use]
    pub fn objects(&self) -> Vec<(String, u64)> {
        let answer = http::get(&self.admin("status"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        let value: Value = serde_json::from_str(&answer.body).expect("the status is JSON");
        let objects = value.get("objects").and_then(Value::as_object).expect("the status counts objects");
        let counted = objects.iter().map(|(kind, count)| (kind.clone(), count.as_u64().expect("a count")));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    /// What the platform says of each service in each environment: one row of `GET status` each.
    ///
    /// # Panics
    /// When the status is not what the contract says.
    #[must_use]
    pub fn services(&self) -> Vec<Value> {
        let answer = http::get(&self.admin("status"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        let value: Value = serde_json::from_str(&answer.body).expect("the status is JSON");
        value.get("services").and_then(Value::as_array).cloned().expect("the status lists services")
    }

    /// Changes settings of the platform, for what begins from now on.
    ///
    /// # Panics
    /// When they are refused.
    pub fn set(&self, settings: &Value) {
        let answer = http::put_json(&self.admin("settings"), settings);
        assert!(answer.get("time_scale").is_some(), "{answer}");
    }

    /// Moves the platform's time on.
    ///
    /// # Panics
    /// When that is refused.
    pub fn advance(&self, duration: &str) {
        let answer = http::post_json(&self.admin("clock"), None, &json!({ "advance": duration }));
        assert!(answer.get("advanced").is_some(), "{answer}");
    }

    /// Sets a rule for requests to Railway's API; a rule with the `id` of another replaces it.
    ///
    /// # Panics
    /// When the rule is refused.
    pub fn fault(&self, rule: &Value) {
        let answer = http::post_json(&self.admin("faults"), None, rule);
        assert!(answer.get("id").is_some(), "{answer}");
    }

    /// How often the rules were applied, all together.
    ///
    /// # Panics
    /// When the answer is not what the contract says.
    #[must_use]
    pub fn faults_applied(&self) -> u64 {
        let answer = http::get(&self.admin("faults"));
        let value: Value = serde_json::from_str(&answer.body).expect("the rules are JSON");
        let rules = value.get("faults").and_then(Value::as_array).expect("there is a list of rules");
        rules.iter().map(|rule| rule.get("applied").and_then(Value::as_u64).expect("it is counted")).sum()
    }

    /// Takes all rules back.
    ///
    /// # Panics
    /// When the sandbox does not answer.
    pub fn clear_faults(&self) {
        let answer = http::delete(&self.admin("faults"));
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// Asks Railway's API directly, as somebody outside Terraform would.
    ///
    /// # Panics
    /// When the answer carries errors.
    #[must_use]
    pub fn graphql(&self, query: &str, variables: &Value) -> Value {
        let body = json!({ "query": query, "variables": variables });
        let answer = http::post_json(self.endpoint(), Some(self.account_token()), &body);
        assert!(answer.get("errors").is_none(), "{answer}");
        answer.get("data").cloned().unwrap_or_default()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // A test that fails has its own reason; a sandbox that was ended tells nothing.
        if !std::thread::panicking() && self.process.wait(std::time::Duration::ZERO).is_none() {
            assert_eq!(self.violations(), Vec::<Value>::new(), "a client broke rules of the registry");
        }
    }
}
