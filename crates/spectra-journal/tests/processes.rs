//! Several processes, and what happens to leases when one is killed or stopped.

#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

mod support;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use spectra_journal::{Error, Holder, Journal, Location, Query, kinds};
use support::*;

const URL: &str = "SPECTRA_TEST_JOURNAL";
const SUBJECT: &str = "shop/production/api";
const HOUR: Duration = Duration::from_hours(1);

/// Does what its standard input says, a word a line, and answers each with a line.
#[tokio::test]
#[ignore = "a process of the other tests"]
async fn the_other_process() {
    let location: Location = std::env::var(URL).expect("the other tests start this one").parse().unwrap();
    let journal = Journal::open(&location).await.unwrap();
    let mut lease = None;
    println!("> ready");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let mut words = line.split(' ');
        let answer = match (words.next().unwrap(), words.next()) {
            ("acquire", Some(millis)) => {
                let ttl = Duration::from_millis(millis.parse().unwrap());
                let new =
                    acquired(journal.acquire(SUBJECT, Holder::of_this_process("other"), ttl).await.unwrap());
                format!("acquired {}", lease.insert(new).fence())
            }
            ("append", _) => match lease.as_ref().unwrap().append(note(1)).await {
                Ok(record) => format!("appended {}", record.seq),
                Err(error @ Error::Fenced { .. }) => format!("fenced {error}"),
                Err(error) => format!("failed {error}"),
            },
            ("sure", _) => format!("sure {}", lease.as_ref().unwrap().surely_held()),
            ("write", Some(count)) => {
                let mut writers = tokio::task::JoinSet::new();
                for number in 0..count.parse().unwrap() {
                    let journal = journal.clone();
                    writers.spawn(async move { journal.append(note(number)).await.unwrap() });
                }
                format!("written {}", writers.join_all().await.len())
            }
            other => panic!("{other:?}"),
        };
        println!("> {answer}");
    }
}

struct Other {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Other {
    fn start(place: &Place) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "the_other_process", "--nocapture"])
            .env(URL, place.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut other = Self { child, stdin, stdout };
        assert_eq!(other.answer(), "ready");
        other
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "the process ended without an answer");
            // The harness writes the test's name in front, without a new line.
            if let Some((_, answer)) = line.split_once("> ") {
                return answer.trim_end().to_owned();
            }
        }
    }

    fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.answer()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Stops it, and returns when it has stopped.
    fn stop(&self) {
        self.signal(rustix::process::Signal::STOP);
        let deadline = Instant::now() + TTL;
        let stat = format!("/proc/{}/stat", self.child.id());
        while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
            assert!(Instant::now() < deadline, "it goes on");
            std::thread::yield_now();
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

on_both_stores! {
    async fn a_killed_run_does_not_block_the_next_one(place: &Place) {
        let mut other = Other::start(place);
        assert_eq!(other.ask("acquire 3600000"), "acquired 1");
        let journal = place.open().await;
        let held = refused(journal.acquire(SUBJECT, Holder::of_this_process("test"), HOUR).await.unwrap());
        assert_eq!((held.holder.pid, held.holder.program.as_str()), (other.child.id(), "other"));
        assert!(!held.holder.is_gone());

        other.child.kill().unwrap();
        other.child.wait().unwrap();
        let lease = acquired(journal.acquire(SUBJECT, Holder::of_this_process("test"), HOUR).await.unwrap());
        assert_eq!(lease.fence(), 2);
        let record = journal.records(&Query::default()).await.unwrap().pop().unwrap();
        assert_eq!(record.kind, kinds::TAKEN_OVER);
        assert_eq!(record.body["from"]["holder"]["pid"], other.child.id());
        assert_eq!(record.body["because"], "the process is gone");
        journal.verify(None).await.unwrap();
    }

    async fn a_stopped_holder_that_goes_on_can_write_nothing_any_more(place: &Place) {
        let mut other = Other::start(place);
        assert_eq!(other.ask("acquire 3600000"), "acquired 1");
        assert_eq!(other.ask("append"), "appended 2");
        other.stop();
        // What it was told before it stopped it does afterwards.
        other.say("append");
        let journal = place.open().await;
        // A stopped process is not gone.
        refused(journal.acquire(SUBJECT, Holder::of_this_process("test"), HOUR).await.unwrap());
        let lease = journal.steal(SUBJECT, Holder::of_this_process("test"), HOUR, "it is stopped").await.unwrap();
        let head = journal.head().await.unwrap();
        other.signal(rustix::process::Signal::CONT);
        let answer = other.answer();
        assert!(answer.starts_with("fenced"), "{answer}");
        assert_eq!(journal.head().await.unwrap(), head);
        assert_eq!(lease.append(note(3)).await.unwrap().fence, Some(2));
    }

    async fn a_holder_that_was_stopped_for_too_long_is_not_sure(place: &Place) {
        let mut other = Other::start(place);
        assert_eq!(other.ask("acquire 3600000"), "acquired 1");
        assert_eq!(other.ask("sure"), "sure true");
        drop(other);
        let mut other = Other::start(place);
        assert_eq!(other.ask("acquire 200"), "acquired 2");
        other.stop();
        let journal = place.open().await;
        let deadline = Instant::now() + TTL;
        while !journal.lease_of(SUBJECT).await.unwrap().unwrap().expired {
            assert!(Instant::now() < deadline, "the lease never ran out");
        }
        other.say("sure");
        other.signal(rustix::process::Signal::CONT);
        // It has asked nobody since it acquired the lease.
        assert_eq!(other.answer(), "sure false");
    }

    async fn many_processes_write_one_chain(place: &Place) {
        let mut others: Vec<_> = (0..4).map(|_| Other::start(place)).collect();
        for other in &mut others {
            other.say("write 100");
        }
        let journal = place.open().await;
        for number in 0..20 {
            journal.append(note(number)).await.unwrap();
        }
        for other in &mut others {
            assert_eq!(other.answer(), "written 100");
        }
        assert_eq!(journal.verify(None).await.unwrap().records, 420);
    }
}
