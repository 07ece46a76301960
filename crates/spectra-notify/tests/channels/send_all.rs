//! One message to many channels.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use spectra_notify::{Channel, Clock, Deadline, Outcome, send_all};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::support::{Receiver, channel, message, silent};

fn hook(name: &str, url: &str) -> Channel {
    channel(&format!(r#"{{"name":"{name}","kind":"webhook","url_env":"URL"}}"#), &[("URL", url)]).0
}

/// Its time passes when the test says so.
#[derive(Debug, Default)]
struct ManualClock {
    over: Notify,
}

impl Clock for ManualClock {
    fn unix_seconds(&self) -> u64 {
        0
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'_, ()> {
        Box::pin(self.over.notified())
    }
}

const LONG: Duration = Duration::from_mins(10);

#[tokio::test]
async fn a_channel_that_fails_is_an_outcome_and_hinders_no_other() {
    let (good, good_url) = Receiver::start(&[]).await;
    let (bad, bad_url) = Receiver::start(&[]).await;
    bad.then_saying(403, &[], "go away");
    let unwilling = channel(
        r#"{"name":"quiet","kind":"webhook","url_env":"URL","events":["deploy.*"]}"#,
        &[("URL", &good_url)],
    );
    let channels = [hook("bad", &bad_url), unwilling.0, hook("good", &good_url)];
    let sent = send_all(&channels, &message(), &CancellationToken::new(), LONG).await;
    let record = serde_json::to_value(&sent).unwrap();
    let names: Vec<_> = sent.iter().map(|sent| sent.channel.as_str()).collect();
    assert_eq!(names, ["bad", "quiet", "good"]);
    assert_eq!((&record[0]["outcome"], &record[0]["code"]), (&"failed".into(), &"SPX-705".into()));
    assert!(record[0]["error"].as_str().unwrap().contains("go away"), "{record}");
    assert_eq!(record[1], serde_json::json!({"channel": "quiet", "outcome": "not_wanted"}));
    assert_eq!((&record[2]["outcome"], &record[2]["attempts"]), (&"delivered".into(), &1.into()));
    assert_eq!(good.count(), 1);
}

#[tokio::test]
async fn channels_are_served_at_the_same_time_until_the_deadline() {
    let (first, first_reached) = silent().await;
    let (second, second_reached) = silent().await;
    let channels = [hook("first", &first), hook("second", &second)];
    let clock = Arc::new(ManualClock::default());
    let deadline = Deadline::new(Duration::from_secs(20), Arc::clone(&clock) as Arc<dyn Clock>);
    let (message, cancel) = (message(), CancellationToken::new());
    let sending = send_all(&channels, &message, &cancel, deadline);
    let time = async {
        // Both of them are waited for, which one after the other would never come to.
        tokio::join!(first_reached.notified(), second_reached.notified());
        clock.over.notify_waiters();
    };
    let (sent, ()) = tokio::join!(sending, time);
    for overdue in &sent {
        let Outcome::Failed(error) = &overdue.outcome else { panic!("{overdue:?}") };
        assert_eq!(error.code().as_str(), "SPX-713");
        assert!(error.to_string().contains("20000 ms") && error.to_string().contains("may"), "{error}");
    }
    assert_eq!(sent.len(), 2);
}

#[tokio::test]
async fn after_a_stop_nothing_is_begun() {
    let (receiver, url) = Receiver::start(&[]).await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let sent = send_all(&[hook("a", &url), hook("b", &url)], &message(), &cancel, LONG).await;
    for sent in &sent {
        let Outcome::Failed(error) = &sent.outcome else { panic!("{sent:?}") };
        assert_eq!(error.code().as_str(), "SPX-707");
    }
    assert_eq!((sent.len(), receiver.count()), (2, 0));
}
