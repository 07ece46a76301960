//! Identity tokens: who signs, by the word of an `OpenID` Connect provider.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use spectra_types::Secret;

use crate::{
    Error, Service,
    service::{Url, client, read},
};

/// The audience that Sigstore's authorities want.
const AUDIENCE: &str = "sigstore";

/// A token. It is not checked here whether its issuer signed it: the authority does that.
pub struct IdentityToken {
    raw: Secret<String>,
    challenge: String,
}

/// What of a token is read.
#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    email: Option<String>,
    // A number may have a fraction (RFC 7519 §2).
    exp: Option<f64>,
}

impl IdentityToken {
    /// Reads one. `from` says where it is from.
    pub fn parse(raw: &Secret<String>, from: &str) -> Result<Self, Error> {
        // The redactor knows it without what is around it, too.
        let raw = Secret::from(raw.expose().trim());
        let failed = |reason: &str| Error::Token { from: from.to_owned(), reason: reason.to_owned() };
        let mut parts = raw.expose().split('.');
        let (Some(_), Some(body), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(failed("it is no JSON Web Token"));
        };
        let body = URL_SAFE_NO_PAD.decode(body.trim_end_matches('='));
        // What is wrong is not told in more detail: that would be a part of the token.
        let claims: Claims = body
            .ok()
            .and_then(|body| serde_json::from_slice(&body).ok())
            .ok_or_else(|| failed("it is no JSON Web Token"))?;
        if let Some(expires) = claims.exp.and_then(instant)
            && expires <= Timestamp::now()
        {
            return Err(failed(&format!("it was valid until {expires}")));
        }
        let mut names = [claims.email, claims.sub].into_iter().flatten();
        let challenge = names.find(|name| !name.is_empty());
        let challenge = challenge.ok_or_else(|| failed("it names neither an address nor a subject"))?;
        Ok(Self { raw, challenge })
    }

    pub(crate) const fn raw(&self) -> &Secret<String> {
        &self.raw
    }

    /// What has to be signed to show that the key is there.
    pub(crate) fn challenge(&self) -> &[u8] {
        self.challenge.as_bytes()
    }
}

/// The second of a time in seconds; `None` beyond what a calendar has.
fn instant(seconds: f64) -> Option<Timestamp> {
    let whole = std::time::Duration::try_from_secs_f64(seconds.max(0.0)).ok()?.as_secs();
    Timestamp::from_second(i64::try_from(whole).ok()?).ok()
}

/// Where a job of GitHub Actions gets its token: `ACTIONS_ID_TOKEN_REQUEST_URL` and `…_TOKEN`.
pub struct TokenRequest {
    /// The address, with a query.
    pub url: String,
    /// What proves that it is the job that asks.
    pub token: Secret<String>,
}

#[derive(Deserialize)]
struct Given {
    value: String,
}

impl TokenRequest {
    /// Asks for a token.
    pub async fn send(&self) -> Result<IdentityToken, Error> {
        let service = Service::GitHub;
        let url = Url::parse(service, &self.url)?;
        let mut whole = url.whole();
        whole.query_pairs_mut().append_pair("audience", AUDIENCE);
        let bearer = Secret::new(format!("bearer {}", self.token.expose()));
        let mut bearer = HeaderValue::from_str(bearer.expose()).map_err(|_| Error::Token {
            from: "in ACTIONS_ID_TOKEN_REQUEST_TOKEN".to_owned(),
            reason: "it cannot be in a header".to_owned(),
        })?;
        bearer.set_sensitive(true);
        let request = client(&url)?.get(whole).header(AUTHORIZATION, bearer);
        let body = Secret::new(read(&url, request).await?);
        let given: Given = serde_json::from_slice(body.expose()).map_err(|_| Error::Answer {
            service,
            url: url.to_string(),
            reason: "there is no token in it".to_owned(),
        })?;
        IdentityToken::parse(&Secret::new(given.value), "that GitHub gave this job")
    }
}
