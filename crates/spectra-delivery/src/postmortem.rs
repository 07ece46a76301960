//! The account of a rollout as a document: Markdown for people, JSON for programs.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use spectra_rollout::{Outcome, Report, Wish};
use spectra_types::{HumanDuration, Redactor};

use crate::account::{Account, Applied};
use crate::deliver::Delivery;

/// The two files of a post-mortem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// For people.
    pub markdown: PathBuf,
    /// For programs.
    pub json: PathBuf,
}

impl Written {
    /// Where the post-mortem of a rollout is written below a folder.
    #[must_use]
    pub fn paths(folder: &Path, rollout: &str) -> Self {
        Self { markdown: folder.join(format!("{rollout}.md")), json: folder.join(format!("{rollout}.json")) }
    }
}

impl Account {
    /// The account as Markdown. It ends with a list to be filled in by people.
    #[must_use]
    pub fn markdown(&self) -> String {
        // Writing to a String cannot fail.
        let mut text = String::new();
        let end = self.outcome.as_ref().map_or_else(|| "open".to_owned(), ToString::to_string);
        let _ = writeln!(text, "# Rollout {}\n\n{}\n", self.rollout, prose(&end));
        self.facts(&mut text);
        self.cause(&mut text);
        self.people(&mut text);
        list(
            &mut text,
            "Migrations",
            self.migrations.iter().map(|migration| {
                let state = match migration.state {
                    Applied::Unknown => "begun, its end is not known",
                    Applied::Applied => "applied",
                    Applied::Failed => "failed; what it left is not known",
                    Applied::Reverted => "taken back",
                    Applied::RevertFailed => "could not be taken back",
                };
                format!("{}: {state}", code(&migration.name))
            }),
        );
        list(&mut text, "Left over", self.leftovers.iter().map(|leftover| prose(leftover)));
        let _ = writeln!(text, "## Timeline\n\n| time | record | what |\n|---|---|---|");
        for moment in &self.timeline {
            let _ = writeln!(text, "| {} | {} | {} |", clock(moment.at), moment.seq, prose(&moment.line));
        }
        text.push('\n');
        self.measured(&mut text);
        if !self.log_tail.is_empty() {
            let _ = writeln!(text, "## End of the candidate's log\n");
            for line in &self.log_tail {
                let _ = writeln!(text, "    {}", line.replace(['\n', '\r'], " "));
            }
            text.push('\n');
        }
        list(&mut text, "Links", self.links.iter().map(|link| format!("<{link}>")));
        let _ = writeln!(
            text,
            "Made from the journal up to record {} with the hash `{}`.\n\n## To be filled in\n\n- What users saw:\n- Why it \
             happened:\n- What helped, and what did not:\n- What will be changed, by whom, until when:",
            self.last_record.0, self.last_record.1
        );
        Redactor::global().redact(&text).into_owned()
    }

    fn facts(&self, text: &mut String) {
        let previous = self.previous_digest().map_or_else(|| "nothing known".to_owned(), ToString::to_string);
        let phase = self.phase.map_or_else(String::new, |phase| phase.to_string());
        let deployment = self.deployment.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
        let ended = self.ended_at.map_or_else(|| "it is open".to_owned(), |at| at.to_string());
        let serving = match &self.outcome {
            Some(
                Outcome::Complete { deployment } | Outcome::RolledBack { deployment: Some(deployment), .. },
            ) => {
                format!("deployment `{deployment}`")
            }
            Some(Outcome::RolledBack { deployment: None, .. }) => "nothing, as before".to_owned(),
            _ => "has to be looked at on Railway".to_owned(),
        };
        let _ = writeln!(text, "| | |\n|---|---|");
        for (name, value) in [
            ("project", code(self.place.project.as_str())),
            ("environment", code(self.place.environment.as_str())),
            ("service", code(self.place.service.as_str())),
            ("candidate", code(&self.image.to_string())),
            ("before", code(&previous)),
            ("plan", code(&self.plan_hash)),
            ("phase", phase),
            ("candidate's deployment", code(&deployment)),
            ("serves at the end", serving),
            ("began", self.begun_at.to_string()),
            ("ended", ended),
            ("took", HumanDuration::new(self.lasted()).to_string()),
            ("ran by", prose(&self.holders.join("; then "))),
        ] {
            let _ = writeln!(text, "| {name} | {value} |");
        }
        text.push('\n');
    }

