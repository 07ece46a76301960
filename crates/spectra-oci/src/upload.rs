//! Getting one blob into a repository.
//!
//! In order: ask whether it is there, try to link it from another repository, send it in one piece, and send it in chunks only
//! where the registry or the caller says so. Chunks are the exception because some registries refuse them.
//!
//! When a connection breaks, the registry is asked how much has arrived, and the rest follows in one piece. Registries that keep nothing
//! of a broken request say so, or know the upload no more (Debian's docker-registry 2.8 does: its locations carry the offset
//! that they were made for); the blob is then sent from the start. A note in the cache lets a later process go on likewise.

use std::sync::PoisonError;

use reqwest::{
    Method, Response, StatusCode,
    header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE},
};
use spectra_types::Digest;
use url::Url;

use crate::{
    BlobOutcome, Error,
    auth::is_safe_target,
    cache::UploadNote,
    content::Blob,
    session::{Body, Call, Failed, Session, may_pass},
};

/// What chunks begin with when a registry refuses a whole blob: below the limit of common front ends.
const DEFAULT_CHUNK: u64 = 64 * 1024 * 1024;
/// Chunks are never made smaller than this.
const SMALLEST_CHUNK: u64 = 1024 * 1024;
const MIN_LENGTH_HEADER: &str = "oci-chunk-min-length";

/// Up to here, asking whether a blob is there costs about as much as sending it.
const SMALL: u64 = 256 * 1024;
/// From here on, it is worth a note where an upload goes on.
const LARGE: u64 = 1024 * 1024;

/// How often a registry may say that it stands elsewhere than we think.
const MAX_CORRECTIONS: u32 = 3;

/// An open upload.
struct Upload {
    location: Url,
    /// The registry's own minimum for all chunks but the last.
    minimum: u64,
    /// How much of the blob the registry has.
    offset: u64,
    /// Whether the offset is what the registry says after a break. What it has may then be of no use.
    resumed: bool,
    /// Where the registry last refused to go on after a break. Unless it has more by now, the upload is broken.
    refused_at: Option<u64>,
    /// Whether it is sent in chunks.
    chunked: bool,
}

/// How far a blob is, over all attempts to bring it there.
#[derive(Default)]
struct Way {
    upload: Option<Upload>,
    /// Tells a later process where the upload goes on.
    note: Option<UploadNote>,
    /// Whether there is an attempt to repeat.
    failed: bool,
}

impl Way {
    fn offset(&self) -> u64 {
        self.upload.as_ref().map_or(0, |upload| upload.offset)
    }

    /// Whether the registry refused to go on with the upload where it said that it stands.
    fn is_broken(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| upload.refused_at.is_some())
    }

    fn note(&mut self) {
        if let (Some(note), Some(upload)) = (&mut self.note, &self.upload) {
            note.write(&upload.location);
        }
    }
}

impl Session {
    /// Brings a blob into the repository. Repeats what fails in passing, and goes on where the registry stands; everything is
    /// addressed by digest, so a repetition cannot do harm.
    /// `attempt` names the image and the blob.
    pub(crate) async fn push_blob(
        &self,
        attempt: &str,
        blob: &Blob,
        mount_from: &[&str],
    ) -> Result<BlobOutcome, Error> {
        let digest = &blob.descriptor.digest;
        self.progress.started(digest, blob.descriptor.size);
        let mut way = Way::default();
        let (mut number, mut furthest) = (1, 0);
        let outcome = loop {
            let failed = match self.try_blob(attempt, blob, mount_from, &mut way).await {
                Ok(outcome) => break outcome,
                Err(failed) => failed,
            };
            // A line that breaks again and again still brings the blob there, piece by piece.
            if way.offset() > furthest {
                (number, furthest) = (1, way.offset());
            }
            let end = self.wait_or_give_up(attempt, number, failed).await;
            if end.is_err()
                && way.is_broken()
                && let Some(note) = way.note.take()
            {
                // Whoever comes after us must not take it up.
                note.remove();
            }
            end?;
            way.failed = true;
            number += 1;
        };
        if let Some(note) = way.note {
            note.remove();
        }
        self.progress.finished(digest, outcome);
        Ok(outcome)
    }

    async fn try_blob(
        &self,
        attempt: &str,
        blob: &Blob,
        mount_from: &[&str],
        way: &mut Way,
    ) -> Result<BlobOutcome, Failed> {
        let (digest, size) = (&blob.descriptor.digest, blob.descriptor.size);
        let surely_new = self.new_repository && size <= SMALL && !way.failed;
        if !surely_new && self.has_blob(attempt, digest).await? {
            return Ok(BlobOutcome::Present);
        }
        if let Some(upload) = &way.upload {
            way.upload = self.resume(attempt, upload, size).await?;
        }
        if way.upload.is_none() {
            match self.open(attempt, blob, mount_from, way).await? {
                Some(upload) => way.upload = Some(upload),
                None => return Ok(BlobOutcome::Mounted),
            }
            way.note();
        }
        if way.failed || way.offset() > 0 {
            self.progress.restarted(digest, way.offset());
        }
        self.send_blob(attempt, blob, way).await
    }

