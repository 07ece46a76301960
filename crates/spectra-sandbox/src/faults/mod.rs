//! Faults on request: rules that make the next answers of named operations go wrong in the ways that were seen
//! in the field.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use spectra_types::HumanDuration;

use crate::clock::{LONGEST, Tick};

/// Marks an answer that the server does not send: it cuts the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Action {
    /// Answers this status before anything is executed.
    Http {
        /// HTTP status.
        status: u16,
        /// Body text; a Cloudflare-like page or GraphQL error by default.
        #[serde(default)]
        body: Option<String>,
        /// Sends `Retry-After` (real seconds) and the rate-limit headers.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// 429 with body `error code: 1015` and no rate-limit headers.
    #[serde(rename = "edge_1015")]
    Edge1015,
    /// 200 with an HTML page.
    Html,
    /// 200 with the first half of the real answer; the operation was executed.
    TruncatedJson,
    /// The connection is cut before anything is executed.
    Reset,
    /// No answer for this long (real time); then the connection is cut. Nothing is executed.
    Hang {
        /// Real time.
        #[serde(default)]
        duration: Option<HumanDuration>,
    },
    /// The real answer, one byte at a time over this long (real time).
    SlowBody {
        /// Real time.
        duration: HumanDuration,
    },
    /// Executes, then answers 504 (default), or resets, or says "Problem processing request".
    FailAfterCommit {
        /// `gateway_timeout`, `reset` or `problem`.
        #[serde(default)]
        with: AfterCommit,
    },
    /// Executes nothing and answers this GraphQL error.
    FailBeforeCommit {
        /// `extensions.code`; `null` sends none.
        #[serde(default)]
        code: Option<String>,
        /// Message.
        message: String,
    },
    /// Executes nothing; every Boolean root field answers `false` without errors.
    BooleanFalse,
    /// Executes; the root fields named (all by default) become null and an error is added.
    PartialData {
        /// Root fields to lose.
        #[serde(default)]
        fields: Vec<String>,
        /// Message of the error.
        #[serde(default)]
        message: Option<String>,
    },
    /// Reads see the state of this long ago (sandbox time).
    StaleReads {
        /// Sandbox time.
        duration: HumanDuration,
    },
    /// Every list in the answer repeats its first row.
    DuplicateRows,
    /// Every `pageInfo` claims another page and gives no cursor.
    EndlessPage,
    /// Replaces the value of every response key named `field`, by default `status` with an unknown word.
    ReplaceField {
        /// Response key.
        field: String,
        /// New value.
        value: Value,
    },
    /// Every `status` reads `MIGRATING_TO_NEW_HOST`, a value no schema has.
    UnknownEnum,
    /// Somebody else acts just before this request is executed: a GraphQL mutation with the account's rights.
    ConcurrentActor {
        /// Document with one mutation.
        query: String,
        /// Its variables.
        #[serde(default)]
        variables: Value,
    },
    /// Moves the sandbox's clock before executing.
    ClockJump {
        /// Sandbox time.
        duration: HumanDuration,
    },
    /// The credential is refused as if it had been revoked.
    TokenRevoked,
    /// The rest of the credential's budget is gone: this request and all others are refused with 429 and the
    /// rate-limit headers until the hour is over. Where the plan has no budget nothing happens.
    QuotaExhausted,
    /// Registry: 429 with `Retry-After`.
    Busy {
        /// Seconds to wait.
        after: u64,
        /// `Retry-After` is the date in place of the seconds.
        #[serde(default)]
        date: bool,
    },
    /// Registry: the connection is cut after so many bytes of what is sent, or else of what is read.
    ResetAfter {
        /// Bytes of the body that come through.
        bytes: u64,
    },
    /// Registry: the answer's body, and the length that it announces, are too short.
    ShortBody {
        /// Bytes that are missing.
        missing: u64,
    },
    /// Registry: the first byte of the answer's body is another one.
    CorruptBody,
    /// Registry: `Docker-Content-Digest` is that of something else.
    WrongDigest,
    /// Registry: `Location`, if there is one, leads there.
    Location {
        /// The header's value as it is sent.
        to: String,
    },
    /// The WebSocket upgrade is answered with this status.
    WsRefuse {
        /// HTTP status, 400 to 599.
        #[serde(default = "forbidden")]
        status: u16,
    },
    /// The WebSocket connection is cut, without a closing handshake, after so many messages of the operation.
    WsDrop {
        /// Messages that still arrive.
        #[serde(default)]
        after: usize,
    },
    /// Every message of the operation comes twice.
    WsDuplicate,
    /// Every two messages of the operation swap places.
    WsOutOfOrder,
    /// After so many messages the operation says nothing any more; the connection stays open.
    WsSilence {
        /// Messages that still arrive.
        #[serde(default)]
        after: usize,
    },
}

