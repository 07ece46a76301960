//! Who was asked to wait, and came too soon.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::response::Response;
use http::{StatusCode, header, request::Parts};

use super::{Registry, Target, ViolationKind, decoded, text_header};

/// Most requests that are waited for at the same time; those of more are not watched.
const MOST: usize = 10_000;

/// Two clocks are compared where the wait ends with a date.
const SLACK: Duration = Duration::from_millis(10);

/// Until when which request was asked to wait.
#[derive(Debug, Default)]
pub(crate) struct Waits(Mutex<HashMap<String, Instant>>);

impl Waits {
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// What counts as the same request when it is repeated: by the same program, the same method, and the same path. Nothing for those
/// that several blobs share: another one may have been on its way already.
fn key(parts: &Parts) -> Option<String> {
    let path = decoded(parts);
    let own = matches!(
        Target::parse(&path),
        Some(Target::Blob(..) | Target::Manifest(..) | Target::Upload(..) | Target::Tags(_))
    );
    let program = text_header(parts, &header::USER_AGENT).unwrap_or_default();
    own.then(|| format!("{} {path} {program}", parts.method))
}

/// How long an answer asks to wait: seconds or a date.
fn asked(response: &Response) -> Option<Duration> {
    if !matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let wait = Duration::try_from(until.duration_since(jiff::Timestamp::now())).ok()?;
    Some(wait.saturating_sub(SLACK))
}

impl Registry {
    /// Remembers that the client was asked to wait.
    pub(super) fn note_wait(&self, parts: &Parts, response: &Response) {
        let Some((asked, key)) = asked(response).zip(key(parts)) else { return };
        let now = Instant::now();
        // What ends after the end of all clocks needs no watch.
        let Some(until) = now.checked_add(asked) else { return };
        let mut waits = self.0.waits.0.lock().unwrap_or_else(PoisonError::into_inner);
        waits.retain(|_, until| *until > now);
        if waits.len() < MOST {
            waits.insert(key, until);
        }
    }

    pub(super) fn check_wait(&self, parts: &Parts) {
        let Some(key) = key(parts) else { return };
        let mut waits = self.0.waits.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(until) = waits.remove(&key) else { return };
        let early = until.saturating_duration_since(Instant::now());
        if !early.is_zero() {
            let detail = format!("`{}` came {early:?} early", parts.method);
            self.0.violations.record(ViolationKind::TooSoon, parts.uri.path(), detail);
        }
    }

    /// Nobody is waited for any more: what asked to wait is gone.
    pub(crate) fn forget_waits(&self) {
        self.0.waits.clear();
    }
}