    /// An upload for the blob: one that an earlier process left, or a new one. Nothing if the registry linked the blob.
    async fn open(
        &self,
        attempt: &str,
        blob: &Blob,
        mount_from: &[&str],
        way: &mut Way,
    ) -> Result<Option<Upload>, Failed> {
        let mut open = None;
        for source in mount_from {
            match self.mount(attempt, blob, source).await? {
                Mount::Done => return Ok(None),
                // It is not in there, or the registry links nothing; the next one may have it.
                Mount::Upload(upload) => open = Some(upload),
                Mount::Refused => {}
            }
        }
        let (digest, size) = (&blob.descriptor.digest, blob.descriptor.size);
        if way.note.is_none()
            && size >= LARGE
            && let Some(cache) = &self.cache
        {
            way.note = cache.upload(&self.registry.host, &self.repository, digest);
            let left = way.note.as_ref().and_then(UploadNote::location);
            // The file may have come from anywhere: its location has to be one that the registry could have named.
            if let Some(location) = left.filter(|url| is_safe_target(&self.registry.base, url).is_ok()) {
                let upload = Upload {
                    location,
                    minimum: 0,
                    offset: 0,
                    resumed: false,
                    refused_at: None,
                    chunked: false,
                };
                if let Ok(Some(upload)) = self.resume(attempt, &upload, size).await
                    && upload.offset > 0
                {
                    return Ok(Some(upload));
                }
            }
        }
        match open {
            Some(upload) => Ok(Some(upload)),
            None => self.begin(attempt).await.map(Some),
        }
    }

