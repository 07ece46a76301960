//! A message to a URL, signed.

use std::fmt;

use spectra_types::Secret;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::http::Endpoint;
use crate::message::Message;
use crate::retry::{Attempt, Delivery, Options, deliver, new_id};
use crate::signature::sign;
use crate::template::{Markup, Template};

/// The header with the signature.
const SIGNATURE: &str = "x-spectra-signature";
/// The header that stays the same when a message is sent again.
const DELIVERY: &str = "x-spectra-delivery";

/// A place that takes JSON by POST.
pub struct Webhook {
    endpoint: Endpoint,
    secret: Option<Secret<String>>,
    options: Options,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Webhook {
    /// A webhook at `url`, with the secret that signs what is sent to it. Nothing is sent yet.
    pub fn new(url: &str, secret: Option<Secret<String>>, options: Options) -> Result<Self, Error> {
        let endpoint = Endpoint::new(url, options.timeout)?;
        if secret.as_ref().is_some_and(|secret| secret.expose().is_empty()) {
            return Err(Error::EmptySecret);
        }
        Ok(Self { endpoint, secret, options })
    }

    /// Scheme, host and port: all of the URL that may be shown.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.endpoint.shown()
    }

    /// Sends `body`, which is JSON, until it is accepted, refused, or tried often enough. `told` hears of every failed
    /// attempt that is followed by another. When `cancel` trips, an attempt under way is awaited, so that it is known
    /// what became of it, and no other is made; where it has tripped before, there is none at all.
    pub async fn send(
        &self,
        body: &str,
        cancel: &CancellationToken,
        told: impl FnMut(&str),
    ) -> Result<Delivery, Error> {
        let id = new_id();
        let attempt = || self.attempt(&id, body);
        deliver(self.endpoint(), id.clone(), &self.options, cancel, told, attempt).await
    }

    /// The message as JSON, with the title and the summary that the template makes.
    pub(crate) fn body(message: &Message, template: &Template) -> String {
        let (title, text) = template.render(message, Markup::Plain);
        let mut message = message.clone();
        message.title = title;
        if let Some(text) = text {
            message.summary = text;
        }
        #[expect(clippy::expect_used, reason = "its keys are names, and its values texts and a number")]
        serde_json::to_string(&message).expect("a message is JSON")
    }

    async fn attempt(&self, id: &str, body: &str) -> Attempt {
        let mut headers = vec![(DELIVERY, id.to_owned())];
        if let Some(secret) = &self.secret {
            // Dated anew: an attempt that comes minutes later must not look like an old message.
            let signature = sign(secret, self.options.clock.unix_seconds(), body.as_bytes());
            headers.push((SIGNATURE, signature.to_string()));
        }
        match self.endpoint.post(&headers, body).await {
            Ok(yes) => Attempt::Accepted(yes.status),
            Err(attempt) => attempt,
        }
    }
}
