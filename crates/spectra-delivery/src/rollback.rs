//! Back to the version before, as a rollout of its own.

use std::iter;

use spectra_journal::{Draft, Query};
use spectra_railway::{Instance, InstanceRef, has_served, rollback_candidate};
use spectra_rollout::{Entry, FailureReason, Outcome, Place, RolloutRequest, Violation};
use spectra_types::{Digest, ImageRef, PinnedImage};
use tokio_util::sync::CancellationToken;

use crate::deliver::{Delivered, Delivery};
use crate::error::Error;
use crate::gates::passed_over;
use crate::kinds;
use crate::standing::{entries, history};

/// How far back the journal is read, in rollouts, and Railway's list, in deployments.
const FAR: u32 = 50;

/// Where a rollback went.
#[derive(Debug)]
pub struct RolledBackTo {
    /// The image.
    pub image: PinnedImage,
    /// What was done.
    pub delivered: Delivered,
}

/// How a rollout of the past ended, as far as it says something about its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It has not: it runs, or its process is gone.
    Open,
    /// It changed nothing.
    Refused,
    /// The image stayed.
    Complete,
    /// The image did not stay, and that was for the image.
    InVain,
    /// The image did not stay, for something else: the process, the journal, the platform, somebody else's deployment.
    NoVerdict,
}

impl End {
    fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Complete { .. } => Self::Complete,
            Outcome::Refused { .. } => Self::Refused,
            Outcome::RolledBack { failure, .. }
            | Outcome::RollbackFailed { failure, .. }
            | Outcome::Superseded { failure }
            | Outcome::Fenced { failure } => match failure.reason {
                FailureReason::Cancelled
                | FailureReason::Interrupted
                | FailureReason::Journal { .. }
                | FailureReason::LeaseLost { .. }
                | FailureReason::Superseded { .. }
                | FailureReason::Target { .. } => Self::NoVerdict,
                _ => Self::InVain,
            },
        }
    }
}

/// One rollout of the past, as far as it matters here.
struct Past {
    seq: u64,
    request: RolloutRequest,
    end: End,
    /// What ran before it.
    before: Option<PinnedImage>,
}

impl Past {
    fn is_of(&self, digest: &Digest) -> bool {
        self.request.candidate.digest() == digest
    }
}

/// What is known of the versions of a service.
struct Story {
    /// What runs; where nothing does, what was to run.
    current: Option<Digest>,
    /// The last rollouts, newest first.
    past: Vec<Past>,
    /// What was gone back from since it was last rolled out.
    left: Vec<Digest>,
}

impl Story {
    /// Whether a version was the stable one, by the journal; `None` where it does not say. One that was gone back from,
    /// by a rollback or by a rollout that failed, is not stable, and neither is one whose rollouts never came to an end.
    fn was_stable(&self, digest: &Digest) -> Option<bool> {
        if self.left.contains(digest) {
            return Some(false);
        }
        let of_it = self.past.iter().filter(|one| one.is_of(digest));
        let verdict = of_it.clone().find_map(|one| match one.end {
            End::Complete => Some(true),
            End::InVain => Some(false),
            End::Open | End::Refused | End::NoVerdict => None,
        });
        let ran_before =
            || self.past.iter().any(|one| one.before.as_ref().is_some_and(|image| image.digest() == digest));
        // It may serve, and look well on Railway, while it waits for the approval that it needs. One that was refused has
        // changed nothing there.
        let never_stayed = || of_it.clone().any(|one| one.end != End::Refused);
        verdict.or_else(|| ran_before().then_some(true)).or_else(|| never_stayed().then_some(false))
    }

    /// The newest version that was stable, other than what runs; `None` where the journal knows of none.
    fn stable_before(&self) -> Option<&PinnedImage> {
        let complete = self.past.iter().filter(|one| one.end == End::Complete);
        complete.flat_map(|one| iter::once(&one.request.candidate).chain(&one.before)).find(|image| {
            Some(image.digest()) != self.current.as_ref() && self.was_stable(image.digest()) == Some(true)
        })
    }
}

