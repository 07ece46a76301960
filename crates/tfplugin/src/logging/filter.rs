//! Which events become lines.

use std::collections::BTreeMap;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// Crates whose details are of no use to a provider's user, and at trace level show request heads.
const QUIET: [&str; 12] = [
    "h2",
    "hyper",
    "hyper_util",
    "mio",
    "reqwest",
    "rustls",
    "tokio",
    "tokio_util",
    "tonic",
    "tower",
    "want",
    "tower_http",
];

/// Levels by target, as the environment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter {
    /// For targets that no subsystem fits.
    level: LevelFilter,
    /// Normalised endings of targets.
    subsystems: BTreeMap<String, LevelFilter>,
}

impl LogFilter {
    /// Reads the variables; see the module's table. Without any of them nothing is logged.
    pub fn from_environment(provider: &str, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let own = format!("TF_LOG_PROVIDER_{}", provider.to_uppercase().replace('-', "_"));
        let (mut levels, mut subsystems) = ([None; 3], BTreeMap::new());
        for (name, value) in variables {
            if value.is_empty() {
                continue;
            }
            if name == own {
                levels[0] = Some(parse(&value));
            } else if name == "TF_LOG_PROVIDER" {
                levels[1] = Some(parse(&value));
            } else if name == "TF_LOG" {
                levels[2] = Some(parse(&value));
            } else if let Some(subsystem) = name.strip_prefix(&own).and_then(|rest| rest.strip_prefix('_')) {
                subsystems.insert(subsystem.to_lowercase(), parse(&value));
            }
        }
        let level = levels.into_iter().flatten().next().unwrap_or(LevelFilter::OFF);
        Self { level, subsystems }
    }

    /// Everything from this level up, whatever the environment says.
    #[must_use]
    pub const fn level(level: LevelFilter) -> Self {
        Self { level, subsystems: BTreeMap::new() }
    }

    fn level_of(&self, target: &str) -> LevelFilter {
        let subsystem = self
            .subsystems
            .iter()
            .filter(|(subsystem, _)| fits(target, subsystem))
            .max_by_key(|(subsystem, _)| subsystem.len());
        if let Some((_, level)) = subsystem {
            return *level;
        }
        if is_quiet(target) { self.level.min(LevelFilter::WARN) } else { self.level }
    }

    /// The most talkative level of all.
    fn most(&self) -> LevelFilter {
        self.subsystems.values().copied().chain([self.level]).max().unwrap_or(LevelFilter::OFF)
    }

    fn allows(&self, metadata: &Metadata<'_>) -> bool {
        // Spans are kept whatever their level, and wherever they stand: their fields belong to the events inside, which may be
        // those of another subsystem. The request id is one of them.
        let kept_span = metadata.is_span() && self.most() != LevelFilter::OFF && !is_quiet(metadata.target());
        kept_span || *metadata.level() <= self.level_of(metadata.target())
    }
}

fn is_quiet(target: &str) -> bool {
    QUIET.contains(&target.split("::").next().unwrap_or(target))
}

/// Whether the target or one of its parents ends with the subsystem, at a boundary of names.
fn fits(target: &str, subsystem: &str) -> bool {
    let names: Vec<_> = target.split("::").collect();
    (1..=names.len()).any(|length| {
        let parent = names[..length].join("_").replace(['-', '.'], "_").to_lowercase();
        parent.strip_suffix(subsystem).is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
    })
}

