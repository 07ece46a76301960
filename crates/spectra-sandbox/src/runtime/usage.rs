//! What a replica is said to use, read from the labels of its image. Nothing measures a simulated replica, so the
//! image says what the resource metrics show.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spectra_types::HumanDuration;

/// Most requests a second that a label or a traffic profile may ask for.
pub(crate) const MOST_REQUESTS: f64 = 1_000.0;

/// What one running replica uses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// `cpu`: vCPUs while no request is answered.
    pub cpu: f64,
    /// `cpu-per-request`: processor time that one request takes.
    pub cpu_per_request: Duration,
    /// `memory`: bytes.
    pub memory: u64,
    /// `disk`: bytes on the replica's own disk.
    pub disk: u64,
    /// `traffic`: requests a second of sandbox time that the sandbox sends to the domain of a service while it runs
    /// this image.
    pub traffic: f64,
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            cpu: 0.01,
            cpu_per_request: Duration::from_millis(2),
            memory: 64_000_000,
            disk: 0,
            traffic: 0.0,
        }
    }
}

impl Usage {
    /// Takes one label; `None` when it is none of these, the error says what was expected.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Option<Result<(), &'static str>> {
        match name {
            "cpu" => Some(put(
                &mut self.cpu,
                value.parse().ok().filter(|cpu| (0.0..=1_000.0).contains(cpu)),
                "a number of vCPUs from 0 to 1000",
            )),
            "cpu-per-request" => Some(put(
                &mut self.cpu_per_request,
                value.parse().map(HumanDuration::get).ok(),
                "a duration such as `250ms`, `30s` or `5m`",
            )),
            "memory" => Some(put(&mut self.memory, bytes(value), SIZE)),
            "disk" => Some(put(&mut self.disk, bytes(value), SIZE)),
            "traffic" => Some(put(
                &mut self.traffic,
                value.parse().ok().filter(|rate| (0.0..=MOST_REQUESTS).contains(rate)),
                "requests a second from 0 to 1000",
            )),
            _ => None,
        }
    }
}

fn put<T>(place: &mut T, value: Option<T>, expected: &'static str) -> Result<(), &'static str> {
    *place = value.ok_or(expected)?;
    Ok(())
}

const SIZE: &str = "a size such as `512KB`, `64MB` or `2GB`, at most 1000GB";

/// Bytes of a whole number with a decimal unit.
fn bytes(text: &str) -> Option<u64> {
    const MOST: u64 = 1_000_000_000_000;
    let (number, unit) = [("KB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000)]
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
    let number: u64 = number.trim_end().parse().ok()?;
    number.checked_mul(unit).filter(|bytes| *bytes <= MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(bytes("512KB"), Some(512_000));
        assert_eq!(bytes("2 GB"), Some(2_000_000_000));
        for wrong in ["", "64", "MB", "-1MB", "1.5GB", "64mb", "1001GB", "99999999999999999999GB"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}
