//! Copying what belongs to an image: signatures and attestations, as referrers or under cosign's tags.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use spectra_types::{Digest, ImageRef, PinnedImage};

use crate::{
    Artifact, Client, Descriptor, Error, NoProgress, Overwrite, Progress, PushOptions,
    auth::Scopes,
    builder::to_json,
    content::{Blob, Content},
    media_type,
    source::{LayerSource, check_target},
};

/// The longest tag that registries know.
const LONGEST_TAG: usize = 128;

/// The suffixes of the tags by which cosign finds things where it does not use referrers.
const COSIGN_TAGS: [&str; 3] = ["sig", "att", "sbom"];

/// How far from an image what refers to it may be: a signature of its bill of material is two away.
const MAX_DEPTH: usize = 4;
/// How much may refer to an image and its parts, all in all.
const MAX_COMPANIONS: usize = 1000;

/// What [`Client::copy_companions`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Companions {
    /// What was copied.
    pub copied: Vec<Companion>,
    /// What the source's registry lists about an image and what says itself that it is about another, or about none. It was left there.
    pub strangers: Vec<Companion>,
}

/// Something that belongs to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Companion {
    /// The image that it belongs to.
    pub subject: Digest,
    /// Its own digest, the same in both repositories; of a cosign tag that had others' signatures, that of all of them together.
    pub digest: Digest,
    /// What it is: its artifact type, or cosign's tag.
    pub kind: String,
}

impl Client {
    /// Copies what belongs to an artifact from the repository of `source` to that of `target`, where the artifact is already:
    /// all that refers to it or to one of its images, what refers to that, and what cosign keeps under tags such as
    /// `sha256-….sig`. Digests stay the same, and so signatures stay valid. The source's registry says what refers to what, and may say
    /// anything: what is not about the image by its own words is left out, and a list without end is an error.
    ///
    /// Where the target's registry does not list referrers itself, the list under the fallback tag is completed. What the target has
    /// under cosign's tags of signatures and attestations stays there, and the source's are added to it; a bill of material that is another
    /// one is an error, unless it may be overwritten.
    pub async fn copy_companions(
        &self,
        artifact: &Artifact,
        source: &ImageRef,
        target: &ImageRef,
        options: &PushOptions,
        overwrite: Overwrite,
        progress: &Arc<dyn Progress>,
    ) -> Result<Companions, Error> {
        let options = PushOptions { tags: Vec::new(), ..options.clone() };
        let (mut copied, mut strangers) = (Vec::new(), Vec::new());
        let mut parts = Vec::new();
        documents(artifact, &mut parts);
        let mut seen: HashSet<Digest> = parts.iter().cloned().collect();
        let mut todo: VecDeque<(Digest, usize)> = parts.into_iter().map(|digest| (digest, 0)).collect();
        let mut listed = 0;
        while let Some((subject, depth)) = todo.pop_front() {
            let mut referrers = self.referrers(&source.pin(subject.clone()), None).await?;
            listed += referrers.len();
            check_chain(source, listed, if referrers.is_empty() { depth } else { depth + 1 })?;
            let mut met = HashSet::new();
            referrers.retain(|referrer| met.insert(referrer.digest.clone()));
            let mut about_another = HashSet::new();
            for referrer in &referrers {
                let companion = Companion {
                    subject: subject.clone(),
                    digest: referrer.digest.clone(),
                    kind: referrer.artifact_type.clone().unwrap_or_else(|| referrer.media_type.clone()),
                };
                let from = source.pin(referrer.digest.clone()).image_ref();
                let to = target.pin(referrer.digest.clone()).image_ref();
                let item = self.open(&from, None, Arc::clone(progress)).await?;
                if subject_of(&item).as_ref() != Some(&subject) {
                    about_another.insert(referrer.digest.clone());
                    strangers.push(companion);
                    continue;
                }
                self.push(&to, &item, &options, Arc::clone(progress)).await?;
                if seen.insert(referrer.digest.clone()) {
                    todo.push_back((referrer.digest.clone(), depth + 1));
                }
                copied.push(companion);
            }
            referrers.retain(|referrer| !about_another.contains(&referrer.digest));
            if !referrers.is_empty() {
                self.complete_list(&target.pin(subject.clone()), &referrers).await?;
            }
            for suffix in COSIGN_TAGS {
                let Some(tag) = cosign_tag(&subject, suffix) else { continue };
                let open = async |image: &ImageRef| match self.open(image, None, Arc::clone(progress)).await {
                    Err(error) if error.is_not_found() => Ok(None),
                    artifact => artifact.map(Some),
                };
                let Some(item) = open(&source.with_tag(&tag)?).await? else { continue };
                let place = target.with_tag(&tag)?;
                let there = open(&place).await?;
                let item = match &there {
                    None => item,
                    Some(there) if there.digest() == item.digest() => item,
                    Some(there) => {
                        // A bill of material is one document, and nobody can say which of two is right.
                        let both = if suffix == "sbom" { None } else { merge(there, &item)? };
                        match (both, overwrite) {
                            (Some(both), _) => both,
                            (None, Overwrite::Replace) => item,
                            (None, Overwrite::Refuse) => {
                                return Err(Error::Exists { path: place.to_string().into() });
                            }
                        }
                    }
                };
                if let Some(digest) =
                    item.digest().filter(|digest| there.as_ref().and_then(Artifact::digest) == Some(digest))
                {
                    copied.push(Companion { subject: subject.clone(), digest: digest.clone(), kind: tag });
                    continue;
                }
                let pushed = self.push(&place, &item, &options, Arc::clone(progress)).await?;
                copied.push(Companion {
                    subject: subject.clone(),
                    digest: pushed.image.digest().clone(),
                    kind: tag,
                });
            }
        }
        Ok(Companions { copied, strangers })
    }

