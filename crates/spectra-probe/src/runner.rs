//! Runs hooks and migrations.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use spectra_rollout::spec::CommandSpec;
use spectra_rollout::{Effect, Place, RunContext, RunError, Runner};
use spectra_types::{HumanDuration, Redactor};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::environment::{self, ServiceVariables, environment, of_rollout};
use crate::process::{self, Ended, Hear, How, Limits};

/// How long a program may take to tidy up after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

type Listener = dyn Fn(&RunContext, &str) + Send + Sync;

/// Runs programs on this machine, without a shell, each in a process group of its own.
///
/// Its environment is made anew: `PATH`, `HOME`, `LANG` and `TMPDIR` of this process, the variables of the service where
/// the command asks for them, what the command sets itself, and `SPECTRA_ROLLOUT_ID`, `SPECTRA_IMAGE`, `SPECTRA_DIGEST`,
/// `SPECTRA_PURPOSE`, `SPECTRA_SERVICE`, `SPECTRA_ENVIRONMENT`. Its standard input is empty. A relative name with a
/// slash is looked for in the folder that it runs in.
///
/// When it takes too long, when it is stopped, and when the future that waits for it is dropped, its group gets SIGTERM
/// and, five seconds later, SIGKILL. Whatever it leaves running behind is ended in the same way when it ends. SIGKILL to
/// this process ends none of it: see the invariants of the crate.
#[derive(Clone)]
pub struct Programs {
    variables: Arc<dyn ServiceVariables>,
    own: Vec<(&'static str, OsString)>,
    listener: Option<Arc<Listener>>,
    grace: Duration,
}

impl Programs {
    /// A runner that reads the variables of services through `variables`, and this process's own environment through
    /// `own`, such as `std::env::var_os`.
    pub fn new(variables: Arc<dyn ServiceVariables>, own: impl Fn(&str) -> Option<OsString>) -> Self {
        Self { variables, own: environment::own(own), listener: None, grace: GRACE }
    }

    /// The same runner, which also tells every line of output, without secrets, as it comes.
    #[must_use]
    pub fn listening(mut self, listener: impl Fn(&RunContext, &str) + Send + Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Runs a program until nothing of it is left. `further` are variables beside those that every program gets.
    pub(crate) async fn end_of(
        &self,
        place: &Place,
        spec: &CommandSpec,
        context: &RunContext,
        further: Vec<(&'static str, String)>,
        cancel: &CancellationToken,
        hear: Hear,
    ) -> Result<Ended, RunError> {
        let words = Redactor::global().redact(&spec.words()).into_owned();
        let not_started = |why: &str| RunError {
            message: Redactor::global().redact(&format!("`{words}` was not started: {why}")).into_owned(),
            effect: Effect::None,
        };
        let (program, arguments) =
            spec.command.split_first().ok_or_else(|| not_started("it names no program"))?;
        let variables = async {
            if spec.service_variables { self.variables.variables(place).await } else { Ok(Vec::new()) }
        };
        let variables = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(not_started("the rollout was stopped before")),
            variables = variables => variables
                .map_err(|why| not_started(&format!("the variables of {place} could not be read: {why}")))?,
        };
        let mut told = of_rollout(place, context);
        told.extend(further);
        let environment = environment(&self.own, &variables, spec, told).map_err(|why| not_started(&why))?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(environment);
        if let Some(directory) = &spec.directory {
            // The system's own error would be that of a program that does not exist.
            if !Path::new(directory).is_dir() {
                return Err(not_started(&format!("there is no folder `{directory}`")));
            }
            command.current_dir(directory);
        }
        let limits = Limits { run: spec.timeout, grace: self.grace };
        process::run(command, limits, cancel, hear).await.map_err(|error| not_started(&error.to_string()))
    }
}

/// The tail of a program that ended well, or what happened instead.
pub(crate) fn well_ended(spec: &CommandSpec, ended: Ended) -> Result<String, RunError> {
    let what = match ended.how {
        How::Exited(status) if status.success() => return Ok(ended.tail),
        How::Exited(status) => format!("failed with {}", in_words(status)),
        How::TimedOut => {
            format!("took longer than {} and was ended", HumanDuration::new(spec.timeout))
        }
        How::Stopped => "was ended, since the rollout was stopped".to_owned(),
        How::GoesOn(id) => {
            format!("should have ended, but process {id} or one of its group goes on: end it by hand")
        }
        How::Lost(error) => format!("was started, but what became of it is unknown: {error}"),
    };
    let tail = match ended.tail.as_str() {
        "" => "; it printed nothing".to_owned(),
        tail => format!("; the end of its output:\n{tail}"),
    };
    let message = format!("`{}` {what}{tail}", spec.words());
    Err(RunError { message: Redactor::global().redact(&message).into_owned(), effect: Effect::Possible })
}

fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

impl Runner for Programs {
    fn run<'a>(
        &'a self,
        place: &'a Place,
        command: &'a CommandSpec,
        context: &'a RunContext,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<String, RunError>> {
        async move {
            let hear: Hear = match &self.listener {
                None => Box::new(|_, _, _| {}),
                Some(listener) => {
                    let (listener, context) = (Arc::clone(listener), context.clone());
                    Box::new(move |_, _, shown| listener(&context, shown))
                }
            };
            let ended = self.end_of(place, command, context, Vec::new(), cancel, hear).await?;
            well_ended(command, ended)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::environment::Variables;

    struct None;

    impl ServiceVariables for None {
        fn variables<'a>(&'a self, _: &'a Place) -> BoxFuture<'a, Result<Variables, String>> {
            async { Ok(Vec::new()) }.boxed()
        }
    }

    /// Here, for outside of the crate the grace is what it is.
    #[tokio::test]
    async fn who_does_not_hear_the_kind_word_is_killed() {
        let cancel = CancellationToken::new();
        let tail: Arc<Mutex<Vec<String>>> = Arc::default();
        let (stop, sink) = (cancel.clone(), Arc::clone(&tail));
        let mut programs =
            Programs::new(Arc::new(None), |name| std::env::var_os(name)).listening(move |_, line| {
                sink.lock().unwrap().push(line.to_owned());
                stop.cancel();
            });
        programs.grace = Duration::from_millis(50);
        let script = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
        let spec = CommandSpec {
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            environment: std::collections::BTreeMap::new(),
            service_variables: true,
            directory: Option::None,
            timeout: Duration::from_mins(10),
        };
        let place = Place {
            project: "p".parse().unwrap(),
            environment: "e".parse().unwrap(),
            service: "s".parse().unwrap(),
        };
        let digest = "1".repeat(64);
        let context = RunContext {
            rollout: "r".to_owned(),
            candidate: format!("registry.example/web@sha256:{digest}").parse().unwrap(),
            purpose: "migrate up".to_owned(),
        };
        let error = programs.run(&place, &spec, &context, &cancel).await.unwrap_err();
        assert_eq!(error.effect, Effect::Possible);
        assert!(error.message.contains("was ended, since the rollout was stopped"), "{}", error.message);
        assert_eq!(*tail.lock().unwrap(), ["ready"]);
    }
}
