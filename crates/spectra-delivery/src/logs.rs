//! What deployments print, beside the rollout that follows them.
//!
//! Logs are welcome and no more: nothing here fails a rollout or holds it up, no request is sent that the budget does not
//! spare, and what is kept is bounded. Everything ends with the rollout, for it is driven by the same task.

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use futures::future::FutureExt as _;
use futures::stream::{BoxStream, StreamExt as _, select_all, unfold};
use spectra_railway::{Client, LogKind, LogNews};
use spectra_rollout::{Action, Entry, Made, Place};
use spectra_types::{DeploymentId, Redactor};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// So many deployments of a rollout are followed at once, the last ones: each is two subscriptions.
const FOLLOWED: usize = 16;
/// So many lines a second are told of one rollout in the long run, and so many at once. A busy service logs each request.
const A_SECOND: f64 = 10.0;
const AT_ONCE: f64 = 200.0;
/// Once there were too many, nothing is told until so many may be.
const AGAIN: f64 = 50.0;
/// So many pieces of news that are there already are told at the end.
const BURST: usize = 500;
/// The longest line, in bytes; what is longer is cut.
const LONGEST: usize = 2_000;
/// How long the log of a deployment that failed is waited for, if nothing was heard of it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One line of a log.
#[derive(Clone, Copy, Debug)]
pub struct Logged<'a> {
    /// The rollout.
    pub rollout: &'a str,
    /// Where it runs.
    pub place: &'a Place,
    /// What printed it.
    pub deployment: &'a DeploymentId,
    /// Which of its logs.
    pub kind: LogKind,
    /// One line for people: secrets and control characters are gone from it.
    pub line: &'a str,
}

/// Hears what deployments print.
pub type LogListener<'a> = &'a (dyn Fn(&Logged<'_>) + Send + Sync);

/// Where logs come from.
pub(crate) trait Source: Send + Sync {
    /// Lines as they are written, and troubles with that. It has no end.
    fn follow(&self, deployment: &DeploymentId, kind: LogKind) -> BoxStream<'static, LogNews>;
}

/// Whether the logs have to do with it.
pub(crate) const fn concerns(entry: &Entry) -> bool {
    matches!(entry, Entry::Done { made: Made::Deployment { .. }, .. } | Entry::GoingBack { .. })
}

impl Source for Client {
    fn follow(&self, deployment: &DeploymentId, kind: LogKind) -> BoxStream<'static, LogNews> {
        let log = self.stream_logs(deployment, kind);
        unfold(log, |mut log| async move { Some((log.next().await, log)) }).boxed()
    }
}

/// The logs of one deployment.
struct Followed {
    place: Place,
    deployment: DeploymentId,
    /// `None` once it runs: what a build has to say was said before.
    build: Option<BoxStream<'static, LogNews>>,
    deploy: BoxStream<'static, LogNews>,
    heard: bool,
}

/// The logs of the deployments that a rollout makes, as far as its record tells of them.
pub struct DeploymentLogs<'a> {
    source: &'a dyn Source,
    rollout: String,
    followed: VecDeque<Followed>,
    /// What may be told at once, as of then.
    allowance: (f64, Instant),
    left_out: u64,
    in_trouble: bool,
    /// What it goes back from: the newest deployment by then, which has something to say.
    failed: Option<DeploymentId>,
}

impl<'a> DeploymentLogs<'a> {
    /// Of the deployments of `rollout`; nothing is followed yet.
    #[must_use]
    pub fn new(client: &'a Client, rollout: &str) -> Self {
        Self::of(client, rollout)
    }

    fn of(source: &'a dyn Source, rollout: &str) -> Self {
        Self {
            source,
            rollout: rollout.to_owned(),
            followed: VecDeque::new(),
            allowance: (AT_ONCE, Instant::now()),
            left_out: 0,
            in_trouble: false,
            failed: None,
        }
    }

