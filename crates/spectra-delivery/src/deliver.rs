//! A rollout from its request to its outcome.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use spectra_journal::{Draft, Held, Holder, Journal};
use spectra_notify::Channel;
use spectra_probe::{ProgramMetrics, Programs, Prometheus, ServiceVariables};
use spectra_railway::{Client, RailwayMetrics, RailwayTarget, RegistryLogin};
use spectra_rollout::spec::{Ability, check};
use spectra_rollout::{
    DeploymentPolicy, Entry, Ledger, Outcome, Place, Ports, Report, RolloutRequest, TokioClock, Violation,
    govern, recover, run,
};
use spectra_sign::Verdict;
use spectra_types::{Secret, error_chain};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use crate::approval;
use crate::diary::JournalDiary;
use crate::error::Error;
use crate::gates::JournalGates;
use crate::leases::{DEFAULT_TTL, LeaseGuard, Leases};
use crate::logs::{DeploymentLogs, LogListener};
use crate::metrics::Metrics;
use crate::news::Channels;
use crate::probes::Probes;
use crate::programs::{RailwayVariables, ServicePrograms};
use crate::settings::Settings;
use crate::signatures::{Signatures, judged};
use crate::standing::{Standing, standing};
use crate::{id::rollout_id, kinds};

/// What the target of a delivery can do.
pub const ABILITIES: [Ability; 3] = [Ability::Sibling, Ability::PreDeploy, Ability::DeploymentMetrics];

/// How long Prometheus may take to answer a query; its own limit is two minutes, which no analysis waits for.
const PROMETHEUS_TIMEOUT: Duration = Duration::from_secs(15);

/// One entry of a rollout's record, as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// The rollout.
    pub rollout: &'a str,
    /// The entry.
    pub entry: &'a Entry,
    /// What happened, in one line; secrets are gone from it.
    pub line: &'a str,
}

/// Hears every entry of the record as it is written.
pub type Listener<'a> = &'a (dyn Fn(&Heard<'_>) + Send + Sync);

/// How patient somebody is with a lease that another process has.
pub struct Waiting<'a> {
    /// How long it is waited for.
    pub at_most: Duration,
    /// Hears who has it.
    pub told: &'a (dyn Fn(&Held) + Send + Sync),
    /// How long the own lease holds without a heartbeat.
    pub ttl: Duration,
}

impl Waiting<'_> {
    /// Does not wait.
    pub const NO: Waiting<'static> = Waiting { at_most: Duration::ZERO, told: &|_| {}, ttl: DEFAULT_TTL };
}

/// Everything that rollouts are delivered with.
pub struct Delivery<'a> {
    /// The platform.
    pub client: &'a Client,
    /// The record.
    pub journal: &'a Journal,
    /// Who acts.
    pub holder: Holder,
    /// Whom to tell, besides the channels that the journal's settings name for the place.
    pub channels: &'a [Channel],
    /// Where the signatures of images are, and what is asked of them besides the policies of the journal.
    pub signatures: Signatures<'a>,
    /// What the platform is to pull the images of one registry with. It is kept by the platform and sent again on the way
    /// back, and written down nowhere. Without it, the platform keeps what it has.
    pub registry: Option<RegistryLogin>,
    /// Hears what happens.
    pub listener: Listener<'a>,
    /// Hears what the deployments print; nobody asks for their logs without it.
    pub logs: Option<LogListener<'a>>,
    /// How patient it is.
    pub waiting: Waiting<'a>,
    /// The folder for the post-mortems of rollouts that fail; none are written without it.
    pub postmortems: Option<PathBuf>,
}

/// What a delivery did.
#[derive(Debug)]
pub struct Delivered {
    /// What had to be brought to an end first: a rollout that another process left open.
    pub recovered: Vec<Report>,
    /// The rollout; the earlier one that could not be brought to an end if this one was not begun.
    pub report: Report,
    /// Whether it was begun.
    pub begun: bool,
    /// What policies would have refused, were it not for a way back.
    pub warnings: Vec<Violation>,
    /// What went back with it: completed rollouts of the same run that it depends on.
    pub taken_back: Vec<Report>,
}

