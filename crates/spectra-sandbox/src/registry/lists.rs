//! Lists: tags, repositories, referrers.

use axum::{Json, body::Body, response::Response};
use http::{StatusCode, header, request::Parts};
use serde_json::{Value, json};
use spectra_types::Digest;

use super::{
    OCI_FILTERS, Registry,
    error::{ApiError, Code},
    manifests::Manifest,
    name::RepositoryName,
    query, reply,
};

impl Registry {
    /// `GET /v2/<name>/tags/list`.
    pub(super) async fn tags(&self, parts: &Parts, name: &RepositoryName) -> Result<Response, ApiError> {
        let tags = self.0.store.tags(name).await?.ok_or_else(|| {
            ApiError::new(Code::NameUnknown, format!("there is no repository `{name}`"))
                .detail(json!({ "name": name.as_str() }))
        })?;
        let (tags, link) = self.page(parts, tags, String::as_str, &format!("/v2/{name}/tags/list"))?;
        let null = tags.is_empty() && self.quirks().null_tags;
        if null {
            self.meet("null_tags");
        }
        let tags = if null { Value::Null } else { json!(tags) };
        Ok(json_reply(&json!({ "name": name.as_str(), "tags": tags }), link))
    }

    /// `GET /v2/_catalog`.
    pub(super) async fn catalog(&self, parts: &Parts) -> Result<Response, ApiError> {
        let (names, link) =
            self.page(parts, self.0.store.repositories().await?, String::as_str, "/v2/_catalog")?;
        Ok(json_reply(&json!({ "repositories": names }), link))
    }

    /// `GET /v2/<name>/referrers/<digest>`: an index, empty if nothing refers to the digest.
    pub(super) async fn referrers(
        &self,
        parts: &Parts,
        name: &RepositoryName,
        subject: &Digest,
    ) -> Result<Response, ApiError> {
        let mut wanted = query(parts, "artifactType");
        if wanted.is_some() && self.quirks().ignore_filter {
            self.meet("ignore_filter");
            wanted = None;
        }
        let mut descriptors: Vec<Value> = Vec::new();
        let mut all = self.0.store.referrers(name, subject).await?;
        all.sort_by_cached_key(|stored| stored.digest.to_string());
        for stored in all {
            let manifest: Manifest = serde_json::from_slice(&stored.body).map_err(std::io::Error::from)?;
            // An image manifest without a type of its own is typed by its config.
            let artifact_type = manifest.artifact_type.or(manifest.config.map(|config| config.media_type));
            if wanted.is_some() && wanted != artifact_type {
                continue;
            }
            let mut descriptor = json!({
                "mediaType": stored.media_type,
                "digest": stored.digest.to_string(),
                "size": stored.body.len(),
            });
            if let Some(artifact_type) = artifact_type {
                descriptor["artifactType"] = artifact_type.into();
            }
            if let Some(annotations) = manifest.annotations {
                descriptor["annotations"] = annotations;
            }
            descriptors.push(descriptor);
        }
        let key = |descriptor: &Value| descriptor["digest"].as_str().unwrap_or_default().to_owned();
        let keyed = descriptors.into_iter().map(|descriptor| (key(&descriptor), descriptor)).collect();
        let path = format!("/v2/{name}/referrers/{subject}");
        let (page, link) = self.page(parts, keyed, |(digest, _): &(String, Value)| digest, &path)?;
        let descriptors: Vec<Value> = page.into_iter().map(|(_, descriptor)| descriptor).collect();
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": descriptors,
        });
        let mut headers = vec![(header::CONTENT_TYPE, "application/vnd.oci.image.index.v1+json".to_owned())];
        if wanted.is_some() {
            headers.push((OCI_FILTERS, "artifactType".to_owned()));
        }
        headers.extend(link.map(|link| (header::LINK, link)));
        Ok(reply(StatusCode::OK, &headers, Body::from(index.to_string())))
    }
}

impl Registry {
    /// Cuts a sorted list to what `n` and `last` and a switch ask for, and says where the next page is.
    fn page<T>(
        &self,
        parts: &Parts,
        all: Vec<T>,
        key: impl Fn(&T) -> &str,
        path: &str,
    ) -> Result<(Vec<T>, Option<String>), ApiError> {
        let last = query(parts, "last").unwrap_or_default();
        let mut rest: Vec<T> = all.into_iter().filter(|entry| key(entry) > last.as_str()).collect();
        let asked = match query(parts, "n") {
            None => usize::MAX,
            Some(text) => text.parse().map_err(|_| {
                ApiError::new(Code::Unsupported, format!("`n={text}` is not a number of entries"))
                    .status(StatusCode::BAD_REQUEST)
            })?,
        };
        let limit = asked.min(self.quirks().page_size.unwrap_or(usize::MAX));
        let more = rest.len() > limit;
        if more && limit < asked {
            self.meet("page_size");
        }
        rest.truncate(limit);
        let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        // What was asked for besides holds for the next page as well.
        let filter = query(parts, "artifactType");
        let filter = filter.map(|filter| format!("&artifactType={}", encoded(&filter))).unwrap_or_default();
        let link = rest
            .last()
            .filter(|_| more)
            .map(|last| format!("<{path}?n={limit}&last={}{filter}>; rel=\"next\"", encoded(key(last))));
        Ok((rest, link))
    }
}

fn json_reply(body: &Value, link: Option<String>) -> Response {
    let mut response = axum::response::IntoResponse::into_response(Json(body));
    if let Some(link) = link.and_then(|link| link.try_into().ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}
