//! Writing a manifest, the one call of a push that others see.

use reqwest::{
    Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use spectra_types::Digest;
use url::Url;

use crate::{
    Error,
    content::{Blob, digest_like},
    session::{ACCEPT_MANIFESTS, Body, Call, DIGEST_HEADER, Session},
    source::MAX_DOCUMENT,
};

/// The registry took a manifest and said that it stored another one: it, or a proxy before it, changes manifests or their headers.
#[derive(Debug, thiserror::Error)]
#[error("{attempt}: `{host}` says that it stored {found}, and was sent {expected}; {}", self.state())]
pub struct StoredOther {
    /// What was attempted on which image.
    pub attempt: String,
    /// The registry.
    pub host: String,
    /// The digest of what was sent.
    pub expected: Digest,
    /// The digest that the registry stated.
    pub found: Digest,
    /// The image by its tag, if that is what was written.
    pub tag: Option<String>,
    /// What the tag names since.
    pub now: Named,
}

/// What a tag names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// What has this digest.
    Digest(Digest),
    /// Nothing: there is no such tag.
    Nothing,
    /// That could not be read.
    Unknown,
}

impl StoredOther {
    fn state(&self) -> String {
        let Some(tag) = &self.tag else { return "no tag was changed by it".to_owned() };
        match &self.now {
            Named::Digest(now) if *now == self.expected => {
                format!("`{tag}` now names the new image, as it was sent")
            }
            Named::Digest(now) => format!("`{tag}` now names {now}"),
            Named::Nothing => format!("`{tag}` names nothing now"),
            Named::Unknown => format!(
                "what `{tag}` names now could not be read: it may be the new image, or one that was changed"
            ),
        }
    }
}

/// What became of a manifest.
pub(crate) enum Put {
    /// It is there; these are the headers of the answer.
    Done(HeaderMap),
    /// What is under the tag is not what the condition says.
    Changed,
}

impl Session {
    /// Writes a manifest or index under a tag or its digest, on `condition` if that has headers: `If-Match`, `If-None-Match`.
    pub(crate) async fn put_manifest(
        &self,
        document: &Blob,
        reference: &str,
        condition: HeaderMap,
    ) -> Result<Put, Error> {
        let by_digest = reference.contains(':');
        let separator = if by_digest { '@' } else { ':' };
        let image = format!("{}/{}{separator}{reference}", self.registry.host, self.repository);
        let attempt = format!("push the manifest of `{image}`");
        let url = self.url(&format!("manifests/{reference}"))?;
        let digest = &document.descriptor.digest;
        let conditional = !condition.is_empty();
        let mut headers = condition;
        let media_type = HeaderValue::from_str(&document.descriptor.media_type);
        headers.extend(media_type.ok().map(|value| (CONTENT_TYPE, value)));
        let put = self
            .with_retries(&attempt, || async {
                let body = Body {
                    content: &document.content,
                    start: 0,
                    length: document.descriptor.size,
                    digest: None,
                };
                let call = Call {
                    headers: headers.clone(),
                    body: Some(body),
                    ..Call::new(&attempt, Method::PUT, url.clone())
                };
                let response = self.send(&call).await?;
                match response.status() {
                    StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT if conditional => Ok(Put::Changed),
                    status if status.is_success() => Ok(Put::Done(response.headers().clone())),
                    _ => Err(self.failed(&attempt, response).await),
                }
            })
            .await?;
        let Put::Done(answer) = &put else { return Ok(put) };
        let stated: Option<Digest> =
            answer.get(DIGEST_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        if let Some(found) = stated.filter(|found| found != digest && found.algorithm() == digest.algorithm())
        {
            // It took something, and the tag may name that by now.
            let now = if by_digest { Named::Unknown } else { self.names_now(&image, url, digest).await };
            return Err(Error::StoredOther(Box::new(StoredOther {
                attempt,
                host: self.registry.host.clone(),
                expected: digest.clone(),
                found,
                tag: (!by_digest).then_some(image),
                now,
            })));
        }
        self.progress.manifest(digest);
        Ok(put)
    }

    /// What a tag names: the digest, like `like`, of the bytes that it leads to, whatever the registry calls them.
    async fn names_now(&self, image: &str, url: Url, like: &Digest) -> Named {
        let mut accept = HeaderMap::new();
        accept.insert(ACCEPT, HeaderValue::from_static(ACCEPT_MANIFESTS));
        let attempt = format!("read what `{image}` names");
        match self.document(&attempt, url, accept, MAX_DOCUMENT).await {
            Ok((_, bytes)) => Named::Digest(digest_like(like, &bytes)),
            Err(error) if error.is_not_found() => Named::Nothing,
            Err(_) => Named::Unknown,
        }
    }
}
