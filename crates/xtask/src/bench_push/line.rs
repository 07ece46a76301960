//! Lines that break, and lines that are slow.

use std::time::Duration;

use tokio::time::timeout;

use super::measure::{Costs, cost};
use super::proxy::{Break, Proxy};
use super::table::{Goal, Table};
use super::tools::{Cache, Source};
use super::{Bench, Case};
use crate::error::Error;
use crate::process::Job;
use crate::sandbox::Sandbox;
use crate::workspace::Programs;

/// The round trip of the slow line.
const ROUND_TRIP: Duration = Duration::from_millis(100);
/// How long a push to a line that hangs may take to get there.
const LIMIT: Duration = Duration::from_mins(2);
/// How many times a line breaks for each program: what was under way when it broke is not the same every time.
const BROKEN_RUNS: u32 = 5;
const OURS: &str = "ours";
/// The programs, in the order of the table's columns.
const NAMES: [&str; 3] = [OURS, "crane", "skopeo"];

impl Bench<'_> {
    /// P6: the connection breaks at half of a large layer, once; and the process is killed there and run again. The registry is
    /// the sandbox's, which keeps what arrived; docker-registry 2.8 does not.
    pub(super) async fn broken_line(&self, table: &mut Table) -> Result<(), Error> {
        self.context
            .report
            .step("P6: a connection that breaks, and a process that is killed, at half of a layer");
        let size = self.images.one_bytes;
        let source = Source::Layout(&self.images.one);
        let programs = Programs {
            directory: self.root.to_owned(),
            provider: self.tools.ours.clone(),
            deployer: self.tools.ours.clone(),
        };
        let sandbox = Sandbox::start(self.context, &programs, &self.root.join("sandbox")).await?;
        let times = |sent: u64| ratio(sent, size);

        let mut cut = [const { Vec::new() }; 3];
        for run in 0..BROKEN_RUNS {
            for (figures, name) in cut.iter_mut().zip(NAMES) {
                let proxy = Proxy::start(&sandbox.registry, Duration::ZERO, Break::Cut(size / 2)).await?;
                let target = format!("{}/{name}/cut-{run}:1", proxy.address);
                let Some(job) = self.job(name, source, &target, Cache::None) else { continue };
                let end = self.context.processes.run(&job).await?;
                if name == OURS {
                    end.success()?;
                    if !proxy.broke() {
                        return Err(Error::unexpected("the proxy", "the line did not break"));
                    }
                } else if !end.status.success() {
                    continue;
                }
                figures.push(times(proxy.sent()));
            }
        }
        table.factors("P6", "bytes sent, cut at 50 %", 1.10, cut.map(middle));

        let mut killed = [const { Vec::new() }; 3];
        for run in 0..BROKEN_RUNS {
            // What was begun is written down there; and nothing is known of the repositories of other runs.
            let cache = self.root.join(format!("cache-broken-{run}"));
            for (figures, name) in killed.iter_mut().zip(NAMES) {
                let mut proxy =
                    Proxy::start(&sandbox.registry, Duration::ZERO, Break::Hang(size / 2)).await?;
                let target = format!("{}/{name}/killed-{run}:1", proxy.address);
                let job = || self.job(name, source, &target, Cache::In(&cache));
                let (Some(first), Some(second)) = (job(), job()) else { continue };
                self.killed(&first, &mut proxy).await?;
                timeout(LIMIT, proxy.release()).await.map_err(|_| {
                    Error::unexpected("the proxy", "a connection of a killed process did not end")
                })?;
                cost(self.context, &second).await?;
                figures.push(times(proxy.sent()));
            }
        }
        table.factors("P6", "bytes sent, killed at 50 % and run again", 1.10, killed.map(middle));
        sandbox.stop(self.context).await;
        Ok(())
    }

    /// A push by one of [`NAMES`], if it is there.
    fn job(&self, name: &str, source: Source<'_>, target: &str, cache: Cache<'_>) -> Option<Job> {
        match name {
            OURS => Some(self.tools.ours(source, target, cache)),
            "crane" => self.tools.crane(source, target),
            _ => self.tools.skopeo(source, target),
        }
    }

    /// Starts a push and kills it when its line hangs.
    async fn killed(&self, job: &Job, proxy: &mut Proxy) -> Result<(), Error> {
        let mut running = self.context.processes.start(job)?;
        tokio::select! {
            end = running.wait() => {
                let end = end.map(|end| end.failure().to_string()).unwrap_or_default();
                return Err(Error::unexpected(job.line(), format!("it ended before the line hung: {end}")));
            }
            hung = timeout(LIMIT, proxy.hangs()) => hung.map_err(|_| Error::TimedOut {
                command: job.line(),
                seconds: LIMIT.as_secs(),
                output: String::new(),
            })?,
        }
        let pid = rustix::process::Pid::from_raw(i32::try_from(running.pid()).unwrap_or_default());
        if let Some(pid) = pid {
            // It may have ended by itself just now.
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
        running.wait().await;
        Ok(())
    }

    /// P7: many small layers over a line with a long round trip.
    pub(super) async fn slow_line(&self, table: &mut Table) -> Result<(), Error> {
        self.context.report.step("P7: forty layers of 64 KiB over a round trip of 100 ms");
        let source = Source::Layout(&self.images.small);
        let mut case = Case::default();
        for _ in 0..self.runs {
            for name in NAMES {
                // A proxy each, so that no program finds connections of another one.
                let proxy = Proxy::start(&self.registry.address, ROUND_TRIP, Break::Never).await?;
                let target = format!("{}/bench/small:1", proxy.address);
                let costs: &mut Costs = match name {
                    OURS => &mut case.ours,
                    "crane" => &mut case.crane,
                    _ => &mut case.skopeo,
                };
                self.timed(self.job(name, source, &target, Cache::None), costs).await?;
            }
        }
        table.times(
            Goal {
                id: "P7",
                text: "40 small layers, 100 ms",
                limit: f64::MAX,
                crane: 0.60,
                skopeo: f64::MAX,
            },
            &case,
        );
        Ok(())
    }
}

/// The median; of an even number, the worse one in the middle.
fn middle(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

#[expect(clippy::cast_precision_loss, reason = "sizes of files, for people")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
