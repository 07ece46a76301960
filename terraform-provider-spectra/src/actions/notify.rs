//! `action.spectra_notify`: a signed message to a URL.

use spectra_notify::{Options, Retry, Webhook};
use spectra_types::{HumanDuration, Secret};
use tfplugin::{Action, Attr, Diagnostic, Diagnostics, Model, Progress, Sensitive, Text, Value};

use crate::errors::{known, sentence};
use crate::provider::{Clients, Cx};

/// Sends a JSON message to a URL, signed so that the receiver knows whom it is from.
///
/// With `secret_wo` the header `X-Spectra-Signature` is `t=TIME,v1=CODE`: the seconds since 1970, and the HMAC-SHA256 of
/// `TIME.BODY` under the secret, in hexadecimal digits. Connection errors and the statuses 408, 429 and 5xx are tried
/// again with growing pauses, under the same `X-Spectra-Delivery`, so a message can arrive twice and be known. Any
/// other status than 2xx is an error at once; redirects are not followed.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct NotifyModel {
    /// Where to: an `https` URL, or a plain `http` one of this machine. Hidden in output, and only its host is ever
    /// named, for such URLs often hold a secret.
    #[tf(required, sensitive)]
    url: Attr<Sensitive<String>>,
    /// The message, JSON: `jsonencode({ … })`.
    #[tf(required, validate(with(json, "JSON")))]
    body: Attr<String>,
    /// The secret to sign with: write-only.
    #[tf(optional, write_only, sensitive)]
    secret_wo: Attr<Sensitive<String>>,
    /// The longest time for one attempt.
    #[tf(optional, default = "10s", validate(with = crate::validators::positive_duration))]
    timeout: Attr<Text<HumanDuration>>,
    /// How often it is tried altogether.
    #[tf(optional, default = 5_i64, validate(range(1..=10)))]
    attempts: Attr<i64>,
}

/// JSON, whatever it says.
fn json(value: &Value) -> Result<(), String> {
    let Value::String(text) = value else { return Ok(()) };
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(_) => Ok(()),
        // The error names a place, and quotes nothing.
        Err(error) => Err(format!("it is not JSON: {error}")),
    }
}

/// The action.
pub(crate) struct Notify;

impl Action for Notify {
    type Model = NotifyModel;
    type Client = Clients;

    const TYPE: &'static str = "spectra_notify";

    fn validate(&self, config: &NotifyModel, diagnostics: &mut Diagnostics) {
        if let Some(url) = config.url.as_known()
            && let Err(error) = Webhook::new(url.expose(), None, Options::default())
        {
            diagnostics.push(refused("The URL cannot be used", &error).at("url"));
        }
    }

    async fn invoke(
        &self,
        cx: &Cx,
        config: NotifyModel,
        progress: &Progress,
    ) -> Result<Diagnostics, Diagnostics> {
        // Registered, so that it shows nowhere.
        let url = Secret::new(known(&config.url, "url")?.into_inner());
        let secret = config.secret_wo.known().map(|secret| Secret::new(secret.into_inner()));
        let options = Options {
            timeout: known(&config.timeout, "timeout")?.get().get(),
            retry: Retry {
                attempts: u32::try_from(known(&config.attempts, "attempts")?).unwrap_or(1),
                ..Retry::default()
            },
            ..Options::default()
        };
        let webhook = Webhook::new(url.expose(), secret, options)
            .map_err(|error| refused("The message cannot be sent", &error).at("url"))?;
        progress.say(format!("sending to {}", webhook.endpoint()));
        let body = known(&config.body, "body")?;
        let delivery = webhook
            .send(&body, &cx.cancel, |line| progress.say(line))
            .await
            .map_err(|error| refused("The message was not delivered", &error).at("url"))?;
        progress.say(format!(
            "accepted with HTTP {} after {} attempt(s); delivery {}",
            delivery.status, delivery.attempts, delivery.id
        ));
        Ok(Diagnostics::new())
    }
}

fn refused(summary: &str, error: &spectra_notify::Error) -> Diagnostic {
    let mut detail = format!("{} [{}].", sentence(&spectra_types::error_chain(error)), error.code());
    if let Some(hint) = error.hint() {
        detail.push_str("\n\n");
        detail.push_str(&sentence(hint));
        detail.push('.');
    }
    Diagnostic::error(summary, spectra_types::Redactor::global().redact(&detail).into_owned())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::HeaderMap;
    use tfplugin::testing::Core;

    use super::*;
    use crate::provider::{ProviderModel, Spectra};

    async fn core() -> Core<Spectra> {
        Core::new(Spectra, &ProviderModel { railway: Attr::Null, registry: Attr::Null, journal: Attr::Null })
            .await
            .unwrap()
    }

    fn message(url: &str) -> NotifyModel {
        NotifyModel {
            url: Attr::Known(Sensitive(url.to_owned())),
            body: r#"{"text":"rolled out"}"#.into(),
            secret_wo: Attr::Known(Sensitive("whsec-of-a-provider-test".to_owned())),
            ..NotifyModel::default()
        }
    }

    #[tokio::test]
    async fn a_message_needs_no_railway_and_is_signed() {
        let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let take = move |headers: HeaderMap, body: String| {
            let sender = sender.clone();
            async move { sender.send((headers, body)).unwrap() }
        };
        let router = Router::new().fallback(take);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let lines = core()
            .await
            .invoke::<Notify>(&message(&format!("http://{address}/hook?token=query-secret")))
            .await
            .unwrap();
        let (headers, body) = received.recv().await.unwrap();
        assert_eq!(body, r#"{"text":"rolled out"}"#);
        let signature = headers["x-spectra-signature"].to_str().unwrap();
        let seconds = signature.strip_prefix("t=").unwrap().split_once(',').unwrap().0.parse().unwrap();
        let secret = Secret::from("whsec-of-a-provider-test");
        assert_eq!(signature, spectra_notify::sign(&secret, seconds, body.as_bytes()).to_string());
        let shown = lines.join("\n");
        assert!(shown.contains("accepted with HTTP 200") && !shown.contains("query-secret"), "{shown}");
    }

    #[tokio::test]
    async fn plain_http_to_elsewhere_is_refused_at_validation_without_its_query() {
        let asked = message("http://hooks.example/x?token=query-secret");
        let error = core().await.invoke::<Notify>(&asked).await.unwrap_err().to_string();
        assert!(error.contains("https") && !error.contains("query-secret"), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_json_is_refused() {
        let asked = NotifyModel { body: "rolled out".into(), ..message("https://hooks.example/x") };
        let error = core().await.invoke::<Notify>(&asked).await.unwrap_err().to_string();
        assert!(error.contains("not JSON"), "{error}");
    }
}
