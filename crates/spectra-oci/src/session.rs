//! The calls on one repository: sending with retries, redirects and stall detection, and reading documents whose digest
//! is checked.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use reqwest::{
    Method, RequestBuilder, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION},
};
use serde::Deserialize;
use spectra_types::{Digest, ImageRef, SafeUrl};
use url::Url;

use crate::{
    Cache, Client, Descriptor, Error, Progress,
    auth::{Challenge, Scopes, is_safe_target, parse_challenges},
    authorize::Shown,
    client::Registry,
    content::{Content, digest_like, sha256},
    document, media_type,
    model::null_as_default,
    pulse::{Pulse, Stalled, pulse},
    remote::Trouble,
    retry::{is_retryable, retry_after},
    source::MAX_DOCUMENT,
    text::one_line,
};

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 5;
/// How many times as long as on anything else may nothing happen while a registry makes a blob of what it got.
const COMMIT_PATIENCE: u32 = 6;
/// How many times as long as nothing may happen may all of a document take: it is small, and each byte of it is something that happens.
const DOCUMENT_PATIENCE: u32 = 3;
/// How much of an error's body is read.
const MAX_ERROR_BODY: u64 = 64 * 1024;
pub(crate) const ACCEPT_MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DIGEST_HEADER: &str = "docker-content-digest";

/// One request that can be made again.
pub(crate) struct Call<'a> {
    /// What is attempted on which object; begins an error's text.
    pub(crate) attempt: &'a str,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Body<'a>>,
}

pub(crate) struct Body<'a> {
    pub(crate) content: &'a Content,
    pub(crate) start: u64,
    pub(crate) length: u64,
    /// The blob to report progress for.
    pub(crate) digest: Option<&'a Digest>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(attempt: &'a str, method: Method, url: Url) -> Self {
        Self { attempt, method, url, headers: HeaderMap::new(), body: None }
    }
}

/// An error, and how long the registry asked to wait.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: Error,
    pub(crate) retry_after: Option<Duration>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, retry_after: None }
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

/// The calls on one repository, with the rights they need.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) registry: Arc<Registry>,
    pub(crate) repository: String,
    pub(crate) scopes: Scopes,
    pub(crate) progress: Arc<dyn Progress>,
    /// Where uploads are noted, so that a later process can go on with them.
    pub(crate) cache: Option<Cache>,
    /// Whether the registry has said that it does not know the repository.
    pub(crate) new_repository: bool,
    /// Repositories that nothing can be linked from, because we may not read them.
    pub(crate) unreadable: Arc<Mutex<BTreeSet<String>>>,
}

#[derive(Debug, thiserror::Error)]
#[error("the answer was not there after {} s", .0.as_secs())]
struct Dripped(Duration);

impl Session {
    /// A URL below the repository.
    pub(crate) fn url(&self, rest: &str) -> Result<Url, Error> {
        let path = format!("v2/{}/{rest}", self.repository);
        self.registry.base.join(&path).map_err(|error| self.protocol("build a URL", error.to_string()))
    }

    pub(crate) fn protocol(&self, attempt: &str, reason: impl Into<String>) -> Error {
        Error::Protocol {
            attempt: attempt.to_owned(),
            host: self.registry.host.clone(),
            reason: reason.into(),
        }
    }

