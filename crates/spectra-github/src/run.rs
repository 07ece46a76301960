//! One workflow run, and how it is asked for.

use std::fmt;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use serde::de::DeserializeOwned;
use spectra_types::{Redactor, SafeUrl, Secret};
use url::Url;

use crate::error::Error;

/// Where the API is, if `GITHUB_API_URL` does not say.
const API: &str = "https://api.github.com";
/// The version of the API that the answers' forms are taken from.
const API_VERSION: &str = "2022-11-28";
/// The longest time for one request.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How much is shown of a refusal, in characters.
const SHOWN: usize = 300;

/// One workflow run of GitHub Actions.
pub struct Run {
    client: reqwest::Client,
    api: SafeUrl,
    repository: String,
    id: u64,
    authorization: HeaderValue,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Run({} {} {})", self.api.authority(), self.repository, self.id)
    }
}

impl Run {
    /// The run that this process is part of, by `GITHUB_RUN_ID`, `GITHUB_REPOSITORY`, `GITHUB_TOKEN` and `GITHUB_API_URL`;
    /// `None` when it is part of none. An empty variable is one that is not set.
    pub fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, Error> {
        let value = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        let Some(id) = value("GITHUB_RUN_ID") else { return Ok(None) };
        let wrong = |variable, state| Error::Variable { variable, state };
        let id = id.trim().parse().map_err(|_| wrong("GITHUB_RUN_ID", "no number"))?;
        let repository = value("GITHUB_REPOSITORY").ok_or_else(|| wrong("GITHUB_REPOSITORY", "not set"))?;
        let token = value("GITHUB_TOKEN").map(Secret::new).ok_or_else(|| wrong("GITHUB_TOKEN", "not set"))?;
        let api = value("GITHUB_API_URL").unwrap_or_else(|| API.to_owned());
        let api = Url::parse(api.trim()).map_err(|_| wrong("GITHUB_API_URL", "no URL"))?;
        Self::new(api, &repository, id, &token).map(Some)
    }

    /// A run of `repository`, written `owner/name`.
    pub fn new(api: Url, repository: &str, id: u64, token: &Secret<String>) -> Result<Self, Error> {
        let wrong = |variable, state| Error::Variable { variable, state };
        let api = SafeUrl::from(api);
        match api.expose().scheme() {
            "https" => {}
            "http" if api.is_loopback() => {}
            _ => return Err(wrong("GITHUB_API_URL", "neither an `https` URL nor one of this machine")),
        }
        // Whatever it is, it becomes part of a path.
        let part = |part: &str| {
            !part.is_empty()
                && part.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
                && !part.chars().all(|letter| letter == '.')
        };
        if !repository.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name)) {
            return Err(wrong("GITHUB_REPOSITORY", "not of the form `owner/name`"));
        }
        let header = Secret::new(format!("Bearer {}", token.expose().trim()));
        let mut authorization = HeaderValue::from_str(header.expose())
            .map_err(|_| wrong("GITHUB_TOKEN", "nothing that fits into a header"))?;
        authorization.set_sensitive(true);
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("spectra/", env!("CARGO_PKG_VERSION")))
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none());
        if api.is_loopback() {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|source| Error::Client { endpoint: api.authority(), source })?;
        Ok(Self { client, api, repository: repository.to_owned(), id, authorization })
    }

    /// Reads something of the run: `/approvals`.
    pub(crate) async fn get<T: DeserializeOwned>(&self, rest: &str) -> Result<T, Error> {
        let what = format!("/repos/{}/actions/runs/{}{rest}", self.repository, self.id);
        let base = self.api.expose().as_str().trim_end_matches('/');
        let unreachable = |source: reqwest::Error| Error::Unreachable { what: what.clone(), source };
        let response = self
            .client
            .get(format!("{base}{what}"))
            .header(ACCEPT, "application/vnd.github+json")
            .header("X-GitHub-Api-Version", API_VERSION)
            .header(AUTHORIZATION, self.authorization.clone())
            .send()
            .await
            .map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        if !status.is_success() {
            let message = Redactor::global().redact(&words(&body)).chars().take(SHOWN).collect();
            return Err(Error::Refused { what, status: status.as_u16(), message });
        }
        serde_json::from_slice(&body).map_err(|source| Error::Answer { what, source })
    }
}

/// What a refusal says.
fn words(body: &[u8]) -> String {
    let said: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    match said.as_ref().and_then(|said| said.get("message")?.as_str()) {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(body).into_owned(),
    }
}
