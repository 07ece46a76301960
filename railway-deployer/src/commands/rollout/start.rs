//! `rollout start`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use spectra_delivery::{DEFAULT_TTL, Delivered, Delivery, Waiting};
use spectra_journal::{Held, Holder, Journal};
use spectra_railway::{Client, ClientConfig};
use spectra_rollout::RolloutRequest;
use spectra_types::{ExitCode, HumanDuration, error_chain};
use tokio_util::sync::CancellationToken;

use super::flags::RequestFlags;
use super::live::Screen;
use super::place::PlaceFlags;
use super::signals::{Handover, unwinding};
use super::{open, outcome, spec};
use crate::{failure::Failure, printer::Printer};

/// Arguments of `rollout start`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    service: PlaceFlags,
    /// File with a rollout, or with several as `[[rollout]]`, which run at once; TOML, or JSON if its name ends so
    #[arg(long, value_name = "FILE", env = "SPECTRA_SPEC")]
    spec: Option<PathBuf>,
    #[command(flatten)]
    request: RequestFlags,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    handover: Handover,
}

/// How patient it is with others.
#[derive(Debug, Clone, Args)]
pub(super) struct Patience {
    /// How long to wait for another process that acts on the service [default: 0s]
    #[arg(long, value_name = "DURATION", env = "SPECTRA_WAIT_FOR_LEASE")]
    wait_for_lease: Option<HumanDuration>,
}

pub(super) async fn run(arguments: Arguments, journal: &str, printer: Printer) -> Result<ExitCode, Failure> {
    let requests = match &arguments.spec {
        Some(path) => spec::read(path, &arguments.service, arguments.request.image.as_ref())?,
        None => vec![arguments.request.request(&arguments.service)?],
    };
    let client = Client::new(ClientConfig::from_env()?)?;
    let journal = open(journal).await?;
    let crew = Crew { client: &client, journal: &journal, printer, patience: &arguments.patience };
    let mut results = crew.deliver(&requests, &arguments.handover).await?;
    if let [request] = requests.as_slice()
        && let Some(result) = results.pop()
    {
        let Delivered { recovered, report, .. } = result?;
        let image = Some(&request.candidate);
        let text = outcome::text(image, &report, &recovered);
        printer.data("rollout.result", &outcome::value(image, &report, &recovered), &text)?;
        return Ok(report.outcome.exit_code());
    }
    several(&requests, &results, printer)
}

/// Everything that rollouts of the command line are delivered with.
pub(super) struct Crew<'a> {
    pub(super) client: &'a Client,
    pub(super) journal: &'a Journal,
    pub(super) printer: Printer,
    pub(super) patience: &'a Patience,
}

impl Crew<'_> {
    /// Delivers all of them at once. An `Err` of the whole is a process that has to end before they do.
    pub(super) async fn deliver(
        &self,
        requests: &[RolloutRequest],
        handover: &Handover,
    ) -> Result<Vec<Result<Delivered, Failure>>, Failure> {
        let screen = Screen::new(self.printer);
        warn_of_a_lost_journal(self.journal, &screen);
        let cancel = CancellationToken::new();
        let all =
            requests.iter().map(|request| self.deliver_one(request, requests.len() > 1, &screen, &cancel));
        let told = || {
            screen.say(
                "stopping: what ran before is brought back; a second signal ends the process at once, and the journal keeps \
                 what is open",
            );
        };
        let left = || screen.left(self.journal.location());
        unwinding(handover, &cancel, told, left, futures::future::join_all(all)).await
    }

    async fn deliver_one(
        &self,
        request: &RolloutRequest,
        among_others: bool,
        screen: &Screen,
        cancel: &CancellationToken,
    ) -> Result<Delivered, Failure> {
        let view = screen.view(&request.place, among_others.then(|| request.place.service.to_string()));
        let at_most = self.patience.wait_for_lease.unwrap_or_default().get();
        let told = |held: &Held| {
            view.say(&format!(
                "waiting for {}, which acts on `{}`, at most {}",
                held.holder,
                held.subject,
                HumanDuration::new(at_most)
            ));
        };
        let delivery = Delivery {
            client: self.client,
            journal: self.journal,
            holder: Holder::of_this_process(env!("CARGO_PKG_NAME")),
            channels: &[],
            registry: None,
            listener: &|heard| view.hear(heard),
            waiting: Waiting { at_most, told: &told, ttl: DEFAULT_TTL },
        };
        let result = delivery.deliver(request.clone(), cancel).await.map_err(Failure::from);
        if among_others && let Err(failure) = &result {
            view.say(&format!("not begun: {}", error_chain(failure)));
        }
        result
    }
}

/// A file on a runner goes with the runner, and with it what says which rollout is open.
fn warn_of_a_lost_journal(journal: &Journal, screen: &Screen) {
    if journal.location().starts_with("sqlite:") && std::env::var_os("GITHUB_ACTIONS").is_some() {
        screen.say(&format!(
            "the journal `{}` is a file of this runner and is lost with it: set SPECTRA_JOURNAL=postgres://…, or keep the file",
            journal.location()
        ));
    }
}

fn several(
    requests: &[RolloutRequest],
    results: &[Result<Delivered, Failure>],
    printer: Printer,
) -> Result<ExitCode, Failure> {
    let worst = results.iter().map(outcome::exit_code).max_by_key(|code| outcome::badness(*code));
    let worst = worst.unwrap_or_default();
    let both = || requests.iter().zip(results);
    let values: Vec<_> = both()
        .map(|(request, result)| match result {
            Ok(Delivered { recovered, report, .. }) => {
                outcome::value(Some(&request.candidate), report, recovered)
            }
            Err(failure) => outcome::not_begun(&request.candidate, &request.place, failure),
        })
        .collect();
    let texts: Vec<_> = both()
        .map(|(request, result)| match result {
            Ok(Delivered { recovered, report, .. }) => {
                outcome::text(Some(&request.candidate), report, recovered)
            }
            Err(failure) => {
                let hint = failure.hint().map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
                format!("not begun: {}\nservice     {}\n{hint}", error_chain(failure), request.place.service)
            }
        })
        .collect();
    let value = json!({ "exit_code": worst.code(), "results": values });
    printer.data("rollout.results", &value, &texts.join("\n"))?;
    Ok(worst)
}
