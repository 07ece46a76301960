//! The machine and its executor against a model of a platform, on a paused clock.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

mod support;

use futures::future::BoxFuture;
use proptest::prelude::*;
use spectra_rollout::{
    Adopt, DeployOrder, DeploymentState, Effect, FailureReason, HealthPolicy, Measurement, Observation,
    Outcome, Phase, Place, Ports, Probe, Report, RestoreOrder, RolloutRequest, Running, SiblingOrder,
    Snapshot, Target, TargetError, TokioClock, Verdict, run,
};
use spectra_types::{DeploymentId, Digest, PinnedImage};
use tokio_util::sync::CancellationToken;

const REPOSITORY: &str = "127.0.0.1:5000/team/app";

fn image(digit: char) -> PinnedImage {
    format!("{REPOSITORY}@sha256:{}", digit.to_string().repeat(64)).parse().unwrap()
}

fn digest(digit: char) -> Digest {
    image(digit).digest().clone()
}

/// What becomes of a deployment of one image.
#[derive(Clone, Debug, PartialEq)]
enum Fate {
    Serves,
    /// Serves, and fails after this many reads of its state.
    CrashesAfter(usize),
    /// Serves, with a replica missing after this many reads of its state.
    LosesReplicasAfter(usize),
    Fails,
    Hangs,
    NeedsApproval,
    Skipped,
    Removed,
    WrongDigest,
    ReplicasMissing,
    Sleeps,
}

#[derive(Clone, Debug)]
struct Deployment {
    id: DeploymentId,
    image: PinnedImage,
    fate: Fate,
    reads: usize,
    active: bool,
}

/// A platform in memory: one service, deployments that become what their fate says.
struct Platform {
    inner: Mutex<Inner>,
    mutations: AtomicUsize,
    cancel_on_read: Option<(usize, CancellationToken)>,
    reads: AtomicUsize,
}

struct Inner {
    setting: Option<String>,
    deployments: Vec<Deployment>,
    candidate_fate: Fate,
    restore_fate: Fate,
    deploy_error: Option<Effect>,
    /// Every n-th read fails.
    unreadable: usize,
    foreign_in_flight: usize,
    superseded_by: Option<DeploymentId>,
    /// From this read on so many reads fail.
    outage: Option<(usize, usize)>,
    /// From this read on so many observations show a replica that does not run.
    lame_after: Option<(usize, usize)>,
    /// So many restores say that the snapshot serves already, though it does not.
    lazy_restores: usize,
    /// This read takes an hour.
    slow_read: Option<usize>,
}

