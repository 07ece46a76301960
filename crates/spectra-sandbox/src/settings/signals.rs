//! Knobs of traffic and metrics.

use serde::{Deserialize, Serialize};
use spectra_types::HumanDuration;

use crate::runtime::MOST_REQUESTS;

/// Most traffic profiles at a time.
const PROFILES: usize = 64;

/// Requests that the sandbox itself sends to the domain of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// Id or name of the service.
    pub(crate) service: String,
    /// Id or name of the environment; every one with such a service unless said.
    #[serde(default)]
    pub(crate) environment: Option<String>,
    /// Requests a second of sandbox time.
    pub(crate) rps: f64,
    /// The part of the requests, 0 to 1, that ask for an error; the image's `error-rate` comes on top.
    #[serde(default)]
    pub(crate) error_rate: f64,
    /// How much longer than the image's `latency` the answers take.
    #[serde(default)]
    pub(crate) latency: HumanDuration,
    #[serde(default = "get")]
    pub(crate) method: Method,
    #[serde(default = "root")]
    pub(crate) path: String,
}

/// What a profile can send; requests have no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Method {
    Delete,
    Get,
    Head,
    Patch,
    Post,
    Put,
}

impl Profile {
    /// What the `traffic` label of an image asks for.
    pub(crate) fn of_image(service: &str, rps: f64) -> Self {
        Self {
            service: service.to_owned(),
            environment: None,
            rps,
            error_rate: 0.0,
            latency: HumanDuration::default(),
            method: get(),
            path: root(),
        }
    }
}

impl Method {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Patch => "PATCH",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

const fn get() -> Method {
    Method::Get
}

fn root() -> String {
    "/".to_owned()
}

/// A window of wall time in which metrics have no samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gap {
    pub(crate) from: jiff::Timestamp,
    pub(crate) to: jiff::Timestamp,
}

impl Gap {
    /// Whether the window holds a wall time in milliseconds.
    pub(crate) fn holds(&self, at: u64) -> bool {
        let at = i64::try_from(at).unwrap_or(i64::MAX);
        (self.from.as_millisecond()..self.to.as_millisecond()).contains(&at)
    }
}

/// Says what is wrong with the profiles.
pub(super) fn check_profiles(profiles: &[Profile]) -> Result<(), String> {
    if profiles.len() > PROFILES {
        return Err(format!("`traffic` has {} profiles: use at most {PROFILES}", profiles.len()));
    }
    for profile in profiles {
        let Profile { service, rps, error_rate, path, .. } = profile;
        if service.is_empty() {
            return Err("`traffic.service` cannot be empty: use the id or the name of a service".to_owned());
        }
        if !(*rps > 0.0 && *rps <= MOST_REQUESTS) {
            return Err(format!("`traffic.rps` cannot be `{rps}`: use more than 0, at most {MOST_REQUESTS}"));
        }
        if !(0.0..=1.0).contains(error_rate) {
            return Err(format!("`traffic.error_rate` cannot be `{error_rate}`: use 0 to 1"));
        }
        if !path.starts_with('/') || path.parse::<http::uri::PathAndQuery>().is_err() {
            return Err(format!("`traffic.path` cannot be `{path}`: use a path that begins with `/`"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(change: &Value) -> Result<(), String> {
        let mut profile = json!({ "service": "web", "rps": 1 });
        for (key, value) in change.as_object().into_iter().flatten() {
            profile[key] = value.clone();
        }
        let profile: Profile = serde_json::from_value(profile).map_err(|error| error.to_string())?;
        check_profiles(&[profile])
    }

    #[test]
    fn profiles_are_checked() {
        assert_eq!(check(&json!({})), Ok(()));
        assert_eq!(check(&json!({ "path": "/a?b=1", "method": "POST", "error_rate": 0.5 })), Ok(()));
        for wrong in [
            json!({ "service": "" }),
            json!({ "rps": 0 }),
            json!({ "rps": 1000.1 }),
            json!({ "error_rate": 1.1 }),
            json!({ "path": "x" }),
            json!({ "path": "/a b" }),
            json!({ "method": "TRACE" }),
            json!({ "latency": "fast" }),
            json!({ "speed": 1 }),
        ] {
            assert!(check(&wrong).is_err(), "{wrong}");
        }
    }
}
