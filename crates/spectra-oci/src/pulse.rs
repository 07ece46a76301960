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
    let last = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let (sender, out) = oneshot::channel();
    (Beats { begin, last: Arc::clone(&last), out: sender }, Pulse { begin, last, out })
}

/// Goes with the body, and is dropped with it.
pub(crate) struct Beats {
    begin: Instant,
    /// Milliseconds after `begin`.
    last: Arc<AtomicU64>,
    #[expect(dead_code, reason = "what it tells is that it was dropped")]
    out: oneshot::Sender<Infallible>,
}

impl Beats {
    /// Something was sent.
    pub(crate) fn beat(&self) {
        self.last.store(since(self.begin), Ordering::Relaxed);
    }
}

/// Waits as long as there are beats.
pub(crate) struct Pulse {
    begin: Instant,
    last: Arc<AtomicU64>,
    out: oneshot::Receiver<Infallible>,
}

impl Pulse {
    /// What `answer` gives, unless there is no beat for `stall` or, once the body is out, no answer within `patience`.
    pub(crate) async fn wait<T>(
        mut self,
        answer: impl Future<Output = T>,
        stall: Duration,
        patience: Duration,
    ) -> Result<T, Stalled> {
        let mut answer = std::pin::pin!(answer);
        let mut allowed = stall;
        let mut sending = true;
        loop {
            let last = self.last.load(Ordering::Relaxed);
            tokio::select! {
                biased;
                answer = &mut answer => return Ok(answer),
                _ = &mut self.out, if sending => {
                    (sending, allowed) = (false, patience);
                    self.last.store(since(self.begin), Ordering::Relaxed);
                }
                () = tokio::time::sleep_until(self.begin + Duration::from_millis(last) + allowed) => {
                    if self.last.load(Ordering::Relaxed) == last {
                        return Err(Stalled(allowed));
                    }
                }
            }
        }
    }
}

fn since(begin: Instant) -> u64 {
    u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX)
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
