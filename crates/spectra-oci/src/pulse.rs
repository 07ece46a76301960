//! Noticing that nothing happens on a request any more.
//!
//! A body beats for every piece of it that leaves. Beats wake nobody: there are thousands of them a second, and who waits looks at the
//! last one when the time is up.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

#[derive(Debug, thiserror::Error)]
#[error("nothing was sent or received for {} s", .0.as_secs())]
pub(crate) struct Stalled(pub(crate) Duration);

/// The ends of a pulse for one request: for its body, and for who waits for the answer.
pub(crate) fn pulse() -> (Beats, Pulse) {
    let last = Arc::new(Last { begin: Instant::now(), after: AtomicU64::new(0) });
    let (sender, out) = oneshot::channel();
    (Beats { last: Arc::clone(&last), out: sender }, Pulse { last, out })
}

/// The time of the last beat.
struct Last {
    begin: Instant,
    /// Milliseconds after `begin`.
    after: AtomicU64,
}

impl Last {
    fn beat(&self) {
        let after = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.after.store(after, Ordering::Relaxed);
    }

    fn after(&self) -> Duration {
        Duration::from_millis(self.after.load(Ordering::Relaxed))
    }
}

/// Goes with the body, and is dropped with it.
pub(crate) struct Beats {
    last: Arc<Last>,
    #[expect(dead_code, reason = "what it tells is that it was dropped")]
    out: oneshot::Sender<Infallible>,
}

impl Beats {
    /// Something was sent.
    pub(crate) fn beat(&self) {
        self.last.beat();
    }
}

/// Waits as long as there are beats.
pub(crate) struct Pulse {
    last: Arc<Last>,
    out: oneshot::Receiver<Infallible>,
}

impl Pulse {
    /// What `answer` gives, unless there is no beat for `stall` from now on or, once the body is out, no answer within `patience`.
    pub(crate) async fn wait<T>(
        mut self,
        answer: impl Future<Output = T>,
        stall: Duration,
        patience: Duration,
    ) -> Result<T, Stalled> {
        let mut answer = std::pin::pin!(answer);
        let mut allowed = stall;
        let mut sending = true;
        // Getting at the body may have taken long, and is not this registry's time.
        self.last.beat();
        loop {
            let last = self.last.after();
            // A limit beyond what clocks have is none.
            let due = last.checked_add(allowed).and_then(|due| self.last.begin.checked_add(due));
            let silence = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                answer = &mut answer => return Ok(answer),
                _ = &mut self.out, if sending => {
                    (sending, allowed) = (false, patience);
                    self.last.beat();
                }
                () = silence => {
                    if self.last.after() == last {
                        return Err(Stalled(allowed));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    const STALL: Duration = Duration::from_secs(10);
    const PATIENCE: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn a_body_that_moves_is_waited_for_however_long_it_takes() {
        let (beats, pulse) = pulse();
        let begin = Instant::now();
        let answer = async move {
            for _ in 0..100 {
                sleep(STALL * 9 / 10).await;
                beats.beat();
            }
            "done"
        };
        assert_eq!(pulse.wait(answer, STALL, PATIENCE).await.unwrap(), "done");
        assert!(begin.elapsed() > 80 * STALL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stands_still_is_given_up_one_stall_after_its_last_piece() {
        let (beats, pulse) = pulse();
        let begin = Instant::now();
        let answer = async move {
            sleep(STALL / 2).await;
            beats.beat();
            pending::<()>().await;
        };
        let stalled = pulse.wait(answer, STALL, PATIENCE).await.unwrap_err();
        assert_eq!(stalled.to_string(), "nothing was sent or received for 10 s");
        assert_eq!(begin.elapsed().as_secs(), (STALL + STALL / 2).as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_that_the_source_of_a_body_took_was_the_targets() {
        let (_beats, pulse) = pulse();
        sleep(2 * STALL).await;
        let begin = Instant::now();
        pulse.wait(sleep(STALL / 2), STALL, PATIENCE).await.unwrap();
        assert_eq!(begin.elapsed().as_secs(), (STALL / 2).as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_beyond_the_clock_is_none() {
        let (beats, pulse) = pulse();
        let answer = async move {
            sleep(STALL).await;
            drop(beats);
            sleep(STALL).await;
        };
        pulse.wait(answer, Duration::MAX, Duration::MAX).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_answer_may_take_longer_once_the_body_is_out() {
        let (beats, answered) = pulse();
        let answer = async move {
            sleep(STALL / 2).await;
            drop(beats);
            sleep(PATIENCE * 9 / 10).await;
        };
        answered.wait(answer, STALL, PATIENCE).await.unwrap();

        let (beats, silent) = pulse();
        let begin = Instant::now();
        let answer = async move {
            sleep(STALL / 2).await;
            drop(beats);
            pending::<()>().await;
        };
        let stalled = silent.wait(answer, STALL, PATIENCE).await.unwrap_err();
        assert_eq!(stalled.to_string(), "nothing was sent or received for 60 s");
        assert_eq!(begin.elapsed().as_secs(), (PATIENCE + STALL / 2).as_secs());
    }
}