const fn forbidden() -> u16 {
    403
}

/// The names of the registry's requests, each after `registry.`.
pub(crate) const REGISTRY_REQUESTS: [&str; 19] = [
    "ping",
    "token",
    "catalog",
    "tags",
    "referrers",
    "mount",
    "upload_begin",
    "upload_post",
    "upload_status",
    "upload_patch",
    "upload_put",
    "upload_cancel",
    "blob_head",
    "blob_get",
    "blob_delete",
    "manifest_head",
    "manifest_get",
    "manifest_put",
    "manifest_delete",
];

/// Where a request meets the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// An operation over POST.
    Http,
    /// The request for a WebSocket.
    Upgrade,
    /// An operation over an open WebSocket.
    Socket,
    /// A request to the registry.
    Registry,
}

impl Action {
    /// Whether it means something there; a rule is not spent where it does not.
    const fn applies(&self, stage: Stage) -> bool {
        match self {
            Self::WsRefuse { .. } => matches!(stage, Stage::Upgrade),
            Self::WsDrop { .. } | Self::WsDuplicate | Self::WsOutOfOrder | Self::WsSilence { .. } => {
                matches!(stage, Stage::Socket)
            }
            Self::TokenRevoked => matches!(stage, Stage::Http | Stage::Socket | Stage::Registry),
            Self::FailBeforeCommit { .. }
            | Self::ClockJump { .. }
            | Self::ConcurrentActor { .. }
            | Self::ReplaceField { .. }
            | Self::UnknownEnum => matches!(stage, Stage::Http | Stage::Socket),
            Self::Busy { .. }
            | Self::ResetAfter { .. }
            | Self::ShortBody { .. }
            | Self::CorruptBody
            | Self::WrongDigest
            | Self::Location { .. } => matches!(stage, Stage::Registry),
            Self::Http { .. }
            | Self::Html
            | Self::Reset
            | Self::Hang { .. }
            | Self::FailAfterCommit { .. } => {
                matches!(stage, Stage::Http | Stage::Registry)
            }
            _ => matches!(stage, Stage::Http),
        }
    }

    /// The word in `type`, for the journal.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Http { .. } => "http",
            Self::Edge1015 => "edge_1015",
            Self::Html => "html",
            Self::TruncatedJson => "truncated_json",
            Self::Reset => "reset",
            Self::Hang { .. } => "hang",
            Self::SlowBody { .. } => "slow_body",
            Self::FailAfterCommit { .. } => "fail_after_commit",
            Self::FailBeforeCommit { .. } => "fail_before_commit",
            Self::BooleanFalse => "boolean_false",
            Self::PartialData { .. } => "partial_data",
            Self::StaleReads { .. } => "stale_reads",
            Self::DuplicateRows => "duplicate_rows",
            Self::EndlessPage => "endless_page",
            Self::ReplaceField { .. } => "replace_field",
            Self::UnknownEnum => "unknown_enum",
            Self::ConcurrentActor { .. } => "concurrent_actor",
            Self::ClockJump { .. } => "clock_jump",
            Self::TokenRevoked => "token_revoked",
            Self::QuotaExhausted => "quota_exhausted",
            Self::Busy { .. } => "busy",
            Self::ResetAfter { .. } => "reset_after",
            Self::ShortBody { .. } => "short_body",
            Self::CorruptBody => "corrupt_body",
            Self::WrongDigest => "wrong_digest",
            Self::Location { .. } => "location",
            Self::WsRefuse { .. } => "ws_refuse",
            Self::WsDrop { .. } => "ws_drop",
            Self::WsDuplicate => "ws_duplicate",
            Self::WsOutOfOrder => "ws_out_of_order",
            Self::WsSilence { .. } => "ws_silence",
        }
    }
}

/// How an executed mutation's answer gets lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AfterCommit {
    /// HTTP 504 with an HTML page.
    #[default]
    GatewayTimeout,
    /// The connection is cut.
    Reset,
    /// 200 with "Problem processing request" and no code.
    Problem,
}

