//! The life of one deployment.

mod record;
mod replicas;
mod volume;

use std::sync::Arc;
use std::time::Duration;

use spectra_types::{HumanDuration, ImageRef, PinnedImage, Secret};
use tokio::sync::mpsc;

use super::Command;
use crate::clock::Tick;
use crate::contract::{Instance, InstanceStatus, LogLine, PulledImage, RegistryCredentials};
use crate::core::{Core, Effect};
use crate::railway::traffic::Line;
use crate::runtime::Behaviour;
use crate::settings::HoldStatus;
use crate::store::rows::{Deployment, Farewell, ReplicaStatus, Status, Step};
use record::{all_exited, finish, mark_all};

/// The image label that makes a service sleep.
const SLEEP_AFTER: &str = "dev.spectra.sandbox.sleep-after";

/// A replica that was started; `generation` tells its messages from those of its predecessor.
struct Running {
    number: u32,
    generation: u64,
    listening: bool,
    instance: Box<dyn Instance>,
}

type Report = (u32, u64, InstanceStatus);

pub(super) struct Driver {
    core: Arc<Core>,
    id: String,
    commands: mpsc::UnboundedReceiver<Command>,
    reports: mpsc::UnboundedReceiver<Report>,
    reporter: mpsc::UnboundedSender<Report>,
    logs: mpsc::UnboundedSender<(u32, LogLine)>,
    running: Vec<Running>,
    generation: u64,
    due: Vec<(Tick, u32)>,
    pulled: Option<PulledImage>,
}

/// Why `live` ended.
enum End {
    /// The record is terminal.
    Done,
    /// It was told to go.
    Leave(Farewell),
    /// The sandbox stops; the record stays as it is.
    Shutdown,
}

/// What happened while waiting.
enum Woken {
    Time,
    Command(Command),
    Report(Report),
}

impl Driver {
    pub(super) fn new(core: Arc<Core>, id: String, commands: mpsc::UnboundedReceiver<Command>) -> Self {
        let (reporter, reports) = mpsc::unbounded_channel();
        let (logs, mut lines) = mpsc::unbounded_channel::<(u32, LogLine)>();
        let traffic = Arc::clone(&core.traffic);
        let clock = core.clock.clone();
        let owner = id.clone();
        // Ends when the driver and all its replicas have let go of the sender.
        core.tasks.spawn(async move {
            while let Some((replica, line)) = lines.recv().await {
                let LogLine { error, message } = line;
                traffic.line(&owner, Line { at: clock.stamp(), replica, error, message });
            }
        });
        Self {
            core,
            id,
            commands,
            reports,
            reporter,
            logs,
            running: Vec::new(),
            generation: 0,
            due: Vec::new(),
            pulled: None,
        }
    }

    pub(super) async fn run(mut self) {
        let shutdown = self.core.shutdown.clone();
        let end = tokio::select! {
            end = self.live() => end,
            () = shutdown.cancelled() => End::Shutdown,
        };
        if let End::Leave(why) = end {
            tokio::select! {
                () = self.leave(why) => {}
                () = shutdown.cancelled() => {}
            }
        }
        self.stop_all(Duration::ZERO).await;
        self.core.engine.finished(&self.id);
    }

    fn record(&self) -> Option<Arc<Deployment>> {
        self.core.world().deployments.get(&self.id).cloned()
    }

    async fn live(&mut self) -> End {
        loop {
            let Some(record) = self.record() else { return End::Done };
            if let Some(why) = record.farewell {
                return End::Leave(why);
            }
            let result = match record.status {
                Status::Queued | Status::Waiting | Status::NeedsApproval => self.hold(&record).await,
                Status::Initializing => self.initialize(&record).await,
                Status::Building => self.build(&record).await,
                Status::Deploying => self.deploy(&record).await,
                Status::Success => self.serve().await,
                Status::Sleeping => self.asleep().await,
                Status::Crashed => self.crashed().await,
                Status::Removing => Err(Farewell::Removed),
                Status::Failed | Status::Skipped | Status::Removed => return End::Done,
            };
            if let Err(why) = result {
                return End::Leave(why);
            }
        }
    }

    async fn hold(&mut self, record: &Deployment) -> Result<(), Farewell> {
        let settings = self.core.settings();
        if record.status == Status::NeedsApproval {
            loop {
                match self.wait(None).await {
                    Woken::Command(Command::Release) => break,
                    Woken::Command(Command::Farewell(why)) => return Err(why),
                    _ => {}
                }
            }
        } else {
            self.pause(record.phase_tick, settings.hold_duration.get()).await?;
        }
        let skipped = record.status == Status::Waiting && settings.waiting_is_skipped;
        self.set(if skipped { Status::Skipped } else { Status::Initializing }, |_| {});
        Ok(())
    }

