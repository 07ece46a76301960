//! A platform with several services, their siblings and their database. Deployments rise with time, also while nobody looks.

mod ports;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use spectra_rollout::{DeploymentState, Effect, RestoreOrder, Sample, Sampled};
use spectra_types::{DeploymentId, Digest, PinnedImage};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What a deployment needs until the platform has a verdict.
const RISE: Duration = Duration::from_secs(7);
/// When its pre-deploy command is over.
const PRE_DEPLOY: Duration = Duration::from_secs(3);

pub(crate) fn image(digit: char) -> PinnedImage {
    format!("127.0.0.1:5000/team/app@sha256:{}", digit.to_string().repeat(64)).parse().unwrap()
}

pub(crate) fn digest(digit: char) -> Digest {
    image(digit).digest().clone()
}

/// What becomes of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Serves,
    /// Goes down this many seconds after it came up.
    Crashes(u64),
    /// Its pre-deploy command fails half way.
    FailsBefore,
    Fails,
    Hangs,
    /// Alternates between two states and never comes up.
    Oscillates,
    NeedsApproval,
    Skipped,
    Removed,
    WrongDigest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Rising,
    Active,
    Gone(DeploymentState),
}

#[derive(Clone, Debug)]
struct Deployment {
    id: DeploymentId,
    image: PinnedImage,
    fate: Fate,
    since: Instant,
    prepared: bool,
    pre_deploy: String,
    state: State,
}

#[derive(Clone, Debug, Default)]
struct Service {
    setting: Option<String>,
    pre_deploy: Option<String>,
    deployments: Vec<Deployment>,
    sibling_of: Option<String>,
}

/// What somebody can see of a service from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) serving: Option<Digest>,
    pub(crate) setting: Option<String>,
    pub(crate) pre_deploy: Option<String>,
    pub(crate) rising: usize,
}

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Refused; nothing happened, for certain.
    Refused,
    /// It may have happened, and did not.
    Unsure,
    /// It happened, and the answer was lost.
    Lost,
    /// It happened twice.
    Twice,
}

/// The schema and what hooks did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Database {
    pub(crate) applied: BTreeSet<String>,
    pub(crate) half: BTreeSet<String>,
    pub(crate) hooks: BTreeSet<String>,
}

#[derive(Default)]
pub(crate) struct Inner {
    services: BTreeMap<String, Service>,
    started: usize,
    pub(crate) database: Database,
    /// What becomes of the candidate, per service; `Serves` where none is named.
    pub(crate) fates: BTreeMap<String, Fate>,
    pub(crate) restore_fate: Option<Fate>,
    /// The n-th call of a kind goes wrong: `deploy`, `restore`, `create_sibling`, `remove_sibling`, `migrate up m1` …
    pub(crate) faults: Vec<(String, usize, Fault)>,
    calls: BTreeMap<String, usize>,
    /// What changed something, in order.
    pub(crate) log: Vec<String>,
    /// The images that are unhealthy, from this many seconds after they came up.
    pub(crate) unhealthy: BTreeMap<Digest, u64>,
    /// When somebody else deploys this image to that service.
    pub(crate) foreign: Option<(Instant, String, char)>,
    /// What a metric is, by its name: from this many seconds after the world began.
    pub(crate) metrics: BTreeMap<String, Vec<(u64, Sampled)>>,
    pub(crate) frozen: Option<String>,
    /// Approvals are given so many seconds after the world began; never where there is none.
    pub(crate) approved_after: Option<u64>,
    /// So many first looks at a service fail.
    pub(crate) unreadable: usize,
    pub(crate) told: Vec<&'static str>,
    /// Neither news of deployments nor people answer.
    pub(crate) deaf: bool,
    /// So many questions to the gates fail.
    pub(crate) gates_down: usize,
}

pub(crate) struct World {
    inner: Mutex<Inner>,
    began: Instant,
    /// Trips at the n-th mutation, when there is one.
    pub(crate) cancel_at: Option<(usize, CancellationToken)>,
}

pub(crate) fn good(value: f64) -> Sampled {
    let answer = Ok(Sample { value: Some(value), samples: Some(100), stable: None });
    Sampled { query: "rate(errors)".to_owned(), answer }
}

pub(crate) fn no_data() -> Sampled {
    Sampled { query: "rate(errors)".to_owned(), answer: Ok(Sample::default()) }
}

