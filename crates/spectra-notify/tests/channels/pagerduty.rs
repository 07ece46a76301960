//! PagerDuty, against a receiver with its rules.

use std::sync::Arc;

use axum::http::HeaderMap;
use serde_json::Value;
use spectra_notify::{Channel, Error, Event, Severity};
use spectra_types::error_chain;
use tokio_util::sync::CancellationToken;

use crate::support::{Receiver, TestClock, channel, message};

const KEY: &str = "R01234567890ABCDEFGHIJKLMNOPQRST";

/// What the Events API v2 says it takes: <https://developer.pagerduty.com/docs/events-api-v2/trigger-events/>.
fn judge(_: &HeaderMap, body: &[u8]) -> (u16, String) {
    let judged = serde_json::from_slice(body).map_err(|error| error.to_string());
    match judged.and_then(|event: Value| check(&event, body.len())) {
        Ok(key) => {
            (202, format!(r#"{{"status":"success","message":"Event processed","dedup_key":"{key}"}}"#))
        }
        Err(problem) => (
            400,
            format!(
                r#"{{"status":"invalid event","message":"Event object is invalid","errors":["{problem}"]}}"#
            ),
        ),
    }
}

fn check(event: &Value, size: usize) -> Result<String, String> {
    if size > 512_000 {
        return Err(format!("{size} bytes"));
    }
    if event["routing_key"].as_str().is_none_or(|key| key.len() != 32) {
        return Err("Length of 'routing_key' is incorrect (should be 32 characters)".to_owned());
    }
    let key = event["dedup_key"].as_str().unwrap_or_default();
    if key.is_empty() || key.chars().count() > 255 {
        return Err("'dedup_key' is missing or too long".to_owned());
    }
    match event["event_action"].as_str() {
        Some("resolve" | "acknowledge") => {}
        Some("trigger") => {
            let payload = &event["payload"];
            for (name, limit) in [("summary", 1024), ("source", 1024), ("severity", 8)] {
                let text = payload[name].as_str().unwrap_or_default();
                if text.is_empty() || text.chars().count() > limit {
                    return Err(format!("'payload.{name}' is missing or too long"));
                }
            }
            let severity = payload["severity"].as_str().unwrap();
            if !["critical", "error", "warning", "info"].contains(&severity) {
                return Err("'payload.severity' is invalid".to_owned());
            }
            if payload["timestamp"].as_str().is_none_or(|time| time.parse::<jiff::Timestamp>().is_err()) {
                return Err("'payload.timestamp' is invalid".to_owned());
            }
            if !payload["custom_details"].is_object() {
                return Err("'payload.custom_details' is no object".to_owned());
            }
            let links = event["links"].as_array().ok_or("'links' is no array")?;
            if links.iter().any(|link| link["href"].as_str().is_none_or(|href| !href.starts_with("http"))) {
                return Err("'links.href' is missing".to_owned());
            }
        }
        _ => return Err("'event_action' is invalid".to_owned()),
    }
    Ok(key.to_owned())
}

async fn pagerduty(more: &str) -> (Channel, Arc<TestClock>, Receiver) {
    let (receiver, origin) = Receiver::judging(judge).await;
    let spec = format!(
        r#"{{"name":"on-call","kind":"pagerduty","routing_key_env":"PD_KEY","endpoint":"{origin}/v2/enqueue"{more}}}"#
    );
    let (channel, clock) = channel(&spec, &[("PD_KEY", KEY)]);
    (channel, clock, receiver)
}

async fn send(
    channel: &Channel,
    message: &spectra_notify::Message,
) -> Result<spectra_notify::Delivery, Error> {
    channel.send(message, &CancellationToken::new(), |_| {}).await
}

#[tokio::test]
async fn what_is_critical_triggers_and_a_success_under_the_same_key_resolves() {
    let (channel, _, receiver) = pagerduty("").await;
    let delivery = send(&channel, &message()).await.unwrap();
    assert_eq!(delivery.status, 202);
    let event = receiver.json(0);
    assert_eq!(event["event_action"], "trigger");
    assert_eq!(event["dedup_key"], "rollout-7");
    let payload = &event["payload"];
    assert_eq!(payload["summary"], "api could not be rolled back");
    assert_eq!(payload["severity"], "critical");
    assert_eq!(payload["source"], "spectra");
    assert_eq!(payload["class"], "rollout.rollback_failed");
    assert_eq!(payload["custom_details"]["service"], "api & co");
    assert_eq!(event["links"][0]["href"], "https://ci.example/runs/1?a=1&b=2");

    let mut well = message();
    (well.event, well.severity) = (Event::ROLLOUT_RECOVERED, Severity::Success);
    send(&channel, &well).await.unwrap();
    let event = receiver.json(1);
    assert_eq!((&event["event_action"], &event["dedup_key"]), (&"resolve".into(), &"rollout-7".into()));
}

#[tokio::test]
async fn only_what_is_critical_calls_somebody_unless_asked_and_every_success_is_passed_on() {
    let (channel, _, _) = pagerduty(r#","events":["rollout.rollback_failed"]"#).await;
    let (warned, _, receiver) = pagerduty(r#","min_severity":"warning""#).await;
    let with = |severity, event| {
        let mut message = message();
        (message.severity, message.event) = (severity, event);
        message
    };
    assert!(channel.wants(&with(Severity::Critical, Event::ROLLOUT_ROLLBACK_FAILED)));
    assert!(!channel.wants(&with(Severity::Warning, Event::ROLLOUT_ROLLBACK_FAILED)));
    assert!(!channel.wants(&with(Severity::Critical, Event::ROLLOUT_ROLLED_BACK)));
    assert!(channel.wants(&with(Severity::Success, Event::ROLLOUT_COMPLETED)));
    let warning = with(Severity::Warning, Event::ROLLOUT_ROLLED_BACK);
    assert!(warned.wants(&warning) && !warned.wants(&with(Severity::Info, Event::ROLLOUT_STARTED)));
    send(&warned, &warning).await.unwrap();
    assert_eq!(receiver.json(0)["payload"]["severity"], "warning");
}

#[tokio::test]
async fn what_is_too_long_is_made_to_fit_and_long_keys_stay_different() {
    let (channel, _, receiver) = pagerduty(r#","template":{"title":"{{title}}","text":"{{summary}}"}"#).await;
    let mut long = message();
    (long.title, long.summary) = ("🚀".repeat(3000), "\u{1}€".repeat(5_000));
    long.key = format!("{}1", "k".repeat(300));
    for at in 0..300 {
        long = long.with_field(format!("{at}{}", "n".repeat(500)), "€\u{1}".repeat(3_000));
        long = long.with_link("page", format!("https://ci.example/{}", "x".repeat(at * 20)));
    }
    send(&channel, &long).await.unwrap();
    long.key = format!("{}2", "k".repeat(300));
    send(&channel, &long).await.unwrap();
    assert_ne!(receiver.json(0)["dedup_key"], receiver.json(1)["dedup_key"]);
}

#[tokio::test]
async fn fields_of_one_name_and_the_summary_are_all_kept() {
    let (channel, _, receiver) = pagerduty("").await;
    let twice = message().with_field("summary", "of a field").with_field("service", "web");
    send(&channel, &twice).await.unwrap();
    let details = receiver.json(0)["payload"]["custom_details"].clone();
    assert_eq!(details["service"], "api & co\nweb");
    assert!(details["summary"].as_str().unwrap().ends_with("since 10:00\nof a field"), "{details}");
}

#[tokio::test]
async fn trouble_is_waited_out_and_a_refusal_is_final_and_shows_no_key() {
    let (channel, clock, receiver) = pagerduty("").await;
    receiver.then(429, &[]);
    receiver.then(503, &[]);
    let delivery = send(&channel, &message()).await.unwrap();
    assert_eq!((delivery.attempts, clock.waits().len()), (3, 2));
    assert_eq!(receiver.body(0), receiver.body(2));

    receiver.then_saying(400, &[], &format!(r#"{{"status":"invalid event","errors":["no {KEY}"]}}"#));
    let error = send(&channel, &message()).await.unwrap_err();
    let text = format!("{} {error:?} {channel:?}", error_chain(&error));
    assert!(text.contains("invalid event") && text.contains("no [redacted]"), "{text}");
    assert!(!text.contains(KEY), "{text}");
    assert_eq!(receiver.count(), 4);
}

#[tokio::test]
async fn only_202_is_a_page_that_was_sent() {
    let (channel, _, receiver) = pagerduty("").await;
    receiver.then_saying(200, &[], "welcome");
    let error = send(&channel, &message()).await.unwrap_err();
    assert!(matches!(error, Error::Unexpected { status: 200, .. }), "{error}");
}

#[tokio::test]
async fn without_a_key_there_is_no_page() {
    let (channel, _, receiver) = pagerduty("").await;
    let mut nameless = message();
    nameless.key = " ".to_owned();
    let error = send(&channel, &nameless).await.unwrap_err();
    assert!(matches!(error, Error::NoKey { .. }), "{error}");
    assert_eq!(receiver.count(), 0);
}
