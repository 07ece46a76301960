//! A thread that writes, so that nobody else waits for the reader.

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// Lines that may wait. With lines of usual length about a megabyte.
const QUEUE: usize = 4096;
/// How long a flush may take: the end of the process must not hang on a reader that is gone.
const FLUSH: Duration = Duration::from_millis(100);

enum Message {
    Line(String),
    /// Answered when everything before it is written.
    Flush(SyncSender<()>),
}

/// A handle on the thread; cheap to clone.
#[derive(Clone)]
pub(super) struct Writer {
    sender: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("dropped", &self.dropped).finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn start(output: impl Write + Send + 'static) -> Self {
        let (sender, receiver) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        // Without a thread there are no lines; the provider works all the same.
        let _ = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(output, &receiver, &counter));
        Self { sender, dropped }
    }

    /// Queues a line, without its line break. Never waits: a full queue costs the line.
    pub(super) fn line(&self, line: String) {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(Message::Line(line)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits, within bounds, until everything queued is written.
    pub(super) fn flush(&self) {
        let (done, on_done) = sync_channel(1);
        if self.sender.try_send(Message::Flush(done)).is_ok() {
            let _ = on_done.recv_timeout(FLUSH);
        }
    }
}

fn write(mut output: impl Write, receiver: &Receiver<Message>, dropped: &AtomicU64) {
    for message in receiver {
        match message {
            Message::Line(mut line) => {
                line.push('\n');
                // One call a line. A reader that is gone makes every call fail, which costs nothing.
                let _ = output.write_all(line.as_bytes());
                let missing = dropped.swap(0, Ordering::Relaxed);
                if missing > 0 {
                    let text = format!("{missing} log lines were dropped: the reader is too slow");
                    let _ = writeln!(output, "{}", super::line::notice("warn", &text));
                }
            }
            Message::Flush(done) => {
                let _ = output.flush();
                let _ = done.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Condvar, Mutex};

    /// Blocks until opened, like a pipe that nobody reads.
    #[derive(Clone, Default)]
    struct Pipe(Arc<(Mutex<(bool, String)>, Condvar)>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.0.lock().unwrap();
            while !state.0 {
                state = self.0.1.wait(state).unwrap();
            }
            state.1.push_str(std::str::from_utf8(bytes).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stalled_reader_blocks_nobody_and_the_loss_is_told() {
        let pipe = Pipe::default();
        let writer = Writer::start(pipe.clone());
        // Would hang here if a full queue were waited for.
        for number in 0..QUEUE + 100 {
            writer.line(format!("line {number}"));
        }
        writer.flush();
        pipe.0.0.lock().unwrap().0 = true;
        pipe.0.1.notify_all();
        // The queue may be full still: ask until there is room for the question.
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while !pipe.0.0.lock().unwrap().1.contains("log lines were dropped") {
            assert!(std::time::Instant::now() < deadline);
            writer.flush();
        }
        assert!(pipe.0.0.lock().unwrap().1.starts_with("line 0\n"));
    }
}