impl World {
    /// Services that run image `a`.
    pub(crate) fn running(services: &[&str]) -> Self {
        let world = Self { inner: Mutex::default(), began: Instant::now(), cancel_at: None };
        world.change(|inner| {
            for name in services {
                let mut service = Service {
                    setting: Some(image('a').to_string()),
                    pre_deploy: Some("own".to_owned()),
                    ..Service::default()
                };
                let id = format!("{name}-stable").parse().unwrap();
                service.deployments.push(Deployment::new(id, &image('a'), Fate::Serves, String::new()));
                service.deployments[0].state = State::Active;
                inner.services.insert((*name).to_owned(), service);
            }
        });
        world
    }

    /// A service that never ran.
    pub(crate) fn empty(service: &str) -> Self {
        let world = Self::running(&[]);
        world.change(|inner| inner.services.insert(service.to_owned(), Service::default()));
        world
    }

    pub(crate) fn with(self, change: impl FnOnce(&mut Inner)) -> Self {
        self.change(change);
        self
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.inner.lock().unwrap();
        inner.advance();
        change(&mut inner)
    }

    pub(crate) fn seen(&self, service: &str) -> Seen {
        self.change(|inner| {
            let service = &inner.services[service];
            Seen {
                serving: service.active().map(Deployment::shown),
                setting: service.setting.clone(),
                pre_deploy: service.pre_deploy.clone(),
                rising: service.deployments.iter().filter(|one| one.state == State::Rising).count(),
            }
        })
    }

    pub(crate) fn siblings(&self) -> Vec<String> {
        self.change(|inner| {
            let siblings = inner.services.iter().filter(|(_, service)| service.sibling_of.is_some());
            siblings.map(|(name, _)| name.clone()).collect()
        })
    }

    pub(crate) fn database(&self) -> Database {
        self.change(|inner| inner.database.clone())
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.change(|inner| inner.log.clone())
    }

    /// Carries a mutation out as often and as honestly as its fault says.
    fn mutate<T>(&self, call: &str, mut act: impl FnMut(&mut Inner) -> T) -> Result<T, (String, Effect)> {
        self.change(|inner| {
            let count = inner.calls.entry(call.to_owned()).or_default();
            *count += 1;
            let count = *count;
            let fault = inner.faults.iter().find(|(name, at, _)| name == call && *at == count);
            let result = match fault.map(|(_, _, fault)| *fault) {
                Some(Fault::Refused) => Err((format!("{call} was refused"), Effect::None)),
                Some(Fault::Unsure) => Err((format!("{call}: HTTP 504"), Effect::Possible)),
                Some(Fault::Lost) => {
                    inner.log.push(call.to_owned());
                    act(inner);
                    Err((format!("{call}: connection reset"), Effect::Possible))
                }
                Some(Fault::Twice) => {
                    inner.log.push(call.to_owned());
                    act(inner);
                    Ok(act(inner))
                }
                None => {
                    inner.log.push(call.to_owned());
                    Ok(act(inner))
                }
            };
            if let Some((at, token)) = &self.cancel_at
                && inner.log.len() >= *at
            {
                token.cancel();
            }
            result
        })
    }
}

impl Deployment {
    fn new(id: DeploymentId, image: &PinnedImage, fate: Fate, pre_deploy: String) -> Self {
        let (image, since) = (image.clone(), Instant::now());
        Self { id, image, fate, since, prepared: false, pre_deploy, state: State::Rising }
    }

    fn shown(&self) -> Digest {
        if self.fate == Fate::WrongDigest { digest('f') } else { self.image.digest().clone() }
    }
}

impl Service {
    fn active(&self) -> Option<&Deployment> {
        self.deployments.iter().find(|deployment| deployment.state == State::Active)
    }

    /// One deployment takes over from the one that served.
    fn activate(&mut self, position: usize) {
        let id = self.deployments[position].id.clone();
        for (index, deployment) in self.deployments.iter_mut().enumerate() {
            if index == position {
                deployment.state = State::Active;
            } else if deployment.state == State::Active
                || (index < position && deployment.state == State::Rising)
            {
                deployment.state = State::Gone(DeploymentState::Superseded { by: id.clone() });
            }
        }
    }
}

fn gone(status: &str, reason: &str) -> State {
    State::Gone(DeploymentState::Failed { status: status.to_owned(), reason: reason.to_owned() })
}

