//! Slack, against a receiver with Slack's limits.

use std::time::Duration;

use axum::http::HeaderMap;
use serde_json::Value;
use spectra_notify::{Channel, Error, Message};
use spectra_types::error_chain;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use crate::support::{Receiver, channel, message};

const SPEC: &str = r#"{"name":"ops","kind":"slack","url_env":"OPS_SLACK_URL"}"#;

/// What Slack's reference says of incoming webhooks: <https://docs.slack.dev/reference/block-kit/blocks>.
fn judge(headers: &HeaderMap, body: &[u8]) -> (u16, String) {
    if headers.get("content-type").is_none_or(|kind| kind != "application/json") {
        return (400, "invalid_payload".to_owned());
    }
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return (400, "invalid_payload".to_owned()) };
    match check(&body) {
        Ok(()) => (200, "ok".to_owned()),
        Err(problem) => (400, format!("invalid_blocks: {problem}")),
    }
}

fn check(body: &Value) -> Result<(), String> {
    keys(body, &["text", "blocks"])?;
    text_within(&body["text"], 1..=40_000)?;
    let blocks = body["blocks"].as_array().ok_or("no blocks")?;
    if blocks.is_empty() || blocks.len() > 50 {
        return Err(format!("{} blocks", blocks.len()));
    }
    for block in blocks {
        match block["type"].as_str() {
            Some("header") => {
                keys(block, &["type", "text"])?;
                keys(&block["text"], &["type", "text", "emoji"])?;
                same(&block["text"]["type"], "plain_text")?;
                text_within(&block["text"]["text"], 1..=150)?;
            }
            Some("section") => {
                keys(block, &["type", "text", "fields"])?;
                match (block.get("text"), block.get("fields").map(|fields| fields.as_array())) {
                    (Some(text), None) => mrkdwn(text, 3000)?,
                    (None, Some(Some(fields))) if (1..=10).contains(&fields.len()) => {
                        fields.iter().try_for_each(|field| mrkdwn(field, 2000))?;
                    }
                    _ => return Err(format!("a section with neither text nor one to ten fields: {block}")),
                }
            }
            Some("context") => {
                keys(block, &["type", "elements"])?;
                let elements = block["elements"].as_array().ok_or("no elements")?;
                if !(1..=10).contains(&elements.len()) {
                    return Err(format!("{} elements", elements.len()));
                }
                elements.iter().try_for_each(|element| mrkdwn(element, 2000))?;
            }
            other => return Err(format!("a block of the type {other:?}")),
        }
    }
    Ok(())
}

fn keys(value: &Value, known: &[&str]) -> Result<(), String> {
    let object = value.as_object().ok_or_else(|| format!("no object: {value}"))?;
    let unknown = object.keys().find(|key| !known.contains(&key.as_str()));
    unknown.map_or(Ok(()), |key| Err(format!("`{key}` is not known")))
}

fn same(value: &Value, expected: &str) -> Result<(), String> {
    if value == expected { Ok(()) } else { Err(format!("{value} and not {expected}")) }
}

fn text_within(value: &Value, range: std::ops::RangeInclusive<usize>) -> Result<(), String> {
    let text = value.as_str().ok_or("no text")?;
    let length = text.encode_utf16().count();
    if range.contains(&length) { Ok(()) } else { Err(format!("a text of {length}")) }
}

/// Also that nothing in it calls anybody, and that entities and links are whole.
fn mrkdwn(value: &Value, limit: usize) -> Result<(), String> {
    keys(value, &["type", "text", "verbatim"])?;
    same(&value["type"], "mrkdwn")?;
    if value["verbatim"] != true {
        return Err("names are made into mentions".to_owned());
    }
    text_within(&value["text"], 1..=limit)?;
    let text = value["text"].as_str().unwrap();
    for (at, _) in text.match_indices('&') {
        if !["&amp;", "&lt;", "&gt;"].iter().any(|entity| text[at..].starts_with(entity)) {
            return Err(format!("a torn entity in {text}"));
        }
    }
    for part in text.split('<').skip(1) {
        let link = part.split_once('>').map(|(link, _)| link);
        if !link.is_some_and(|link| link.starts_with("https://") && link.contains('|')) {
            return Err(format!("no link: <{part}"));
        }
    }
    Ok(())
}

async fn slack(spec: &str) -> (Channel, std::sync::Arc<crate::support::TestClock>, Receiver) {
    let (receiver, origin) = Receiver::judging(judge).await;
    let url = format!("{origin}/services/T00000000/B00000000/slack-path-secret");
    let (channel, clock) = channel(spec, &[("OPS_SLACK_URL", &url)]);
    (channel, clock, receiver)
}

async fn send(channel: &Channel, message: &Message) -> Result<spectra_notify::Delivery, Error> {
    channel.send(message, &CancellationToken::new(), |_| {}).await
}

