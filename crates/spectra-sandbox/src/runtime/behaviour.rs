//! How a simulated instance behaves, read from the labels of its image.

use std::{collections::BTreeMap, time::Duration};

use http::StatusCode;
use spectra_types::HumanDuration;

use super::usage::Usage;

/// What every label that steers the sandbox begins with.
pub const PREFIX: &str = "dev.spectra.sandbox.";

/// The behaviour of a simulated instance. All durations are sandbox time.
#[derive(Debug, Clone, PartialEq)]
pub struct Behaviour {
    /// `health-status`: what health checks get. Without `health_path` every path answers it.
    pub health_status: StatusCode,
    /// `health-path`: the one path that answers `health_status`. With it, `/` is the application and anything
    /// else is 404.
    pub health_path: Option<String>,
    /// `latency`: how long an answer takes.
    pub latency: Duration,
    /// `error-rate`: the part of requests, 0 to 1, that answer 500. The health path is spared where there is
    /// one.
    pub error_rate: f64,
    /// `crash-after`: ends with exit code 1 so long after it began to listen, requests in flight included.
    pub crash_after: Option<Duration>,
    /// `start-delay`: how long it takes to listen; connections are refused until then.
    pub start_delay: Duration,
    /// `body`: the text that `/` answers instead of the JSON description.
    pub body: Option<String>,
    /// `exit`: ends at once with this code and never listens.
    pub exit: Option<i32>,
    /// `pre-deploy-exit`: what the pre-deploy command ends with, where the service has one. Nothing is run.
    pub pre_deploy_exit: i32,
    /// `sleep-after`: falls asleep after so long without a request. The instance only carries it: sleeping and
    /// waking are the deployment engine's.
    pub sleep_after: Option<Duration>,
    /// What it uses, for the resource metrics.
    pub usage: Usage,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            health_status: StatusCode::OK,
            health_path: None,
            latency: Duration::ZERO,
            error_rate: 0.0,
            crash_after: None,
            start_delay: Duration::ZERO,
            body: None,
            exit: None,
            pre_deploy_exit: 0,
            sleep_after: None,
            usage: Usage::default(),
        }
    }
}

/// A label has a value that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("image label `{label}` is `{value}`, expected {expected}")]
pub struct LabelError {
    label: String,
    value: String,
    expected: &'static str,
}

impl Behaviour {
    /// Reads the labels. Unknown labels below [`PREFIX`] are refused too: a misspelt one would be a bad image
    /// that looks good.
    pub fn from_labels(labels: &BTreeMap<String, String>) -> Result<Self, LabelError> {
        let mut behaviour = Self::default();
        for (label, value) in labels {
            let Some(name) = label.strip_prefix(PREFIX) else {
                continue;
            };
            behaviour.set(name, value).map_err(|expected| LabelError {
                label: label.clone(),
                value: value.clone(),
                expected,
            })?;
        }
        Ok(behaviour)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        const DURATION: &str = "a duration such as `250ms`, `30s` or `5m`";
        let duration = || value.parse::<HumanDuration>().map(HumanDuration::get).map_err(|_| DURATION);
        match name {
            "health-status" => {
                self.health_status = value
                    .parse()
                    .ok()
                    .filter(|status: &StatusCode| (200..600).contains(&status.as_u16()))
                    .ok_or("an HTTP status from 200 to 599")?;
            }
            "health-path" if value.starts_with('/') => self.health_path = Some(value.to_owned()),
            "health-path" => return Err("a path that begins with `/`"),
            "latency" => self.latency = duration()?,
            "error-rate" => {
                self.error_rate = value
                    .parse()
                    .ok()
                    .filter(|rate| (0.0..=1.0).contains(rate))
                    .ok_or("a number from 0 to 1")?;
            }
            "crash-after" => self.crash_after = Some(duration()?),
            "start-delay" => self.start_delay = duration()?,
            "body" => self.body = Some(value.to_owned()),
            "exit" => {
                self.exit =
                    Some(value.parse::<u8>().map(i32::from).map_err(|_| "an exit code from 0 to 255")?);
            }
            "pre-deploy-exit" => {
                self.pre_deploy_exit =
                    value.parse::<u8>().map(i32::from).map_err(|_| "an exit code from 0 to 255")?;
            }
            "sleep-after" => self.sleep_after = Some(duration()?),
            _ => {
                return self.usage.set(name, value).unwrap_or(Err(
                    "no such label: the sandbox knows health-status, health-path, latency, error-rate, crash-after, start-delay, body, exit, pre-deploy-exit, sleep-after, cpu, cpu-per-request, memory, disk and traffic",
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(labels: &[(&str, &str)]) -> Result<Behaviour, LabelError> {
        let labels = labels.iter().map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned()));
        Behaviour::from_labels(&labels.collect())
    }

    proptest! {
        #[test]
        fn arbitrary_labels_never_panic(name in "[a-z-]{0,15}", value in "\\PC{0,20}") {
            let _ = read(&[(&name, &value)]);
        }
    }

    #[test]
    fn every_label_is_read() {
        let behaviour = read(&[
            ("health-status", "503"),
            ("health-path", "/healthz"),
            ("latency", "250ms"),
            ("error-rate", "0.3"),
            ("crash-after", "30s"),
            ("start-delay", "5s"),
            ("body", "hello"),
            ("exit", "3"),
            ("pre-deploy-exit", "3"),
            ("sleep-after", "10m"),
            ("cpu", "0.5"),
            ("cpu-per-request", "20ms"),
            ("memory", "256MB"),
            ("disk", "1GB"),
            ("traffic", "2.5"),
        ]);
        assert_eq!(
            behaviour,
            Ok(Behaviour {
                health_status: StatusCode::SERVICE_UNAVAILABLE,
                health_path: Some("/healthz".into()),
                latency: Duration::from_millis(250),
                error_rate: 0.3,
                crash_after: Some(Duration::from_secs(30)),
                start_delay: Duration::from_secs(5),
                body: Some("hello".into()),
                exit: Some(3),
                pre_deploy_exit: 3,
                sleep_after: Some(Duration::from_mins(10)),
                usage: Usage {
                    cpu: 0.5,
                    cpu_per_request: Duration::from_millis(20),
                    memory: 256_000_000,
                    disk: 1_000_000_000,
                    traffic: 2.5,
                },
            })
        );
        let other = BTreeMap::from([("maintainer".to_owned(), "ada".to_owned())]);
        assert_eq!(Behaviour::from_labels(&other), Ok(Behaviour::default()));
    }

    #[test]
    fn a_wrong_label_is_named() {
        for (name, value) in [
            ("health-status", "99"),
            ("health-status", "ok"),
            ("health-path", "healthz"),
            ("latency", "250"),
            ("error-rate", "1.5"),
            ("error-rate", "NaN"),
            ("exit", "-1"),
            ("crash-afer", "3s"),
            ("cpu", "-1"),
            ("cpu", "NaN"),
            ("cpu-per-request", "20"),
            ("memory", "256"),
            ("disk", "-1GB"),
            ("traffic", "1001"),
        ] {
            assert!(read(&[(name, value)]).is_err(), "{name}={value}");
        }
        insta::assert_snapshot!(read(&[("latency", "250")]).unwrap_err(), @"image label `dev.spectra.sandbox.latency` is `250`, expected a duration such as `250ms`, `30s` or `5m`");
    }
}
