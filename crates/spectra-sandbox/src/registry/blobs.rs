//! Blobs: uploads in every form that the specification has, downloads with ranges, mounts, deletion.

use std::io::{self, SeekFrom};

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header, request::Parts};
use serde_json::json;
use spectra_types::Digest;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::{
    CONTENT_DIGEST, MIN_LENGTH, Mounts, Registry, UPLOAD_ID, ViolationKind, drain,
    error::{ApiError, Code},
    name::RepositoryName,
    parse_digest, query,
    range::{ChunkRange, Requested, requested},
    reply, text_header, unsupported,
    upload::{AppendError, Upload},
};

/// How much of a blob is read at once when it is sent.
const READ_SIZE: usize = 256 << 10;

impl Registry {
    /// `POST /v2/<name>/blobs/uploads/`: begins an upload, or mounts, or takes everything in one request.
    pub(super) async fn begin_upload(
        &self,
        parts: &Parts,
        name: &RepositoryName,
        body: Body,
    ) -> Result<Response, ApiError> {
        let shared = &self.0;
        let quirks = self.quirks();
        if let Some(digest) = query(parts, "mount") {
            let digest = parse_digest(&digest)?;
            // A mount that cannot be served is no error: the client gets an upload instead.
            if quirks.mounts == Mounts::Serve
                && let Some(from) = query(parts, "from").and_then(|from| from.parse().ok())
                // Reading the other repository needs the right to; without it, answer as if it had nothing.
                && self.check(parts, Some((&from, super::Action::Pull))).is_ok()
                && shared.store.mount_blob(&from, name, &digest).await?
            {
                return Ok(created(name, &digest));
            }
        } else if quirks.post_begins_only {
            drain(body).await;
        } else if let Some(digest) = query(parts, "digest") {
            let digest = parse_digest(&digest)?;
            if shared.store.blob_size(name, &digest).await?.is_some() {
                shared.violations.record(ViolationKind::BlobResent, name, digest.to_string());
            }
            let mut upload = shared.uploads.begin(&shared.store, name).await?;
            return match upload.append(body, shared.max_blob).await {
                Ok(()) => self.finish(name, upload, &digest).await,
                Err(error) => {
                    let error = append_error(error, shared.max_blob);
                    // Nothing told the client where this upload is, so it cannot be resumed.
                    shared.uploads.end(upload).await?;
                    Err(error)
                }
            };
        }
        let upload = shared.uploads.begin(&shared.store, name).await?;
        let mut response = accepted(name, &upload);
        if let Some(minimum) = quirks.min_part.filter(|_| quirks.announce_min_part) {
            response.headers_mut().insert(MIN_LENGTH, HeaderValue::from(minimum));
        }
        Ok(response)
    }

    /// `GET`, `PATCH`, `PUT` and `DELETE` of an upload under way.
    pub(super) async fn upload(
        &self,
        parts: &Parts,
        method: &str,
        name: &RepositoryName,
        id: &str,
        body: Body,
    ) -> Result<Response, ApiError> {
        let shared = &self.0;
        let unknown = || {
            ApiError::new(Code::BlobUploadUnknown, format!("`{name}` has no upload `{id}`; begin a new one"))
        };
        let id: Uuid = id.parse().map_err(|_| unknown())?;
        let quirks = self.quirks();
        let Some(mut upload) = shared.uploads.resume(&shared.store, name, id).await? else {
            if matches!(method, "PATCH" | "PUT") && shared.uploads.has_ended(id) {
                let detail = format!("{method} of `{id}`, which has ended");
                shared.violations.record(ViolationKind::UploadClosed, name, detail);
            }
            return Err(unknown());
        };
        match method {
            "GET" => Ok(reply(
                StatusCode::NO_CONTENT,
                &[
                    (header::LOCATION, location(name, &upload)),
                    (header::RANGE, upload.range()),
                    (UPLOAD_ID, upload.id.to_string()),
                ],
                Body::empty(),
            )),
            "PATCH" => {
                self.append(parts, name, &mut upload, body).await?;
                let mut response = accepted(name, &upload);
                if quirks.patch_created {
                    *response.status_mut() = StatusCode::CREATED;
                }
                Ok(response)
            }
            "PUT" => {
                let digest = query(parts, "digest").ok_or_else(|| {
                    ApiError::new(Code::DigestInvalid, "the closing PUT needs the `digest` of the blob")
                })?;
                let digest = parse_digest(&digest)?;
                let before = upload.offset;
                self.append(parts, name, &mut upload, body).await?;
                if shared.store.blob_since(name, &digest).await?.is_some_and(|since| since < upload.since) {
                    shared.violations.record(ViolationKind::BlobResent, name, digest.to_string());
                }
                let empty_close = before > 0 && upload.offset == before;
                let finished = self.finish(name, upload, &digest).await?;
                if empty_close && quirks.empty_close_fails {
                    return Err(ApiError::new(Code::Unknown, "an unexpected error occurred"));
                }
                Ok(finished)
            }
            "DELETE" => {
                shared.uploads.end(upload).await?;
                Ok(reply(StatusCode::NO_CONTENT, &[], Body::empty()))
            }
            _ => Err(unsupported(&parts.method)),
        }
    }

