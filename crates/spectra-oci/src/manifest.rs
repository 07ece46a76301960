//! Writing a manifest, the one call of a push that others see.

use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};
use spectra_types::Digest;

use crate::{
    Error,
    content::Blob,
    session::{Body, Call, DIGEST_HEADER, Session},
};

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
        let separator = if reference.contains(':') { '@' } else { ':' };
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
            return Err(Error::DigestMismatch {
                what: format!("the manifest that `{}` stored for `{reference}`", self.registry.host),
                expected: digest.clone(),
                found,
            });
        }
        self.progress.manifest(digest);
        Ok(put)
    }
}
