//! Whether Railway answers, and to what kind of token.

use spectra_railway::{Client, ClientConfig, ConfigError, ErrorKind, TokenKind};
use spectra_types::SafeUrl;

use super::Check;
use crate::printer::Status;

const NAME: &str = "railway";

/// Asks the API who the token of the environment belongs to.
pub(super) async fn check() -> Check {
    let config = match ClientConfig::from_env() {
        Ok(config) => config,
        Err(ConfigError::MissingToken) => {
            return Check::new(NAME, Status::Warn, "no token in RAILWAY_API_TOKEN or RAILWAY_TOKEN").advice(
                "make a token in the account's or workspace's settings, or start a sandbox, which prints one",
            );
        }
        Err(error) => return Check::new(NAME, Status::Fail, error.to_string()),
    };
    let endpoint = SafeUrl::from(config.endpoint.clone());
    let client = match Client::new(config) {
        Ok(client) => client,
        Err(error) => return Check::new(NAME, Status::Fail, error.to_string()),
    };
    match client.identity().await {
        Ok(identity) => {
            let check = Check::new(NAME, Status::Ok, format!("{endpoint} knows the {}", identity.describe()));
            if identity.kind == TokenKind::Project {
                return check.advice(
                    "a project token cannot make projects or environments; use a workspace token for that",
                );
            }
            check
        }
        Err(error) => {
            let advice = match (error.hint(), error.kind()) {
                (Some(hint), _) => hint.to_owned(),
                (None, ErrorKind::Transport) => {
                    "check the network, and SPECTRA_RAILWAY_ENDPOINT if it is set; a sandbox may have been stopped".to_owned()
                }
                (None, _) => "check the token".to_owned(),
            };
            Check::new(NAME, Status::Fail, format!("{endpoint}: {error}")).advice(advice)
        }
    }
}