impl Delivery<'_> {
    /// Brings the service to `to`, or to the version that was stable before the one that runs. It is a rollout with the
    /// health checks and time limits of the last one, without its steps; what holds it up is said at
    /// [`go_back`](Self::go_back).
    pub async fn rollback(
        &self,
        place: &Place,
        to: Option<PinnedImage>,
        reason: &str,
        cancel: &CancellationToken,
    ) -> Result<RolledBackTo, Error> {
        let story = self.story(place).await?;
        let image = match to {
            Some(image) => image,
            None => self.before(place, &story).await?,
        };
        let mut request = RolloutRequest::new(place.clone(), image.clone());
        if let Some(last) = story.past.first() {
            request.health.clone_from(&last.request.health);
            request.progress_deadline = last.request.progress_deadline;
            request.timeout = last.request.timeout;
            request.abort_timeout = last.request.abort_timeout;
        }
        let delivered = Box::pin(self.go_back_from(&story, request, reason, cancel)).await?;
        Ok(RolledBackTo { image, delivered })
    }

    /// The version that [`rollback`](Self::rollback) goes back to when none is named. [`Error::NothingBefore`] when there is
    /// none.
    pub async fn version_before(&self, place: &Place) -> Result<PinnedImage, Error> {
        let story = self.story(place).await?;
        self.before(place, &story).await
    }

    /// Rolls `request` out as a way back.
    ///
    /// To a version that was stable before, and that nobody went back from since, it is an emergency exit: no freeze window,
    /// no approval and no other rule of a policy holds it up. What was passed over is written down, and a rule about the
    /// image itself is in [`Delivered::warnings`]. To any other version it is a rollout like all others.
    pub async fn go_back(
        &self,
        request: RolloutRequest,
        reason: &str,
        cancel: &CancellationToken,
    ) -> Result<Delivered, Error> {
        let story = self.story(&request.place).await?;
        Box::pin(self.go_back_from(&story, request, reason, cancel)).await
    }

    async fn go_back_from(
        &self,
        story: &Story,
        mut request: RolloutRequest,
        reason: &str,
        cancel: &CancellationToken,
    ) -> Result<Delivered, Error> {
        let place = request.place.clone();
        let exit = self.was_stable(&place, request.candidate.digest(), story).await?;
        let passed_over = if exit { passed_over(self.journal, &request).await? } else { Vec::new() };
        let rules: Vec<_> = passed_over.iter().map(ToString::to_string).collect();
        let draft = Draft {
            subject: place.subject(),
            rollout: None,
            kind: kinds::ROLLBACK.to_owned(),
            body: serde_json::json!({
                "from": story.current,
                "to": request.candidate.digest(),
                "by": self.holder.to_string(),
                "reason": reason,
                "passed_over": rules,
            }),
        };
        self.journal.append(draft).await?;
        if !exit {
            return self.deliver(request, cancel).await;
        }
        request.freeze_override = Some(match reason {
            "" => "it is a rollback".to_owned(),
            reason => format!("it is a rollback: {reason}"),
        });
        let delivered = self.deliver_as_it_is(request, cancel).await?;
        let warnings = passed_over.into_iter().filter(Violation::is_about_the_image).collect();
        Ok(Delivered { warnings, ..delivered })
    }

    /// Whether a version served as the stable one, by the journal, else by Railway's list of deployments.
    async fn was_stable(&self, place: &Place, digest: &Digest, story: &Story) -> Result<bool, Error> {
        if let Some(was_stable) = story.was_stable(digest) {
            return Ok(was_stable);
        }
        let deployments = self.client.recent_deployments(&InstanceRef::from(place), FAR).await?;
        Ok(deployments.iter().any(|one| one.digest.as_ref() == Some(digest) && has_served(one)))
    }

    /// The version to go back to: the newest other one that was stable. One that somebody went back from already is none, or
    /// a second rollback would bring the first one's reason back.
    async fn before(&self, place: &Place, story: &Story) -> Result<PinnedImage, Error> {
        if let Some(image) = story.stable_before() {
            return Ok(image.clone());
        }
        let current = story.current.as_ref();
        let nothing = || Error::NothingBefore {
            subject: place.subject(),
            running: current.map_or_else(|| "nothing".to_owned(), ToString::to_string),
        };
        let Some(current) = current else { return Err(nothing()) };
        let mut deployments = self.client.recent_deployments(&InstanceRef::from(place), FAR).await?;
        let is_fit = |digest: &Digest| story.was_stable(digest) != Some(false);
        deployments.retain(|deployment| deployment.digest.as_ref().is_none_or(is_fit));
        rollback_candidate(&deployments, current).map(|(_, image)| image).ok_or_else(nothing)
    }

    async fn story(&self, place: &Place) -> Result<Story, Error> {
        let found = self.client.fresh_instance(&InstanceRef::from(place)).await?;
        let past = self.past(place).await?;
        let left = self.left(place, &past).await?;
        Ok(Story { current: current(&found), past, left })
    }

    /// The digests that were gone back from since they were last rolled out.
    ///
    /// A wish that nothing came of leaves nothing: its rollout was not begun, or it was and what it went away from came back.
    async fn left(&self, place: &Place, past: &[Past]) -> Result<Vec<Digest>, Error> {
        let query = Query {
            subject: Some(place.subject()),
            kinds: vec![kinds::ROLLBACK.to_owned()],
            limit: Some(u64::from(FAR)),
            newest_first: true,
            ..Query::default()
        };
        let mut left = Vec::new();
        for record in self.journal.records(&query).await? {
            let digest = |name: &str| -> Option<Digest> { record.body.get(name)?.as_str()?.parse().ok() };
            let (Some(from), Some(to)) = (digest("from"), digest("to")) else { continue };
            let next = past.iter().rev().find(|one| one.seq > record.seq);
            // As long as it is open it may still be what runs.
            let went = next.is_some_and(|one| one.is_of(&to) && matches!(one.end, End::Complete | End::Open));
            let again =
                past.iter().any(|one| one.end == End::Complete && one.seq > record.seq && one.is_of(&from));
            if went && !again {
                left.push(from);
            }
        }
        Ok(left)
    }

    /// The last rollouts of a service, newest first.
    async fn past(&self, place: &Place) -> Result<Vec<Past>, Error> {
        let mut past = Vec::new();
        for begun in history(self.journal, Some(&place.subject()), u64::from(FAR)).await? {
            let Some(rollout) = begun.rollout else { continue };
            let (mut request, mut end, mut before) = (None, End::Open, None);
            for (_, entry) in entries(self.journal, &rollout).await? {
                match entry {
                    Entry::Begun { request: asked } => request = Some(*asked),
                    Entry::Baseline { place: at, snapshot } if at == *place => {
                        let image: Option<ImageRef> = snapshot
                            .running
                            .as_ref()
                            .and_then(|running| running.image.as_ref())
                            .and_then(|image| image.parse().ok());
                        before =
                            image.zip(snapshot.digest().cloned()).map(|(image, digest)| image.pin(digest));
                    }
                    Entry::Finished { outcome } => end = End::of(&outcome),
                    _ => {}
                }
            }
            if let Some(request) = request {
                past.push(Past { seq: begun.seq, request, end, before });
            }
        }
        Ok(past)
    }
}

/// What runs: the newest deployment that serves. Where none does, what is set is what did not come up.
fn current(found: &Instance) -> Option<Digest> {
    let serving = found.active_deployments.iter().filter(|deployment| deployment.is_serving());
    if let Some(serving) = serving.max_by_key(|deployment| deployment.created_at) {
        return serving.digest.clone();
    }
    let set = found.image.as_deref().and_then(|image| image.parse::<ImageRef>().ok());
    set.and_then(|image| image.digest().cloned()).or_else(|| found.latest_deployment.as_ref()?.digest.clone())
}
