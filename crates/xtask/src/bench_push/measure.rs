//! What one run of a program costs: time, processor, memory.

use std::time::Duration;

use tokio::time::sleep;

use crate::Context;
use crate::bench::median;
use crate::error::Error;
use crate::process::{Finished, Job};

/// How often memory is read. The kernel keeps the peak, so that only the very end can be missed.
const LOOK: Duration = Duration::from_millis(4);

/// One run.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    pub(crate) rss_kib: u64,
}

/// Runs of one program.
#[derive(Default, Clone)]
pub(crate) struct Costs(Vec<Cost>);

impl Costs {
    pub(crate) fn push(&mut self, cost: Cost) {
        self.0.push(cost);
    }

    /// Median time in seconds; nothing if the program was not run.
    pub(crate) fn seconds(&self) -> Option<f64> {
        median(self.0.iter().map(|cost| cost.wall).collect()).map(|wall| wall.as_secs_f64())
    }

    /// The highest peak of memory in MB, of 10⁶ bytes.
    pub(crate) fn megabytes(&self) -> Option<u64> {
        self.0.iter().map(|cost| cost.rss_kib * 1024 / 1_000_000).max()
    }
}

/// Runs a job to its successful end.
pub(crate) async fn cost(context: &Context, job: &Job) -> Result<(Cost, Finished), Error> {
    let mut running = context.processes.start(job)?;
    let pid = running.pid();
    let mut rss_kib = 0;
    let end = loop {
        tokio::select! {
            end = running.wait() => break end,
            () = sleep(LOOK) => rss_kib = rss_kib.max(peak(pid)),
        }
    };
    let end =
        end.ok_or_else(|| Error::unexpected(job.line(), "its exit status could not be read"))?.success()?;
    Ok((Cost { wall: end.lasted, rss_kib }, end))
}

/// Peak resident size of a process, in KiB; 0 once it is gone.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
