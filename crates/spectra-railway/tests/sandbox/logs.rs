//! Logs as they are written.

use serde_json::json;
use spectra_railway::{LogKind, LogLine, LogNews, LogStream};

use crate::world::{World, soon, until};

async fn line(of: &mut LogStream) -> LogLine {
    match soon("a line", of.next()).await {
        LogNews::Line(line) => line,
        LogNews::Trouble(reason) => panic!("{reason}"),
    }
}

#[tokio::test]
async fn q46_every_line_comes_once_although_the_connection_is_cut() {
    let world = World::start().await;
    let (place, id) = world.held(&[("error-rate", "1")]).await;
    let domain = world.client.create_service_domain(&place, None).await.unwrap().domain;
    // Cut after the first batch, then once more.
    world
        .fault(json!({ "operation": "FollowDeploymentLogs", "count": 2, "action": { "type": "ws_drop", "after": 1 } }))
        .await;
    let mut lines = world.client.stream_logs(&id, LogKind::Deploy);
    world.approve(&id).await;
    let mut heard = vec![line(&mut lines).await];
    for number in 0..5 {
        until("it answers", async || world.visit(&domain, &format!("/{number}")).await.0 == 500).await;
        let wanted = format!("GET /{number}");
        while !heard.iter().any(|line| line.message.contains(&wanted)) {
            heard.push(line(&mut lines).await);
        }
    }
    let cuts = world.journal("FollowDeploymentLogs").await;
    assert_eq!(cuts.iter().filter(|row| row["outcome"] == "fault:ws_drop").count(), 2, "{cuts:?}");
    let mut all = world.client.deployment_log_tail(&id, 500).await.unwrap();
    all.retain(|line| heard.last().is_none_or(|last| line.timestamp <= last.timestamp));
    let key = |line: &spectra_railway::LogLine| (line.timestamp.clone(), line.message.clone());
    let mut heard: Vec<_> = heard.iter().map(key).collect();
    let mut all: Vec<_> = all.iter().map(key).collect();
    heard.sort();
    all.sort();
    // Two equal lines of one moment count as one.
    all.dedup();
    assert_eq!(heard, all);
}

#[tokio::test]
async fn build_logs_are_followed_too() {
    let world = World::start().await;
    let (_, id) = world.held(&[]).await;
    let lines = world.client.stream_logs(&id, LogKind::Build);
    until("it is subscribed", async || {
        world.journal("FollowBuildLogs").await.iter().any(|row| row["outcome"] == "ok")
    })
    .await;
    drop(lines);
}
