//! A webhook against a receiver on this machine.

use std::sync::Arc;
use std::time::Duration;

use spectra_notify::{Error, Options, Webhook, sign};
use spectra_types::{Secret, error_chain};
use tokio_util::sync::CancellationToken;

use crate::support::{Receiver, TestClock, channel, message};

const BODY: &str = r#"{"text":"rolled out"}"#;

fn webhook(url: &str) -> (Webhook, Arc<TestClock>) {
    let (options, clock) = TestClock::options();
    (Webhook::new(url, Some(Secret::from("whsec-of-a-test")), options).unwrap(), clock)
}

#[tokio::test]
async fn a_message_arrives_as_it_was_given_with_its_signature() {
    let (receiver, url) = Receiver::start(&[]).await;
    let (webhook, _) = webhook(&url);
    let delivery = webhook.send(BODY, &CancellationToken::new(), |_| {}).await.unwrap();
    assert_eq!((delivery.status, delivery.attempts), (200, 1));
    let expected = sign(&Secret::from("whsec-of-a-test"), 1_700_000_000, BODY.as_bytes());
    assert_eq!(receiver.header(0, "x-spectra-signature"), expected.to_string());
    assert_eq!(receiver.header(0, "x-spectra-delivery"), delivery.id);
    assert_eq!(receiver.body(0), BODY);
}

#[tokio::test]
async fn a_receiver_in_trouble_gets_it_again_under_the_same_id_and_a_new_date() {
    let (receiver, url) = Receiver::start(&[503]).await;
    receiver.then(429, &[("retry-after", "7")]);
    let (webhook, clock) = webhook(&url);
    let mut told = Vec::new();
    let delivery =
        webhook.send(BODY, &CancellationToken::new(), |line| told.push(line.to_owned())).await.unwrap();
    assert_eq!(delivery.attempts, 3);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(receiver.header(0, "x-spectra-delivery"), receiver.header(2, "x-spectra-delivery"));
    let waits = clock.waits();
    assert!(waits[0] >= Duration::from_millis(500) && waits[0] <= Duration::from_secs(1), "{waits:?}");
    assert_eq!(waits[1], Duration::from_secs(7), "what the receiver asked for");
    assert!(receiver.header(2, "x-spectra-signature").starts_with("t=170000000"));
    assert_ne!(receiver.header(0, "x-spectra-signature"), receiver.header(2, "x-spectra-signature"));
}

#[tokio::test]
async fn what_is_refused_is_not_sent_again() {
    for status in [400, 404, 302] {
        let (receiver, url) = Receiver::start(&[status]).await;
        let (webhook, _) = webhook(&url);
        let error = webhook.send(BODY, &CancellationToken::new(), |_| {}).await.unwrap_err();
        assert!(matches!(error, Error::Refused { status: found, .. } if found == status), "{error}");
        assert_eq!(receiver.count(), 1);
    }
}

