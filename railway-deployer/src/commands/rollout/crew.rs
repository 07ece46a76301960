//! What the verbs that change a service act through.

use clap::Args;
use spectra_delivery::{DEFAULT_TTL, Delivered, Delivery, Error, Logged, Signatures, Waiting};
use spectra_journal::{Held, Holder, Journal};
use spectra_oci::{ClientOptions, Environment, Keychain};
use spectra_railway::{Client, RegistryLogin};
use spectra_rollout::{Place, RolloutRequest};
use spectra_sign::SignaturePolicy;
use spectra_types::{HumanDuration, error_chain};
use tokio_util::sync::CancellationToken;

use super::live::{Screen, View};
use super::logs::Logs;
use super::postmortem::Folder;
use super::signals::{Handover, unwinding};
use crate::{commands::image::Certificates, failure::Failure, printer::Printer};

/// How patient it is with others.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Patience {
    /// How long to wait for another process that acts on the service [default: 0s]
    #[arg(long, value_name = "DURATION", env = "SPECTRA_WAIT_FOR_LEASE")]
    wait_for_lease: Option<HumanDuration>,
}

/// Everything that rollouts of the command line are delivered with.
pub(super) struct Crew<'a> {
    pub(super) client: &'a Client,
    pub(super) journal: &'a Journal,
    pub(super) printer: Printer,
    pub(super) patience: &'a Patience,
    pub(super) folder: &'a Folder,
    /// What Railway is to pull images with.
    pub(super) registry: Option<RegistryLogin>,
    pub(super) logs: Logs,
    /// What is asked of signatures besides the policies of the journal, with names.
    pub(super) signatures: &'a [(String, SignaturePolicy)],
    /// Who checks the certificates of identities.
    pub(super) certificates: &'a Certificates,
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
        let told = |after| screen.stopping(after);
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
        let work = async |delivery: &Delivery<'_>| delivery.deliver(request.clone(), cancel).await;
        let result = Box::pin(self.with_delivery(&view, work)).await.map_err(Failure::from);
        if among_others && let Err(failure) = &result {
            view.say(&format!("not begun: {}", error_chain(failure)));
        }
        result
    }

    /// Does something about one service, and goes back at a signal.
    pub(super) async fn act<T>(
        &self,
        place: &Place,
        handover: &Handover,
        work: impl AsyncFnOnce(&Delivery<'_>, &CancellationToken) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        let screen = Screen::new(self.printer);
        warn_of_a_lost_journal(self.journal, &screen);
        let cancel = CancellationToken::new();
        let view = screen.view(place, None);
        let acting = self.with_delivery(&view, async |delivery: &Delivery<'_>| work(delivery, &cancel).await);
        let told = |after| screen.stopping(after);
        let left = || screen.left(self.journal.location());
        Ok(unwinding(handover, &cancel, told, left, Box::pin(acting)).await??)
    }

    async fn with_delivery<T>(&self, view: &View<'_>, work: impl AsyncFnOnce(&Delivery<'_>) -> T) -> T {
        let at_most = self.patience.wait_for_lease.unwrap_or_default().get();
        let told = |held: &Held| {
            view.say(&format!(
                "waiting for {}, which acts on `{}`, at most {}",
                held.holder,
                held.subject,
                HumanDuration::new(at_most)
            ));
        };
        let hear_log = |logged: &Logged<'_>| view.hear_log(logged);
        // Opens nothing until a policy asks for signatures.
        let registry =
            spectra_oci::Client::new(Keychain::new(Environment::from_process()), ClientOptions::default());
        let delivery = Delivery {
            client: self.client,
            journal: self.journal,
            holder: Holder::of_this_process(env!("CARGO_PKG_NAME")),
            channels: &[],
            signatures: Signatures {
                source: Some(&registry),
                certificates: self.certificates.verifier(),
                policies: self.signatures,
            },
            registry: self.registry.clone(),
            listener: &|heard| view.hear(heard),
            logs: self.logs.shown(self.printer).then_some(&hear_log),
            waiting: Waiting { at_most, told: &told, ttl: DEFAULT_TTL },
            postmortems: Some(self.folder.postmortems.clone()),
        };
        work(&delivery).await
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
