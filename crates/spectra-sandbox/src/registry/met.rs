//! How often each switch of the registry has made a difference: a test of a client that never meets a switch shows nothing.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::Registry;

/// By the key of the switch in [`super::Quirks`]; switches that were not met are not in it.
#[derive(Debug, Default)]
pub(crate) struct Met(Mutex<BTreeMap<&'static str, u64>>);

impl Met {
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Registry {
    /// How often each switch has changed an answer since the switches were set, by its key.
    #[must_use]
    pub fn met(&self) -> BTreeMap<&'static str, u64> {
        self.0.met.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts that a switch has changed an answer.
    pub(super) fn meet(&self, switch: &'static str) {
        *self.0.met.0.lock().unwrap_or_else(PoisonError::into_inner).entry(switch).or_default() += 1;
    }
}
