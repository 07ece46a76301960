//! Metrics that programs measure.

use spectra_probe::ProgramMetrics;
use spectra_rollout::spec::{CommandSpec, MetricKind};
use spectra_rollout::{MetricSource as _, Sample, Sampled};

use crate::programs::programs;
use crate::support::{image, metric, scope, script};

async fn sample(run: CommandSpec) -> Sampled {
    let source = ProgramMetrics::new(programs(&[("PORT", "3000")]), "rollout-1", image());
    source.sample(&metric(MetricKind::Command { run: Box::new(run) }), &scope()).await
}

async fn value_of(text: &str) -> Result<Option<f64>, String> {
    sample(script(text)).await.answer.map(|sample| sample.value)
}

#[tokio::test]
async fn the_last_number_on_standard_output_is_the_value() {
    assert_eq!(value_of("echo 1; echo ' 0.25 '; echo done; echo 7 >&2").await, Ok(Some(0.25)));
    // Also one that reads like a variable of the service.
    assert_eq!(value_of("echo 3000").await, Ok(Some(3000.0)));
    assert_eq!(value_of("printf 1e-3").await, Ok(Some(0.001)));
}

#[tokio::test]
async fn a_number_that_is_none_is_no_data() {
    for none in ["NaN", "+Inf", "-Inf"] {
        assert_eq!(value_of(&format!("echo 1; echo {none}")).await, Ok(None), "{none}");
    }
}

#[tokio::test]
async fn anything_else_is_an_error_of_the_source() {
    let words = value_of("echo about 5; echo 7 >&2").await.unwrap_err();
    assert!(words.contains("printed no line that is a number; the end of its output:\n"), "{words}");
    let nothing = value_of("true").await.unwrap_err();
    assert!(nothing.contains("printed nothing"), "{nothing}");
    let failed = value_of("echo 5; exit 2").await.unwrap_err();
    assert!(failed.contains("failed with exit status 2"), "{failed}");
    let missing = CommandSpec { command: vec!["no-such-program-here".to_owned()], ..script("") };
    assert!(sample(missing).await.answer.unwrap_err().contains("was not started"));
}

#[tokio::test]
async fn it_is_told_what_is_measured() {
    let text = r#"[ "$SPECTRA_PURPOSE $SPECTRA_SERVICE $SPECTRA_DEPLOYMENT $SPECTRA_WINDOW $SPECTRA_ROLLOUT_ID" \
        = "metric errors canary-1 deployment-new 1m30s rollout-1" ] && echo 1"#;
    let sampled = sample(script(text)).await;
    assert_eq!(sampled.answer, Ok(Sample { value: Some(1.0), samples: None, stable: None }));
    assert_eq!(sampled.query, format!("sh -c {text}"));
}

#[tokio::test]
async fn another_kind_of_metric_is_refused() {
    let source = ProgramMetrics::new(programs(&[]), "rollout-1", image());
    let message = source.sample(&metric(MetricKind::Memory), &scope()).await.answer.unwrap_err();
    assert_eq!(message, "metric `errors` is measured by no program");
}
