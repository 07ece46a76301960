//! What the client says over its WebSocket, and what it makes of what it hears.

use std::time::Duration;

use serde_json::json;
use spectra_railway::{
    DeploymentFeed, DeploymentStatus, FeedChange, LogKind, LogNews, LogStream, RailwayTarget,
};

use crate::sockets::{Heard, Sockets};

const HOUR: Duration = Duration::from_hours(1);

async fn told(feed: &mut DeploymentFeed) -> DeploymentStatus {
    let change = tokio::time::timeout(Duration::from_secs(20), feed.changed(HOUR)).await;
    match change.unwrap() {
        FeedChange::Pushed(status) => status,
        FeedChange::Elapsed => panic!("an hour passed in a test"),
    }
}

#[tokio::test]
async fn a_dropped_feed_completes_its_subscription_and_the_last_one_closes_the_connection() {
    let mut server = Sockets::start().await;
    let mut first = server.client.follow_deployment(&"d1".parse().unwrap());
    let mut connection = server.accept().await;
    let one = connection.subscribed("d1").await;
    let second = server.client.follow_deployment(&"d2".parse().unwrap());
    let two = connection.subscribed("d2").await;
    drop(second);
    assert_eq!(connection.message("complete").await, json!({ "type": "complete", "id": two }));
    // The other one goes on.
    connection.status(&one, "d1", "DEPLOYING");
    assert_eq!(told(&mut first).await, DeploymentStatus::Deploying);
    drop(first);
    assert_eq!(connection.message("complete").await, json!({ "type": "complete", "id": one }));
    // Kept for a moment, and used again by who comes within it.
    let third = server.client.follow_deployment(&"d3".parse().unwrap());
    let three = connection.subscribed("d3").await;
    drop(third);
    assert_eq!(connection.message("complete").await, json!({ "type": "complete", "id": three }));
    server.pass(Duration::from_secs(30)).await;
    assert!(matches!(connection.hear("the end").await, Heard::Closed(_)));
    assert!(server.has_no_more());
    // The next one opens another.
    let _fourth = server.client.follow_deployment(&"d4".parse().unwrap());
    server.accept().await.subscribed("d4").await;
}

#[tokio::test]
async fn pings_are_answered_of_both_kinds() {
    let mut server = Sockets::start().await;
    let _feed = server.client.follow_deployment(&"d1".parse().unwrap());
    let mut connection = server.accept().await;
    connection.subscribed("d1").await;
    connection.say(json!({ "type": "ping" }));
    connection.message("pong").await;
    connection.ping(b"alive?");
    assert_eq!(connection.hear("a pong").await, Heard::Pong(b"alive?".to_vec()));
}

#[tokio::test]
async fn what_is_told_twice_is_no_change_and_what_came_between_two_waits_is_kept() {
    let mut server = Sockets::start().await;
    let mut feed = server.client.follow_deployment(&"d1".parse().unwrap());
    let mut connection = server.accept().await;
    let id = connection.subscribed("d1").await;
    connection.status(&id, "d1", "DEPLOYING");
    assert_eq!(told(&mut feed).await, DeploymentStatus::Deploying);
    connection.status(&id, "d1", "DEPLOYING");
    connection.status(&id, "another", "FAILED");
    // Everything before the answer to this has been heard.
    connection.say(json!({ "type": "ping" }));
    connection.message("pong").await;
    assert_eq!(feed.changed(Duration::ZERO).await, FeedChange::Elapsed);
    connection.status(&id, "d1", "SUCCESS");
    connection.say(json!({ "type": "ping" }));
    connection.message("pong").await;
    assert_eq!(feed.changed(Duration::ZERO).await, FeedChange::Pushed(DeploymentStatus::Success));
}

#[tokio::test]
async fn a_connection_that_is_silent_is_asked_and_then_replaced() {
    let mut server = Sockets::start().await;
    let mut feed = server.client.follow_deployment(&"d1".parse().unwrap());
    let mut connection = server.accept().await;
    let id = connection.subscribed("d1").await;
    server.pass(Duration::from_secs(30)).await;
    connection.message("ping").await;
    // Any sign of life will do.
    connection.status(&id, "d1", "DEPLOYING");
    assert_eq!(told(&mut feed).await, DeploymentStatus::Deploying);
    server.pass(Duration::from_secs(30)).await;
    connection.message("ping").await;
    server.pass(Duration::from_secs(10)).await;
    // The pause before the next attempt has some chance in it.
    let mut second = loop {
        server.clock.advance(Duration::from_millis(100));
        tokio::task::yield_now().await;
        if let Ok(next) = tokio::time::timeout(Duration::from_millis(50), server.accept()).await {
            break next;
        }
    };
    let again = second.subscribed("d1").await;
    // Late words of the old connection are nobody's, and what is known is no news.
    second.status(&id, "d1", "FAILED");
    second.status(&again, "d1", "DEPLOYING");
    second.status(&again, "d1", "SUCCESS");
    assert_eq!(told(&mut feed).await, DeploymentStatus::Success);
    drop(connection);
}