/// When and how often a rule applies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// Given by the sandbox when absent.
    #[serde(default)]
    pub(crate) id: String,
    /// `operationName` or root field it applies to; `*` for all. Requests to the registry have names of their own:
    /// `registry.blob_get` and so on; `registry.*` for all of these.
    pub(crate) operation: String,
    /// What goes wrong.
    pub(crate) action: Action,
    /// Applies this many times, then the rule is spent; unlimited when absent.
    #[serde(default)]
    pub(crate) count: Option<u32>,
    /// Lets this many matching requests pass first.
    #[serde(default)]
    pub(crate) skip: u32,
    /// Chance from 0 to 1 for each matching request.
    #[serde(default = "always")]
    pub(crate) probability: f64,
    /// Applies from this long (sandbox time) after it was set.
    #[serde(default)]
    pub(crate) after: Option<HumanDuration>,
    /// Applies for this long (sandbox time) from then on.
    #[serde(default, rename = "for")]
    pub(crate) lasting: Option<HumanDuration>,
    /// How often it has applied; the sandbox counts.
    #[serde(default)]
    pub(crate) applied: u32,
    /// Sandbox time it was set at; the sandbox writes it.
    #[serde(default)]
    pub(crate) set_tick: Tick,
}

const fn always() -> f64 {
    1.0
}

impl Rule {
    /// Says what is wrong with the rule, naming the key.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.operation.trim().is_empty() {
            return Err("`operation` is empty: name an operation or root field, or `*`".to_owned());
        }
        let stages: &[Stage] = match self.operation.strip_prefix("registry.") {
            Some("*") => &[Stage::Registry],
            Some(request) if REGISTRY_REQUESTS.contains(&request) => &[Stage::Registry],
            Some(_) => {
                return Err(format!(
                    "`operation` cannot be `{}`: the registry has {}",
                    self.operation,
                    REGISTRY_REQUESTS.join(", ")
                ));
            }
            None => &[Stage::Http, Stage::Upgrade, Stage::Socket],
        };
        if !stages.iter().any(|stage| self.action.applies(*stage)) {
            return Err(format!("`{}` means nothing for `{}`", self.action.name(), self.operation));
        }
        if !(0.0..=1.0).contains(&self.probability) {
            return Err(format!("`probability` cannot be `{}`: use 0 to 1", self.probability));
        }
        if let Action::Http { status, .. } = &self.action
            && !(200..=599).contains(status)
        {
            return Err(format!("`action.status` cannot be `{status}`: use 200 to 599"));
        }
        if let Action::Busy { after, .. } = &self.action
            && *after > LONGEST.as_secs()
        {
            return Err(format!("`action.after` cannot be `{after}`: use ten years (316224000) at most"));
        }
        if let Action::WsRefuse { status } = &self.action
            && !(400..=599).contains(status)
        {
            return Err(format!("`action.status` cannot be `{status}`: use 400 to 599"));
        }
        Ok(())
    }

    fn due(&self, now: Tick) -> bool {
        let start = self.set_tick.saturating_add(self.after.map_or(0, ticks));
        let end = self.lasting.map_or(Tick::MAX, |lasting| start.saturating_add(ticks(lasting)));
        (start..end).contains(&now) && self.count.is_none_or(|count| self.applied < count)
    }
}

fn ticks(duration: HumanDuration) -> Tick {
    Tick::try_from(duration.get().as_millis()).unwrap_or(Tick::MAX)
}

/// The rules in force.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Mutex<Vec<Rule>>,
}

