//! One service on a platform, whose deployments become what their fate says with every read.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use spectra_rollout::{
    DeployOrder, DeploymentState, Effect, HealthPolicy, Measurement, Observation, Place, Ports, Probe,
    Report, RestoreOrder, RolloutRequest, Running, SiblingOrder, Snapshot, Target, TargetError, TokioClock,
    Verdict, run,
};
use spectra_types::{DeploymentId, Digest, PinnedImage};
use tokio_util::sync::CancellationToken;

use super::{Diary, place, ports};

pub(crate) const REPOSITORY: &str = "127.0.0.1:5000/team/app";

pub(crate) fn image(digit: char) -> PinnedImage {
    format!("{REPOSITORY}@sha256:{}", digit.to_string().repeat(64)).parse().unwrap()
}

pub(crate) fn digest(digit: char) -> Digest {
    image(digit).digest().clone()
}

/// What becomes of a deployment of one image.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fate {
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
pub(crate) struct Deployment {
    pub(crate) id: DeploymentId,
    pub(crate) image: PinnedImage,
    pub(crate) fate: Fate,
    pub(crate) reads: usize,
    pub(crate) active: bool,
}

/// A platform in memory: one service, deployments that become what their fate says.
pub(crate) struct Platform {
    pub(crate) inner: Mutex<Inner>,
    pub(crate) mutations: AtomicUsize,
    pub(crate) cancel_on_read: Option<(usize, CancellationToken)>,
    pub(crate) reads: AtomicUsize,
}

pub(crate) struct Inner {
    pub(crate) setting: Option<String>,
    pub(crate) deployments: Vec<Deployment>,
    pub(crate) candidate_fate: Fate,
    pub(crate) restore_fate: Fate,
    pub(crate) deploy_error: Option<Effect>,
    /// Every n-th read fails.
    pub(crate) unreadable: usize,
    pub(crate) foreign_in_flight: usize,
    pub(crate) superseded_by: Option<DeploymentId>,
    /// From this read on so many reads fail.
    pub(crate) outage: Option<(usize, usize)>,
    /// From this read on so many observations show a replica that does not run.
    pub(crate) lame_after: Option<(usize, usize)>,
    /// So many restores say that the snapshot serves already, though it does not.
    pub(crate) lazy_restores: usize,
    /// This read takes an hour.
    pub(crate) slow_read: Option<usize>,
    /// Every read takes this long.
    pub(crate) slowness: Duration,
}

impl Platform {
    pub(crate) fn running(stable: Option<char>, candidate_fate: Fate) -> Self {
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
                slowness: Duration::ZERO,
                lazy_restores: 0,
            }),
            mutations: AtomicUsize::new(0),
            cancel_on_read: None,
            reads: AtomicUsize::new(0),
        }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(self.inner.get_mut().unwrap());
        self
    }

    pub(crate) fn serving(&self) -> Option<Digest> {
        let inner = self.inner.lock().unwrap();
        inner
            .deployments
            .iter()
            .find(|deployment| deployment.active)
            .map(|deployment| deployment.image.digest().clone())
    }

    pub(crate) fn setting(&self) -> Option<String> {
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
        let (unreadable, outage, slow, slowness) = {
            let inner = self.inner.lock().unwrap();
            (inner.unreadable, inner.outage, inner.slow_read, inner.slowness)
        };
        tokio::time::sleep(slowness).await;
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

    fn restore_now(&self, snapshot: &Snapshot) -> Option<DeploymentId> {
        self.called();
        let mut inner = self.inner.lock().unwrap();
        if inner.setting != snapshot.setting {
            inner.setting.clone_from(&snapshot.setting);
            self.mutations.fetch_add(1, Ordering::SeqCst);
        }
        let Some(running) = &snapshot.running else {
            inner.deployments.iter_mut().for_each(|deployment| deployment.active = false);
            return None;
        };
        let digest = running.digest.as_ref();
        if inner
            .deployments
            .iter()
            .any(|deployment| deployment.active && Some(deployment.image.digest()) == digest)
        {
            return None;
        }
        if inner.lazy_restores > 0 {
            inner.lazy_restores -= 1;
            return None;
        }
        let image: PinnedImage = running.image.clone().unwrap().parse().unwrap();
        let fate = inner.restore_fate.clone();
        Some(self.start(&mut inner, &image, fate))
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
        Box::pin(async { Ok(self.restore_now(&order.snapshot)) })
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
pub(crate) struct Prober<'a> {
    pub(crate) platform: &'a Platform,
    pub(crate) unhealthy: Vec<Digest>,
    /// Probes that are healthy before the listed digests turn unhealthy.
    pub(crate) healthy_first: usize,
    pub(crate) asked: AtomicUsize,
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

pub(crate) fn request(bake: u64) -> RolloutRequest {
    RolloutRequest {
        health: Some(HealthPolicy::default()),
        bake: Duration::from_secs(bake),
        progress_deadline: Duration::from_mins(2),
        timeout: Duration::from_mins(10),
        abort_timeout: Duration::from_mins(5),
        ..RolloutRequest::new(place("s-1"), image('b'))
    }
}

pub(crate) async fn roll(
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
    let diary = Diary::default();
    let clock = TokioClock::start();
    let ports = Ports { target: platform, probe: &prober, clock: &clock, ..ports(&diary) };
    run("ro-1", request, ports, &cancel).await
}