    fn cause(&self, text: &mut String) {
        let Some(failure) = &self.failure else { return };
        let step = failure.step.as_ref().map(|step| format!(", at {step}")).unwrap_or_default();
        let _ = writeln!(
            text,
            "## Why\n\n{} [{}], in phase {}{}.\n",
            prose(&failure.reason.to_string()),
            failure.reason.code(),
            failure.phase,
            prose(&step)
        );
        if let Some(measurement) = &failure.last_measurement {
            let _ = writeln!(
                text,
                "Last probe: {} answered {}.\n",
                code(&measurement.subject),
                code(&measurement.answer)
            );
        }
        if let Some(Outcome::RollbackFailed { rollback, .. }) = &self.outcome {
            let _ = writeln!(
                text,
                "The way back failed: {} [{}].\n",
                prose(&rollback.to_string()),
                rollback.code()
            );
        }
    }

    fn people(&self, text: &mut String) {
        list(text, "Approved by", self.approvals.iter().map(|who| prose(who)));
        list(text, "Freeze windows that were overridden", self.overrides.iter().map(|what| prose(what)));
        list(
            text,
            "What others asked",
            self.wishes.iter().map(|wish| match wish {
                Wish::Abort { by, reason } => prose(&format!("{by}: abort. {reason}")),
                Wish::Promote { by } => prose(&format!("{by}: go on")),
            }),
        );
        list(text, "Told", self.told.iter().map(|line| prose(line)));
    }

    fn measured(&self, text: &mut String) {
        if self.measurements.is_empty() {
            return;
        }
        let _ = writeln!(
            text,
            "## Measurements\n\n| time | what | query | answer | stable | verdict |\n|---|---|---|---|---|---|"
        );
        for measured in &self.measurements {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                clock(measured.at),
                measured.metric.as_ref().map_or_else(|| "probe".to_owned(), |metric| code(metric)),
                code(&measured.query),
                prose(&measured.answer),
                measured.stable.map_or_else(String::new, |stable| stable.to_string()),
                measured.verdict
            );
        }
        text.push('\n');
    }

    /// Writes both files into a folder, which is made if there is none.
    pub fn write(&self, folder: &Path) -> io::Result<Written> {
        std::fs::create_dir_all(folder)?;
        let written = Written::paths(folder, &self.rollout);
        std::fs::write(&written.markdown, self.markdown())?;
        let json = serde_json::to_string_pretty(self).map_err(io::Error::other)?;
        std::fs::write(&written.json, Redactor::global().redact(&format!("{json}\n")).as_bytes())?;
        Ok(written)
    }
}

impl Delivery<'_> {
    /// Writes the post-mortem of a rollout that changed something and failed. What goes wrong with that is said in the log
    /// alone: the rollout's own result matters more.
    pub(crate) async fn look_back(&self, report: &Report) {
        let failed = matches!(
            report.outcome,
            Outcome::RolledBack { .. } | Outcome::RollbackFailed { .. } | Outcome::Superseded { .. }
        );
        let Some(folder) = self.postmortems.as_ref().filter(|_| failed) else { return };
        let account = match Account::of(self.journal, &report.rollout).await {
            Ok(account) => account.with_log(self.client).await,
            Err(error) => {
                tracing::warn!(rollout = report.rollout, %error, "the post-mortem could not be made");
                return;
            }
        };
        if let Err(error) = account.write(folder) {
            let folder = folder.display();
            tracing::warn!(rollout = report.rollout, %folder, %error, "the post-mortem could not be written");
        }
    }
}

fn list(text: &mut String, title: &str, items: impl Iterator<Item = String>) {
    let items: Vec<_> = items.collect();
    if items.is_empty() {
        return;
    }
    let _ = writeln!(text, "## {title}\n");
    for item in items {
        let _ = writeln!(text, "- {item}");
    }
    text.push('\n');
}

fn clock(at: jiff::Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// Text of others in a paragraph: it stays on its line, and what Markdown would take for its own is shown as it is.
fn prose(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\r' => escaped.push(' '),
            '<' => escaped.push_str("&lt;"),
            '\\' | '*' | '_' | '[' | ']' | '#' | '|' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// Text of others as code: in as many backticks as it takes.
fn code(text: &str) -> String {
    let text = text.replace(['\n', '\r'], " ").replace('|', "\\|");
    let longest = text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_texts_stay_what_they_are() {
        assert_eq!(prose("a|b\n# <b> [x](y)"), "a\\|b \\# &lt;b> \\[x\\](y)");
        assert_eq!(code("a `b` c"), "``a `b` c``");
        assert_eq!(code("`b`"), "`` `b` ``");
        assert_eq!(code("a|b"), "`a\\|b`");
    }
}