    async fn initialize(&mut self, record: &Deployment) -> Result<(), Farewell> {
        let settings = self.core.settings();
        self.pause(record.phase_tick, settings.init_duration.get()).await?;
        if record.snapshot.image.is_none() {
            self.set(if record.snapshot.repo.is_some() { Status::Building } else { Status::Failed }, |_| {});
            return Ok(());
        }
        match self.pull(record).await {
            Ok(pinned) => {
                self.set(Status::Deploying, |row| row.pinned = Some(pinned.to_string()));
            }
            Err(reason) => {
                tracing::warn!(deployment = %self.id, %reason, "the image was not pulled");
                self.pause(self.core.clock.now(), settings.pull_error_duration.get()).await?;
                self.set(Status::Failed, |_| {});
            }
        }
        Ok(())
    }

    async fn build(&mut self, record: &Deployment) -> Result<(), Farewell> {
        let settings = self.core.settings();
        self.pause(record.phase_tick, settings.build_duration.get()).await?;
        // The sandbox has no source code to build; saying so is the honest end of a repository deployment.
        self.set(Status::Failed, |row| {
            let error = "the sandbox deploys images; it has no access to repositories and cannot build one";
            finish(row, Step::BuildImage, Some(error.to_owned()));
        });
        Ok(())
    }

    async fn pull(&mut self, record: &Deployment) -> Result<PinnedImage, String> {
        let text =
            record.pinned.as_ref().or(record.snapshot.image.as_ref()).ok_or("the service has no image")?;
        let image: ImageRef = text.parse().map_err(|error| format!("{error}"))?;
        let credentials = self.credentials();
        let pulled = self
            .core
            .parts
            .puller
            .pull(image.clone(), credentials)
            .await
            .map_err(|error| error.to_string())?;
        let pinned = image.pin(pulled.digest.clone());
        self.pulled = Some(pulled);
        Ok(pinned)
    }

    fn credentials(&self) -> Option<RegistryCredentials> {
        let world = self.core.world();
        let stored = world.snapshots.get(&self.id)?.credentials.clone()?;
        Some(RegistryCredentials { username: stored.username, password: Secret::new(stored.password) })
    }

    async fn deploy(&mut self, record: &Deployment) -> Result<(), Farewell> {
        let settings = self.core.settings();
        let instance = record.snapshot.clone();
        self.event(Step::CreateContainer, None, None, false, None);
        self.pause(record.phase_tick, settings.image_deploy_duration.get()).await?;
        if self.pulled.is_none()
            && let Err(reason) = self.pull(record).await
        {
            self.fail(Step::CreateContainer, &reason).await;
            return Ok(());
        }
        self.free_volume(record).await?;
        if instance.deploy.get("preDeployCommand").is_some_and(|command| !command.is_null()) {
            let behaviour = self.pulled.as_ref().map(|pulled| Behaviour::from_labels(&pulled.labels));
            // Labels that mean nothing are told of by the start.
            if let Some(Ok(Behaviour { pre_deploy_exit: code @ 1.., .. })) = behaviour {
                let reason = format!("the pre-deploy command ended with exit code {code}");
                self.fail(Step::PreDeployCommand, &reason).await;
                return Ok(());
            }
            self.event(Step::PreDeployCommand, None, None, true, None);
        }
        if let Err(reason) = self.start_all(record).await {
            self.fail(Step::CreateContainer, &reason).await;
            return Ok(());
        }
        let timeout = instance
            .deploy_number("healthcheckTimeout")
            .map_or(settings.health_timeout.get(), Duration::from_secs);
        let deadline = self.core.clock.now().saturating_add(ticks(timeout));
        let path = instance.deploy_text("healthcheckPath");
        let interval = ticks(settings.health_interval.get()).max(1);
        let max_attempts = i32::try_from(ticks(timeout) / interval).unwrap_or(i32::MAX).max(1);
        let mut attempt = 0;
        let mut last = "the service never listened".to_owned();
        let mut created = false;
        loop {
            let all_listen = self.running.iter().all(|replica| replica.listening) && self.due.is_empty();
            let all_exited = self.running.is_empty() && self.due.is_empty();
            if all_listen && !created {
                created = true;
                self.event(Step::CreateContainer, None, None, true, None);
            }
            match &path {
                None if all_listen || all_exited => break,
                Some(path) if all_listen && !all_exited => {
                    attempt += 1;
                    match self.probe_all(path).await {
                        Ok(()) => {
                            self.event(Step::Healthcheck, Some(attempt), Some(max_attempts), true, None);
                            break;
                        }
                        Err(reason) => {
                            last = reason;
                            self.event(
                                Step::Healthcheck,
                                Some(attempt),
                                Some(max_attempts),
                                false,
                                Some(last.clone()),
                            );
                        }
                    }
                }
                _ => {}
            }
            let now = self.core.clock.now();
            if now >= deadline {
                let step = if path.is_some() { Step::Healthcheck } else { Step::CreateContainer };
                let count = instance.placement().len();
                self.fail(step, &format!("1/{count} replicas never became healthy: {last}")).await;
                return Ok(());
            }
            match self.wait(Some((now + interval).min(deadline))).await {
                Woken::Command(Command::Farewell(why)) => return Err(why),
                Woken::Report(report) if self.take(report).await => {
                    // The restart policy is exhausted before the deployment ever served.
                    self.crash().await;
                    return Ok(());
                }
                _ => self.restart_due().await,
            }
        }
        self.succeed();
        Ok(())
    }

