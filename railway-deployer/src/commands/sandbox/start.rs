//! `sandbox start`: in this process, or as a process of its own that outlives us.

use std::{
    fs::{self, File, OpenOptions},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use clap::{Args, builder::BoolishValueParser};
use rustix::process::{Pid, getppid};
use spectra_sandbox::registry::RegistryAuth;
use spectra_sandbox::{Config, RuntimeKind, Sandbox};
use spectra_types::{ExitCode, Secret};
use tokio::signal::unix::{SignalKind, signal};

use super::{Found, SandboxInfo, StateDir, find, process::is_alive};
use crate::{failure::Failure, lines::Lines, printer::Printer};

/// How long a new sandbox may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// How often a process without a parent that tells it looks whether the parent is still there.
const WATCH: Duration = Duration::from_millis(200);
const LOG: &str = "sandbox.log";

/// Arguments of `sandbox start`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    state: StateDir,
    /// Port on 127.0.0.1; 0 chooses a free one and keeps it for later starts
    #[arg(long, env = "SPECTRA_PORT", default_value_t = spectra_sandbox::DEFAULT_PORT)]
    port: u16,
    /// Sandbox seconds per real second
    #[arg(long, env = "SPECTRA_TIME_SCALE", value_parser = time_scale)]
    time_scale: Option<f64>,
    /// What runs the services: simulated, podman or docker
    #[arg(long, env = "SPECTRA_RUNTIME", default_value_t = RuntimeKind::Simulated)]
    runtime: RuntimeKind,
    /// Make the registry private: this user alone pulls and pushes, with the password in `SPECTRA_REGISTRY_PASSWORD`
    #[arg(long, value_name = "USER", env = "SPECTRA_REGISTRY_USER")]
    registry_user: Option<String>,
    /// Stay in this process until Ctrl-C instead of starting another
    #[arg(long, env = "SPECTRA_FOREGROUND", value_parser = BoolishValueParser::new())]
    pub(crate) foreground: bool,
    /// End when the process that started this command ends
    #[arg(long, env = "SPECTRA_EXIT_WITH_PARENT", value_parser = BoolishValueParser::new())]
    exit_with_parent: bool,
    /// The process whose end ends this one; set by the start that detaches
    #[arg(long, hide = true, requires = "foreground")]
    watch: Option<i32>,
    /// Leave the terminal's session; set by the start that detaches
    #[arg(long, hide = true, requires = "foreground")]
    detached: bool,
}

fn time_scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if scale.is_finite() && scale > 0.0 => Ok(scale),
        _ => Err("expected a number above 0, such as 20".to_owned()),
    }
}

/// Tokens of the registry are good for as long as GitHub's and Docker Hub's.
const TOKEN_LIFETIME: Duration = Duration::from_mins(5);
/// Never an argument: others can read those.
const PASSWORD: &str = "SPECTRA_REGISTRY_PASSWORD";

/// Who may pull and push.
fn registry_auth(user: Option<&str>) -> Result<RegistryAuth, Failure> {
    let Some(user) = user else { return Ok(RegistryAuth::Anonymous) };
    match std::env::var(PASSWORD) {
        Ok(password) if !password.is_empty() => Ok(RegistryAuth::Bearer {
            user: user.to_owned(),
            password: Secret::new(password),
            token_lifetime: TOKEN_LIFETIME,
            anonymous_pull: false,
        }),
        _ => Err(Failure::usage(format!("a private registry has a password: set `{PASSWORD}`"))),
    }
}

pub(super) async fn run(arguments: Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    let registry_auth = registry_auth(arguments.registry_user.as_deref())?;
    if let Found::Running(info, _) = find(&arguments.state.state_dir).await? {
        printer.note("it runs already");
        return show(&info, printer);
    }
    if arguments.foreground {
        serve(arguments, registry_auth, printer).await
    } else {
        detach(&arguments, printer).await
    }
}

fn show(info: &SandboxInfo, printer: Printer) -> Result<ExitCode, Failure> {
    let text: Lines = [
        format!("sandbox at {} (process {})", info.url, info.pid),
        format!("endpoint  {}", info.endpoint),
        format!("registry  {}", info.registry),
        "use it with:".to_owned(),
        format!("  export SPECTRA_RAILWAY_ENDPOINT={}", info.endpoint),
        format!("  export RAILWAY_API_TOKEN={}", info.tokens.workspace),
    ]
    .into_iter()
    .collect();
    printer.data("sandbox.start", info, text)?;
    Ok(ExitCode::Done)
}

