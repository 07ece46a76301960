//! Copying what belongs to an image: signatures and attestations, as referrers or under cosign's tags.

use std::{collections::HashSet, sync::Arc};

use spectra_types::{Digest, ImageRef, PinnedImage};

use crate::{Artifact, Client, Descriptor, Error, NoProgress, Progress, PushOptions, auth::Scopes};

/// The suffixes of the tags by which cosign finds things where it does not use referrers.
const COSIGN_TAGS: [&str; 3] = ["sig", "att", "sbom"];

/// Something that belongs to an image and was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Companion {
    /// The image that it belongs to.
    pub subject: Digest,
    /// Its own digest, the same in both repositories.
    pub digest: Digest,
    /// What it is: its artifact type, or cosign's tag.
    pub kind: String,
}

impl Client {
    /// Copies what belongs to an artifact from the repository of `source` to that of `target`, where the artifact is already:
    /// all that refers to it or to one of its images, what refers to that, and what cosign keeps under tags such as
    /// `sha256-….sig`. Digests stay the same, and so signatures stay valid.
    ///
    /// Where the target's registry does not list referrers itself, the list under the fallback tag is completed.
    pub async fn copy_companions(
        &self,
        artifact: &Artifact,
        source: &ImageRef,
        target: &ImageRef,
        options: &PushOptions,
        progress: &Arc<dyn Progress>,
    ) -> Result<Vec<Companion>, Error> {
        let options = PushOptions { tags: Vec::new(), ..options.clone() };
        let mut copied = Vec::new();
        let mut todo = Vec::new();
        documents(artifact, &mut todo);
        todo.reverse();
        let mut seen: HashSet<Digest> = todo.iter().cloned().collect();
        while let Some(subject) = todo.pop() {
            let referrers = self.referrers(&source.pin(subject.clone()), None).await?;
            for referrer in &referrers {
                let from = source.pin(referrer.digest.clone()).image_ref();
                let to = target.pin(referrer.digest.clone()).image_ref();
                let item = self.open(&from, None, Arc::clone(progress)).await?;
                self.push(&to, &item, &options, Arc::clone(progress)).await?;
                if seen.insert(referrer.digest.clone()) {
                    todo.push(referrer.digest.clone());
                }
                copied.push(Companion {
                    subject: subject.clone(),
                    digest: referrer.digest.clone(),
                    kind: referrer.artifact_type.clone().unwrap_or_else(|| referrer.media_type.clone()),
                });
            }
            if !referrers.is_empty() {
                self.complete_list(&target.pin(subject.clone()), &referrers).await?;
            }
            for suffix in COSIGN_TAGS {
                let tag = format!("{}-{}.{suffix}", subject.algorithm(), subject.hex());
                let item = match self.open(&source.with_tag(&tag)?, None, Arc::clone(progress)).await {
                    Err(error) if error.is_not_found() => continue,
                    item => item?,
                };
                let pushed =
                    self.push(&target.with_tag(&tag)?, &item, &options, Arc::clone(progress)).await?;
                copied.push(Companion {
                    subject: subject.clone(),
                    digest: pushed.image.digest().clone(),
                    kind: tag,
                });
            }
        }
        Ok(copied)
    }

    /// Makes sure that the target's registry lists the referrers. One with an API has listed them as they came; for others
    /// they are entered into the list that clients keep, as [`attach`](Self::attach) does.
    async fn complete_list(&self, subject: &PinnedImage, referrers: &[Descriptor]) -> Result<(), Error> {
        let listed = self.referrers(subject, None).await?;
        let registry = self.registry(subject.registry())?;
        let scopes = Scopes::none().repository(subject.repository(), "pull,push");
        let session = self.session(&registry, subject.repository(), scopes, Arc::new(NoProgress));
        for wanted in referrers {
            if !listed.iter().any(|entry| entry.digest == wanted.digest) {
                session.list_by_hand(subject, wanted).await?;
            }
        }
        Ok(())
    }
}

/// The digests of the artifact's own document and of all below it.
fn documents(artifact: &Artifact, found: &mut Vec<Digest>) {
    found.extend(artifact.digest().cloned());
    if let Artifact::Index(index) = artifact {
        index.children.iter().for_each(|child| documents(child, found));
    }
}