impl Platform {
    fn running(stable: Option<char>, candidate_fate: Fate) -> Self {
        let deployments = stable.map(|digit| Deployment {
            id: "d-stable".parse().unwrap(),
            image: image(digit),
            fate: Fate::Serves,
            reads: 9,
            active: true,
        });
        Self {
            inner: Mutex::new(Inner {
                setting: stable.map(|digit| image(digit).to_string()),
                deployments: deployments.into_iter().collect(),
                candidate_fate,
                restore_fate: Fate::Serves,
                deploy_error: None,
                unreadable: 0,
                foreign_in_flight: 0,
                superseded_by: None,
                outage: None,
                lame_after: None,
                slow_read: None,
                lazy_restores: 0,
            }),
            mutations: AtomicUsize::new(0),
            cancel_on_read: None,
            reads: AtomicUsize::new(0),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(self.inner.get_mut().unwrap());
        self
    }

    fn serving(&self) -> Option<Digest> {
        let inner = self.inner.lock().unwrap();
        inner
            .deployments
            .iter()
            .find(|deployment| deployment.active)
            .map(|deployment| deployment.image.digest().clone())
    }

    fn setting(&self) -> Option<String> {
        self.inner.lock().unwrap().setting.clone()
    }

    /// Counts a call; the user may stop the rollout in the middle of it.
    fn called(&self) -> usize {
        let calls = self.reads.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some((at, token)) = &self.cancel_on_read
            && calls >= *at
        {
            token.cancel();
        }
        calls
    }

    async fn read(&self) -> Result<(), TargetError> {
        let reads = self.called();
        let (unreadable, outage, slow) = {
            let inner = self.inner.lock().unwrap();
            (inner.unreadable, inner.outage, inner.slow_read)
        };
        if slow == Some(reads) {
            tokio::time::sleep(Duration::from_hours(1)).await;
        }
        if outage.is_some_and(|(from, count)| (from..from + count).contains(&reads)) {
            return Err(TargetError::unchanged("reading the service failed: HTTP 503"));
        }
        if unreadable > 0 && reads.is_multiple_of(unreadable) {
            return Err(TargetError::unchanged("reading the service failed: HTTP 502"));
        }
        Ok(())
    }

    fn start(&self, inner: &mut Inner, image: &PinnedImage, fate: Fate) -> DeploymentId {
        self.mutations.fetch_add(1, Ordering::SeqCst);
        let id: DeploymentId = format!("d-{}", inner.deployments.len() + 1).parse().unwrap();
        inner.deployments.push(Deployment {
            id: id.clone(),
            image: image.clone(),
            fate,
            reads: 0,
            active: false,
        });
        id
    }
}

impl Platform {
    async fn observe_now(&self) -> Result<Observation, TargetError> {
        self.read().await?;
        let reads = self.reads.load(Ordering::SeqCst);
        let mut inner = self.inner.lock().unwrap();
        let lame = match &mut inner.lame_after {
            Some((from, left)) if reads >= *from && *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        };
        let in_flight = (inner.foreign_in_flight > 0).then(|| "d-foreign".parse().unwrap());
        inner.foreign_in_flight = inner.foreign_in_flight.saturating_sub(1);
        let running =
            inner.deployments.iter().find(|deployment| deployment.active).map(|deployment| Running {
                deployment: deployment.id.clone(),
                image: Some(deployment.image.to_string()),
                digest: Some(if deployment.fate == Fate::WrongDigest {
                    digest('f')
                } else {
                    deployment.image.digest().clone()
                }),
                all_replicas_running: !lame
                    && match deployment.fate {
                        Fate::ReplicasMissing => false,
                        Fate::LosesReplicasAfter(reads) => deployment.reads <= reads,
                        _ => true,
                    },
            });
        Ok(Observation { running, in_flight, setting: inner.setting.clone(), pre_deploy: None })
    }

    fn deploy_now(&self, candidate: &PinnedImage) -> Result<DeploymentId, TargetError> {
        self.called();
        let mut inner = self.inner.lock().unwrap();
        match inner.deploy_error {
            Some(Effect::None) => return Err(TargetError::unchanged("setting the image was refused")),
            Some(Effect::Possible) => {
                inner.setting = Some(candidate.to_string());
                self.mutations.fetch_add(1, Ordering::SeqCst);
                return Err(TargetError::possibly_changed("starting the deployment failed: HTTP 504"));
            }
            None => {}
        }
        inner.setting = Some(candidate.to_string());
        let fate = inner.candidate_fate.clone();
        Ok(self.start(&mut inner, candidate, fate))
    }

    async fn read_now(&self, id: &DeploymentId) -> Result<DeploymentState, TargetError> {
        self.read().await?;
        let mut inner = self.inner.lock().unwrap();
        let superseded_by = inner.superseded_by.clone();
        let position = inner.deployments.iter().position(|deployment| &deployment.id == id).expect("known");
        inner.deployments[position].reads += 1;
        let deployment = inner.deployments[position].clone();
        if let Some(by) = superseded_by {
            return Ok(DeploymentState::Superseded { by });
        }
        if deployment.reads < 3 {
            return Ok(DeploymentState::Pending("DEPLOYING".to_owned()));
        }
        let failed = || DeploymentState::Failed {
            status: "FAILED".to_owned(),
            reason: "health check failed".to_owned(),
        };
        match deployment.fate {
            Fate::CrashesAfter(reads) if deployment.reads > reads => {
                inner.deployments[position].active = false;
                Ok(DeploymentState::Failed { status: "CRASHED".to_owned(), reason: "exit code 1".to_owned() })
            }
            Fate::Fails => Ok(failed()),
            Fate::Hangs => Ok(DeploymentState::Pending("DEPLOYING".to_owned())),
            Fate::NeedsApproval => Ok(DeploymentState::NeedsApproval),
            Fate::Skipped => Ok(DeploymentState::Skipped),
            Fate::Sleeps => {
                for (other, deployment) in inner.deployments.iter_mut().enumerate() {
                    deployment.active = other == position;
                }
                Ok(DeploymentState::Sleeping)
            }
            Fate::Removed => Ok(DeploymentState::Removed),
            Fate::Serves
            | Fate::CrashesAfter(_)
            | Fate::LosesReplicasAfter(_)
            | Fate::WrongDigest
            | Fate::ReplicasMissing => {
                for (other, deployment) in inner.deployments.iter_mut().enumerate() {
                    deployment.active = other == position;
                }
                Ok(DeploymentState::Active)
            }
        }
    }

