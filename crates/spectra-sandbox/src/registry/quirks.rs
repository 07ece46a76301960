//! What this registry does otherwise than a good one: the ways of registries that clients meet in the field, each behind a
//! switch.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, StatusCode, header, request::Parts};
use serde::{Deserialize, Serialize};
use spectra_types::HumanDuration;

use super::{
    Registry, RegistryAuth, Target, decoded,
    error::{ApiError, Code},
    query,
};

/// What becomes of a request to link a blob from another repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mounts {
    /// It is linked if the client may read it there; otherwise an upload begins.
    #[default]
    Serve,
    /// An upload begins, whatever is there.
    Ignore,
    /// An error, as some registries answer what they cannot serve.
    Refuse,
}

/// How much of the referrers API there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Referrers {
    /// All of it.
    #[default]
    Offered,
    /// Lists are 404 and manifests with a subject are taken without `OCI-Subject`, as by registries of before the API.
    Missing,
    /// As `missing`, and manifests with a subject are refused with 405.
    Refused,
}

/// How clients have to log in, in place of what the registry was opened with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// `basic` or `bearer`.
    pub scheme: Scheme,
    /// User name.
    pub user: String,
    /// Password. The settings show it: it is one for trying things out.
    pub password: String,
    /// How long a token is good for, in real time.
    #[serde(default = "minute")]
    pub token_lifetime: HumanDuration,
    /// Whether a token for reading is given without a password.
    #[serde(default)]
    pub anonymous_pull: bool,
}

/// How a password is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// With every request.
    Basic,
    /// To the token service.
    Bearer,
}

fn minute() -> HumanDuration {
    HumanDuration::from(Duration::from_mins(1))
}

impl From<&Login> for RegistryAuth {
    fn from(login: &Login) -> Self {
        let (user, password) = (login.user.clone(), login.password.clone().into());
        match login.scheme {
            Scheme::Basic => Self::Basic { user, password },
            Scheme::Bearer => Self::Bearer {
                user,
                password,
                token_lifetime: login.token_lifetime.get(),
                anonymous_pull: login.anonymous_pull,
            },
        }
    }
}

/// The switches. By default all are off and the registry keeps to the specification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of a settings document")]
pub struct Quirks {
    /// Bodies of more bytes are answered 413, as by a front end; without a length, when the limit is reached.
    pub max_body: Option<u64>,
    /// `PATCH` bodies of more bytes are answered 416.
    pub max_patch: Option<u64>,
    /// All parts of an upload but the last have at least so many bytes; the part after a smaller one is refused.
    pub min_part: Option<u64>,
    /// `min_part` is announced by `OCI-Chunk-Min-Length`.
    pub announce_min_part: bool,
    /// `PATCH` is answered 201 in place of 202.
    pub patch_created: bool,
    /// A closing `PUT` without a body is answered 500, although the blob is complete.
    pub empty_close_fails: bool,
    /// Linking blobs from other repositories.
    pub mounts: Mounts,
    /// A mount that does not say from where is answered 400. The client of this workspace always says it; the switch is for
    /// others, which leave it to the registry to find the blob.
    pub mount_needs_from: bool,
    /// The referrers API.
    pub referrers: Referrers,
    /// A list of no tags is `null`.
    pub null_tags: bool,
    /// A `POST` with the whole blob only begins an upload, as the specification allows. The client of this workspace never sends
    /// one; the switch is for others, which have to send the blob again.
    pub post_begins_only: bool,
    /// `Range` of a download is not looked at, as by some caches.
    pub ignore_range: bool,
    /// Answers have no `Docker-Content-Digest`.
    pub hide_digest: bool,
    /// The repositories that exist; pushing to others is answered 404. `null`: a push makes them.
    pub repositories: Option<Vec<String>>,
    /// Uploads and downloads of blobs are sent to another host (another port), where `Authorization` has no business.
    pub elsewhere: bool,
    /// Requests above so many in a second are answered 429 with `Retry-After: 1`.
    pub requests_per_second: Option<u32>,
    /// How clients log in.
    pub login: Option<Login>,
    /// Who may not read where a mount is from is answered 401 with both scopes, in place of beginning an upload.
    pub mount_needs_scope: bool,
    /// The name under which the token service gives a token.
    pub token_field: TokenField,
    /// The token service does not say how long a token is good for.
    pub hide_expiry: bool,
    /// A manifest of a type that `Accept` does not name is 404, as by registries of before manifests had several types.
    pub accept_matters: bool,
    /// Lists of tags, repositories and referrers come in pages of at most so many entries.
    pub page_size: Option<usize>,
    /// `artifactType` of a list of referrers is not looked at.
    pub ignore_filter: bool,
    /// Of a chunk of more than a thousand bytes only the first half is kept, and `Range` says so.
    pub keeps_less: bool,
}

/// Where a token stands in the answer of the token service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenField {
    /// In both.
    #[default]
    Both,
    /// In `token`.
    Token,
    /// In `access_token`, as `OAuth2` has it.
    AccessToken,
}

/// The longest life of a token, in days.
const LONGEST_DAYS: u64 = 3_660;

impl Quirks {
    /// Says what is wrong with a value, naming the key.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.requests_per_second == Some(0) {
            return Err("`registry.requests_per_second` cannot be `0`: use at least 1, or null".to_owned());
        }
        if self.page_size == Some(0) {
            return Err("`registry.page_size` cannot be `0`: use at least 1, or null".to_owned());
        }
        let lifetime = self.login.as_ref().map(|login| login.token_lifetime);
        match lifetime.filter(|lifetime| lifetime.get().as_secs() > LONGEST_DAYS * 86_400) {
            Some(lifetime) => Err(format!(
                "`registry.login.token_lifetime` cannot be `{lifetime}`: use ten years (`87840h`) at most"
            )),
            None => Ok(()),
        }
    }
}

