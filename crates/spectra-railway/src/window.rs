//! Windows of time that samples are read for, in parts that one request can answer.

use std::time::Duration;

use jiff::Timestamp;

use crate::error::{Error, ErrorKind, Result};
use crate::gql::Operation;

/// Steps that one request asks for. Railway processes some 50 000 data points in one request, and every step
/// has one for each status, percentile, or measurement of a deployment.
const STEPS: i64 = 1_000;
/// Requests that one read may take.
const PARTS: i64 = 20;

/// A part of a window, both ends in whole seconds or as the caller gave them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    last: bool,
}

impl Part {
    /// The begin of a sample, if it belongs to this part: one that begins where the next part does is that one's.
    pub(crate) fn sample(&self, seconds: i64) -> Option<Timestamp> {
        let at = Timestamp::from_second(seconds).ok()?;
        (self.last || at < self.to).then_some(at)
    }
}

/// The parts of a window. They are cut where steps begin, counted from 1970, so that no step is in two of them.
pub(crate) fn parts<O: Operation>(from: Timestamp, to: Timestamp, step: Duration) -> Result<Vec<Part>> {
    let refuse = |message: String| Err(Error::new(ErrorKind::BadInput, O::NAME, message));
    let seconds = i64::try_from(step.as_secs()).unwrap_or(i64::MAX);
    if seconds == 0 || step.subsec_nanos() != 0 {
        return refuse(format!("a step is a whole number of seconds and not {step:?}"));
    }
    if from >= to {
        return refuse(format!("the window from {from} to {to} is empty"));
    }
    let span = seconds.saturating_mul(STEPS);
    let mut parts = Vec::new();
    let mut begin = from;
    loop {
        let cut = begin.as_second().div_euclid(seconds).saturating_mul(seconds).saturating_add(span);
        match Timestamp::from_second(cut) {
            Ok(cut) if cut < to => {
                parts.push(Part { from: begin, to: cut, last: false });
                begin = cut;
            }
            _ => break,
        }
        if i64::try_from(parts.len()).unwrap_or(i64::MAX) >= PARTS {
            return refuse(format!(
                "the window from {from} to {to} has more than {} steps of {seconds} s: take a longer step",
                PARTS * STEPS
            ));
        }
    }
    parts.push(Part { from: begin, to, last: true });
    Ok(parts)
}

/// Seconds of a step as the API takes them.
pub(crate) fn step_seconds(step: Duration) -> i64 {
    i64::try_from(step.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gql::HttpStatusCounts;

    fn cut(from: i64, to: i64, step: u64) -> Result<Vec<(i64, i64)>> {
        let at = |second| Timestamp::from_second(second).unwrap();
        let parts = parts::<HttpStatusCounts>(at(from), at(to), Duration::from_secs(step))?;
        Ok(parts.iter().map(|part| (part.from.as_second(), part.to.as_second())).collect())
    }

    #[test]
    fn q60_windows_are_cut_where_steps_begin() {
        assert_eq!(cut(100, 160, 60).unwrap(), [(100, 160)]);
        assert_eq!(
            cut(90, 130_000, 60).unwrap(),
            [(90, 60_060), (60_060, 120_060), (120_060, 130_000)],
            "the first one is cut at a step's begin, not 60 000 s after its own"
        );
        assert_eq!(cut(0, 20_000, 1).unwrap().len(), 20);
        assert_eq!(cut(0, 20_001, 1).unwrap_err().kind(), ErrorKind::BadInput);
    }

    #[test]
    fn a_sample_belongs_to_one_part() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let parts = parts::<HttpStatusCounts>(at(0), at(1_500), Duration::from_secs(1)).unwrap();
        let owners = |second| {
            parts.iter().filter(|part| part.from <= at(second) && part.sample(second).is_some()).count()
        };
        assert_eq!((owners(999), owners(1_000), owners(1_500)), (1, 1, 1));
    }

    #[test]
    fn empty_windows_and_broken_steps_are_refused() {
        assert_eq!(cut(5, 5, 60).unwrap_err().kind(), ErrorKind::BadInput);
        assert_eq!(cut(5, 6, 0).unwrap_err().kind(), ErrorKind::BadInput);
    }
}