/// A request as it may be carried out.
struct Ruled {
    /// With the approvals of the policies in it.
    request: RolloutRequest,
    /// What was found of signatures, if they were asked for.
    verdict: Option<Verdict>,
    /// The policies that it was held against, and the request without what is theirs; `None` where they do not hold.
    policies: Option<(Vec<DeploymentPolicy>, RolloutRequest)>,
}

/// A request that cannot be carried out is refused before anybody is asked about it.
fn refuse_invalid(request: &RolloutRequest) -> Result<(), Error> {
    let mut problems = check(request, &ABILITIES);
    problems.extend(request.approval.iter().flat_map(|rule| approval::problems(rule, "approval")));
    if problems.is_empty() { Ok(()) } else { Err(Error::Invalid { problems }) }
}

impl Delivery<'_> {
    /// Rolls `request` out. An `Err` says that it was not begun, and that nothing was changed by it;
    /// [`Error::AfterRecovery`] that an earlier one was brought to an end before.
    ///
    /// A rollout that another process left open is brought back to stable first. When that fails, the new one is not begun,
    /// and the report of the failed one is the result. Policies that the journal's settings name for the place are kept to, and
    /// the signatures that they want are looked for before anything else: by digest, so that no other image can come between. Under the
    /// leases, policies that have changed meanwhile are asked again.
    pub async fn deliver(
        &self,
        request: RolloutRequest,
        cancel: &CancellationToken,
    ) -> Result<Delivered, Error> {
        let policies = Settings::of(self.journal).at(&request.place).await?;
        let ruled = self.by_policies(policies, request, cancel).await?;
        self.deliver_ruled(ruled, cancel).await
    }

    /// [`deliver`](Self::deliver) without asking the policies.
    pub(crate) async fn deliver_as_it_is(
        &self,
        request: RolloutRequest,
        cancel: &CancellationToken,
    ) -> Result<Delivered, Error> {
        refuse_invalid(&request)?;
        self.deliver_ruled(Ruled { request, verdict: None, policies: None }, cancel).await
    }

    async fn by_policies(
        &self,
        policies: Vec<DeploymentPolicy>,
        asked: RolloutRequest,
        cancel: &CancellationToken,
    ) -> Result<Ruled, Error> {
        let request = govern(&policies, asked.clone()).map_err(|violations| Error::Policy { violations })?;
        refuse_invalid(&request)?;
        let verdict = judged(&policies, &self.signatures, &request.candidate, cancel).await?;
        Ok(Ruled { request, verdict, policies: Some((policies, asked)) })
    }

    /// By the policies as they are now, under the leases: they may be others than before the wait for them. Where they are the same, so
    /// is the verdict, since the image is the same by its digest; a signature that somebody has deleted was not taken back by that.
    async fn by_policies_of_now(&self, ruled: Ruled, cancel: &CancellationToken) -> Result<Ruled, Error> {
        let Some((before, asked)) = &ruled.policies else { return Ok(ruled) };
        let now: Vec<DeploymentPolicy> = Settings::of(self.journal).at(&asked.place).await?;
        if now == *before {
            return Ok(ruled);
        }
        self.by_policies(now, asked.clone(), cancel).await
    }

    async fn deliver_ruled(&self, ruled: Ruled, cancel: &CancellationToken) -> Result<Delivered, Error> {
        let request = ruled.request.clone();
        let places = request.places();
        let leases = Leases::acquire(self.journal, &places, &self.holder, &self.waiting, cancel).await?;
        // The state of a whole rollout: on the heap, where there are hundreds of them.
        let result = Box::pin(self.under_leases(ruled, &places, &leases, cancel)).await;
        leases.release().await;
        let mut delivered = result?;
        if !matches!(delivered.report.outcome, Outcome::Complete { .. } | Outcome::Fenced { .. }) {
            let failed = delivered.report.rollout.clone();
            let mut taken_back = Vec::new();
            let going_back = self.take_back_with(&failed, &request, &mut taken_back, cancel);
            if let Err(error) = Box::pin(going_back).await {
                // The rollout itself has ended, and how must not get lost for this.
                delivered.report.leftovers.push(format!(
                    "what it depends on could not be taken back: {}; look at these rollouts: `{}`",
                    error_chain(&error),
                    request.depends_on.join("`, `")
                ));
            }
            delivered.taken_back = taken_back;
        }
        Ok(delivered)
    }

    async fn under_leases(
        &self,
        ruled: Ruled,
        places: &[Place],
        leases: &Leases,
        cancel: &CancellationToken,
    ) -> Result<Delivered, Error> {
        let mut recovered = Vec::new();
        for place in places {
            let settled = self.settle(&place.subject(), leases, cancel).await;
            if let Some(report) = settled.map_err(|error| error.after_recovery(&recovered))? {
                if matches!(report.outcome, Outcome::RollbackFailed { .. } | Outcome::Fenced { .. }) {
                    return Ok(Delivered {
                        recovered,
                        report,
                        begun: false,
                        warnings: Vec::new(),
                        taken_back: Vec::new(),
                    });
                }
                recovered.push(report);
            }
        }
        let begun = async {
            let Ruled { request, verdict, .. } = self.by_policies_of_now(ruled, cancel).await?;
            self.begin(request, verdict, leases, cancel).await
        };
        match Box::pin(begun).await {
            Ok(report) => {
                Ok(Delivered { recovered, report, begun: true, warnings: Vec::new(), taken_back: Vec::new() })
            }
            Err(error) => Err(error.after_recovery(&recovered)),
        }
    }

    /// Runs a rollout to its end, where nothing is open any more. An `Err` says that it was not begun.
    async fn begin(
        &self,
        request: RolloutRequest,
        verdict: Option<Verdict>,
        leases: &Leases,
        cancel: &CancellationToken,
    ) -> Result<Report, Error> {
        let probes = Probes::new(self.client, &request).await?;
        let rollout = rollout_id();
        let own = request.place.subject();
        for lease in leases.all().iter().filter(|lease| lease.subject() != own) {
            let body = serde_json::json!({ "subject": own });
            let kind = kinds::JOINED.to_owned();
            lease
                .append(Draft {
                    subject: lease.subject().to_owned(),
                    rollout: Some(rollout.clone()),
                    kind,
                    body,
                })
                .await?;
        }
        let Some(lease) = leases.of(&own) else { return Err(Error::NoSuchRollout(rollout)) };
        if let Some(verdict) = verdict {
            let body = serde_json::json!({ "image": request.candidate, "accepted": verdict.accepted });
            let kind = kinds::SIGNATURES.to_owned();
            lease.append(Draft { subject: own.clone(), rollout: Some(rollout.clone()), kind, body }).await?;
        }
        let guard = LeaseGuard::of([leases]);
        let (diary, entries) =
            JournalDiary::new(self.journal, Arc::clone(&guard), lease, &rollout, self.listener).await?;
        let rig = self.rig(probes, &rollout, &request, guard, self.registry.clone());
        let running = Box::pin(run(&rollout, request, rig.ports(&diary), cancel));
        let report = self.with_logs(&rollout, entries, running).await;
        self.look_back(&report).await;
        Ok(report)
    }

    /// Brings what another process left open to an end. The lease shows that the other process acts no more.
    async fn settle(
        &self,
        subject: &str,
        leases: &Leases,
        cancel: &CancellationToken,
    ) -> Result<Option<Report>, Error> {
        match standing(self.journal, subject).await? {
            Standing::None | Standing::Ended { .. } => Ok(None),
            Standing::Unresolved { rollout, outcome } => {
                Err(Error::Unresolved { subject: subject.to_owned(), rollout, reason: outcome.to_string() })
            }
            Standing::Open { rollout, request, ledger } => {
                let missing: Vec<Place> = request
                    .places()
                    .into_iter()
                    .filter(|place| leases.of(&place.subject()).is_none())
                    .collect();
                // Everything that it acted on is acted on again.
                let more =
                    Leases::acquire(self.journal, &missing, &self.holder, &self.waiting, cancel).await?;
                let report = self.recover_under(&rollout, &request, *ledger, [leases, &more], cancel).await;
                more.release().await;
                report
            }
        }
    }

    async fn recover_under(
        &self,
        rollout: &str,
        request: &RolloutRequest,
        ledger: Ledger,
        [leases, more]: [&Leases; 2],
        cancel: &CancellationToken,
    ) -> Result<Option<Report>, Error> {
        let own = request.place.subject();
        let Some(lease) = leases.of(&own).or_else(|| more.of(&own)) else { return Ok(None) };
        let probes = Probes::lenient(self.client, request);
        let guard = LeaseGuard::of([leases, more]);
        let (diary, entries) =
            JournalDiary::new(self.journal, Arc::clone(&guard), lease, rollout, self.listener).await?;
        let rig = self.rig(probes, rollout, request, guard, self.registry.clone());
        let recovering = Box::pin(recover(rollout, ledger, rig.ports(&diary), cancel));
        let report = self.with_logs(rollout, entries, recovering).await;
        if let Some(report) = &report {
            self.look_back(report).await;
        }
        Ok(report)
    }

    /// Brings the last rollout of a service to an end, if a process left it open. `None` when there was nothing to do.
    pub async fn recover(&self, place: &Place, cancel: &CancellationToken) -> Result<Option<Report>, Error> {
        let places = [place.clone()];
        let leases = Leases::acquire(self.journal, &places, &self.holder, &self.waiting, cancel).await?;
        let result = self.settle(&place.subject(), &leases, cancel).await;
        leases.release().await;
        result
    }

    /// Does `work`, and tells what the deployments print that it starts, where that is wanted.
    pub(crate) async fn with_logs<T>(
        &self,
        rollout: &str,
        entries: UnboundedReceiver<Entry>,
        work: impl Future<Output = T> + Unpin,
    ) -> T {
        match self.logs {
            Some(listener) => DeploymentLogs::new(self.client, rollout).beside(entries, listener, work).await,
            None => work.await,
        }
    }

    pub(crate) fn rig(
        &self,
        probes: Probes,
        rollout: &str,
        request: &RolloutRequest,
        guard: Arc<LeaseGuard>,
        registry: Option<RegistryLogin>,
    ) -> Rig<'_> {
        let target = RailwayTarget::new(self.client.guarded(guard));
        let target = match registry {
            Some(login) => target.with_registry_login(login),
            None => target,
        };
        let variables = RailwayVariables::new(self.client, request);
        let programs =
            Programs::new(Arc::clone(&variables) as Arc<dyn ServiceVariables>, |name| std::env::var_os(name));
        let metrics = Metrics {
            railway: RailwayMetrics::new(self.client.clone()),
            prometheus: Prometheus::new(PROMETHEUS_TIMEOUT, |name| std::env::var(name).ok().map(Secret::new)),
            programs: ProgramMetrics::new(programs.clone(), rollout, request.candidate.clone()),
        };
        Rig {
            target,
            probes,
            metrics,
            programs: ServicePrograms { programs, variables },
            gates: JournalGates::of(self.journal),
            channels: Channels::of(self.journal, self.channels, self.holder.run_url.clone()),
            clock: TokioClock::start(),
        }
    }
}

/// What one rollout acts through.
pub(crate) struct Rig<'a> {
    target: RailwayTarget,
    probes: Probes,
    metrics: Metrics,
    programs: ServicePrograms,
    gates: JournalGates<'a>,
    channels: Channels<'a>,
    clock: TokioClock,
}

impl Rig<'_> {
    pub(crate) fn ports<'p>(&'p self, diary: &'p JournalDiary<'p>) -> Ports<'p> {
        Ports {
            target: &self.target,
            probe: &self.probes,
            metrics: &self.metrics,
            runner: &self.programs,
            gates: &self.gates,
            notifier: &self.channels,
            diary,
            clock: &self.clock,
        }
    }
}