#[tokio::test]
async fn a_message_is_a_header_its_summary_its_fields_and_its_links() {
    let (channel, _, receiver) = slack(SPEC).await;
    send(&channel, &message()).await.unwrap();
    let body = receiver.json(0);
    let blocks = body["blocks"].as_array().unwrap();
    assert_eq!(body["text"], "🚨 api could not be rolled back");
    assert_eq!(blocks[0]["text"]["text"], "🚨 api could not be rolled back");
    assert_eq!(blocks[1]["text"]["text"], "&lt;!channel&gt; &amp; \"both\" versions are down\nsince 10:00");
    assert_eq!(blocks[2]["fields"][0]["text"], "*service*\napi &amp; co");
    assert_eq!(blocks[2]["fields"][1]["text"], "*digest*\nsha256:4f5e");
    assert_eq!(blocks[3]["text"]["text"], "<https://ci.example/runs/1?a=1&amp;b=2|run>");
    assert_eq!(
        blocks[4]["elements"][0]["text"],
        "rollout.rollback_failed · rollout-7 · 2026-08-01T10:00:00Z"
    );
    assert_eq!(blocks.len(), 5);
}

#[tokio::test]
async fn what_is_too_long_or_empty_is_made_to_fit() {
    let (channel, _, receiver) = slack(SPEC).await;
    let mut long = message();
    long.title = "🚀".repeat(200);
    long.summary = "&".repeat(4000);
    for at in 0..70 {
        long = long.with_field(format!("{at}{}", "<".repeat(3000)), ">".repeat(3000));
        long = long.with_link(format!("{at}"), format!("https://ci.example/{}", "x".repeat(200)));
    }
    send(&channel, &long).await.unwrap();
    let text = receiver.body(0);
    // 72 fields of which 50 are shown; 71 links of which 3000 characters are.
    let shown = text.matches("<https://").count();
    let left = 22 + 71 - shown;
    assert!(shown > 5 && text.contains(&format!("{left} more fields or links are not shown")), "{text}");

    let mut empty = message();
    empty.title = "\n".to_owned();
    empty.summary = String::new();
    empty.fields.clear();
    empty.links.clear();
    let empty = empty.with_field("", "");
    send(&channel, &empty).await.unwrap();
    assert_eq!(receiver.json(1)["text"], "🚨 rollout.rollback_failed");
}

#[tokio::test]
async fn a_channels_own_text_takes_the_place_of_all_but_the_foot() {
    let spec = r#"{"name":"ops","kind":"slack","url_env":"OPS_SLACK_URL",
        "template":{"title":"{{field.service}}","text":"*{{severity}}*: {{summary}} {{link.run}}"}}"#;
    let (channel, _, receiver) = slack(spec).await;
    send(&channel, &message()).await.unwrap();
    let blocks = receiver.json(0)["blocks"].clone();
    assert_eq!(blocks[0]["text"]["text"], "🚨 api & co");
    assert_eq!(
        blocks[1]["text"]["text"],
        "*critical*: &lt;!channel&gt; &amp; \"both\" versions are down\nsince 10:00 \
         <https://ci.example/runs/1?a=1&amp;b=2|run>"
    );
    assert_eq!(blocks.as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn too_many_requests_are_waited_out_as_long_as_slack_asks() {
    let (channel, clock, receiver) = slack(SPEC).await;
    receiver.then_saying(429, &[("retry-after", "17")], "rate_limited");
    let mut told = Vec::new();
    let cancel = CancellationToken::new();
    let delivery = channel.send(&message(), &cancel, |line| told.push(line.to_owned())).await.unwrap();
    assert_eq!((delivery.status, delivery.attempts), (200, 2));
    assert_eq!(clock.waits(), [Duration::from_secs(17)]);
    assert!(told[0].contains("HTTP 429 (\"rate_limited\")"), "{told:?}");
}

#[tokio::test]
async fn what_slack_refuses_is_final_and_said_in_slacks_words_without_the_url() {
    let (channel, _, receiver) = slack(SPEC).await;
    receiver.then_saying(404, &[], "no_service for /services/T00000000/B00000000/slack-path-secret");
    let error = send(&channel, &message()).await.unwrap_err();
    assert_eq!(receiver.count(), 1);
    let text = format!("{} {error:?} {channel:?}", error_chain(&error));
    assert!(text.contains("HTTP 404 (\"no_service for [redacted]\")"), "{text}");
    assert!(!text.contains("slack-path-secret") && !text.contains("B00000000"), "{text}");
}

#[tokio::test]
async fn a_page_that_answers_200_is_not_slack_and_a_redirect_is_not_followed() {
    let (channel, _, receiver) = slack(SPEC).await;
    receiver.then_saying(200, &[], "<html>Sign in</html>");
    let error = send(&channel, &message()).await.unwrap_err();
    assert!(matches!(error, Error::Unexpected { status: 200, .. }), "{error}");
    assert!(error.to_string().contains("Sign in"), "{error}");
    receiver.then(302, &[("location", "/elsewhere")]);
    let error = send(&channel, &message()).await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 302, .. }), "{error}");
    assert_eq!(receiver.count(), 2);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_taken_for_a_yes() {
    // The head promises two bytes, and one comes.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/services/x", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 65536];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no").await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    let (channel, _) = channel(SPEC, &[("OPS_SLACK_URL", &url)]);
    let error = send(&channel, &message()).await.unwrap_err();
    assert!(matches!(error, Error::GaveUp { attempts: 5, .. }), "{error}");
}