    /// Follows what this entry of the record says was started.
    pub fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::Done {
                action: Action::Deploy { place } | Action::Restore { place },
                made: Made::Deployment { id },
            } => self.follow(place.clone(), id.clone()),
            Entry::GoingBack { .. } if self.failed.is_none() => {
                self.failed = self.followed.back().map(|followed| followed.deployment.clone());
            }
            _ => {}
        }
    }

    fn follow(&mut self, place: Place, deployment: DeploymentId) {
        if self.followed.iter().any(|followed| followed.deployment == deployment) {
            return;
        }
        if self.followed.len() == FOLLOWED {
            self.followed.pop_front();
        }
        let build = Some(self.source.follow(&deployment, LogKind::Build));
        let deploy = self.source.follow(&deployment, LogKind::Deploy);
        self.followed.push_back(Followed { place, deployment, build, deploy, heard: false });
    }

    /// Tells lines to `listener` as they come, for ever. May be abandoned at any time.
    pub async fn tell(&mut self, listener: LogListener<'_>) {
        loop {
            self.tell_one(listener).await;
        }
    }

    /// Waits for one piece of news.
    async fn tell_one(&mut self, listener: LogListener<'_>) {
        let numbered = self.followed.iter_mut().enumerate().flat_map(|(number, followed)| {
            let build = followed.build.iter_mut().map(move |log| (number, LogKind::Build, log));
            build.chain([(number, LogKind::Deploy, &mut followed.deploy)])
        });
        let mut all =
            select_all(numbered.map(|(number, kind, log)| log.map(move |news| (number, kind, news))));
        let Some((number, kind, news)) = all.next().await else {
            // Nothing is followed yet.
            return std::future::pending().await;
        };
        drop(all);
        match news {
            LogNews::Line(line) => {
                self.in_trouble = false;
                let followed = &mut self.followed[number];
                followed.heard = true;
                if kind == LogKind::Deploy {
                    followed.build = None;
                }
                // As a whole: a secret may have several lines.
                let message = Redactor::global().redact(&line.message);
                for text in message.lines() {
                    self.say(number, kind, text, listener);
                }
            }
            LogNews::Trouble(reason) => {
                let reason = Redactor::global().redact(&reason);
                // Once, and not for each of the logs.
                if !std::mem::replace(&mut self.in_trouble, true) {
                    let text = format!("(the log cannot be read at the moment: {reason})");
                    self.say(number, kind, &text, listener);
                }
            }
        }
    }

    /// One line, unless there are too many.
    fn say(&mut self, number: usize, kind: LogKind, text: &str, listener: LogListener<'_>) {
        let now = Instant::now();
        let (left, since) = self.allowance;
        let left = (left + now.duration_since(since).as_secs_f64() * A_SECOND).min(AT_ONCE);
        if left < if self.left_out > 0 { AGAIN } else { 1.0 } {
            self.allowance = (left, now);
            self.left_out += 1;
            return;
        }
        self.allowance = (left - 1.0, now);
        let Followed { place, deployment, .. } = &self.followed[number];
        let say = |line: &str| listener(&Logged { rollout: &self.rollout, place, deployment, kind, line });
        if self.left_out > 0 {
            say(&format!("({} lines are left out: too many came at once)", self.left_out));
            self.left_out = 0;
        }
        say(&shown(text));
    }

    /// Tells what is there already; of a deployment that failed, its first words are waited for a moment.
    async fn last_words(&mut self, listener: LogListener<'_>) {
        let deadline = Instant::now() + LAST_WORDS;
        while self.failed_unheard() {
            if tokio::time::timeout_at(deadline, self.tell_one(listener)).await.is_err() {
                break;
            }
        }
        // No more than a burst: a log that never ends is not waited for.
        for _ in 0..BURST {
            if self.tell_one(listener).now_or_never().is_none() {
                break;
            }
        }
        if self.left_out > 0
            && let Some(Followed { place, deployment, .. }) = self.followed.back()
        {
            let line = format!("({} lines are left out: too many came at once)", self.left_out);
            listener(&Logged {
                rollout: &self.rollout,
                place,
                deployment,
                kind: LogKind::Deploy,
                line: &line,
            });
        }
    }

    /// Whether what failed is followed and has said nothing yet.
    fn failed_unheard(&self) -> bool {
        let failed = self.failed.as_ref();
        self.followed.iter().any(|followed| Some(&followed.deployment) == failed && !followed.heard)
    }

    /// Does `work` and tells what the deployments print that `entries` say it starts; ends when the work does.
    pub(crate) async fn beside<T>(
        mut self,
        mut entries: mpsc::UnboundedReceiver<Entry>,
        listener: LogListener<'_>,
        work: impl Future<Output = T>,
    ) -> T {
        enum Turn<T> {
            Done(T),
            Written(Entry),
            Told,
        }
        let mut work = std::pin::pin!(work);
        loop {
            let turn = tokio::select! {
                // The work comes first in every turn.
                biased;
                done = &mut work => Turn::Done(done),
                Some(entry) = entries.recv() => Turn::Written(entry),
                () = self.tell_one(listener) => Turn::Told,
            };
            match turn {
                Turn::Done(done) => {
                    while let Ok(entry) = entries.try_recv() {
                        self.take(&entry);
                    }
                    self.last_words(listener).await;
                    return done;
                }
                Turn::Written(entry) => self.take(&entry),
                Turn::Told => {}
            }
        }
    }
}

/// Text of a service, for a terminal and a log: no control characters, no endless line.
fn shown(text: &str) -> String {
    let mut plain = String::with_capacity(text.len().min(LONGEST));
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if plain.len() >= LONGEST {
            plain.push('…');
            break;
        }
        match letter {
            // Colours and the like: `ESC [`, parameters, one letter.
            '\u{1b}' if letters.peek() == Some(&'[') => {
                letters.next();
                letters.by_ref().find(|letter| ('\u{40}'..='\u{7e}').contains(letter));
            }
            '\t' => plain.push(' '),
            letter if letter.is_control() => {}
            letter => plain.push(letter),
        }
    }
    // A runner of GitHub Actions takes this for a command to itself, wherever in the line it stands.
    plain.replace("##[", "## [")
}

#[cfg(test)]
#[path = "logs_tests.rs"]
mod tests;