    /// Where a `Location` header leads, if we may go there.
    pub(crate) fn location(&self, attempt: &str, from: &Url, headers: &HeaderMap) -> Result<Url, Error> {
        let text = headers
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| self.protocol(attempt, "there is no Location header"))?;
        let url =
            from.join(text).map_err(|error| self.protocol(attempt, format!("bad Location: {error}")))?;
        is_safe_target(&self.registry.base, &url).map_err(|reason| {
            self.protocol(attempt, format!("Location `{}`: {reason}", SafeUrl::from(url.clone())))
        })?;
        Ok(url)
    }

    /// Gets a manifest or index. The bytes have been checked against the digest asked for, or else against the one that the
    /// registry states.
    pub(crate) async fn manifest(&self, image: &ImageRef) -> Result<(Descriptor, Bytes), Error> {
        let attempt = format!("get the manifest of `{image}`");
        let reference = image.digest().map_or_else(|| image.tag_or_latest().to_owned(), ToString::to_string);
        let mut accept = HeaderMap::new();
        accept.insert(ACCEPT, HeaderValue::from_static(ACCEPT_MANIFESTS));
        let (headers, bytes) = self
            .document(&attempt, self.url(&format!("manifests/{reference}"))?, accept, MAX_DOCUMENT)
            .await?;
        let stated: Option<Digest> =
            headers.get(DIGEST_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        let expected = image.digest().or(stated.as_ref());
        let found = expected.map_or_else(|| sha256(&bytes), |expected| digest_like(expected, &bytes));
        if let Some(expected) = expected.filter(|expected| **expected != found) {
            return Err(Error::DigestMismatch {
                what: format!("the manifest of `{image}` that `{}` sent", self.registry.host),
                expected: expected.clone(),
                found,
            });
        }
        document::check(image.to_string().as_ref(), &bytes, document::MANIFEST)?;
        // The document's own type wins over the header, which some proxies rewrite.
        let typed: Typed = serde_json::from_slice(&bytes)
            .map_err(|error| self.protocol(&attempt, format!("malformed manifest: {error}")))?;
        let header = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let header = header.and_then(|value| value.split(';').next()).map(|value| value.trim().to_owned());
        document::check_type(image.to_string().as_ref(), &bytes, header.as_deref())?;
        let media_type = typed.media_type.or(header).unwrap_or_else(|| media_type::MANIFEST.to_owned());
        Ok((Descriptor::new(media_type, found, bytes.len() as u64), bytes))
    }

    /// Gets a blob of `limit` bytes at most into memory, and checks its digest.
    pub(crate) async fn blob(
        &self,
        attempt: &str,
        descriptor: &Descriptor,
        limit: u64,
    ) -> Result<Bytes, Error> {
        let url = self.url(&format!("blobs/{}", descriptor.digest))?;
        let (_, bytes) = self.document(attempt, url, HeaderMap::new(), limit).await?;
        let found = digest_like(&descriptor.digest, &bytes);
        if found != descriptor.digest {
            return Err(Error::DigestMismatch {
                what: format!("a blob of `{}/{}`", self.registry.host, self.repository),
                expected: descriptor.digest.clone(),
                found,
            });
        }
        Ok(bytes)
    }

    /// Gets an image's configuration, its digest checked.
    pub(crate) async fn config(&self, attempt: &str, descriptor: &Descriptor) -> Result<Bytes, Error> {
        let bytes = self.blob(attempt, descriptor, MAX_DOCUMENT).await?;
        document::check(
            format!("{}/{}", self.registry.host, self.repository).as_ref(),
            &bytes,
            document::CONFIG,
        )?;
        Ok(bytes)
    }

    /// Gets a document of `limit` bytes at most, with retries.
    pub(crate) async fn document(
        &self,
        attempt: &str,
        url: Url,
        headers: HeaderMap,
        limit: u64,
    ) -> Result<(HeaderMap, Bytes), Error> {
        self.with_retries(attempt, || async {
            let call = Call { headers: headers.clone(), ..Call::new(attempt, Method::GET, url.clone()) };
            let response = self.send(&call).await?;
            if response.status() != StatusCode::OK {
                return Err(self.failed(attempt, response).await);
            }
            let headers = response.headers().clone();
            let (bytes, complete) = self.read(attempt, response, limit).await?;
            if !complete {
                return Err(self.protocol(attempt, format!("it is longer than {limit} bytes")).into());
            }
            Ok((headers, bytes))
        })
        .await
    }

    /// Repeats `action` while its error may pass.
    pub(crate) async fn with_retries<T, F, Fut>(&self, attempt: &str, mut action: F) -> Result<T, Error>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, Failed>>,
    {
        let mut number = 1;
        loop {
            match action().await {
                Ok(value) => return Ok(value),
                Err(failed) => self.wait_or_give_up(attempt, number, failed).await?,
            }
            number += 1;
        }
    }

    /// Waits after failed attempt `number` (from 1), or ends with its error if it is of no use to repeat it.
    pub(crate) async fn wait_or_give_up(
        &self,
        attempt: &str,
        number: u32,
        mut failed: Failed,
    ) -> Result<(), Error> {
        let wait = failed
            .error
            .may_be_repeated()
            .then(|| self.client.retry_policy().wait(number, failed.retry_after))
            .flatten();
        if let Some(wait) = wait {
            self.progress.retrying(attempt, &failed.error.to_string(), wait);
            tokio::time::sleep(wait).await;
            return Ok(());
        }
        failed.error.count(number);
        if let (Error::Registry { message, .. }, Some(asked)) = (&mut failed.error, failed.retry_after)
            && asked > self.client.retry_policy().longest_retry_after
        {
            let separator = if message.is_empty() { "" } else { "; " };
            *message = format!("{message}{separator}it asks to wait {} s", asked.as_secs());
        }
        Err(failed.error)
    }

    /// Makes the request once: with authorisation, one renewal of it, and redirects. Any other status is the caller's to judge.
    pub(crate) async fn send(&self, call: &Call<'_>) -> Result<Response, Failed> {
        let mut url = call.url.clone();
        let mut asked: Option<String> = None;
        let mut renewed: Option<Shown> = None;
        let mut was_renewed = false;
        let mut redirects = 0;
        let mut again = false;
        loop {
            if again && let Some(Body { digest: Some(digest), start, .. }) = &call.body {
                self.progress.restarted(digest, *start);
            }
            again = true;
            // Another host never receives the registry's authorisation; signed locations carry their own.
            let own = url.origin() == self.registry.base.origin();
            let shown = match renewed.take() {
                Some(shown) => shown,
                None if own => self.authorization(call.attempt, asked.as_deref()).await?,
                None => Shown::default(),
            };
            let response = self.send_bare(call, &url, shown.header.clone()).await?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED
                && own
                && !was_renewed
                && let Some(challenge) = parse_challenges(response.headers())
            {
                was_renewed = true;
                if let Challenge::Bearer { scope, .. } = &challenge {
                    asked.clone_from(scope);
                }
                renewed = self.refused(call.attempt, &shown, challenge, asked.as_deref()).await?;
                if renewed.is_some() {
                    continue;
                }
            }
            let follow = match status.as_u16() {
                307 | 308 => true,
                301..=303 => matches!(call.method, Method::GET | Method::HEAD),
                _ => false,
            };
            if !follow {
                return Ok(response);
            }
            redirects += 1;
            if redirects > MAX_REDIRECTS {
                return Err(self
                    .protocol(call.attempt, format!("more than {MAX_REDIRECTS} redirects"))
                    .into());
            }
            url = self.location(call.attempt, &url, response.headers())?;
        }
    }

    pub(crate) async fn send_bare(
        &self,
        call: &Call<'_>,
        url: &Url,
        authorization: Option<HeaderValue>,
    ) -> Result<Response, Failed> {
        let (beats, pulse) = pulse();
        let mut request = self
            .client
            .http(call.attempt, url)?
            .request(call.method.clone(), url.clone())
            .headers(call.headers.clone());
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let trouble = Trouble::default();
        if let Some(body) = &call.body {
            let progress = Arc::clone(&self.progress);
            let digest = body.digest.cloned();
            let report = move |bytes: u64| {
                beats.beat();
                if let Some(digest) = &digest {
                    progress.sent(digest, bytes);
                }
            };
            request = request
                .header(CONTENT_LENGTH, body.length)
                .body(body.content.body(body.start, body.length, &trouble, report).await?);
        } else if call.method == Method::POST || call.method == Method::PUT {
            request = request.header(CONTENT_LENGTH, 0);
        }
        let answer = self.answer(call, request, pulse).await;
        if let Some(error) = trouble.take() {
            // The connection that shows it is not the one that broke.
            return Err(error.into());
        }
        answer.map_err(|source| {
            let host = SafeUrl::from(url.clone()).authority();
            Error::Transport { attempt: call.attempt.to_owned(), host, attempts: 0, source }.into()
        })
    }

    /// The answer to a request, unless nothing happens on it for too long.
    async fn answer(
        &self,
        call: &Call<'_>,
        request: RequestBuilder,
        pulse: Pulse,
    ) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
        let stall = self.client.stall_timeout();
        // What ends an upload is moved, put together or hashed before the registry answers.
        let works = call.body.is_some() && call.method == Method::PUT;
        let patience = if works { stall.saturating_mul(COMMIT_PATIENCE) } else { stall };
        match pulse.wait(request.send(), stall, patience).await {
            Ok(answer) => answer.map_err(|error| error.without_url().into()),
            Err(stalled) => Err(stalled.into()),
        }
    }

    /// Reads a body up to `limit`; the second value says whether that was all. One that takes too long all in all is not asked for again:
    /// it would take as long.
    pub(crate) async fn read(
        &self,
        attempt: &str,
        mut response: Response,
        limit: u64,
    ) -> Result<(Bytes, bool), Error> {
        let stall = self.client.stall_timeout();
        let whole = stall.saturating_mul(DOCUMENT_PATIENCE);
        let transport = |attempts, source: Box<dyn std::error::Error + Send + Sync>| Error::Transport {
            attempt: attempt.to_owned(),
            host: self.registry.host.clone(),
            attempts,
            source,
        };
        let begin = Instant::now();
        let mut bytes = Vec::new();
        loop {
            let left = whole.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Err(transport(1, Box::new(Dripped(whole))));
            }
            let chunk = tokio::time::timeout(stall.min(left), response.chunk())
                .await
                .map_err(|_| {
                    if left < stall {
                        transport(1, Box::new(Dripped(whole)))
                    } else {
                        transport(0, Box::new(Stalled(stall)))
                    }
                })?
                .map_err(|error| transport(0, Box::new(error.without_url())))?;
            let Some(chunk) = chunk else { return Ok((bytes.into(), true)) };
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Ok((bytes.into(), false));
            }
            bytes.extend_from_slice(&chunk);
        }
    }

    /// The error for an answer that is not what was asked for.
    pub(crate) async fn failed(&self, attempt: &str, response: Response) -> Failed {
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let host = SafeUrl::from(response.url().clone()).authority();
        // Docker Hub answers under another name than the one that people know.
        let host = if host == "registry-1.docker.io" { self.registry.host.clone() } else { host };
        let bytes =
            self.read(attempt, response, MAX_ERROR_BODY).await.map(|(bytes, _)| bytes).unwrap_or_default();
        let message = registry_message(&bytes);
        let attempt = attempt.to_owned();
        let error = match status {
            401 | 403 => {
                let used = match self.credential().await {
                    Ok(found) => found.origin,
                    Err(_) => "the request".to_owned(),
                };
                Error::NotAuthorised { attempt, host, status, used, message }
            }
            404 => Error::NotFound { attempt, host, status, message },
            _ => Error::Registry { attempt, host, status, attempts: 0, message },
        };
        Failed { error, retry_after }
    }
}

