//! F: what makes core wait.

use futures::StreamExt as _;
use futures::stream::BoxStream;

use super::*;

/// Nothing here may take longer; most of it takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

async fn search(
    service: &Service<Odd>,
    how: &str,
    limit: i64,
) -> BoxStream<'static, Result<proto::list_resource::Event, Status>> {
    let request = proto::list_resource::Request {
        type_name: "odd_thing".to_owned(),
        config: plain(how),
        limit,
        ..Default::default()
    };
    answer(Rpc::list_resource(service, Request::new(request)).await)
}

/// The events, with their messages as texts.
async fn found(service: &Service<Odd>, how: &str, limit: i64) -> Vec<(String, Vec<proto::Diagnostic>)> {
    let stream = search(service, how, limit).await;
    let events = stream.map(|event| event.map(|event| (event.display_name, event.diagnostic)).unwrap());
    tokio::time::timeout(PATIENCE, events.collect()).await.unwrap_or_else(|_| panic!("{how}: it stays open"))
}

async fn idle(service: &Service<Odd>) {
    tokio::time::timeout(PATIENCE, service.stop_token().idle()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn row_43_a_search_ends_with_its_limit_though_the_author_goes_on() {
    let service = configured().await;
    for how in ["fine", "deaf"] {
        let found = found(&service, how, 3).await;
        assert_eq!(found.len(), 3, "{how}");
        assert!(found.iter().all(|(name, messages)| name == "one more" && messages.is_empty()), "{how}");
    }
    // Terraform's own limit, where none is given.
    assert_eq!(found(&service, "deaf", 0).await.len(), 100);
}

/// Core stops reading at the limit, and with it went what came after.
#[tokio::test]
async fn row_43_a_warning_arrives_also_where_the_limit_is_reached() {
    let service = configured().await;
    let found = found(&service, "partly", 3).await;
    assert_eq!(found.len(), 3);
    assert!(found[..2].iter().all(|(_, messages)| messages.is_empty()));
    assert_eq!(texts(&found[2].1), ["Only partly searched: One region did not answer."]);
}

#[tokio::test(start_paused = true)]
async fn row_43_a_search_that_nobody_reads_is_told_and_then_cut() {
    let service = configured().await;
    let mut stream = search(&service, "stuck", 100).await;
    assert_eq!(stream.next().await.unwrap().unwrap().display_name, "the only one");
    assert_eq!(service.stop_token().calls_in_flight(), 1);
    drop(stream);
    // The clock runs on by itself where nothing else does.
    idle(&service).await;
    assert_eq!(*service.0.provider.0.lock().unwrap(), ["told to stop"]);
}

#[tokio::test]
async fn row_43_a_search_that_fails_says_so() {
    let service = configured().await;
    for (how, expected) in FAILURES {
        let found = found(&service, how, 3).await;
        assert_eq!(found.len(), 1, "{how}");
        fails(how, &found[0].1, expected);
    }
    let found = found(&service, "nameless", 3).await;
    fails("nameless", &found[0].1, "found `nameless`, whose identity is not complete");
}

#[tokio::test(start_paused = true)]
async fn row_44_stop_does_not_wait_for_what_runs() {
    let service = configured().await;
    let mut stream = search(&service, "stuck", 100).await;
    assert_eq!(stream.next().await.unwrap().unwrap().display_name, "the only one");
    let stop = Rpc::stop_provider(&service, Request::new(proto::stop_provider::Request {}));
    assert_eq!(answer(stop.await).error, "");
    assert_eq!(service.stop_token().calls_in_flight(), 1, "it has answered before");
    // Told by the stop and left because it does not heed it: the reader learns that it was not done. Then it is cut.
    let events: Vec<_> = stream.map(Result::unwrap).collect().await;
    fails("stuck", &events.last().unwrap().diagnostic, "Stopped while `odd_thing` was at work");
    idle(&service).await;
}

/// The user who has pressed Ctrl-C saw nothing at all until it ended.
#[tokio::test(start_paused = true)]
async fn row_44_an_action_that_is_waited_for_says_so() {
    use proto::invoke_action::event::Type;
    let service = configured().await;
    let request = proto::invoke_action::Request {
        action_type: "odd_bell".to_owned(),
        config: plain("slow to stop"),
        ..Default::default()
    };
    let mut stream = answer(Rpc::invoke_action(&service, Request::new(request)).await);
    let mut lines = Vec::new();
    while let Some(event) = stream.next().await {
        match event.unwrap().r#type {
            Some(Type::Progress(line)) => {
                if line.message == "two" {
                    service.stop_token().stop();
                }
                lines.push(line.message);
            }
            Some(Type::Completed(end)) => assert_eq!(texts(&end.diagnostics), Vec::<String>::new()),
            None => panic!("an event without content"),
        }
    }
    assert!(lines.len() == 3 && lines[2].starts_with("asked to stop; waiting for `odd_bell`"), "{lines:?}");
}