    /// Cut-over: the new deployment becomes the active one and the old ones are told to go, in one transaction.
    fn succeed(&self) {
        let id = self.id.clone();
        let done = self.core.mutate(|draft| {
            let (stamp, tick) = (draft.stamp, draft.tick);
            let Some(row) = draft.world.deployments.get_mut(&id) else { return Ok(()) };
            if row.farewell.is_some() || row.status != Status::Deploying {
                return Ok(());
            }
            row.status = Status::Success;
            row.status_at = stamp;
            row.phase_tick = tick;
            row.stopped = false;
            row.ever_succeeded = true;
            row.restarts = 0;
            row.times.updated_at = stamp;
            finish(row, Step::ConfigureNetwork, None);
            let (environment, service, sequence) =
                (row.environment_id.clone(), row.service_id.clone(), row.sequence);
            for old in draft.world.deployments_of(&environment, &service) {
                if old.sequence < sequence && old.status.settled() && old.farewell.is_none() {
                    if let Some(row) = draft.world.deployments.get_mut(&old.id) {
                        row.farewell = Some(Farewell::Superseded);
                    }
                    draft.effects.push(Effect::Farewell(old.id.clone(), Farewell::Superseded));
                }
            }
            draft.effects.push(Effect::Routes(environment, service));
            Ok(())
        });
        if let Err(refusal) = done {
            tracing::error!(deployment = %self.id, message = %refusal.message, "the cut-over was not written");
        }
    }

    async fn serve(&mut self) -> Result<(), Farewell> {
        let Some(record) = self.record() else { return Ok(()) };
        // After a restart of the sandbox, or a wake-up.
        if self.running.is_empty() && !record.stopped && self.due.is_empty() && !all_exited(&record) {
            if self.pulled.is_none()
                && let Err(reason) = self.pull(&record).await
            {
                tracing::error!(deployment = %self.id, %reason, "the image of a running deployment is gone");
                self.crash().await;
                return Ok(());
            }
            if let Err(reason) = self.start_all(&record).await {
                tracing::error!(deployment = %self.id, %reason, "a running deployment did not start again");
                self.crash().await;
                return Ok(());
            }
        }
        let sleep_after = self.sleep_after(&record).filter(|_| !record.stopped).map(ticks);
        loop {
            let asleep_at = sleep_after.map(|idle| {
                let last = self.core.traffic.last_request(&self.id).unwrap_or(0);
                last.max(record.phase_tick).saturating_add(idle)
            });
            if asleep_at.is_some_and(|tick| self.core.clock.now() >= tick) {
                self.stop_all(Duration::ZERO).await;
                self.set(Status::Sleeping, |row| {
                    row.stopped = true;
                    mark_all(row, ReplicaStatus::Stopped);
                });
                return Ok(());
            }
            match self.wait(asleep_at).await {
                Woken::Command(Command::Farewell(why)) => return Err(why),
                Woken::Command(Command::Stop) => {
                    self.stop_all(Duration::ZERO).await;
                    self.change(|row| {
                        row.stopped = true;
                        mark_all(row, ReplicaStatus::Stopped);
                    });
                    return Ok(());
                }
                Woken::Command(Command::Restart) => {
                    self.restart_everything().await;
                    return Ok(());
                }
                Woken::Report(report) if self.take(report).await => {
                    self.crash().await;
                    return Ok(());
                }
                _ => self.restart_due().await,
            }
        }
    }