impl Inner {
    /// What has happened until now.
    fn advance(&mut self) {
        let now = Instant::now();
        if let Some((at, service, digit)) = self.foreign.clone()
            && at <= now
        {
            self.foreign = None;
            let id = format!("{service}-foreign").parse().unwrap();
            let service = self.services.get_mut(&service).unwrap();
            service.setting = Some(image(digit).to_string());
            service.deployments.push(Deployment::new(id, &image(digit), Fate::Serves, String::new()));
            let last = service.deployments.len() - 1;
            service.activate(last);
        }
        let Self { services, database, .. } = self;
        for service in services.values_mut() {
            for index in 0..service.deployments.len() {
                let deployment = &mut service.deployments[index];
                let age = now - deployment.since;
                if deployment.state == State::Rising && !deployment.prepared && age >= PRE_DEPLOY {
                    deployment.prepared = true;
                    let half = deployment.fate == Fate::FailsBefore;
                    deployment.pre_deploy.split(" && ").for_each(|line| database.run(line, half));
                }
                match (&deployment.state, deployment.fate) {
                    (State::Rising, fate) if age >= RISE => match fate {
                        Fate::Serves | Fate::Crashes(_) | Fate::WrongDigest => service.activate(index),
                        Fate::Fails => deployment.state = gone("FAILED", "health check failed"),
                        Fate::FailsBefore => deployment.state = gone("FAILED", "pre-deploy command: exit 1"),
                        Fate::Skipped => deployment.state = State::Gone(DeploymentState::Skipped),
                        Fate::Removed => deployment.state = State::Gone(DeploymentState::Removed),
                        Fate::Hangs | Fate::Oscillates | Fate::NeedsApproval => {}
                    },
                    (State::Active, Fate::Crashes(after)) if age >= RISE + Duration::from_secs(after) => {
                        deployment.state = gone("CRASHED", "exit code 1");
                    }
                    _ => {}
                }
            }
        }
    }

    fn start(&mut self, service: &str, image: &PinnedImage, fate: Fate, pre_deploy: String) -> DeploymentId {
        self.started += 1;
        let id: DeploymentId = format!("{service}-{}", self.started).parse().unwrap();
        let deployment = Deployment::new(id.clone(), image, fate, pre_deploy);
        self.services.get_mut(service).unwrap().deployments.push(deployment);
        id
    }

    fn restore(&mut self, name: &str, order: &RestoreOrder) -> Option<DeploymentId> {
        let service = self.services.get_mut(name)?;
        service.setting.clone_from(&order.snapshot.setting);
        service.pre_deploy.clone_from(&order.snapshot.pre_deploy);
        for deployment in &mut service.deployments {
            if deployment.state == State::Rising && deployment.image == order.candidate {
                deployment.state = State::Gone(DeploymentState::Removed);
            }
        }
        let Some(before) = &order.snapshot.running else {
            for deployment in &mut service.deployments {
                if deployment.state == State::Active && deployment.image == order.candidate {
                    deployment.state = State::Gone(DeploymentState::Removed);
                }
            }
            return None;
        };
        let serves =
            service.active().is_some_and(|active| Some(active.image.digest()) == before.digest.as_ref());
        if serves && order.pre_deploy.is_none() {
            return None;
        }
        let image: PinnedImage = before.image.as_ref()?.parse().unwrap();
        let lines = order.pre_deploy.clone().or_else(|| service.pre_deploy.clone()).unwrap_or_default();
        let fate = self.restore_fate.unwrap_or(Fate::Serves);
        Some(self.start(name, &image, fate, lines))
    }
}

impl Database {
    /// Runs `migrate up NAME`, `migrate down NAME`, `hook run NAME` or `hook undo NAME`; anything else changes nothing here.
    fn run(&mut self, line: &str, half: bool) {
        let words: Vec<_> = line.split(' ').collect();
        let [tool, way, name] = words[..] else { return };
        let name = name.to_owned();
        match (tool, way) {
            ("migrate", "up") if half => {
                self.half.insert(name);
            }
            ("migrate", "up") => {
                self.half.remove(&name);
                self.applied.insert(name);
            }
            ("migrate", "down") => {
                self.half.remove(&name);
                self.applied.remove(&name);
            }
            ("hook", "run") => {
                self.hooks.insert(name);
            }
            ("hook", "undo") => {
                self.hooks.remove(&name);
            }
            _ => {}
        }
    }
}