    /// Appends a body, holding the client to its `Content-Range` if it sent one.
    async fn append(
        &self,
        parts: &Parts,
        name: &RepositoryName,
        upload: &mut Upload,
        body: Body,
    ) -> Result<(), ApiError> {
        let shared = &self.0;
        let wrong = |detail: String| shared.violations.record(ViolationKind::WrongContentRange, name, detail);
        let before = upload.offset;
        if query(parts, STATE) != Some(before.to_string()) {
            let detail = format!("{} of `{}` not by the address of the last answer", parts.method, upload.id);
            shared.violations.record(ViolationKind::StaleLocation, name, detail);
            return Err(out_of_order(name, upload));
        }
        let range = match text_header(parts, &header::CONTENT_RANGE) {
            None => None,
            Some(text) => {
                let Some(range) = ChunkRange::parse(&text) else {
                    wrong(format!("`{text}` is malformed"));
                    return Err(ApiError::new(
                        Code::BlobUploadInvalid,
                        format!("Content-Range `{text}` is malformed; write `<first>-<last>`"),
                    ));
                };
                if range.start != before {
                    wrong(format!("`{text}` although {before} bytes are there"));
                    return Err(out_of_order(name, upload));
                }
                Some(range)
            }
        };
        if let Err(error) = upload.append(body, shared.max_blob).await {
            if matches!(error, AppendError::TooLarge) {
                upload.truncate(before).await?;
            }
            return Err(append_error(error, shared.max_blob));
        }
        let came = upload.offset - before;
        if came > 0 {
            if before > 0 && range.is_none() {
                wrong(format!("{came} bytes after the first {before} came without a range"));
            }
            self.check_part(name, upload, before).await?;
            upload.set_last_part(came);
        }
        if let Some(range) = range.filter(|range| range.length() != came) {
            upload.truncate(before).await?;
            wrong(format!("`{}-{}` with {came} bytes", range.start, range.end));
            return Err(ApiError::new(
                Code::SizeInvalid,
                format!("Content-Range announces {} bytes, {came} came; they were dropped", range.length()),
            ));
        }
        Ok(())
    }

    /// Refuses a part that comes after one below the minimum; its bytes are dropped.
    async fn check_part(
        &self,
        name: &RepositoryName,
        upload: &mut Upload,
        before: u64,
    ) -> Result<(), ApiError> {
        let quirks = self.quirks();
        let Some((minimum, last)) =
            quirks.min_part.zip(upload.last_part()).filter(|(least, last)| last < least)
        else {
            return Ok(());
        };
        upload.truncate(before).await?;
        if quirks.announce_min_part {
            let detail = format!("a part of {last} bytes was not the last; the minimum is {minimum}");
            self.0.violations.record(ViolationKind::PartTooSmall, name, detail);
        }
        Err(ApiError::new(
            Code::SizeInvalid,
            format!("LayerPartTooSmall: parts but the last have at least {minimum} bytes, one had {last}"),
        ))
    }

    /// Verifies and keeps what was uploaded. A wrong digest ends the upload: its bytes are of no use.
    async fn finish(
        &self,
        name: &RepositoryName,
        mut upload: Upload,
        digest: &Digest,
    ) -> Result<Response, ApiError> {
        let shared = &self.0;
        let found = upload.seal(digest.algorithm()).await?;
        if found != *digest {
            let length = upload.offset;
            shared.uploads.end(upload).await?;
            shared.violations.record(
                ViolationKind::DigestMismatch,
                name,
                format!("stated {digest}, found {found} in {length} bytes"),
            );
            return Err(ApiError::new(
                Code::DigestInvalid,
                format!("the {length} bytes that came have the digest `{found}`, not `{digest}`; the upload is gone"),
            )
            .detail(json!({ "expected": digest.to_string(), "found": found.to_string() })));
        }
        shared.store.commit_blob(name, digest, &upload.data()).await?;
        shared.uploads.end(upload).await?;
        Ok(created(name, digest))
    }