/// As Terraform reads levels: what it does not know is the most talkative one.
fn parse(value: &str) -> LevelFilter {
    match value.trim().to_uppercase().as_str() {
        "OFF" | "NONE" => LevelFilter::OFF,
        "ERROR" => LevelFilter::ERROR,
        "WARN" => LevelFilter::WARN,
        "INFO" => LevelFilter::INFO,
        "DEBUG" => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

impl<S: Subscriber> Filter<S> for LogFilter {
    fn enabled(&self, metadata: &Metadata<'_>, _context: &Context<'_, S>) -> bool {
        self.allows(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        // The answer never changes for a place in the code.
        if self.allows(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let most = self.most();
        // Spans of every level carry fields for the events that are let through.
        Some(if most == LevelFilter::OFF { most } else { LevelFilter::TRACE })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(pairs: &[(&str, &str)]) -> LogFilter {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        LogFilter::from_environment("acme-cloud", pairs)
    }

    #[test]
    fn the_most_specific_variable_decides() {
        let all = [
            ("TF_LOG", "ERROR"),
            ("TF_LOG_PROVIDER", "warn"),
            ("TF_LOG_PROVIDER_ACME_CLOUD", "INFO"),
            ("TF_LOG_PROVIDER_ACME_CLOUD_HTTP", "TRACE"),
            ("TF_LOG_PROVIDER_OTHER", "TRACE"),
            ("TF_LOG_CORE", "TRACE"),
        ];
        assert_eq!(filter(&[]).level_of("acme"), LevelFilter::OFF);
        assert_eq!(filter(&all[4..]).level_of("acme"), LevelFilter::OFF);
        assert_eq!(filter(&all[..1]).level_of("acme"), LevelFilter::ERROR);
        assert_eq!(filter(&all[..2]).level_of("acme"), LevelFilter::WARN);
        assert_eq!(filter(&all[..3]).level_of("acme"), LevelFilter::INFO);
        assert_eq!(filter(&all).level_of("acme::rollout"), LevelFilter::INFO);
        assert_eq!(filter(&all).level_of("acme::http"), LevelFilter::TRACE);
        assert_eq!(filter(&all).level_of("acme_client::http::pool"), LevelFilter::TRACE);
        assert_eq!(filter(&all).level_of("acme::nohttp"), LevelFilter::INFO);
    }

    #[test]
    fn values_are_terraforms() {
        for (value, level) in [
            ("JSON", LevelFilter::TRACE),
            ("OFF", LevelFilter::OFF),
            ("Debug", LevelFilter::DEBUG),
            ("loud", LevelFilter::TRACE),
            ("", LevelFilter::OFF),
        ] {
            assert_eq!(filter(&[("TF_LOG", value)]).level_of("acme"), level, "{value}");
        }
        // Off for this provider wins over a general level.
        let off = filter(&[("TF_LOG", "TRACE"), ("TF_LOG_PROVIDER_ACME_CLOUD", "OFF")]);
        assert_eq!(off.level_of("acme"), LevelFilter::OFF);
    }

    #[test]
    fn libraries_keep_quiet_until_they_are_named() {
        let trace = filter(&[("TF_LOG", "TRACE")]);
        assert_eq!(trace.level_of("hyper::proto::h1"), LevelFilter::WARN);
        assert_eq!(trace.level_of("hyperspace"), LevelFilter::TRACE);
        let named = filter(&[("TF_LOG", "INFO"), ("TF_LOG_PROVIDER_ACME_CLOUD_HYPER", "TRACE")]);
        assert_eq!(named.level_of("hyper::proto::h1"), LevelFilter::TRACE);
        let error = filter(&[("TF_LOG", "ERROR")]);
        assert_eq!(error.level_of("h2"), LevelFilter::ERROR);
    }

    #[test]
    fn the_longest_subsystem_decides() {
        let filter = filter(&[
            ("TF_LOG_PROVIDER_ACME_CLOUD_HTTP", "ERROR"),
            ("TF_LOG_PROVIDER_ACME_CLOUD_CLIENT_HTTP", "DEBUG"),
        ]);
        assert_eq!(filter.level_of("acme::client::http"), LevelFilter::DEBUG);
        assert_eq!(filter.level_of("acme::server::http"), LevelFilter::ERROR);
        assert_eq!(filter.level_of("acme"), LevelFilter::OFF);
    }
}
