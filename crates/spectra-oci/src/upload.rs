//! Getting one blob into a repository.
//!
//! In order: ask whether it is there, try to link it from another repository, send it in one piece, and send it in chunks only
//! where the registry or the caller says so. Chunks are the exception because some registries refuse them.

use std::sync::PoisonError;

use reqwest::{
    Method, Response, StatusCode,
    header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE},
};
use url::Url;

use crate::{
    BlobOutcome, Error,
    content::Blob,
    session::{Body, Call, Failed, Session, may_pass},
};

/// What chunks begin with when a registry refuses a whole blob: below the limit of common front ends.
const DEFAULT_CHUNK: u64 = 64 * 1024 * 1024;
/// Chunks are never made smaller than this.
const SMALLEST_CHUNK: u64 = 1024 * 1024;
const MIN_LENGTH_HEADER: &str = "oci-chunk-min-length";

/// An open upload.
struct Upload {
    location: Url,
    /// The registry's own minimum for all chunks but the last.
    minimum: u64,
}

impl Session {
    /// Brings a blob into the repository. Repeats what fails in passing; everything is addressed by digest, so a repetition
    /// cannot do harm.
    pub(crate) async fn push_blob(&self, blob: &Blob, mount_from: &[String]) -> Result<BlobOutcome, Error> {
        let digest = &blob.descriptor.digest;
        let attempt = format!("push blob `{digest}` to `{}/{}`", self.registry.host, self.repository);
        self.progress.started(digest, blob.descriptor.size);
        let mut first = true;
        let outcome = self
            .with_retries(&attempt, || {
                if !std::mem::take(&mut first) {
                    self.progress.restarted(digest, 0);
                }
                self.try_blob(&attempt, blob, mount_from)
            })
            .await?;
        self.progress.finished(digest, outcome);
        Ok(outcome)
    }

    async fn try_blob(
        &self,
        attempt: &str,
        blob: &Blob,
        mount_from: &[String],
    ) -> Result<BlobOutcome, Failed> {
        if self.has_blob(attempt, blob).await? {
            return Ok(BlobOutcome::Present);
        }
        let mut open = None;
        for source in mount_from {
            match self.mount(attempt, blob, source).await? {
                Mount::Done => return Ok(BlobOutcome::Mounted),
                Mount::Upload(upload) => {
                    open = Some(upload);
                    break;
                }
                Mount::Refused => {}
            }
        }
        let mut upload = match open {
            Some(upload) => upload,
            None => self.begin(attempt).await?,
        };
        let size = blob.descriptor.size;
        if self.chunk_size().is_none_or(|chunk| size <= chunk) {
            let response = self.put(attempt, &upload.location, blob, 0, size).await?;
            if response.status() != StatusCode::PAYLOAD_TOO_LARGE {
                return self.accepted(attempt, response).await;
            }
            self.shrink_chunks(size / 2);
            self.progress.restarted(&blob.descriptor.digest, 0);
            upload = self.begin(attempt).await?;
        }
        self.send_chunks(attempt, upload, blob).await
    }