    /// Whether the repository has a blob.
    pub(crate) async fn has_blob(&self, attempt: &str, digest: &Digest) -> Result<bool, Failed> {
        let url = self.url(&format!("blobs/{digest}"))?;
        let response = self.send(&Call::new(attempt, Method::HEAD, url)).await?;
        match response.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.failed(attempt, response).await),
        }
    }

    async fn mount(&self, attempt: &str, blob: &Blob, source: &str) -> Result<Mount, Failed> {
        let unreadable = || self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        if unreadable().contains(source) {
            return Ok(Mount::Refused);
        }
        let mut url = self.url("blobs/uploads/")?;
        url.query_pairs_mut()
            .append_pair("mount", &blob.descriptor.digest.to_string())
            .append_pair("from", source);
        let response = match self.send(&Call::new(attempt, Method::POST, url)).await {
            // No token is given for that repository.
            Err(failed) if failed.error.is_not_authorised() => None,
            result => Some(result?),
        };
        let refused = |response: &Response| matches!(response.status().as_u16(), 401 | 403);
        let Some(response) = response.filter(|response| !refused(response)) else {
            // What else is missing shows when the upload is begun without it.
            unreadable().insert(source.to_owned());
            return Ok(Mount::Refused);
        };
        match response.status() {
            StatusCode::CREATED => Ok(Mount::Done),
            StatusCode::ACCEPTED => Ok(Mount::Upload(self.opened(attempt, &response)?)),
            status if may_pass(status) => Err(self.failed(attempt, response).await),
            // Some registries answer a mount they cannot serve with an error instead of an upload.
            _ => Ok(Mount::Refused),
        }
    }

    async fn begin(&self, attempt: &str) -> Result<Upload, Failed> {
        let response = self.send(&Call::new(attempt, Method::POST, self.url("blobs/uploads/")?)).await?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(self.failed(attempt, response).await);
        }
        Ok(self.opened(attempt, &response)?)
    }

    fn opened(&self, attempt: &str, response: &Response) -> Result<Upload, Error> {
        let headers = response.headers();
        let minimum = headers.get(MIN_LENGTH_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Upload {
            location: self.location(attempt, response.url(), headers)?,
            minimum: minimum.unwrap_or(0),
            offset: 0,
            resumed: false,
            refused_at: None,
            chunked: false,
        })
    }

    /// Sends what the registry does not have yet: in one piece, or in chunks where the registry or the caller says so. When it
    /// fails, `way` says where to go on.
    async fn send_blob(&self, attempt: &str, blob: &Blob, way: &mut Way) -> Result<BlobOutcome, Failed> {
        let size = blob.descriptor.size;
        let mut corrections = MAX_CORRECTIONS;
        loop {
            let Some(upload) = &mut way.upload else {
                return Err(self.protocol(attempt, "no upload").into());
            };
            let rest = size - upload.offset;
            // A first chunk of one byte could not be acknowledged: `Range: 0-0` stands for nothing.
            let chunk = self.chunk_size().map(|chunk| chunk.max(upload.minimum).max(2));
            upload.chunked |= chunk.is_some_and(|chunk| rest > chunk);
            let closing = !upload.chunked || rest == 0;
            let length = if closing { rest } else { chunk.unwrap_or(DEFAULT_CHUNK).min(rest) };
            let response = self.send_piece(attempt, blob, upload, length, closing).await?;
            let status = response.status();
            if status.is_success() {
                if closing {
                    return Ok(BlobOutcome::Uploaded);
                }
                if response.headers().contains_key(reqwest::header::LOCATION) {
                    upload.location = self.location(attempt, response.url(), response.headers())?;
                }
                // What the registry says it has counts, not what we believe to have sent.
                let sent = upload.offset + length;
                let kept = received(response.headers()).unwrap_or(sent).min(sent);
                let advanced = kept > upload.offset;
                upload.offset = kept;
                way.note();
                if !advanced {
                    // It would go on for ever.
                    if corrections == 0 {
                        let reason = "the registry keeps nothing of what it accepts";
                        return Err(self.protocol(attempt, reason).into());
                    }
                    corrections -= 1;
                    self.progress.restarted(&blob.descriptor.digest, kept);
                }
                continue;
            }
            let smaller =
                status == StatusCode::PAYLOAD_TOO_LARGE && length > SMALLEST_CHUNK.max(upload.minimum);
            if smaller {
                self.shrink_chunks(length / 2);
                way.upload = None;
            } else if status == StatusCode::RANGE_NOT_SATISFIABLE && corrections > 0 {
                // The registry stands elsewhere than we think. It is asked, and what it says counts.
                corrections -= 1;
                way.upload = self.resume(attempt, upload, size).await?;
            } else if upload.resumed && !may_pass(status) {
                way.upload = None;
            } else {
                // An answer that may pass can nevertheless be the answer to this upload for ever.
                upload.refused_at = upload.resumed.then_some(upload.offset);
                return Err(self.failed(attempt, response).await);
            }
            if way.upload.is_none() {
                // Too large a body ends some uploads, and what was resumed was of no use: from the start, with a new one.
                way.upload = Some(self.begin(attempt).await?);
                way.note();
            }
            self.progress.restarted(&blob.descriptor.digest, way.offset());
        }
    }

    /// One request with `length` bytes from where the upload stands; the last one closes the upload.
    async fn send_piece(
        &self,
        attempt: &str,
        blob: &Blob,
        upload: &Upload,
        length: u64,
        closing: bool,
    ) -> Result<Response, Failed> {
        let digest = &blob.descriptor.digest;
        let mut url = upload.location.clone();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        if closing {
            url.query_pairs_mut().append_pair("digest", &digest.to_string());
        }
        // A whole blob in one piece has no range.
        if length > 0 && (!closing || upload.offset > 0) {
            let range = format!("{}-{}", upload.offset, upload.offset + length - 1);
            headers.extend(HeaderValue::from_str(&range).ok().map(|value| (CONTENT_RANGE, value)));
        }
        let body = Body { content: &blob.content, start: upload.offset, length, digest: Some(digest) };
        let method = if closing { Method::PUT } else { Method::PATCH };
        self.send(&Call { headers, body: Some(body), ..Call::new(attempt, method, url) }).await
    }

    /// How much of an upload the registry has. Nothing if it knows the upload no more, or the upload is of no use.
    async fn resume(&self, attempt: &str, upload: &Upload, size: u64) -> Result<Option<Upload>, Failed> {
        let response = self.send(&Call::new(attempt, Method::GET, upload.location.clone())).await?;
        let status = response.status();
        if may_pass(status) {
            return Err(self.failed(attempt, response).await);
        }
        if !status.is_success() {
            return Ok(None);
        }
        let location = if response.headers().contains_key(reqwest::header::LOCATION) {
            self.location(attempt, response.url(), response.headers())?
        } else {
            upload.location.clone()
        };
        // One that does not say where it stands stands nowhere.
        let useful = |offset: &u64| *offset <= size && upload.refused_at.is_none_or(|at| *offset > at);
        let offset = received(response.headers()).filter(useful);
        Ok(offset.map(|offset| Upload { location, offset, resumed: true, refused_at: None, ..*upload }))
    }

    fn chunk_size(&self) -> Option<u64> {
        *self.registry.chunk_size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers for this registry that bodies have to be smaller.
    fn shrink_chunks(&self, to: u64) {
        let mut chunk = self.registry.chunk_size.lock().unwrap_or_else(PoisonError::into_inner);
        *chunk = Some(chunk.unwrap_or(DEFAULT_CHUNK).min(to).max(SMALLEST_CHUNK));
    }
}

enum Mount {
    Done,
    Upload(Upload),
    Refused,
}

/// The number of bytes that a `Range: 0-99` header speaks of. `0-0` is how registries write "nothing".
fn received(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RANGE)?.to_str().ok()?;
    let text = text.strip_prefix("bytes=").unwrap_or(text);
    let last: u64 = text.split_once('-')?.1.trim().parse().ok()?;
    if last == 0 { Some(0) } else { last.checked_add(1) }
}
