//! `cargo xtask bench push`: pushing images, beside crane and skopeo, against the goals P1 to P9.
//!
//! All programs push the same images to the same registry in turns, and medians are compared. Absolute goals are for a machine of two
//! cores that does nothing else; the ratios hold on any.

mod crane;
mod interop;
mod line;
mod measure;
mod proxy;
mod recipe;
mod registry;
mod table;
mod tools;

use std::path::{Path, PathBuf};

use self::measure::{Costs, cost};
use self::recipe::Images;
use self::registry::Registry;
use self::table::{Goal, Table};
use self::tools::{Cache, Source, Tools};
use crate::Context;
use crate::error::Error;
use crate::process::Job;
use crate::workspace;

/// What to measure with.
pub(crate) struct Options {
    pub(crate) runs: u32,
    pub(crate) bin_dir: Option<PathBuf>,
    pub(crate) crane: Option<PathBuf>,
    pub(crate) skopeo: Option<PathBuf>,
    pub(crate) cosign: Option<PathBuf>,
}

/// Everything that a measurement needs.
struct Bench<'a> {
    context: &'a Context,
    runs: u32,
    tools: Tools,
    images: Images,
    registry: Registry,
    root: &'a Path,
}

/// What the three programs cost in one case.
#[derive(Default)]
struct Case {
    ours: Costs,
    crane: Costs,
    skopeo: Costs,
}

/// Measures, prints a line a goal, and fails if a goal is missed.
pub(crate) async fn run(context: &Context, options: Options) -> Result<(), Error> {
    let report = context.report;
    let ours = workspace::released_deployer(context, options.bin_dir.as_deref()).await?;
    let mut tools = Tools::find(ours, &options)?;
    if tools.crane.is_none() {
        tools.crane = crane::build(context).await?;
    }
    for (name, found) in [("crane", &tools.crane), ("skopeo", &tools.skopeo), ("cosign", &tools.cosign)] {
        match found {
            Some(path) => report.note(&format!("{name}: {}", path.display())),
            None => report.note(&format!("{name}: there is none; what needs it is not judged")),
        }
    }
    let temporary = tempfile::Builder::new()
        .prefix("spectra-bench-")
        .tempdir()
        .map_err(Error::file("create", std::env::temp_dir()))?;
    let root = temporary.path();
    report.step("make an image of eight layers of real files");
    let place = root.join("images");
    let images = tokio::task::spawn_blocking(move || recipe::make(&place))
        .await
        .map_err(|error| Error::unexpected("the recipe", error.to_string()))??;
    report.note(&format!(
        "{} MiB raw, {} MiB by gzip at level 6",
        images.raw / (1024 * 1024),
        images.compressed / (1024 * 1024)
    ));
    let registry = Registry::start(context, root).await?;
    let bench = Bench { context, runs: options.runs, tools, images, registry, root };
    let table = bench.all().await;
    bench.registry.stop(context).await;
    let table = table?;
    table.print(report);
    table.verdict()
}

impl Bench<'_> {
    async fn all(&self) -> Result<Table, Error> {
        let mut table = Table::default();
        let archive = Source::Archive(&self.images.archive);
        self.context.report.step("P1: raw layers, gzip, into an empty registry");
        let gzip = self.cold(archive, self.runs).await?;
        table.times(
            Goal { id: "P1", text: "docker archive, gzip, cold", limit: 2.2, crane: 0.30, skopeo: 0.63 },
            &gzip,
        );
        self.context.report.step("P2: raw layers, zstd, into an empty registry");
        let zstd = self.cold(Source::ArchiveZstd(&self.images.archive), self.runs).await?;
        table.times(
            Goal { id: "P2", text: "docker archive, zstd, cold", limit: 1.5, crane: f64::MAX, skopeo: 0.62 },
            &zstd,
        );
        self.context.report.step("P3: the same again, with the layer cache");
        let (verified, trusted) = self.again(archive).await?;
        table.times(Goal::limit("P3", "the same again, tar hashed", 0.50), &verified);
        table.times(Goal::limit("P3", "the same again, cache trusted", 0.05), &trusted);
        self.context.report.step("P4: compressed layers, into an empty registry");
        // Half a second a run, of which the registry's own work scatters by a tenth: twice as many make the median hold still.
        let layout = self.cold(Source::Layout(&self.images.layout), 2 * self.runs + 1).await?;
        table.times(
            Goal { id: "P4", text: "OCI layout, cold", limit: f64::MAX, crane: 1.05, skopeo: 0.70 },
            &layout,
        );
        table.memory("P5", 64, &[&gzip, &zstd, &verified, &trusted, &layout]);
        self.broken_line(&mut table).await?;
        self.slow_line(&mut table).await?;
        self.quirks(&mut table).await?;
        self.interop(&mut table).await?;
        Ok(table)
    }

    /// One push into an empty registry by each program, in turns.
    async fn cold(&self, source: Source<'_>, runs: u32) -> Result<Case, Error> {
        let mut case = Case::default();
        let target = format!("{}/bench/app:1", self.registry.address);
        for _ in 0..runs {
            self.timed(Some(self.tools.ours(source, &target, Cache::None)), &mut case.ours).await?;
            self.timed(self.tools.crane(source, &target), &mut case.crane).await?;
            self.timed(self.tools.skopeo(source, &target), &mut case.skopeo).await?;
        }
        Ok(case)
    }

    async fn timed(&self, job: Option<Job>, costs: &mut Costs) -> Result<(), Error> {
        let Some(job) = job else { return Ok(()) };
        self.registry.empty()?;
        costs.push(cost(self.context, &job).await?.0);
        Ok(())
    }

    /// Pushes of what is there already: with the tar hashed, and with the cache trusted.
    async fn again(&self, source: Source<'_>) -> Result<(Case, Case), Error> {
        let target = format!("{}/bench/app:1", self.registry.address);
        let cache = self.root.join("cache");
        self.registry.empty()?;
        cost(self.context, &self.tools.ours(source, &target, Cache::In(&cache))).await?;
        let (mut verified, mut trusted) = (Case::default(), Case::default());
        for _ in 0..self.runs {
            let job = self.tools.ours(source, &target, Cache::In(&cache));
            verified.ours.push(cost(self.context, &job).await?.0);
            let job = self.tools.ours(source, &target, Cache::TrustedIn(&cache));
            trusted.ours.push(cost(self.context, &job).await?.0);
            // They compress again, to the same end.
            for (job, costs) in [
                (self.tools.crane(source, &target), &mut verified.crane),
                (self.tools.skopeo(source, &target), &mut verified.skopeo),
            ] {
                if let Some(job) = job {
                    costs.push(cost(self.context, &job).await?.0);
                }
            }
            // What they pushed under the tag has other digests; ours has to be there again.
            cost(self.context, &self.tools.ours(source, &target, Cache::In(&cache))).await?;
        }
        Ok((verified, trusted))
    }
}
