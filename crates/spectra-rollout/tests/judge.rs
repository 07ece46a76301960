//! The judge of one metric: tables and properties.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use proptest::prelude::*;
use spectra_rollout::spec::{Comparison, Metric, OnNoData};
use spectra_rollout::{Judge, Mark, Sample, Sampled, Standing};
use support::requests::metric;

fn sampled(value: Option<f64>, samples: Option<u64>, stable: Option<f64>) -> Sampled {
    Sampled { query: "q".to_owned(), answer: Ok(Sample { value, samples, stable }) }
}

fn value(value: f64) -> Sampled {
    sampled(Some(value), None, None)
}

fn error() -> Sampled {
    Sampled { query: "q".to_owned(), answer: Err("HTTP 502".to_owned()) }
}

fn nothing() -> Sampled {
    sampled(None, None, None)
}

fn judged(metric: &Metric, measurements: &[Sampled]) -> Judge {
    let mut judge = Judge::new(metric.clone());
    for one in measurements {
        judge.take(one);
    }
    judge
}

fn failed(judge: &Judge) -> bool {
    matches!(judge.standing(), Standing::Failed(_))
}

#[test]
fn one_measurement_counts_as_what_it_says() {
    let compare = |max_ratio, max_increase| Metric {
        max: None,
        compare: Some(Comparison { max_ratio, max_increase }),
        ..metric("m")
    };
    let between = Metric { min: Some(0.2), ..metric("m") };
    let sampling = Metric { min_samples: 10, ..metric("m") };
    let ratio = compare(Some(1.5), None);
    let increase = compare(None, Some(0.1));
    let both = compare(Some(1.5), Some(0.1));
    let table: Vec<(&str, &Metric, Sampled, Mark)> = vec![
        ("at the greatest", &between, value(0.5), Mark::Good),
        ("above it", &between, value(0.500_001), Mark::Bad),
        ("at the least", &between, value(0.2), Mark::Good),
        ("below it", &between, value(0.199), Mark::Bad),
        ("a source that fails", &between, error(), Mark::Error),
        ("an empty vector", &between, nothing(), Mark::NoData),
        ("no number", &between, value(f64::NAN), Mark::NoData),
        ("0/0 the other way", &between, value(f64::NEG_INFINITY), Mark::NoData),
        ("x/0", &between, value(f64::INFINITY), Mark::NoData),
        ("too few", &sampling, sampled(Some(9.0), Some(9), None), Mark::NoData),
        ("just enough", &sampling, sampled(Some(9.0), Some(10), None), Mark::Bad),
        ("a source that does not count", &sampling, value(9.0), Mark::Bad),
        ("as much as allowed", &ratio, sampled(Some(3.0), None, Some(2.0)), Mark::Good),
        ("more than allowed", &ratio, sampled(Some(3.1), None, Some(2.0)), Mark::Bad),
        ("nothing of stable", &ratio, value(3.1), Mark::NoData),
        ("no number of stable", &ratio, sampled(Some(3.1), None, Some(f64::NAN)), Mark::NoData),
        ("both are nothing", &ratio, sampled(Some(0.0), None, Some(0.0)), Mark::Good),
        ("a bit more", &increase, sampled(Some(0.05), None, Some(0.0)), Mark::Good),
        ("too much more", &increase, sampled(Some(0.35), None, Some(0.2)), Mark::Bad),
        ("one of two limits", &both, sampled(Some(1.2), None, Some(1.0)), Mark::Bad),
    ];
    for (name, metric, sampled, mark) in table {
        assert_eq!(Judge::new(metric.clone()).take(&sampled), mark, "{name}");
    }
}

#[test]
fn a_window_without_data_counts_as_asked() {
    for (on_no_data, mark) in
        [(OnNoData::Inconclusive, Mark::NoData), (OnNoData::Fail, Mark::Bad), (OnNoData::Pass, Mark::Good)]
    {
        let metric = Metric { on_no_data, min_samples: 5, ..metric("m") };
        for sampled in [nothing(), value(f64::NAN), sampled(Some(0.1), Some(4), None)] {
            assert_eq!(Judge::new(metric.clone()).take(&sampled), mark, "{on_no_data:?}");
        }
        assert_eq!(Judge::new(metric.clone()).take(&error()), Mark::Error, "an error is not silence");
    }
}

#[test]
fn it_fails_with_more_bad_ones_than_the_limit() {
    let metric = Metric { failure_limit: 2, ..metric("m") };
    assert!(!failed(&judged(&metric, &[value(1.0), value(0.0), value(1.0)])));
    let judge = judged(&metric, &[value(1.0), value(0.0), value(1.0), value(0.75)]);
    let Standing::Failed(why) = judge.standing() else { panic!("{judge:?}") };
    assert_eq!(why, "0.75, more than 0.5 (`q`), the 3. bad one");
    assert!(judge.conclude().is_err());
}

#[test]
fn errors_fail_it_in_a_row_alone() {
    let metric = Metric { consecutive_error_limit: 2, ..metric("m") };
    let apart = [error(), error(), value(0.0), error(), error(), nothing(), error(), error()];
    assert!(!failed(&judged(&metric, &apart)));
    let judge = judged(&metric, &[error(), error(), error()]);
    let Standing::Failed(why) = judge.standing() else { panic!("{judge:?}") };
    assert_eq!(why, "3 errors in a row: HTTP 502 (`q`)");
}