    /// After how long without a request the deployment sleeps, if it ever does. The image's own word comes first:
    /// with it a service sleeps whether `sleepApplication` is set or not.
    fn sleep_after(&self, record: &Deployment) -> Option<Duration> {
        let label = self.pulled.as_ref().and_then(|pulled| pulled.labels.get(SLEEP_AFTER));
        if let Some(text) = label {
            match text.parse::<HumanDuration>() {
                Ok(after) => return Some(after.get()),
                // The simulated runtime has refused such an image before; a container engine has not.
                Err(error) => {
                    tracing::warn!(deployment = %self.id, %error, "image label `{SLEEP_AFTER}` is ignored");
                }
            }
        }
        let sleepy = record.snapshot.deploy.get("sleepApplication") == Some(&serde_json::Value::Bool(true));
        sleepy.then(|| self.core.settings().sleep_after.get())
    }

    async fn restart_everything(&mut self) {
        self.stop_all(Duration::ZERO).await;
        self.set(Status::Success, |row| {
            row.stopped = false;
            row.restarts = 0;
            mark_all(row, ReplicaStatus::Initializing);
        });
    }

    async fn asleep(&mut self) -> Result<(), Farewell> {
        loop {
            match self.wait(None).await {
                Woken::Command(Command::Farewell(why)) => return Err(why),
                Woken::Command(Command::Wake | Command::Restart) => {
                    self.restart_everything().await;
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    async fn crashed(&mut self) -> Result<(), Farewell> {
        loop {
            match self.wait(None).await {
                Woken::Command(Command::Farewell(why)) => return Err(why),
                Woken::Command(Command::Restart) => {
                    self.restart_everything().await;
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    async fn leave(&mut self, why: Farewell) {
        let Some(record) = self.record() else { return };
        let settings = self.core.settings();
        self.change(|row| row.farewell = Some(why));
        if record.status.settled() || record.status == Status::Removing {
            if why == Farewell::Superseded && record.status != Status::Removing {
                let overlap = record.snapshot.deploy_number("overlapSeconds").unwrap_or(0);
                self.overlap(Duration::from_secs(overlap)).await;
            }
            self.set(Status::Removing, |row| mark_all(row, ReplicaStatus::Removing));
            let draining = Duration::from_secs(record.snapshot.deploy_number("drainingSeconds").unwrap_or(0));
            self.stop_all(self.core.clock.real(draining).unwrap_or(Duration::ZERO)).await;
            self.core.clock.sleep(settings.remove_duration.get()).await;
        }
        self.stop_all(Duration::ZERO).await;
        let tick = self.core.clock.now();
        self.set(Status::Removed, |row| {
            row.removed_tick = Some(tick);
            row.stopped = true;
            mark_all(row, ReplicaStatus::Removed);
            if row.ever_succeeded {
                finish(row, Step::DrainInstances, None);
            }
        });
    }

    async fn fail(&mut self, step: Step, reason: &str) {
        self.stop_all(Duration::ZERO).await;
        let reason = reason.to_owned();
        self.set(Status::Failed, |row| {
            row.stopped = true;
            mark_all(row, ReplicaStatus::Removed);
            finish(row, step, Some(reason));
        });
    }

    async fn crash(&mut self) {
        self.stop_all(Duration::ZERO).await;
        self.set(Status::Crashed, |row| mark_all(row, ReplicaStatus::Crashed));
    }

    /// Sleeps until `from + duration`; commands that end the deployment cut it short, `Release` too.
    async fn pause(&mut self, from: Tick, duration: Duration) -> Result<(), Farewell> {
        let until = from.saturating_add(ticks(duration));
        while self.core.clock.now() < until {
            match self.wait(Some(until)).await {
                Woken::Command(Command::Farewell(why)) => return Err(why),
                Woken::Command(Command::Release) => return Ok(()),
                _ => {}
            }
        }
        Ok(())
    }

    async fn wait(&mut self, until: Option<Tick>) -> Woken {
        let due = self.due.iter().map(|(tick, _)| *tick).chain(until).min();
        let clock = self.core.clock.clone();
        tokio::select! {
            biased;
            Some(command) = self.commands.recv() => Woken::Command(command),
            Some(report) = self.reports.recv() => Woken::Report(report),
            () = async { match due { Some(tick) => clock.sleep_until(tick).await, None => std::future::pending().await } } => Woken::Time,
        }
    }
}

fn ticks(duration: Duration) -> Tick {
    Tick::try_from(duration.as_millis()).unwrap_or(Tick::MAX)
}

impl HoldStatus {
    /// The deployment status it stands for.
    pub(crate) const fn status(self) -> Status {
        match self {
            Self::Queued => Status::Queued,
            Self::Waiting => Status::Waiting,
            Self::NeedsApproval => Status::NeedsApproval,
        }
    }
}