#[tokio::test]
async fn a_refused_session_is_left_alone_for_a_minute() {
    for code in [4401, 4429] {
        let mut server = Sockets::start().await;
        let mut feed = server.client.follow_deployment(&"d1".parse().unwrap());
        let mut connection = server.accept().await;
        connection.subscribed("d1").await;
        connection.close(code);
        server.until_somebody_waits(Duration::from_mins(1)).await;
        let wait = Duration::from_secs(59);
        let (change, ()) = tokio::join!(feed.changed(wait), server.pass(wait));
        assert_eq!(change, FeedChange::Elapsed, "{code}");
        assert!(server.has_no_more());
        server.pass(Duration::from_secs(1)).await;
        server.accept().await.subscribed("d1").await;
    }
}

#[tokio::test]
async fn what_the_server_completes_begins_anew() {
    let mut server = Sockets::start().await;
    let mut feed = server.client.follow_deployment(&"d1".parse().unwrap());
    let mut connection = server.accept().await;
    let id = connection.subscribed("d1").await;
    let errors = json!([{ "message": "Deployment not found" }]);
    connection.say(json!({ "type": "error", "id": id, "payload": errors }));
    let again = loop {
        server.clock.advance(Duration::from_millis(100));
        let next = tokio::time::timeout(Duration::from_millis(50), connection.subscribed("d1")).await;
        if let Ok(id) = next {
            break id;
        }
    };
    assert_ne!(again, id);
    connection.status(&again, "d1", "BUILDING");
    assert_eq!(told(&mut feed).await, DeploymentStatus::Building);
}

async fn time_of_next(lines: &mut LogStream) -> String {
    match tokio::time::timeout(Duration::from_secs(20), lines.next()).await.unwrap() {
        LogNews::Line(line) => line.timestamp,
        LogNews::Trouble(reason) => panic!("{reason}"),
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_begins_anew_and_is_told_once() {
    let mut server = Sockets::start().await;
    let mut lines = server.client.stream_logs(&"d1".parse().unwrap(), LogKind::Deploy);
    let mut connection = server.accept().await;
    let subscribe = connection.message("subscribe").await;
    let tell =
        |connection: &crate::sockets::Connection, id: &serde_json::Value, numbers: std::ops::Range<u32>| {
            let rows: Vec<_> = numbers
            .map(|number| json!({ "timestamp": format!("{number:09}"), "severity": "info", "message": "x" }))
            .collect();
            let data = json!({ "data": { "deploymentLogs": rows } });
            connection.say(json!({ "type": "next", "id": id, "payload": data }));
        };
    for number in 0..257 {
        tell(&connection, &subscribe["id"], number..number + 1);
    }
    assert_eq!(connection.message("complete").await["id"], subscribe["id"]);
    let mut heard = Vec::new();
    for _ in 0..256 {
        heard.push(time_of_next(&mut lines).await);
    }
    let again = loop {
        server.clock.advance(Duration::from_millis(100));
        let next = tokio::time::timeout(Duration::from_millis(50), connection.message("subscribe")).await;
        if let Ok(message) = next {
            break message;
        }
    };
    assert_eq!(again["payload"], subscribe["payload"]);
    tell(&connection, &again["id"], 100..300);
    while heard.len() < 300 {
        heard.push(time_of_next(&mut lines).await);
    }
    assert_eq!(heard, (0..300).map(|number| format!("{number:09}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_target_follows_one_deployment_at_a_time() {
    let mut server = Sockets::start().await;
    let target = RailwayTarget::new(server.client.clone());
    let (first, second) = ("d1".parse().unwrap(), "d2".parse().unwrap());
    let wait = Duration::from_secs(3);
    let (change, mut connection) = tokio::join!(target.wait_for_change(&first, wait), async {
        let mut connection = server.accept().await;
        let id = connection.subscribed("d1").await;
        connection.status(&id, "d1", "DEPLOYING");
        connection
    });
    assert_eq!(change, FeedChange::Pushed(DeploymentStatus::Deploying));
    let (change, ()) = tokio::join!(target.wait_for_change(&first, wait), server.pass(wait));
    assert_eq!(change, FeedChange::Elapsed);
    let ((), change) = tokio::join!(
        async {
            let complete = connection.message("complete").await;
            assert_eq!(complete["id"], "1");
            let id = connection.subscribed("d2").await;
            connection.status(&id, "d2", "FAILED");
        },
        target.wait_for_change(&second, wait)
    );
    assert_eq!(change, FeedChange::Pushed(DeploymentStatus::Failed));
    drop(target);
    connection.message("complete").await;
}

#[tokio::test]
async fn without_a_runtime_there_is_a_feed_that_only_waits() {
    let server = Sockets::start().await;
    let client = server.client.clone();
    let outside = std::thread::spawn(move || client.follow_deployment(&"d1".parse().unwrap()));
    let mut feed = outside.join().unwrap();
    let wait = Duration::from_secs(3);
    let (change, ()) = tokio::join!(feed.changed(wait), server.pass(wait));
    assert_eq!(change, FeedChange::Elapsed);
}