    /// `GET` and `HEAD` of a blob.
    pub(super) async fn blob(
        &self,
        parts: &Parts,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Response, ApiError> {
        let Some(size) = self.0.store.blob_size(name, digest).await? else {
            return Err(blob_unknown(name, digest));
        };
        let mut headers = vec![
            (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
            (header::ACCEPT_RANGES, "bytes".to_owned()),
            (header::ETAG, format!("\"{digest}\"")),
            (CONTENT_DIGEST, digest.to_string()),
        ];
        let asked = text_header(parts, &header::RANGE).filter(|_| !self.quirks().ignore_range);
        let (status, start, length) = match requested(asked.as_deref(), size) {
            Requested::Whole => (StatusCode::OK, 0, size),
            Requested::Part { start, end } => {
                headers.push((header::CONTENT_RANGE, format!("bytes {start}-{end}/{size}")));
                (StatusCode::PARTIAL_CONTENT, start, end - start + 1)
            }
            Requested::Unsatisfiable => {
                let error = ApiError::new(Code::SizeInvalid, format!("the blob has {size} bytes"))
                    .status(StatusCode::RANGE_NOT_SATISFIABLE);
                return Err(match HeaderValue::from_str(&format!("bytes */{size}")) {
                    Ok(value) => error.header(header::CONTENT_RANGE, value),
                    Err(_) => error,
                });
            }
        };
        headers.push((header::CONTENT_LENGTH, length.to_string()));
        // Opened before the head is sent: a deletion from now on does not hurt this answer.
        let mut file = match tokio::fs::File::open(self.0.store.content_path(digest)).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(blob_unknown(name, digest)),
            opened => opened?,
        };
        file.seek(SeekFrom::Start(start)).await?;
        let body = Body::from_stream(ReaderStream::with_capacity(file.take(length), READ_SIZE));
        Ok(reply(status, &headers, body))
    }

    /// `DELETE` of a blob.
    pub(super) async fn delete_blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Response, ApiError> {
        if self.0.store.delete_blob(name, digest).await? {
            Ok(reply(StatusCode::ACCEPTED, &[], Body::empty()))
        } else {
            Err(blob_unknown(name, digest))
        }
    }
}

fn blob_unknown(name: &RepositoryName, digest: &Digest) -> ApiError {
    ApiError::new(Code::BlobUnknown, format!("`{name}` has no blob `{digest}`"))
        .detail(json!({ "digest": digest.to_string() }))
}

/// The parameter of an upload's address that changes with what the upload has.
const STATE: &str = "_state";

/// The address for the next request: another one after every part, as registries make them that keep the state of an upload in it.
fn location(name: &RepositoryName, upload: &Upload) -> String {
    format!("/v2/{name}/blobs/uploads/{}?{STATE}={}", upload.id, upload.offset)
}

fn accepted(name: &RepositoryName, upload: &Upload) -> Response {
    reply(
        StatusCode::ACCEPTED,
        &[
            (header::LOCATION, location(name, upload)),
            (header::RANGE, upload.range()),
            (UPLOAD_ID, upload.id.to_string()),
        ],
        Body::empty(),
    )
}

fn created(name: &RepositoryName, digest: &Digest) -> Response {
    reply(
        StatusCode::CREATED,
        &[(header::LOCATION, format!("/v2/{name}/blobs/{digest}")), (CONTENT_DIGEST, digest.to_string())],
        Body::empty(),
    )
}

/// 416 with everything a client needs to go on: where, and from which byte.
fn out_of_order(name: &RepositoryName, upload: &Upload) -> ApiError {
    let mut error = ApiError::new(
        Code::BlobUploadInvalid,
        format!("chunks come in order: {} bytes are there, go on from there", upload.offset),
    )
    .status(StatusCode::RANGE_NOT_SATISFIABLE);
    for (header, value) in [
        (header::LOCATION, location(name, upload)),
        (header::RANGE, upload.range()),
        (UPLOAD_ID, upload.id.to_string()),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            error = error.header(header, value);
        }
    }
    error
}

fn append_error(error: AppendError, limit: u64) -> ApiError {
    match error {
        AppendError::Store(error) => error.into(),
        AppendError::TooLarge => {
            ApiError::new(Code::SizeInvalid, format!("a blob has at most {limit} bytes here"))
                .status(StatusCode::PAYLOAD_TOO_LARGE)
        }
        AppendError::Body(reason) => {
            ApiError::new(Code::BlobUploadInvalid, format!("the body broke off: {reason}"))
        }
    }
}