    fn restore_now(&self, snapshot: &Snapshot) -> Result<Option<DeploymentId>, TargetError> {
        self.called();
        let mut inner = self.inner.lock().unwrap();
        if inner.setting != snapshot.setting {
            inner.setting.clone_from(&snapshot.setting);
            self.mutations.fetch_add(1, Ordering::SeqCst);
        }
        let Some(running) = &snapshot.running else {
            inner.deployments.iter_mut().for_each(|deployment| deployment.active = false);
            return Ok(None);
        };
        let digest = running.digest.as_ref();
        if inner
            .deployments
            .iter()
            .any(|deployment| deployment.active && Some(deployment.image.digest()) == digest)
        {
            return Ok(None);
        }
        if inner.lazy_restores > 0 {
            inner.lazy_restores -= 1;
            return Ok(None);
        }
        let image: PinnedImage = running.image.clone().unwrap().parse().unwrap();
        let fate = inner.restore_fate.clone();
        Ok(Some(self.start(&mut inner, &image, fate)))
    }
}

impl Target for Platform {
    fn observe<'a>(&'a self, _: &'a Place) -> BoxFuture<'a, Result<Observation, TargetError>> {
        Box::pin(self.observe_now())
    }

    fn deploy<'a>(
        &'a self,
        _: &'a Place,
        order: &'a DeployOrder,
    ) -> BoxFuture<'a, Result<DeploymentId, TargetError>> {
        Box::pin(async { self.deploy_now(&order.image) })
    }

    fn deployment<'a>(
        &'a self,
        _: &'a Place,
        id: &'a DeploymentId,
    ) -> BoxFuture<'a, Result<DeploymentState, TargetError>> {
        Box::pin(self.read_now(id))
    }

    fn restore<'a>(
        &'a self,
        _: &'a Place,
        order: &'a RestoreOrder,
    ) -> BoxFuture<'a, Result<Option<DeploymentId>, TargetError>> {
        Box::pin(async { self.restore_now(&order.snapshot) })
    }

    fn create_sibling<'a>(
        &'a self,
        _: &'a Place,
        _: &'a SiblingOrder,
    ) -> BoxFuture<'a, Result<Place, TargetError>> {
        Box::pin(async { Err(TargetError::unchanged("this platform has one service")) })
    }

    fn remove_sibling<'a>(
        &'a self,
        _: &'a Place,
        _: &'a SiblingOrder,
    ) -> BoxFuture<'a, Result<(), TargetError>> {
        Box::pin(async { Ok(()) })
    }

    fn changed<'a>(&'a self, _: &'a Place, _: &'a DeploymentId, at_most: Duration) -> BoxFuture<'a, ()> {
        Box::pin(tokio::time::sleep(at_most))
    }

    fn poll_interval(&self) -> Duration {
        Duration::from_secs(2)
    }
}

/// Judges by what the platform serves: the listed digests are unhealthy.
struct Prober<'a> {
    platform: &'a Platform,
    unhealthy: Vec<Digest>,
    /// Probes that are healthy before the listed digests turn unhealthy.
    healthy_first: usize,
    asked: AtomicUsize,
}

impl Probe for Prober<'_> {
    fn measure<'a>(&'a self, _: &'a Place) -> BoxFuture<'a, Measurement> {
        Box::pin(async { self.measure_now() })
    }
}