#[test]
fn good_ones_in_a_row_pass_it_early_and_end_the_measuring() {
    let metric = Metric { consecutive_success_limit: Some(2), failure_limit: 5, ..metric("m") };
    let judge = judged(&metric, &[value(0.0), value(1.0), value(0.0), error(), value(0.0)]);
    assert_eq!(*judge.standing(), Standing::Open);
    let judge = judged(&metric, &[value(0.0), value(1.0), value(0.0), value(0.0)]);
    assert_eq!((judge.standing(), judge.wants_more()), (&Standing::Passed, false));
}

#[test]
fn a_count_ends_the_measuring_whatever_they_say() {
    let metric = Metric { count: Some(3), failure_limit: 3, ..metric("m") };
    let judge = judged(&metric, &[value(0.0), value(1.0), value(0.0)]);
    assert_eq!((judge.standing(), judge.wants_more()), (&Standing::Passed, false));
    let silent = judged(&metric, &[nothing(), error(), nothing()]);
    assert_eq!((silent.standing(), silent.wants_more()), (&Standing::Open, false));
    let why = silent.conclude().unwrap_err();
    assert_eq!(
        why,
        "0 measurements said something, 2 were without data and 1 failed; the last: no data (`q`)"
    );
    let bad = judged(&metric, &[value(1.0), value(1.0), value(1.0)]);
    assert!(bad.conclude().is_err(), "bad ones alone do not pass it");
}

#[test]
fn it_takes_one_good_one_and_as_many_that_said_something_as_did_not() {
    let metric = Metric { failure_limit: 9, ..metric("m") };
    assert!(judged(&metric, &[]).conclude().is_err());
    assert!(judged(&metric, &[value(0.0)]).conclude().is_ok());
    assert!(judged(&metric, &[value(0.0), nothing()]).conclude().is_ok());
    assert!(judged(&metric, &[value(0.0), nothing(), error()]).conclude().is_err());
    assert!(judged(&metric, &[value(1.0), value(1.0)]).conclude().is_err());
}

#[test]
fn a_shadow_is_measured_on_and_decides_nothing() {
    let metric = Metric { shadow: true, ..metric("m") };
    let judge = judged(&metric, &[value(1.0), value(1.0), error(), error(), error(), error(), error()]);
    assert_eq!((judge.standing(), judge.wants_more()), (&Standing::Open, true));
    assert_eq!(judge.conclude(), Ok(()));
    let counted = Metric { count: Some(2), ..metric };
    assert!(!judged(&counted, &[value(1.0), value(1.0)]).wants_more());
}

fn measurements() -> impl Strategy<Value = Vec<Sampled>> {
    let one = prop_oneof![
        3 => (0.0..1.0_f64).prop_map(value),
        1 => Just(nothing()),
        1 => Just(error()),
        1 => Just(value(f64::NAN)),
    ];
    proptest::collection::vec(one, 0..30)
}

fn metrics() -> impl Strategy<Value = Metric> {
    (
        0_u32..4,
        0_u32..4,
        proptest::option::of(1_u32..4),
        proptest::option::of(1_u32..12),
        prop_oneof![Just(OnNoData::Inconclusive), Just(OnNoData::Fail), Just(OnNoData::Pass)],
    )
        .prop_map(
            |(failure_limit, consecutive_error_limit, consecutive_success_limit, count, on_no_data)| Metric {
                failure_limit,
                consecutive_error_limit,
                consecutive_success_limit,
                count,
                on_no_data,
                ..metric("m")
            },
        )
}

proptest! {
    /// What failed stays failed, and only the limits fail it; what passed had a good one.
    #[test]
    fn a_standing_is_earned(metric in metrics(), measurements in measurements()) {
        let mut judge = Judge::new(metric.clone());
        let (mut good, mut bad, mut in_a_row, mut taken) = (0, 0, 0, 0);
        for one in &measurements {
            if !judge.wants_more() {
                break;
            }
            let before = judge.standing().clone();
            taken += 1;
            match judge.take(one) {
                Mark::Good => { good += 1; in_a_row = 0; }
                Mark::Bad => { bad += 1; in_a_row = 0; }
                Mark::Error => in_a_row += 1,
                Mark::NoData => in_a_row = 0,
            }
            prop_assert_eq!(before, Standing::Open, "measured on after a decision");
            let limit = bad > metric.failure_limit || in_a_row > metric.consecutive_error_limit;
            prop_assert_eq!(failed(&judge), limit);
        }
        if let Some(count) = metric.count {
            prop_assert!(taken <= count);
        }
        if *judge.standing() == Standing::Passed || judge.conclude().is_ok() {
            prop_assert!(good > 0 && !failed(&judge));
        }
    }

    /// A shadow never stands in the way.
    #[test]
    fn a_shadow_never_fails(metric in metrics(), measurements in measurements()) {
        let judge = judged(&Metric { shadow: true, ..metric }, &measurements);
        prop_assert!(!failed(&judge));
        prop_assert_eq!(judge.conclude(), Ok(()));
    }

    /// Silence alone neither fails nor passes.
    #[test]
    fn silence_decides_nothing(count in 1_usize..40) {
        let judge = judged(&metric("m"), &vec![nothing(); count]);
        prop_assert_eq!(judge.standing(), &Standing::Open);
        prop_assert!(judge.conclude().is_err());
    }
}
