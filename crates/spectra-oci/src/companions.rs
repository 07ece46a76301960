//! Copying what belongs to an image: signatures and attestations, as referrers or under cosign's tags.

use std::{collections::HashSet, sync::Arc};

use spectra_types::{Digest, ImageRef, PinnedImage};

use crate::{
    Artifact, Client, Descriptor, Error, ImageIndex, Index, Progress, PushOptions, builder::to_json,
    content::Blob, media_type,
};

/// The suffixes of the tags by which cosign finds things where it does not use referrers.
const COSIGN_TAGS: [&str; 3] = ["sig", "att", "sbom"];
/// How often the list of referrers is written when others write it too.
const LIST_ATTEMPTS: usize = 5;

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
                self.complete_list(&target.pin(subject.clone()), &referrers, &options, progress).await?;
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
    /// the list is a manifest that clients write, and read again in case somebody else wrote at the same time.
    async fn complete_list(
        &self,
        subject: &PinnedImage,
        referrers: &[Descriptor],
        options: &PushOptions,
        progress: &Arc<dyn Progress>,
    ) -> Result<(), Error> {
        for _ in 0..LIST_ATTEMPTS {
            let mut listed = self.referrers(subject, None).await?;
            let missing: Vec<&Descriptor> = referrers
                .iter()
                .filter(|wanted| !listed.iter().any(|entry| entry.digest == wanted.digest))
                .collect();
            if missing.is_empty() {
                return Ok(());
            }
            listed.extend(missing.into_iter().cloned());
            let document = Blob::memory(media_type::INDEX, to_json(&ImageIndex::new(listed))?);
            let digest = subject.digest();
            let tag = subject.image_ref().with_tag(&format!("{}-{}", digest.algorithm(), digest.hex()))?;
            // Its entries are there already; only the list is written.
            let list = Artifact::Index(Index { document, children: Vec::new() });
            self.push(&tag, &list, options, Arc::clone(progress)).await?;
        }
        Err(Error::Protocol {
            attempt: format!("list what refers to `{subject}`"),
            host: subject.registry().to_owned(),
            reason: format!("what was written to the list was gone again {LIST_ATTEMPTS} times"),
        })
    }
}

/// The digests of the artifact's own document and of all below it.
fn documents(artifact: &Artifact, found: &mut Vec<Digest>) {
    found.extend(artifact.digest().cloned());
    if let Artifact::Index(index) = artifact {
        index.children.iter().for_each(|child| documents(child, found));
    }
}
