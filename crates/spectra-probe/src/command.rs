//! Metrics that a program measures.

use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use spectra_rollout::spec::{CommandSpec, Metric, MetricKind};
use spectra_rollout::{MetricSource, RunContext, Sample, Sampled, Scope};
use spectra_types::{PinnedImage, Redactor};
use tokio_util::sync::CancellationToken;

use crate::output::Stream;
use crate::process::Hear;
use crate::promql::window;
use crate::runner::{Programs, well_ended};

/// A source of metrics that runs the program that each metric names.
///
/// The value is the last line of standard output that is a number. `NaN` and the infinities are no data, as they are
/// for Prometheus. A failed run is an error of the source, and so is one that printed no number.
///
/// Beside what every program gets, its environment has `SPECTRA_DEPLOYMENT`, the candidate's, once there is one, and
/// `SPECTRA_WINDOW`, such as `1m30s`. `SPECTRA_SERVICE` is the service that is measured.
#[derive(Clone)]
pub struct ProgramMetrics {
    programs: Programs,
    rollout: String,
    candidate: PinnedImage,
}

impl ProgramMetrics {
    /// A source for one rollout. A listener of `programs` hears nothing of what metrics print.
    #[must_use]
    pub fn new(programs: Programs, rollout: impl Into<String>, candidate: PinnedImage) -> Self {
        Self { programs, rollout: rollout.into(), candidate }
    }

    async fn measure(&self, metric: &Metric, run: &CommandSpec, scope: &Scope) -> Result<Sample, String> {
        let context = RunContext {
            rollout: self.rollout.clone(),
            candidate: self.candidate.clone(),
            purpose: format!("metric {}", metric.name),
        };
        let mut further = vec![("SPECTRA_WINDOW", window(scope.window))];
        if let Some(deployment) = &scope.candidate {
            further.push(("SPECTRA_DEPLOYMENT", deployment.to_string()));
        }
        let last: Arc<Mutex<Option<f64>>> = Arc::default();
        let heard = Arc::clone(&last);
        let hear: Hear = Box::new(move |stream, printed, _| {
            if stream == Stream::Out
                && let Ok(number) = printed.trim().parse()
            {
                *heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(number);
            }
        });
        // Whoever does not want to wait drops the future, and that ends the program.
        let never = CancellationToken::new();
        let ended = self.programs.end_of(&scope.place, run, &context, further, &never, hear).await;
        let tail = ended.and_then(|ended| well_ended(run, ended)).map_err(|error| error.message)?;
        let last = *last.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(number) = last else {
            let words = Redactor::global().redact(&run.words()).into_owned();
            return Err(match tail.as_str() {
                "" => format!("`{words}` printed nothing, but its last line has to be a number"),
                tail => format!("`{words}` printed no line that is a number; the end of its output:\n{tail}"),
            });
        };
        Ok(Sample { value: Some(number).filter(|number| number.is_finite()), ..Sample::default() })
    }
}

impl MetricSource for ProgramMetrics {
    fn sample<'a>(&'a self, metric: &'a Metric, scope: &'a Scope) -> BoxFuture<'a, Sampled> {
        async move {
            let MetricKind::Command { run } = &metric.source else {
                let answer = Err(format!("metric `{}` is measured by no program", metric.name));
                return Sampled { query: String::new(), answer };
            };
            let answer = self.measure(metric, run, scope).await;
            Sampled { query: Redactor::global().redact(&run.words()).into_owned(), answer }
        }
        .boxed()
    }
}
