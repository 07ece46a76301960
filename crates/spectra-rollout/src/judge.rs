//! Judges what was measured of one metric.

use crate::ports::{Sample, Sampled};
use crate::spec::{Metric, OnNoData};

/// What one measurement counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// As expected.
    Good,
    /// Not as expected.
    Bad,
    /// The source could not be asked.
    Error,
    /// There was too little to say anything.
    NoData,
}

impl Mark {
    /// The word in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Error => "error",
            Self::NoData => "no_data",
        }
    }
}

/// How a metric stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// More measurements decide.
    Open,
    /// It passed, and needs no more.
    Passed,
    /// It failed: the measurement that decided, in words.
    Failed(String),
}

/// The measurements of one metric, counted. Pure: no clock, no I/O.
#[derive(Clone, Debug)]
pub struct Judge {
    metric: Metric,
    good: u32,
    bad: u32,
    no_data: u32,
    errors: u32,
    good_in_a_row: u32,
    errors_in_a_row: u32,
    standing: Standing,
    last: Option<String>,
}

impl Judge {
    /// Nothing was measured yet.
    #[must_use]
    pub const fn new(metric: Metric) -> Self {
        Self {
            metric,
            good: 0,
            bad: 0,
            no_data: 0,
            errors: 0,
            good_in_a_row: 0,
            errors_in_a_row: 0,
            standing: Standing::Open,
            last: None,
        }
    }

    /// The metric.
    #[must_use]
    pub const fn metric(&self) -> &Metric {
        &self.metric
    }

    /// How it stands. A shadow never fails.
    #[must_use]
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Takes one measurement and says what it counts as.
    pub fn take(&mut self, sampled: &Sampled) -> Mark {
        let (mark, why) = match &sampled.answer {
            Err(error) => (Mark::Error, error.clone()),
            Ok(sample) => self.mark(sample),
        };
        let words = format!("{why} (`{}`)", sampled.query);
        self.count(mark, &words);
        self.last = Some(words);
        mark
    }

    /// What is to be said of it when no more is measured: `Ok` when it passed, else what was missing. Without a bad ending
    /// it takes one good measurement, and as many that said something as did not: a quiet hour must not pass for a
    /// healthy one, nor one gap for a sick one.
    pub fn conclude(&self) -> Result<(), String> {
        let metric = &self.metric;
        if metric.shadow || self.standing == Standing::Passed {
            return Ok(());
        }
        if let Standing::Failed(why) = &self.standing {
            return Err(why.clone());
        }
        let decided = self.good + self.bad;
        let silent = self.no_data + self.errors;
        if self.good > 0 && decided >= silent {
            return Ok(());
        }
        let last = self.last.as_ref().map(|last| format!("; the last: {last}")).unwrap_or_default();
        Err(format!(
            "{decided} measurements said something, {} were without data and {} failed{last}",
            self.no_data, self.errors
        ))
    }

    fn mark(&self, sample: &Sample) -> (Mark, String) {
        let metric = &self.metric;
        let few = sample.samples.is_some_and(|samples| samples < metric.min_samples);
        let value = sample.value.filter(|value| value.is_finite());
        let Some(value) = value.filter(|_| !few) else {
            let mark = match metric.on_no_data {
                OnNoData::Inconclusive => Mark::NoData,
                OnNoData::Fail => Mark::Bad,
                OnNoData::Pass => Mark::Good,
            };
            let why = match (sample.value, sample.samples) {
                (Some(value), Some(samples)) if few => {
                    format!("{value} of {samples} samples, fewer than {}", metric.min_samples)
                }
                (Some(value), _) => format!("{value}, which is no number to judge"),
                (None, _) => "no data".to_owned(),
            };
            return (mark, why);
        };
        if let Some(min) = metric.min
            && value < min
        {
            return (Mark::Bad, format!("{value}, less than {min}"));
        }
        if let Some(max) = metric.max
            && value > max
        {
            return (Mark::Bad, format!("{value}, more than {max}"));
        }
        if let Some(compare) = &metric.compare {
            let Some(stable) = sample.stable.filter(|stable| stable.is_finite()) else {
                return (Mark::NoData, format!("{value}, and nothing of stable to compare it with"));
            };
            if let Some(ratio) = compare.max_ratio
                && value > stable * ratio
            {
                return (Mark::Bad, format!("{value}, more than {ratio} times stable's {stable}"));
            }
            if let Some(increase) = compare.max_increase
                && value > stable + increase
            {
                return (Mark::Bad, format!("{value}, more than {increase} above stable's {stable}"));
            }
        }
        (Mark::Good, format!("{value}"))
    }

    fn count(&mut self, mark: Mark, words: &str) {
        match mark {
            Mark::Good => {
                self.good += 1;
                self.good_in_a_row += 1;
                self.errors_in_a_row = 0;
            }
            Mark::Bad => {
                self.bad += 1;
                self.good_in_a_row = 0;
                self.errors_in_a_row = 0;
            }
            Mark::Error => {
                self.errors += 1;
                self.good_in_a_row = 0;
                self.errors_in_a_row += 1;
            }
            Mark::NoData => {
                self.no_data += 1;
                self.errors_in_a_row = 0;
            }
        }
        let metric = &self.metric;
        if metric.shadow || self.standing != Standing::Open {
            return;
        }
        if self.bad > metric.failure_limit {
            let times = if self.bad == 1 { String::new() } else { format!(", the {}. bad one", self.bad) };
            self.standing = Standing::Failed(format!("{words}{times}"));
        } else if self.errors_in_a_row > metric.consecutive_error_limit {
            self.standing = Standing::Failed(format!("{} errors in a row: {words}", self.errors_in_a_row));
        } else if metric.consecutive_success_limit.is_some_and(|limit| self.good_in_a_row >= limit)
            || metric.count.is_some_and(|count| self.good > 0 && self.good + self.bad >= count)
        {
            self.standing = Standing::Passed;
        }
    }

    /// Whether it is measured on: a count is reached by measurements of any kind.
    #[must_use]
    pub fn wants_more(&self) -> bool {
        let all = self.good + self.bad + self.no_data + self.errors;
        match self.standing {
            Standing::Open => self.metric.count.is_none_or(|count| all < count),
            Standing::Passed | Standing::Failed(_) => self.metric.shadow && self.metric.count.is_none(),
        }
    }
}
