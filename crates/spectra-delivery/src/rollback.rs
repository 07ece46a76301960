//! Back to the version before, as a rollout of its own.

use spectra_journal::{Draft, Query};
use spectra_railway::{Instance, InstanceRef, has_served, rollback_candidate};
use spectra_rollout::{Entry, Outcome, Place, RolloutRequest, Violation};
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

/// One rollout of the past, as far as it matters here.
struct Past {
    seq: u64,
    request: RolloutRequest,
    complete: bool,
    /// It changed something, and did not stay.
    in_vain: bool,
    /// What ran before it.
    before: Option<PinnedImage>,
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
        let found = self.client.fresh_instance(&InstanceRef::from(place)).await?;
        let current = running(&found);
        let past = self.past(place).await?;
        let image = match to {
            Some(image) => image,
            None => {
                self.before(place, current.as_ref(), &past).await?.ok_or_else(|| Error::NothingBefore {
                    subject: place.subject(),
                    running: current.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string),
                })?
            }
        };
        let mut request = RolloutRequest::new(place.clone(), image.clone());
        if let Some(last) = past.first() {
            request.health.clone_from(&last.request.health);
            request.progress_deadline = last.request.progress_deadline;
            request.timeout = last.request.timeout;
            request.abort_timeout = last.request.abort_timeout;
        }
        let delivered = Box::pin(self.go_back_from(current, &past, request, reason, cancel)).await?;
        Ok(RolledBackTo { image, delivered })
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
        let found = self.client.fresh_instance(&InstanceRef::from(&request.place)).await?;
        let past = self.past(&request.place).await?;
        Box::pin(self.go_back_from(running(&found), &past, request, reason, cancel)).await
    }

    async fn go_back_from(
        &self,
        current: Option<Digest>,
        past: &[Past],
        mut request: RolloutRequest,
        reason: &str,
        cancel: &CancellationToken,
    ) -> Result<Delivered, Error> {
        let place = request.place.clone();
        let exit = self.was_stable(&place, request.candidate.digest(), past).await?;
        let passed_over = if exit { passed_over(self.journal, &request).await? } else { Vec::new() };
        let rules: Vec<_> = passed_over.iter().map(ToString::to_string).collect();
        let draft = Draft {
            subject: place.subject(),
            rollout: None,
            kind: kinds::ROLLBACK.to_owned(),
            body: serde_json::json!({
                "from": current,
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
        let delivered = self.deliver_as_it_is(request, None, cancel).await?;
        let warnings = passed_over.into_iter().filter(Violation::is_about_the_image).collect();
        Ok(Delivered { warnings, ..delivered })
    }

    /// Whether a version served as the stable one, by the journal, else by Railway's list of deployments. One that was gone
    /// back from, by a rollback or by a rollout that failed, is not stable.
    async fn was_stable(&self, place: &Place, digest: &Digest, past: &[Past]) -> Result<bool, Error> {
        if self.left(place, past).await?.contains(digest) {
            return Ok(false);
        }
        let is_candidate = |one: &&Past| one.request.candidate.digest() == digest;
        if let Some(last) = past.iter().filter(is_candidate).find(|one| one.complete || one.in_vain) {
            return Ok(last.complete);
        }
        if past.iter().any(|one| one.before.as_ref().is_some_and(|image| image.digest() == digest)) {
            return Ok(true);
        }
        let deployments = self.client.recent_deployments(&InstanceRef::from(place), FAR).await?;
        Ok(deployments.iter().any(|one| one.digest.as_ref() == Some(digest) && has_served(one)))
    }

    /// The version to go back to. One that somebody went back from already is none, or a second rollback would bring the
    /// first one's reason back.
    async fn before(
        &self,
        place: &Place,
        current: Option<&Digest>,
        past: &[Past],
    ) -> Result<Option<PinnedImage>, Error> {
        let left = self.left(place, past).await?;
        let usable = |image: &PinnedImage| Some(image.digest()) != current && !left.contains(image.digest());
        for one in past.iter().filter(|one| one.complete) {
            let own = (Some(one.request.candidate.digest()) != current).then_some(&one.request.candidate);
            if let Some(image) = own.into_iter().chain(&one.before).find(|image| usable(image)) {
                return Ok(Some(image.clone()));
            }
        }
        let Some(current) = current else { return Ok(None) };
        let mut deployments = self.client.recent_deployments(&InstanceRef::from(place), FAR).await?;
        deployments
            .retain(|deployment| deployment.digest.as_ref().is_none_or(|digest| !left.contains(digest)));
        Ok(rollback_candidate(&deployments, current).map(|(_, image)| image))
    }

    /// The digests that were gone back from since they were last rolled out.
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
            let from =
                record.body.get("from").and_then(|from| from.as_str()).and_then(|from| from.parse().ok());
            let Some(from) = from else { continue };
            let again = past
                .iter()
                .any(|one| one.complete && one.seq > record.seq && *one.request.candidate.digest() == from);
            if !again {
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
            let (mut request, mut complete, mut in_vain, mut before) = (None, false, false, None);
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
                    Entry::Finished { outcome } => {
                        complete = matches!(outcome, Outcome::Complete { .. });
                        in_vain = !matches!(outcome, Outcome::Complete { .. } | Outcome::Refused { .. });
                    }
                    _ => {}
                }
            }
            if let Some(request) = request {
                past.push(Past { seq: begun.seq, request, complete, in_vain, before });
            }
        }
        Ok(past)
    }
}

fn running(found: &Instance) -> Option<Digest> {
    let serving = found.active_deployments.iter().find(|deployment| deployment.is_serving());
    serving.and_then(|deployment| deployment.digest.clone())
}