/// Serves until a signal, the admin endpoint or the parent's end.
async fn serve(
    arguments: Arguments,
    registry_auth: RegistryAuth,
    printer: Printer,
) -> Result<ExitCode, Failure> {
    // Taken before anything else, so that a parent that ends while we start is noticed.
    let parent = getppid();
    if arguments.detached {
        // Fails only for a leader of a process group, which then has no terminal to lose.
        let _ = rustix::process::setsid();
    }
    let failed = |source| Failure::io("listen for signals", source);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let config = Config {
        port: arguments.port,
        time_scale: arguments.time_scale,
        runtime: arguments.runtime,
        registry_auth,
        ..Config::new(&arguments.state.state_dir)
    };
    let sandbox = Sandbox::start(config).await?;
    if !arguments.detached
        && let Found::Running(info, _) = find(&arguments.state.state_dir).await?
    {
        // Nobody learned where it is.
        if let Err(failure) = show(&info, printer) {
            sandbox.shutdown().await;
            return Err(failure);
        }
    }
    let watched = arguments.watch.and_then(Pid::from_raw);
    let parent_gone = async {
        if !arguments.exit_with_parent {
            return std::future::pending::<()>().await;
        }
        loop {
            let gone = match watched {
                Some(pid) => !is_alive(pid),
                None => getppid() != parent,
            };
            if gone {
                return;
            }
            tokio::time::sleep(WATCH).await;
        }
    };
    tokio::select! {
        () = sandbox.stop_requested() => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = parent_gone => {}
    }
    sandbox.shutdown().await;
    Ok(ExitCode::Done)
}

/// Starts this program again in the foreground of its own session and waits until it answers.
async fn detach(arguments: &Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    let directory = &arguments.state.state_dir;
    let made = fs::create_dir_all(directory);
    made.map_err(Failure::file("create the state directory", directory))?;
    let log = open_log(directory)?;
    let program = std::env::current_exe().map_err(|source| Failure::io("find this program", source))?;
    let mut command = Command::new(program);
    // Flags that came by variables must not reach the new process twice, and differently.
    command
        .args(["sandbox", "start", "--foreground", "--detached", "--quiet"])
        .arg("--state-dir")
        .arg(directory)
        .args(["--port", &arguments.port.to_string(), "--runtime", &arguments.runtime.to_string()]);
    if let Some(scale) = arguments.time_scale {
        command.args(["--time-scale", &scale.to_string()]);
    }
    if let Some(user) = &arguments.registry_user {
        // The password is in the environment, which the new process gets.
        command.args(["--registry-user", user]);
    }
    if arguments.exit_with_parent {
        let parent = getppid().map_or(1, |pid| pid.as_raw_nonzero().get());
        command.args(["--exit-with-parent", "--watch", &parent.to_string()]);
    }
    let stderr = log.try_clone().map_err(Failure::file("open the log in", directory))?;
    let child = command
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(stderr)
        .spawn()
        .map_err(|source| Failure::io("start the sandbox's process", source))?;
    let mut guard = Guard(Some(child));
    let info = wait_until_ready(&mut guard, directory).await?;
    guard.0 = None;
    show(&info, printer)
}

/// Ends a child that did not get ready, also when we are interrupted meanwhile.
struct Guard(Option<Child>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It may have ended by itself, which is what we want.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn open_log(directory: &Path) -> Result<File, Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = directory.join(LOG);
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .map_err(Failure::file("open the log", path))
}

async fn wait_until_ready(guard: &mut Guard, directory: &Path) -> Result<SandboxInfo, Failure> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        if let Some(child) = &mut guard.0 {
            let ended =
                child.try_wait().map_err(|source| Failure::io("watch the sandbox's process", source))?;
            if let Some(status) = ended {
                return Err(not_ready(directory, &format!("its process ended with {status}")));
            }
            // A file that an earlier run left behind names another process.
            if let Ok(Found::Running(info, _)) = find(directory).await
                && info.pid == child.id()
            {
                return Ok(*info);
            }
        }
        if Instant::now() >= deadline {
            return Err(not_ready(
                directory,
                &format!("it did not answer within {} s", READY_WITHIN.as_secs()),
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn not_ready(directory: &Path, reason: &str) -> Failure {
    let path = directory.join(LOG);
    let log = fs::read_to_string(&path).unwrap_or_default();
    let said: Vec<&str> = log.lines().rev().take(5).collect();
    let said = said.into_iter().rev().fold(String::new(), |text, line| text + "\n  " + line);
    Failure::SandboxState {
        message: format!("the sandbox did not start: {reason}; `{}` ends with:{said}", path.display()),
        hint: "choose another port with `--port`, or another `--state-dir`",
    }
}