impl Faults {
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        Self { rules: Mutex::new(rules) }
    }

    /// All rules, spent ones included.
    pub(crate) fn list(&self) -> Vec<Rule> {
        self.lock().clone()
    }

    /// Adds `rule` (or replaces the one with its id) and returns it as kept.
    pub(crate) fn set(&self, mut rule: Rule, now: Tick) -> Rule {
        if rule.id.is_empty() {
            rule.id = uuid::Uuid::new_v4().to_string();
        }
        rule.applied = 0;
        rule.set_tick = now;
        let mut rules = self.lock();
        rules.retain(|other| other.id != rule.id);
        rules.push(rule.clone());
        rule
    }

    /// Removes one rule, or all; says how many went.
    pub(crate) fn clear(&self, id: Option<&str>) -> usize {
        let mut rules = self.lock();
        let before = rules.len();
        rules.retain(|rule| id.is_some_and(|id| rule.id != id));
        before - rules.len()
    }

    /// The actions that apply to this request, in the order they were set.
    pub(crate) fn take(&self, stage: Stage, operation: &str, fields: &[String], now: Tick) -> Vec<Action> {
        self.take_rules(stage, operation, fields, now, |_| true)
            .into_iter()
            .map(|(_, action)| action)
            .collect()
    }

    /// As [`Faults::take`], each with the id of its rule, for [`Faults::give_back`], and only those that `can` do something.
    pub(crate) fn take_rules(
        &self,
        stage: Stage,
        operation: &str,
        fields: &[String],
        now: Tick,
        can: impl Fn(&Action) -> bool,
    ) -> Vec<(String, Action)> {
        let mut actions = Vec::new();
        for rule in self.lock().iter_mut() {
            let all = if stage == Stage::Registry { "registry.*" } else { "*" };
            let named =
                rule.operation == all || rule.operation == operation || fields.contains(&rule.operation);
            if !named || !rule.action.applies(stage) || !rule.due(now) || !can(&rule.action) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            if rule.probability < 1.0 && rand::random::<f64>() >= rule.probability {
                continue;
            }
            rule.applied += 1;
            actions.push((rule.id.clone(), rule.action.clone()));
        }
        actions
    }

    /// A rule that was taken could do nothing: it has not applied after all.
    pub(crate) fn give_back(&self, id: &str) {
        if let Some(rule) = self.lock().iter_mut().find(|rule| rule.id == id) {
            rule.applied = rule.applied.saturating_sub(1);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Rule>> {
        // Rules are replaced whole; a panic elsewhere leaves none half written.
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(value: Value) -> Rule {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_rule_skips_counts_and_is_spent() {
        let faults = Faults::default();
        faults
            .set(rule(json!({"operation": "deploy", "action": {"type": "reset"}, "count": 1, "skip": 1})), 0);
        assert!(faults.take(Stage::Http, "deploy", &[], 0).is_empty());
        assert!(faults.take(Stage::Http, "other", &[], 0).is_empty());
        assert_eq!(faults.take(Stage::Http, "x", &["deploy".to_owned()], 0), [Action::Reset]);
        assert!(faults.take(Stage::Http, "deploy", &[], 0).is_empty());
    }

    #[test]
    fn the_probability_is_never_at_0_always_at_1_and_about_as_often_as_it_says_between() {
        let applied = |probability: f64| {
            let faults = Faults::default();
            faults.set(
                rule(json!({"operation": "a", "action": {"type": "html"}, "probability": probability})),
                0,
            );
            (0..2_000).filter(|_| !faults.take(Stage::Http, "a", &[], 0).is_empty()).count()
        };
        assert_eq!(applied(0.0), 0);
        assert_eq!(applied(1.0), 2_000);
        // Ten standard deviations (19) on either side.
        let some = applied(0.25);
        assert!((310..=690).contains(&some), "{some} of 2000");
    }

    #[test]
    fn a_schedule_opens_and_closes() {
        let faults = Faults::default();
        faults.set(
            rule(json!({"operation": "*", "action": {"type": "html"}, "after": "10s", "for": "5s"})),
            1_000,
        );
        assert!(faults.take(Stage::Http, "a", &[], 10_999).is_empty());
        assert_eq!(faults.take(Stage::Http, "a", &[], 11_000), [Action::Html]);
        assert!(faults.take(Stage::Http, "a", &[], 16_000).is_empty());
    }

    #[test]
    fn a_rule_is_spent_only_where_it_means_something() {
        let faults = Faults::default();
        for action in
            [json!({"type": "ws_refuse"}), json!({"type": "ws_drop", "after": 2}), json!({"type": "html"})]
        {
            faults.set(rule(json!({"operation": "*", "action": action, "count": 1})), 0);
        }
        assert_eq!(faults.take(Stage::Socket, "a", &[], 0), [Action::WsDrop { after: 2 }]);
        assert!(faults.take(Stage::Socket, "a", &[], 0).is_empty());
        assert_eq!(faults.take(Stage::Http, "a", &[], 0), [Action::Html]);
        assert_eq!(faults.take(Stage::Upgrade, "a", &[], 0), [Action::WsRefuse { status: 403 }]);
        assert!(
            rule(json!({"operation": "*", "action": {"type": "ws_refuse", "status": 200}})).check().is_err()
        );
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(
            serde_json::from_value::<Rule>(json!({"operation": "a", "acton": {"type": "html"}})).is_err()
        );
        assert!(
            serde_json::from_value::<Rule>(json!({"operation": "a", "action": {"type": "melt"}})).is_err()
        );
    }
}
