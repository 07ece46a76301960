//! Project tokens for one run: minted when it begins, deleted when it ends, and swept by a later run if it never got
//! that far.

use std::time::Duration;

use jiff::Timestamp;
use rand::Rng as _;
use spectra_types::{EnvironmentId, ProjectId, Secret};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::project_token::ProjectToken;

/// How the names of such tokens begin; nothing else that anybody makes is ever swept.
const PREFIX: &str = "spectra-ephemeral-";

/// The moment in a name.
const MOMENT: &str = "%Y%m%dT%H%M%SZ";

/// A token that was minted for one run.
#[derive(Clone, Debug)]
pub struct RunToken {
    /// The token.
    pub token: ProjectToken,
    /// What it proves itself with; Railway shows it this once.
    pub secret: Secret<String>,
    /// From when on another run takes it for left behind.
    pub expires_at: Timestamp,
}

/// What was found of runs that ended without deleting their tokens.
#[derive(Debug, Default)]
pub struct Swept {
    /// Deleted.
    pub deleted: Vec<ProjectToken>,
    /// Still there, and why.
    pub kept: Vec<(ProjectToken, Error)>,
}

impl Client {
    /// Mints a token that reaches one environment. Its name, which no other token has, says when it counts as left
    /// behind: `max_age` from now.
    ///
    /// If this process ends right after Railway made it, [`sweep_run_tokens`](Self::sweep_run_tokens) finds it.
    pub async fn mint_run_token(
        &self,
        project: &ProjectId,
        environment: &EnvironmentId,
        max_age: Duration,
    ) -> Result<RunToken> {
        let expires_at = moment(self.config().clock.wall().saturating_add(max_age));
        let name = name(expires_at, rand::rng().random());
        let (token, secret) = self.create_project_token(project, environment, &name).await?;
        Ok(RunToken { token, secret, expires_at })
    }

    /// Deletes the tokens of a project that runs have left behind: those whose names say that their time is over.
    /// One that cannot be deleted does not keep the others.
    pub async fn sweep_run_tokens(&self, project: &ProjectId) -> Result<Swept> {
        let now = moment(self.config().clock.wall());
        let mut swept = Swept::default();
        for token in self.project_tokens(project).await? {
            if expiry(&token.name).is_none_or(|expiry| expiry > now) {
                continue;
            }
            match self.delete_project_token(project, &token.id).await {
                Ok(()) => swept.deleted.push(token),
                Err(error) => swept.kept.push((token, error)),
            }
        }
        Ok(swept)
    }
}

/// Whole seconds, as names have them.
fn moment(since_epoch: Duration) -> Timestamp {
    i64::try_from(since_epoch.as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::MAX)
}

fn name(expires_at: Timestamp, random: u64) -> String {
    format!("{PREFIX}{}-{random:016x}", expires_at.strftime(MOMENT))
}

/// When a token of that name counts as left behind; `None` for every name that is not ours to the letter.
fn expiry(name: &str) -> Option<Timestamp> {
    let (moment, random) = name.strip_prefix(PREFIX)?.split_once('-')?;
    let is_ours = random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit());
    let expiry: Timestamp = moment.parse().ok()?;
    // Spelled as we do, not as anybody may.
    (is_ours && expiry.strftime(MOMENT).to_string() == moment).then_some(expiry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_when_the_token_is_left_behind() {
        let expires_at = moment(Duration::from_secs(1_700_000_000));
        let name = name(expires_at, 0xAB);
        assert_eq!(name, "spectra-ephemeral-20231114T221320Z-00000000000000ab");
        assert_eq!(expiry(&name), Some(expires_at));
    }

    #[test]
    fn names_of_others_have_no_expiry() {
        for other in [
            "ci",
            "spectra-ephemeral-",
            "spectra-ephemeral-20231114T221320Z",
            "spectra-ephemeral-20231114T221320Z-mine",
            "spectra-ephemeral-20231114T221320Z-00000000000000ab-copy",
            "spectra-ephemeral-20231314T221320Z-00000000000000ab",
            "my-spectra-ephemeral-20231114T221320Z-00000000000000ab",
        ] {
            assert_eq!(expiry(other), None, "{other}");
        }
    }
}
