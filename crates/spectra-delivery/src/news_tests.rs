use axum::Router;
use serde_json::{Value, json};
use spectra_journal::{Draft, Holder, Location};
use spectra_rollout::{Place, Reach};

use super::*;
use crate::kinds;

async fn journal() -> (Journal, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let location: Location = format!("sqlite://{}/journal.db", folder.path().display()).parse().unwrap();
    (Journal::open(&location).await.unwrap(), folder)
}

fn news(event: &'static str) -> News {
    News {
        event,
        rollout: "ro-1".to_owned(),
        place: Place {
            project: "p".parse().unwrap(),
            environment: "production".parse().unwrap(),
            service: "api".parse().unwrap(),
        },
        candidate: format!("ghcr.io/acme/api@sha256:{}", "a".repeat(64)).parse().unwrap(),
        summary: "it broke".to_owned(),
    }
}

fn webhook(name: &str, reach: Reach, url_env: &str) -> NotificationChannel {
    let channel = json!({
        "name": name, "kind": "webhook", "url_env": url_env, "template": { "title": "{{field.service}} has news" },
    });
    NotificationChannel { reach, channel: serde_json::from_value(channel).unwrap() }
}

/// A place that takes messages, and the variable that leads there.
async fn receiver() -> (tokio::sync::mpsc::UnboundedReceiver<Value>, String) {
    let (sender, received) = tokio::sync::mpsc::unbounded_channel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let take = move |body: String| {
        let sender = sender.clone();
        async move { sender.send(serde_json::from_str(&body).unwrap()).unwrap() }
    };
    let router = Router::new().fallback(take);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (received, url)
}

static URL: std::sync::OnceLock<String> = std::sync::OnceLock::new();

fn env(name: &str) -> Option<String> {
    if name == "OPS_URL" { URL.get().cloned() } else { None }
}

#[tokio::test]
async fn the_channels_of_the_place_are_told_and_one_that_cannot_be_opened_is_a_line() {
    let (journal, _folder) = journal().await;
    let (settings, me) = (Settings::of(&journal), Holder::of_this_process("test"));
    let (mut received, url) = receiver().await;
    URL.set(url).unwrap();
    let staging = Reach::Environment { environment: "staging".parse().unwrap() };
    settings.put("a", &webhook("ops", Reach::Everything, "OPS_URL"), &me).await.unwrap();
    settings.put("b", &webhook("others", staging, "OPS_URL"), &me).await.unwrap();
    settings.put("c", &webhook("broken", Reach::Everything, "NOBODY_SET_THIS"), &me).await.unwrap();
    let run_url = Some("https://ci.example/runs/1".to_owned());
    let channels = Channels { journal: &journal, given: &[], run_url, env };
    let lines = channels.tell(&news("rollout.rolled_back")).await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("broken: failed: ") && lines[0].contains("NOBODY_SET_THIS"), "{lines:?}");
    assert_eq!(lines[1], "ops: delivered in 1 attempt(s)");
    let message = received.recv().await.unwrap();
    assert_eq!(message["event"], "rollout.rolled_back");
    assert_eq!(message["severity"], "warning");
    assert_eq!(message["title"], "api has news");
    assert_eq!(message["links"][0]["url"], "https://ci.example/runs/1");
    // Not severe enough for it.
    let lines = channels.tell(&news("rollout.started")).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(received.try_recv().is_err());
}

#[tokio::test]
async fn settings_that_cannot_be_read_are_a_line() {
    let (journal, _folder) = journal().await;
    let (subject, kind) = (crate::settings::SUBJECT.to_owned(), kinds::SETTING_PUT.to_owned());
    journal.append(Draft { subject, rollout: None, kind, body: json!({ "type": 1 }) }).await.unwrap();
    let channels = Channels::of(&journal, &[], None);
    let lines = channels.tell(&news("rollout.completed")).await;
    assert!(lines.len() == 1 && lines[0].starts_with("channels could not be read"), "{lines:?}");
}