const MAX_BODY: &str = "max_body";
const MAX_PATCH: &str = "max_patch";

/// Requests of the last second.
#[derive(Debug, Default)]
pub(crate) struct Recent(VecDeque<Instant>);

impl Recent {
    /// Whether one more is within the limit; it is counted if so.
    fn admit(&mut self, limit: u32, now: Instant) -> bool {
        while self.0.front().is_some_and(|first| now.duration_since(*first) >= Duration::from_secs(1)) {
            self.0.pop_front();
        }
        let room = self.0.len() < usize::try_from(limit).unwrap_or(usize::MAX);
        if room {
            self.0.push_back(now);
        }
        room
    }
}

impl Registry {
    /// The switches as they are.
    #[must_use]
    pub fn quirks(&self) -> Arc<Quirks> {
        Arc::clone(&self.0.quirks.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Sets the switches, for the requests that come from now on.
    pub fn set_quirks(&self, quirks: Quirks) {
        self.0.gate.replace(quirks.login.as_ref().map(RegistryAuth::from));
        self.0.met.clear();
        self.forget_waits();
        *self.0.quirks.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(quirks);
    }

    /// How many bytes the body of a request may have, and the switch that says so.
    pub(super) fn body_limit(&self, parts: &Parts) -> Option<(u64, &'static str)> {
        let quirks = self.quirks();
        let patch = quirks.max_patch.filter(|_| parts.method == Method::PATCH);
        let limits = [quirks.max_body.map(|limit| (limit, MAX_BODY)), patch.map(|limit| (limit, MAX_PATCH))];
        limits.into_iter().flatten().min_by_key(|(limit, _)| *limit)
    }

    /// The refusal of a body that is larger.
    pub(super) fn too_large(&self, limit: u64, switch: &'static str) -> ApiError {
        self.meet(switch);
        let (what, status) = if switch == MAX_PATCH {
            ("chunk", StatusCode::RANGE_NOT_SATISFIABLE)
        } else {
            ("body", StatusCode::PAYLOAD_TOO_LARGE)
        };
        ApiError::new(Code::SizeInvalid, format!("a {what} has at most {limit} bytes here")).status(status)
    }

    /// What a switch refuses before the request is looked at.
    pub(super) fn check_quirks(&self, parts: &Parts) -> Result<(), ApiError> {
        let quirks = self.quirks();
        if let Some(limit) = quirks.requests_per_second
            && !self
                .0
                .recent
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .admit(limit, Instant::now())
        {
            self.meet("requests_per_second");
            return Err(ApiError::new(Code::TooManyRequests, format!("at most {limit} requests a second"))
                .header(header::RETRY_AFTER, HeaderValue::from_static("1")));
        }
        let length = parts
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
            .unwrap_or(0);
        // What is larger than any body may be does not come as far as the limit of chunks.
        if let Some(limit) = quirks.max_body.filter(|limit| length > *limit) {
            return Err(self.too_large(limit, MAX_BODY));
        }
        match self.body_limit(parts) {
            Some((limit, switch)) if length > limit => Err(self.too_large(limit, switch)),
            _ => Ok(()),
        }
    }

    /// What a switch refuses to somebody who may do it.
    pub(super) fn check_offered(&self, parts: &Parts) -> Result<(), ApiError> {
        let quirks = self.quirks();
        let path = decoded(parts);
        match Target::parse(&path) {
            Some(Target::Referrers(..)) if quirks.referrers != Referrers::Offered => {
                self.meet("referrers");
                Err(ApiError::new(Code::NameUnknown, "there is no referrers API"))
            }
            Some(Target::Uploads(name) | Target::Manifest(name, _))
                if !matches!(parts.method, Method::GET | Method::HEAD)
                    && quirks
                        .repositories
                        .as_ref()
                        .is_some_and(|known| !known.iter().any(|known| known == name)) =>
            {
                self.meet("repositories");
                let message = format!("there is no repository `{name}`; create it first");
                Err(ApiError::new(Code::NameUnknown, message))
            }
            Some(Target::Uploads(_)) if query(parts, "mount").is_some() => {
                if quirks.mount_needs_from && query(parts, "from").is_none() {
                    self.meet("mount_needs_from");
                    return Err(ApiError::new(Code::NameInvalid, "a mount needs `from`"));
                }
                if quirks.mounts == Mounts::Refuse {
                    self.meet("mounts");
                    return Err(ApiError::new(Code::BlobUnknown, "this blob cannot be mounted"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_on_any_second() {
        let mut recent = Recent::default();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert!(recent.admit(2, at(0)) && recent.admit(2, at(900)));
        assert!(!recent.admit(2, at(999)));
        assert!(recent.admit(2, at(1000)), "the first is a second ago");
        assert!(!recent.admit(2, at(1500)));
    }

    #[test]
    fn switches_are_off_unless_said() {
        let quirks: Quirks = serde_json::from_str(r#"{"max_patch":4194304,"mounts":"ignore"}"#).unwrap();
        assert_eq!(quirks, Quirks { max_patch: Some(4 << 20), mounts: Mounts::Ignore, ..Quirks::default() });
        assert!(serde_json::from_str::<Quirks>(r#"{"max_ptch":1}"#).is_err());
    }
}