/// The part of a manifest or index that says which of them it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    #[serde(default)]
    media_type: Option<String>,
}

/// What an error's body says, in one line: OCI's list of errors, a token service's message, or plain text.
fn registry_message(bytes: &[u8]) -> String {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Body {
        #[serde(deserialize_with = "null_as_default")]
        errors: Vec<Entry>,
        details: Option<String>,
        message: Option<String>,
        error_description: Option<String>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Entry {
        code: String,
        message: String,
    }
    const LONGEST: usize = 300;
    let text = match serde_json::from_slice::<Body>(bytes) {
        Ok(body) if !body.errors.is_empty() => {
            let parts = body.errors.iter().map(|entry| match (entry.code.as_str(), entry.message.as_str()) {
                ("", message) => message.to_owned(),
                (code, "") => code.to_owned(),
                (code, message) => format!("{code}: {message}"),
            });
            parts.collect::<Vec<_>>().join("; ")
        }
        Ok(body) => body.details.or(body.message).or(body.error_description).unwrap_or_default(),
        Err(_) => {
            let text = String::from_utf8_lossy(bytes);
            // A page for browsers says nothing in one line.
            if text.trim_start().starts_with('<') { String::new() } else { text.into_owned() }
        }
    };
    one_line(&text, LONGEST)
}

/// Whether an answer may be different next time; for callers that look at statuses themselves.
pub(crate) fn may_pass(status: StatusCode) -> bool {
    is_retryable(status.as_u16())
}
