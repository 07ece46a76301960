//! Pages of requests, where they break.

use jiff::Timestamp;
use serde_json::{Value, json};
use spectra_railway::HttpRequests;

use crate::fake::{Fake, Reply, data};

/// A request of a second, told from the others by its path.
fn row(second: i64, path: usize) -> Value {
    json!({ "timestamp": at(second).to_string(), "httpStatus": 200, "totalDuration": 12, "method": "GET",
            "path": format!("/{path}"), "deploymentInstanceId": "", "upstreamErrors": "" })
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

fn page(rows: impl IntoIterator<Item = Value>) -> Reply {
    data(json!({ "httpLogs": rows.into_iter().collect::<Vec<_>>() }))
}

async fn read(pages: Vec<Reply>) -> (HttpRequests, Vec<(String, i64)>) {
    let (fake, client) = Fake::with_account().await;
    for page in pages {
        fake.once("HttpLogs", page);
    }
    let log = client.http_logs(&"d1".parse().unwrap(), at(0), at(1_000), 100_000).await.unwrap();
    let asked = fake.seen("HttpLogs").into_iter().map(|seen| {
        assert_eq!(seen.variables["before"], at(0).to_string());
        let anchor = seen.variables["anchor"].as_str().unwrap().to_owned();
        (anchor, seen.variables["limit"].as_i64().unwrap())
    });
    (log, asked.collect())
}

fn paths(log: &HttpRequests) -> Vec<usize> {
    let mut paths: Vec<_> = log.requests.iter().map(|request| request.path[1..].parse().unwrap()).collect();
    paths.sort_unstable();
    paths
}

#[tokio::test]
async fn a_page_may_break_amid_a_moment_whether_the_anchor_counts_or_not() {
    let newer = || (0..60).map(|number| row(500 + i64::try_from(number / 2).unwrap(), number));
    // The page's oldest moment has one more request, which the next page has: with those that are known, or alone.
    for next in [
        vec![row(500, 0), row(500, 1), row(500, 60), row(3, 61)],
        vec![row(500, 60), row(500, 0), row(500, 1)],
    ] {
        let count = next.len() + 58;
        let (log, asked) = read(vec![page(newer()), page(next)]).await;
        assert_eq!(paths(&log), (0..count).collect::<Vec<_>>());
        assert_eq!(log.cut, None);
        assert_eq!(asked, [(at(1_000).to_string(), 500), (at(500).to_string(), 500)]);
    }
    // A server that leaves the anchor itself out.
    let (log, _) = read(vec![page(newer()), page([row(499, 60)])]).await;
    assert_eq!(paths(&log), (0..61).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_moment_with_more_requests_than_a_page_is_asked_for_with_a_larger_one() {
    let moment = |count: usize| page((0..count).map(|number| row(7, number)));
    let (log, asked) = read(vec![moment(500), moment(500), moment(700)]).await;
    assert_eq!((paths(&log), log.cut), ((0..700).collect(), None));
    let limits: Vec<_> = asked.iter().map(|(_, limit)| *limit).collect();
    assert_eq!(limits, [500, 500, 2_000]);
    let (log, _) = read(vec![moment(500), moment(500), moment(2_000), moment(8_000)]).await;
    // More than can be read: nothing of it is, and that is said.
    assert_eq!((log.requests.len(), log.cut), (0, Some(at(7))));
}

#[tokio::test]
async fn what_lies_outside_of_the_window_is_left_out() {
    let (log, _) = read(vec![page([row(-1, 0), row(0, 1), row(1_000, 2), row(1_001, 3)])]).await;
    assert_eq!(paths(&log), [1, 2]);
}