impl Prober<'_> {
    fn measure_now(&self) -> Measurement {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        let serving = self.platform.serving();
        let bad =
            asked >= self.healthy_first && serving.is_none_or(|digest| self.unhealthy.contains(&digest));
        Measurement {
            subject: "GET http://app/healthz".to_owned(),
            answer: if bad { "HTTP 503".to_owned() } else { "HTTP 200".to_owned() },
            verdict: if bad { Verdict::Unhealthy } else { Verdict::Healthy },
        }
    }
}

fn request(bake: u64) -> RolloutRequest {
    RolloutRequest {
        health: Some(HealthPolicy::default()),
        bake: Duration::from_secs(bake),
        progress_deadline: Duration::from_mins(2),
        timeout: Duration::from_mins(10),
        abort_timeout: Duration::from_mins(5),
        ..RolloutRequest::new(support::place("s-1"), image('b'))
    }
}

async fn roll(
    platform: &Platform,
    request: RolloutRequest,
    unhealthy: &[char],
    healthy_first: usize,
) -> Report {
    let prober = Prober {
        platform,
        unhealthy: unhealthy.iter().map(|digit| digest(*digit)).collect(),
        healthy_first,
        asked: AtomicUsize::new(0),
    };
    let cancel = platform.cancel_on_read.as_ref().map(|(_, token)| token.clone()).unwrap_or_default();
    let diary = support::Diary::default();
    let clock = TokioClock::start();
    let ports = Ports { target: platform, probe: &prober, clock: &clock, ..support::ports(&diary) };
    run("ro-1", request, ports, &cancel).await
}

#[tokio::test(start_paused = true)]
async fn healthy_candidate_completes_and_serves() {
    let platform = Platform::running(Some('a'), Fate::Serves);
    let report = roll(&platform, request(60), &[], 0).await;
    assert!(matches!(report.outcome, Outcome::Complete { .. }), "{report:?}");
    assert_eq!(platform.serving(), Some(digest('b')));
    assert_eq!(report.snapshot.digest(), Some(&digest('a')));
    assert!(report.measurements.len() >= 12, "a bake of 60 s at 5 s: {}", report.measurements.len());
}

