//! Durations as people write them, for serde: `#[serde(with = "human")]`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use spectra_types::HumanDuration;

pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    HumanDuration::new(*duration).serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    HumanDuration::deserialize(deserializer).map(HumanDuration::get)
}