    async fn has_blob(&self, attempt: &str, blob: &Blob) -> Result<bool, Failed> {
        let url = self.url(&format!("blobs/{}", blob.descriptor.digest))?;
        let response = self.send(&Call::new(attempt, Method::HEAD, url)).await?;
        match response.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.failed(attempt, response).await),
        }
    }

    async fn mount(&self, attempt: &str, blob: &Blob, source: &str) -> Result<Mount, Failed> {
        let mut url = self.url("blobs/uploads/")?;
        url.query_pairs_mut()
            .append_pair("mount", &blob.descriptor.digest.to_string())
            .append_pair("from", source);
        let response = self.send(&Call::new(attempt, Method::POST, url)).await?;
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
        })
    }

    /// The closing PUT, with `length` bytes of the blob from `start`.
    async fn put(
        &self,
        attempt: &str,
        location: &Url,
        blob: &Blob,
        start: u64,
        length: u64,
    ) -> Result<Response, Error> {
        let digest = &blob.descriptor.digest;
        let mut url = location.clone();
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let body = Body { content: &blob.content, start, length, digest: Some(digest) };
        self.send(&Call { headers, body: Some(body), ..Call::new(attempt, Method::PUT, url) }).await
    }

    async fn accepted(&self, attempt: &str, response: Response) -> Result<BlobOutcome, Failed> {
        if response.status().is_success() {
            Ok(BlobOutcome::Uploaded)
        } else {
            Err(self.failed(attempt, response).await)
        }
    }

    /// Sends a blob in pieces, strictly in order, and goes on where the registry stands after a failure.
    async fn send_chunks(
        &self,
        attempt: &str,
        mut upload: Upload,
        blob: &Blob,
    ) -> Result<BlobOutcome, Failed> {
        let size = blob.descriptor.size;
        let digest = &blob.descriptor.digest;
        let mut offset = 0;
        let mut failures = 0;
        while offset < size {
            let chunk = self.chunk_size().unwrap_or(DEFAULT_CHUNK).max(upload.minimum).max(1);
            let length = chunk.min(size - offset);
            let mut headers = HeaderMap::new();
            let range = format!("{offset}-{}", offset + length - 1);
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            headers.extend(HeaderValue::from_str(&range).ok().map(|value| (CONTENT_RANGE, value)));
            let body = Body { content: &blob.content, start: offset, length, digest: Some(digest) };
            let call = Call {
                headers,
                body: Some(body),
                ..Call::new(attempt, Method::PATCH, upload.location.clone())
            };
            let failed = match self.send(&call).await {
                Ok(response) => match response.status() {
                    StatusCode::ACCEPTED | StatusCode::CREATED | StatusCode::NO_CONTENT => {
                        if response.headers().contains_key(reqwest::header::LOCATION) {
                            upload.location = self.location(attempt, response.url(), response.headers())?;
                        }
                        // What the registry says it has counts, not what we believe to have sent.
                        offset = received(response.headers()).unwrap_or(offset + length).min(offset + length);
                        failures = 0;
                        continue;
                    }
                    StatusCode::PAYLOAD_TOO_LARGE if length > SMALLEST_CHUNK.max(upload.minimum) => {
                        self.shrink_chunks(length / 2);
                        self.failed(attempt, response).await
                    }
                    status if may_pass(status) || status == StatusCode::RANGE_NOT_SATISFIABLE => {
                        failures += 1;
                        self.failed(attempt, response).await
                    }
                    _ => return Err(self.failed(attempt, response).await),
                },
                Err(error) if error.retryable() => {
                    failures += 1;
                    Failed::from(error)
                }
                Err(error) => return Err(error.into()),
            };
            if failures > 0 {
                let Some(wait) = self.client.retry_policy().wait(failures, failed.retry_after) else {
                    return Err(failed);
                };
                self.progress.retrying(attempt, &failed.error.to_string(), wait);
                tokio::time::sleep(wait).await;
            }
            match self.resume(attempt, &mut upload).await {
                Ok(at) if at <= size => offset = at,
                // The registry has forgotten the upload: from the start, with a new one.
                _ => return Err(failed),
            }
            self.progress.restarted(digest, offset);
        }
        let response = self.put(attempt, &upload.location, blob, size, 0).await?;
        self.accepted(attempt, response).await
    }

    /// How much of an upload the registry has.
    async fn resume(&self, attempt: &str, upload: &mut Upload) -> Result<u64, Failed> {
        let response = self.send(&Call::new(attempt, Method::GET, upload.location.clone())).await?;
        if !response.status().is_success() {
            return Err(self.failed(attempt, response).await);
        }
        if response.headers().contains_key(reqwest::header::LOCATION) {
            upload.location = self.location(attempt, response.url(), response.headers())?;
        }
        Ok(received(response.headers()).unwrap_or(0))
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
    Some(if last == 0 { 0 } else { last + 1 })
}