#[tokio::test(start_paused = true)]
async fn the_first_rollout_adopts_what_runs_without_a_mutation() {
    let platform = Platform::running(Some('b'), Fate::Serves);
    let report = roll(&platform, request(0), &[], 0).await;
    assert_eq!(report.outcome, Outcome::Complete { deployment: "d-stable".parse().unwrap() });
    assert_eq!(platform.mutations.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn asked_to_deploy_anew_the_running_digest_is_not_adopted() {
    let platform = Platform::running(Some('b'), Fate::Serves);
    let report = roll(&platform, RolloutRequest { adopt: Adopt::Never, ..request(0) }, &[], 0).await;
    assert_eq!(report.outcome, Outcome::Complete { deployment: "d-2".parse().unwrap() });
    assert_eq!(platform.mutations.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn adopted_candidate_that_is_unhealthy_is_refused_unchanged() {
    let platform = Platform::running(Some('b'), Fate::Serves);
    let report = roll(&platform, request(0), &['b'], 0).await;
    assert!(
        matches!(&report.outcome, Outcome::Refused { failure } if failure.phase == Phase::Probing),
        "{report:?}"
    );
    assert_eq!(platform.mutations.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn platform_failure_only_resets_the_setting() {
    let platform = Platform::running(Some('a'), Fate::Fails);
    let report = roll(&platform, request(0), &[], 0).await;
    let Outcome::RolledBack { failure, deployment } = &report.outcome else { panic!("{report:?}") };
    assert_eq!(failure.phase, Phase::Deploying);
    assert_eq!(deployment.as_ref().unwrap().as_str(), "d-stable");
    assert_eq!(platform.setting(), Some(image('a').to_string()));
    assert_eq!(platform.serving(), Some(digest('a')));
}

#[tokio::test(start_paused = true)]
async fn unhealthy_in_the_bake_deploys_the_snapshot_again() {
    let platform = Platform::running(Some('a'), Fate::Serves);
    let report = roll(&platform, request(60), &['b'], 4).await;
    let Outcome::RolledBack { failure, .. } = &report.outcome else { panic!("{report:?}") };
    assert_eq!(failure.phase, Phase::Baking);
    assert_eq!(failure.reason, FailureReason::Unhealthy { failures: 3 });
    assert_eq!(failure.last_measurement.as_ref().unwrap().answer, "HTTP 503");
    assert_eq!(platform.serving(), Some(digest('a')));
    assert_eq!(platform.setting(), Some(image('a').to_string()));
}

#[tokio::test(start_paused = true)]
async fn crash_after_success_in_the_bake_rolls_back() {
    let platform = Platform::running(Some('a'), Fate::CrashesAfter(8));
    let report = roll(&platform, RolloutRequest { health: None, ..request(300) }, &[], 0).await;
    let Outcome::RolledBack { failure, .. } = &report.outcome else { panic!("{report:?}") };
    assert_eq!(failure.phase, Phase::Baking);
    assert_eq!(platform.serving(), Some(digest('a')));
}

#[tokio::test(start_paused = true)]
async fn failed_rollback_is_its_own_ending() {
    let platform = Platform::running(Some('a'), Fate::Serves).with(|inner| inner.restore_fate = Fate::Fails);
    let report = roll(&platform, request(60), &['b'], 4).await;
    assert!(matches!(report.outcome, Outcome::RollbackFailed { .. }), "{report:?}");
    assert_eq!(report.phase, Phase::RollbackFailed);
}

#[tokio::test(start_paused = true)]
async fn hanging_deployment_meets_the_progress_deadline() {
    let platform = Platform::running(Some('a'), Fate::Hangs);
    let report = roll(&platform, request(0), &[], 0).await;
    let Outcome::RolledBack { failure, .. } = &report.outcome else { panic!("{report:?}") };
    assert!(matches!(failure.reason, FailureReason::ProgressDeadline { .. }));
}

#[tokio::test(start_paused = true)]
async fn own_code_for_every_platform_verdict() {
    for (fate, expected) in [
        (Fate::NeedsApproval, FailureReason::NeedsApproval),
        (Fate::Skipped, FailureReason::Skipped),
        (Fate::Removed, FailureReason::Removed),
        (Fate::WrongDigest, FailureReason::WrongDigest { running: Some(digest('f')) }),
        (Fate::ReplicasMissing, FailureReason::ReplicasNotRunning),
    ] {
        let platform = Platform::running(Some('a'), fate.clone());
        let report = roll(&platform, request(0), &[], 0).await;
        let Outcome::RolledBack { failure, .. } = &report.outcome else { panic!("{fate:?}: {report:?}") };
        assert_eq!(failure.reason, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn sleeping_is_an_error_unless_probes_wake_it() {
    let platform = Platform::running(Some('a'), Fate::Sleeps);
    let report = roll(&platform, RolloutRequest { health: None, ..request(0) }, &[], 0).await;
    let Outcome::RolledBack { failure, .. } = &report.outcome else { panic!("{report:?}") };
    assert_eq!(failure.reason, FailureReason::Sleeping);
    let platform = Platform::running(Some('a'), Fate::Sleeps);
    assert!(matches!(roll(&platform, request(0), &[], 0).await.outcome, Outcome::Complete { .. }));
}

#[tokio::test(start_paused = true)]
async fn superseded_by_somebody_else_leaves_theirs_alone() {
    let platform = Platform::running(Some('a'), Fate::Serves)
        .with(|inner| inner.superseded_by = Some("d-theirs".parse().unwrap()));
    let report = roll(&platform, request(0), &[], 0).await;
    assert!(matches!(report.outcome, Outcome::Superseded { .. }), "{report:?}");
    assert_eq!(platform.mutations.load(Ordering::SeqCst), 1, "the deploy alone, no restore");
}

#[tokio::test(start_paused = true)]
async fn foreign_deployment_is_waited_for_then_refused() {
    let platform = Platform::running(Some('a'), Fate::Serves).with(|inner| inner.foreign_in_flight = 5);
    assert!(matches!(roll(&platform, request(0), &[], 0).await.outcome, Outcome::Complete { .. }));
    let platform =
        Platform::running(Some('a'), Fate::Serves).with(|inner| inner.foreign_in_flight = usize::MAX);
    assert!(matches!(roll(&platform, request(0), &[], 0).await.outcome, Outcome::Refused { .. }));
    assert_eq!(platform.mutations.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn refused_deploy_call_changes_nothing_and_an_ambiguous_one_is_undone() {
    let platform =
        Platform::running(Some('a'), Fate::Serves).with(|inner| inner.deploy_error = Some(Effect::None));
    assert!(matches!(roll(&platform, request(0), &[], 0).await.outcome, Outcome::Refused { .. }));
    let platform =
        Platform::running(Some('a'), Fate::Serves).with(|inner| inner.deploy_error = Some(Effect::Possible));
    assert!(matches!(roll(&platform, request(0), &[], 0).await.outcome, Outcome::RolledBack { .. }));
    assert_eq!(platform.setting(), Some(image('a').to_string()));
}

#[tokio::test(start_paused = true)]
async fn failed_first_deployment_leaves_nothing_running() {
    let platform = Platform::running(None, Fate::Serves);
    let report = roll(&platform, request(60), &['b'], 4).await;
    assert!(matches!(report.outcome, Outcome::RolledBack { deployment: None, .. }), "{report:?}");
    assert_eq!(platform.serving(), None);
    assert_eq!(platform.setting(), None);
}

#[tokio::test(start_paused = true)]
async fn the_running_image_in_other_words_is_adopted() {
    let platform = Platform::running(Some('b'), Fate::Serves).with(|inner| {
        inner.setting = Some(image('b').to_string().replace("app@", "app:1.4@"));
    });
    let report = roll(&platform, request(0), &[], 0).await;
    assert!(matches!(report.outcome, Outcome::Complete { .. }), "{report:?}");
    assert_eq!(platform.mutations.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn probes_go_on_in_the_bake_while_the_platform_cannot_be_read() {
    let platform = Platform::running(Some('a'), Fate::Serves).with(|inner| inner.outage = Some((9, 60)));
    let report = roll(&platform, request(60), &['b'], 4).await;
    let Outcome::RolledBack { failure, .. } = &report.outcome else { panic!("{report:?}") };
    assert_eq!(failure.phase, Phase::Baking);
    assert_eq!(failure.reason, FailureReason::Unhealthy { failures: 3 });
}

#[tokio::test(start_paused = true)]
async fn the_way_back_is_given_up_for_an_outage_only_when_its_time_is_over() {
    let platform = Platform::running(Some('a'), Fate::Serves).with(|inner| inner.outage = Some((9, 9999)));
    let begun = tokio::time::Instant::now();
    let report = roll(&platform, request(60), &['b'], 4).await;
    let Outcome::RollbackFailed { rollback, .. } = &report.outcome else { panic!("{report:?}") };
    assert!(
        matches!(rollback, FailureReason::Target { message, .. } if message.contains("503")),
        "{rollback:?}"
    );
    assert!(begun.elapsed() >= Duration::from_mins(5), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_said_to_serve_is_looked_at() {
    let platform = Platform::running(Some('a'), Fate::Serves).with(|inner| inner.lazy_restores = 2);
    let report = roll(&platform, request(60), &['b'], 4).await;
    assert!(matches!(report.outcome, Outcome::RolledBack { .. }), "{report:?}");
    assert_eq!(platform.serving(), Some(digest('a')));
}

#[tokio::test(start_paused = true)]
async fn replicas_that_go_down_in_a_bake_without_probes_fail_it() {
    let platform = Platform::running(Some('a'), Fate::LosesReplicasAfter(5));
    let report = roll(&platform, RolloutRequest { health: None, ..request(300) }, &[], 0).await;
    let Outcome::RolledBack { failure, .. } = &report.outcome else { panic!("{report:?}") };
    assert_eq!((failure.phase, &failure.reason), (Phase::Baking, &FailureReason::ReplicasNotRunning));
    assert_eq!(platform.serving(), Some(digest('a')));
}

#[tokio::test(start_paused = true)]
async fn one_missing_replica_at_the_end_of_a_long_bake_is_waited_for() {
    let platform = Platform::running(Some('a'), Fate::Serves).with(|inner| inner.lame_after = Some((14, 3)));
    // Longer than the progress deadline, so that the old start of that clock would fail it at once.
    let report = roll(&platform, RolloutRequest { health: None, ..request(180) }, &[], 0).await;
    assert!(matches!(report.outcome, Outcome::Complete { .. }), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_was_lame_before_is_restored_as_it_was() {
    let platform = Platform::running(Some('a'), Fate::Fails)
        .with(|inner| inner.deployments[0].fate = Fate::ReplicasMissing);
    let report = roll(&platform, request(0), &[], 0).await;
    assert!(matches!(report.outcome, Outcome::RolledBack { .. }), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn waits_do_not_outlast_the_timeout() {
    let platform = Platform::running(Some('a'), Fate::Serves);
    let health = HealthPolicy { interval: Duration::from_hours(5), ..HealthPolicy::default() };
    let begun = tokio::time::Instant::now();
    let report = roll(&platform, RolloutRequest { health: Some(health), ..request(0) }, &[], 0).await;
    assert!(
        matches!(&report.outcome, Outcome::RollbackFailed { failure, .. }
        if matches!(failure.reason, FailureReason::ProgressDeadline { .. })),
        "{report:?}"
    );
    assert!(begun.elapsed() < Duration::from_mins(16), "timeout and abort timeout: {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_read_that_hangs() {
    let mut platform = Platform::running(Some('a'), Fate::Serves).with(|inner| inner.slow_read = Some(6));
    platform.cancel_on_read = Some((6, CancellationToken::new()));
    let begun = tokio::time::Instant::now();
    let report = roll(&platform, request(60), &[], 0).await;
    let Outcome::RolledBack { failure, .. } = &report.outcome else { panic!("{report:?}") };
    assert_eq!(failure.reason, FailureReason::Cancelled);
    assert!(begun.elapsed() < Duration::from_mins(5), "{:?}", begun.elapsed());
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Serves),
        1 => (3_usize..20).prop_map(Fate::CrashesAfter),
        1 => (3_usize..20).prop_map(Fate::LosesReplicasAfter),
        1 => Just(Fate::Fails),
        1 => Just(Fate::Hangs),
        1 => Just(Fate::NeedsApproval),
        1 => Just(Fate::Skipped),
        1 => Just(Fate::Removed),
        1 => Just(Fate::WrongDigest),
        1 => Just(Fate::ReplicasMissing),
        1 => Just(Fate::Sleeps),
    ]
}

proptest! {
    /// Whatever the platform, the probes and the user do: it ends, and the ending says what serves.
    #[test]
    fn every_ending_tells_the_truth(
        stable in prop_oneof![Just(None), Just(Some('a')), Just(Some('b'))],
        fate in fates(),
        restore in prop_oneof![3 => Just(Fate::Serves), 1 => Just(Fate::Fails), 1 => Just(Fate::Hangs)],
        unreadable in prop_oneof![3 => Just(0_usize), 1 => 2_usize..6],
        candidate_is_bad in any::<bool>(),
        healthy_first in 0_usize..12,
        bake in prop_oneof![Just(0_u64), Just(60)],
        cancel_at in prop_oneof![Just(None), (1_usize..40).prop_map(Some)],
        lazy_restores in 0_usize..3,
    ) {
        let mut platform = Platform::running(stable, fate).with(|inner| {
            inner.restore_fate = restore;
            inner.unreadable = unreadable;
            inner.lazy_restores = lazy_restores;
        });
        platform.cancel_on_read = cancel_at.map(|at| (at, CancellationToken::new()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let unhealthy: &[char] = if candidate_is_bad { &['b'] } else { &[] };
        let report = runtime.block_on(roll(&platform, request(bake), unhealthy, healthy_first));
        match &report.outcome {
            Outcome::Complete { .. } => {
                prop_assert_eq!(platform.serving(), Some(digest('b')));
                prop_assert_eq!(platform.setting(), Some(image('b').to_string()));
            }
            Outcome::RolledBack { .. } => {
                prop_assert_eq!(platform.serving(), stable.map(digest));
                prop_assert_eq!(platform.setting(), stable.map(|digit| image(digit).to_string()));
            }
            Outcome::Refused { .. } => prop_assert_eq!(platform.mutations.load(Ordering::SeqCst), 0),
            Outcome::RollbackFailed { .. } | Outcome::Superseded { .. } | Outcome::Fenced { .. } => {}
        }
    }
}