    /// Names an artifact whose content the registry has already: puts its document under the tag of `target`, `latest` if it has neither
    /// tag nor digest. A target that names another digest is refused.
    pub async fn tag(
        &self,
        target: &ImageRef,
        artifact: &Artifact,
        progress: Arc<dyn Progress>,
    ) -> Result<(), Error> {
        let tag = match (target.tag(), target.digest()) {
            (Some(tag), _) => tag,
            (None, None) => "latest",
            (None, Some(_)) => return artifact.check_target(target),
        };
        let Some(document) = artifact.document() else {
            return Err(Error::Build { reason: "an image has no manifest".to_owned() });
        };
        check_target(target, &document.descriptor.digest)?;
        let registry = self.registry(target.registry())?;
        let scopes = Scopes::none().repository(target.repository(), "pull,push");
        let session = self.session(&registry, target.repository(), scopes, progress);
        session.put_manifest(document, tag, HeaderMap::new()).await.map(drop)
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

/// Refuses more than anybody attaches to an image: `listed` things, the last of them `depth` away from it.
fn check_chain(source: &ImageRef, listed: usize, depth: usize) -> Result<(), Error> {
    let (what, limit) = match () {
        () if depth > MAX_DEPTH => ("the number of referrers to referrers, one behind the other,", MAX_DEPTH),
        () if listed > MAX_COMPANIONS => {
            ("the number of its referrers, and of referrers to these,", MAX_COMPANIONS)
        }
        () => return Ok(()),
    };
    Err(Error::Limit {
        path: source.to_string().into(),
        what: what.to_owned(),
        limit: limit.to_string(),
        flag: None,
    })
}

/// What an artifact says that it is about.
fn subject_of(artifact: &Artifact) -> Option<Digest> {
    document(artifact.document())?["subject"]["digest"].as_str()?.parse().ok()
}

/// The tag under which cosign keeps what belongs to an image; nothing for digests that are too long for a tag.
fn cosign_tag(subject: &Digest, suffix: &str) -> Option<String> {
    Some(format!("{}-{}.{suffix}", subject.algorithm(), subject.hex())).filter(|tag| tag.len() <= LONGEST_TAG)
}

/// What is there with what of the other is not: every layer is one signature or attestation, signed on its own. Nothing if one of the two
/// is not of that kind.
fn merge(there: &Artifact, more: &Artifact) -> Result<Option<Artifact>, Error> {
    let (Artifact::Image(there), Artifact::Image(more)) = (there, more) else { return Ok(None) };
    let (Some(mut manifest), Some(other)) =
        (document(there.manifest.as_ref()), document(more.manifest.as_ref()))
    else {
        return Ok(None);
    };
    let (Some(present), Some(wanted)) = (manifest["layers"].as_array(), other["layers"].as_array()) else {
        return Ok(None);
    };
    // The payload may be the same; what makes a signature is in the annotations.
    let same =
        |one: &Value, two: &Value| one["digest"] == two["digest"] && one["annotations"] == two["annotations"];
    let mut layers = present.clone();
    layers.extend(wanted.iter().filter(|layer| !present.iter().any(|one| same(one, layer))).cloned());
    let added = layers[present.len()..].to_vec();
    if added.is_empty() {
        return Ok(Some(Artifact::Image(there.clone())));
    }
    let mut image = there.clone();
    for layer in &added {
        let found = more.layers.iter().find(|source| match source {
            LayerSource::Ready(blob) => layer["digest"].as_str() == Some(&blob.descriptor.digest.to_string()),
            LayerSource::Raw { .. } | LayerSource::Elsewhere(_) => false,
        });
        let Some(found) = found else { return Ok(None) };
        image.layers.push(found.clone());
    }
    // The configuration lists the layers, which are not compressed, once more.
    if let Some(mut config) = document(Some(&there.config))
        && let Some(list) = config["rootfs"]["diff_ids"].as_array_mut()
    {
        list.extend(added.iter().map(|layer| layer["digest"].clone()));
        if let Some(history) = config["history"].as_array_mut() {
            history.extend(added.iter().map(|_| json!({ "created": "0001-01-01T00:00:00Z" })));
        }
        image.config = Blob::memory(&there.config.descriptor.media_type, to_json(&config)?);
        manifest["config"]["digest"] = json!(image.config.descriptor.digest);
        manifest["config"]["size"] = json!(image.config.descriptor.size);
    }
    manifest["layers"] = Value::Array(layers);
    let media_type = there.manifest.as_ref().map_or(media_type::MANIFEST, |blob| &blob.descriptor.media_type);
    image.manifest = Some(Blob::memory(media_type, to_json(&manifest)?));
    Ok(Some(Artifact::Image(image)))
}

/// A document that is in memory, with all that it says.
fn document(blob: Option<&Blob>) -> Option<Value> {
    match &blob?.content {
        Content::Memory(bytes) => serde_json::from_slice(bytes).ok(),
        _ => None,
    }
}

/// The digests of the artifact's own document and of all below it.
fn documents(artifact: &Artifact, found: &mut Vec<Digest>) {
    found.extend(artifact.digest().cloned());
    if let Artifact::Index(index) = artifact {
        index.children.iter().for_each(|child| documents(child, found));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_that_is_too_long_for_a_tag_has_no_cosign_tags() {
        let of = |algorithm: &str, length: usize| -> Digest {
            format!("{algorithm}:{}", "a".repeat(length)).parse().unwrap()
        };
        let tag = format!("sha256-{}.sbom", "a".repeat(64));
        assert_eq!(cosign_tag(&of("sha256", 64), "sbom"), Some(tag));
        assert_eq!(cosign_tag(&of("sha512", 128), "sig"), None);
    }
}