#[tokio::test]
async fn it_gives_up_and_shows_neither_path_nor_query_nor_secret() {
    // Nobody listens there any longer.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/services/path-secret?token=query-secret", listener.local_addr().unwrap());
    drop(listener);
    let (webhook, _) = webhook(&url);
    let mut told = String::new();
    let error = webhook.send(BODY, &CancellationToken::new(), |line| told.push_str(line)).await.unwrap_err();
    assert!(matches!(error, Error::GaveUp { attempts: 5, .. }), "{error}");
    let text = format!("{told} {} {error:?} {webhook:?}", error_chain(&error));
    for secret in ["path-secret", "query-secret", "whsec-of-a-test"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test]
async fn a_stop_ends_the_waiting_and_says_that_nothing_arrived() {
    let (receiver, url) = Receiver::start(&[503, 503, 503]).await;
    let (webhook, _) = webhook(&url);
    let cancel = CancellationToken::new();
    let error = webhook.send(BODY, &cancel, |_| cancel.cancel()).await.unwrap_err();
    assert!(matches!(error, Error::Stopped { attempts: 1, .. }), "{error}");
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn a_stop_that_came_before_sends_nothing() {
    let (receiver, url) = Receiver::start(&[]).await;
    let (webhook, _) = webhook(&url);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = webhook.send(BODY, &cancel, |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Stopped { attempts: 0, .. }), "{error}");
    assert_eq!(receiver.count(), 0);
}

#[test]
fn only_this_machine_is_reached_without_tls() {
    let made = |url: &str| Webhook::new(url, None, Options::default()).map(drop);
    made("https://hooks.example/x").unwrap();
    made("http://127.0.0.1:9/x").unwrap();
    made("http://[::1]:9/x").unwrap();
    made("http://localhost:9/x").unwrap();
    for insecure in ["http://hooks.example/x?token=query-secret", "ftp://hooks.example/x", "http://10.0.0.8/"]
    {
        let error = made(insecure).unwrap_err();
        assert!(matches!(error, Error::Insecure { .. }), "{error}");
        assert!(!error.to_string().contains("query-secret"), "{error}");
    }
    assert!(matches!(made("https://u:p@hooks.example/").unwrap_err(), Error::Credentials { .. }));
    assert!(matches!(made("hooks.example").unwrap_err(), Error::Url(_)));
    let empty = Webhook::new("https://hooks.example/", Some(Secret::from("")), Options::default());
    assert!(matches!(empty.unwrap_err(), Error::EmptySecret));
}

#[tokio::test]
async fn a_receivers_words_are_shown_cut_and_without_what_the_url_hides() {
    let (receiver, url) = Receiver::start(&[]).await;
    let words = format!("no\n<b>such</b> token query-secret or {BODY}  {}", "x".repeat(9000));
    receiver.then_saying(404, &[], &words);
    let (webhook, _) = webhook(&url);
    let error = webhook.send(BODY, &CancellationToken::new(), |_| {}).await.unwrap_err();
    let Error::Refused { status: 404, words, .. } = &error else { panic!("{error}") };
    assert!(words.starts_with("no <b>such</b> token [redacted] or {"), "{words}");
    assert_eq!(words.chars().count(), 300);
    assert!(error.to_string().contains(words.as_str()) && error.hint().is_some(), "{error}");
}

#[tokio::test]
async fn a_channels_webhook_sends_the_message_as_versioned_json_in_the_channels_words() {
    let (receiver, url) = Receiver::start(&[]).await;
    let spec = r#"{"name":"audit","kind":"webhook","url_env":"HOOK_URL","secret_env":"HOOK_SECRET",
        "template":{"title":"{{field.service}}: {{title}}"}}"#;
    let (channel, _) = channel(spec, &[("HOOK_URL", &url), ("HOOK_SECRET", "whsec-of-a-channel")]);
    let delivery = channel.send(&message(), &CancellationToken::new(), |_| {}).await.unwrap();
    assert_eq!(receiver.header(0, "x-spectra-delivery"), delivery.id);
    let body = receiver.body(0);
    let expected = sign(&Secret::from("whsec-of-a-channel"), 1_700_000_000, body.as_bytes());
    assert_eq!(receiver.header(0, "x-spectra-signature"), expected.to_string());
    let mut sent = message();
    sent.title = "api & co: api could not be rolled back".to_owned();
    assert_eq!(serde_json::from_str::<spectra_notify::Message>(&body).unwrap(), sent);
    assert!(body.starts_with(r#"{"version":1,"#), "{body}");
}

#[tokio::test]
async fn a_secret_in_a_message_does_not_leave_the_process() {
    let (receiver, url) = Receiver::start(&[]).await;
    let _known = Secret::from("<db-pass&word>");
    let spec = r#"{"name":"audit","kind":"webhook","url_env":"HOOK_URL"}"#;
    let (channel, _) = channel(spec, &[("HOOK_URL", &url)]);
    let leaky = message()
        .with_summary("login with <db-pass&word>")
        .with_field("<db-pass&word>", "a<db-pass&word>b")
        .with_link("run", "https://ci.example/?p=%3Cdb-pass%26word%3E");
    channel.send(&leaky, &CancellationToken::new(), |_| {}).await.unwrap();
    let body = receiver.body(0);
    assert_eq!(body.matches("[redacted]").count(), 4, "{body}");
    assert!(!body.contains("db-pass"), "{body}");
}
