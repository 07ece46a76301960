//! The process around a provider: handshake, connections, TLS, and a timely end.
//!
//! Terraform starts a provider as a child process and talks gRPC to it over a local socket. [`run`] is all a
//! `main` needs; [`serve`] is the same inside a program that has its own runtime.
//!
//! Two facts shape this module. A provider that Terraform has started is expected to outlive Ctrl-C, to end
//! within two seconds of being told, and to leave nothing behind; nobody tells it when Terraform is killed. And
//! over a debugging session many Terraform runs share one process, so what they configure belongs to a
//! [`ConnectionId`], not to the process.

mod call;
mod connection;
mod launch;
mod lifecycle;
mod listener;
mod options;
mod services;
mod stop;
mod tls;

use std::convert::Infallible;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Server;
use tonic::transport::server::Router;

pub(crate) use self::call::{AfterStop, Claim, STOP_GRACE, Unfinished, answer_call, record};
pub use self::call::{PanicReport, run_call};
pub use self::connection::ConnectionId;
use self::connection::{Connection, Connections};
use self::launch::Launch;
use self::lifecycle::{Launched, Parent, SignalMode, Signals, Watch};
use self::listener::Listener;
pub use self::listener::Transport;
use self::options::Mode;
pub use self::options::{Ready, ServeOptions};
pub use self::stop::{Call, StopToken};
use self::tls::Tls;
use crate::proto::health::health_server::HealthServer;
use crate::proto::plugin::grpc_broker_server::GrpcBrokerServer;
use crate::proto::plugin::grpc_controller_server::GrpcControllerServer;
use crate::proto::plugin::grpc_stdio_server::GrpcStdioServer;
use crate::proto::tfplugin6::provider_server::{Provider, ProviderServer};

/// The longest message in either direction. States of this size exist; the default of the transport is 4 MiB.
const MESSAGE_LIMIT: usize = 256 << 20;
/// Room for a large state in flight without waiting for window updates.
const STREAM_WINDOW: u32 = 1 << 20;
/// All streams of one connection together.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Open calls and connections may take this long to end. Terraform kills after two seconds.
const DRAIN: Duration = Duration::from_millis(300);
/// And this long once they are cut.
const CUT: Duration = Duration::from_millis(100);
/// Handshakes at a time: many more than launchers need, and no way to fill the memory by knocking.
const HANDSHAKES: usize = 64;
/// Pause after a failed accept: too many open files do not go away by asking again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the server could not start, or ended before it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Started by hand.
    #[error(
        "This program is a Terraform provider. It is not meant to be run by hand: Terraform or OpenTofu starts it \
         when a configuration names it under `required_providers`. See \
         https://developer.hashicorp.com/terraform/language/providers for how to install and use providers."
    )]
    NotLaunched,
    /// `PLUGIN_CLIENT_CERT` cannot be used.
    #[error("cannot use the certificate in `PLUGIN_CLIENT_CERT`: {reason}; nothing was started")]
    ClientCertificate {
        /// What is wrong with it.
        reason: String,
    },
    /// `PLUGIN_MIN_PORT` and `PLUGIN_MAX_PORT` make no range.
    #[error("cannot choose a port: {reason}; nothing was started")]
    Ports {
        /// What is wrong with them.
        reason: String,
    },
    /// No listener.
    #[error("cannot listen at `{place}`; nothing was started")]
    Bind {
        /// Folder or port.
        place: String,
        /// What the system says.
        source: io::Error,
    },
    /// The server's own certificate.
    #[error("cannot make a certificate for this process; nothing was started")]
    Certificate(#[source] rcgen::Error),
    /// The TLS configuration.
    #[error("cannot set up TLS; nothing was started")]
    Tls(#[source] rustls::Error),
    /// Signal handlers.
    #[error("cannot install signal handlers; nothing was started")]
    Signals(#[source] io::Error),
    /// The runtime.
    #[error("cannot start the asynchronous runtime; nothing was started")]
    Runtime(#[source] io::Error),
    /// The line on stdout.
    #[error("cannot announce the address on stdout; the server has stopped")]
    Announce(#[source] io::Error),
    /// The transport ended by itself.
    #[error("the transport failed; calls in flight were cut off")]
    Transport(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Serves and returns the exit code for `main`: 0 after an orderly end, else 1 with the reason on stderr.
///
/// Handlers run on a runtime of their own. One that blocks its thread may hold up other handlers, but neither
/// `StopProvider` nor `Shutdown`, nor the end.
pub fn run<P: Provider>(service: P, options: ServeOptions) -> ExitCode {
    let runtimes = tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|transport| {
        Ok((transport, tokio::runtime::Builder::new_multi_thread().enable_all().build()?))
    });
    let served = runtimes.map_err(ServeError::Runtime).and_then(|(transport, handlers)| {
        options.stop.run_on(handlers.handle().clone());
        let served = transport.block_on(serve(service, options));
        handlers.shutdown_background();
        transport.shutdown_background();
        served
    });
    crate::logging::flush();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(io::stderr(), "{text}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until Terraform asks for the end or is gone; see [`ServeOptions`] for the two modes.
///
/// Returns after the socket and its folder are removed. The caller then leaves the process promptly: Terraform
/// kills it two seconds after `Shutdown`.
pub async fn serve<P: Provider>(service: P, options: ServeOptions) -> Result<(), ServeError> {
    let launch = match options.mode {
        Mode::Plugin => Launch::from_environment(&options.environment)?,
        Mode::Reattach { .. } => Launch::for_reattach(&options.environment)?,
    };
    // Before anything can be interrupted.
    let owns_process = options.embedder.is_none();
    let (is_plugin, signal_mode) = match options.mode {
        Mode::Plugin => (true, SignalMode::Launched),
        Mode::Reattach { .. } => (false, SignalMode::Standalone),
    };
    let signals = owns_process.then(|| Signals::install(signal_mode)).transpose()?;
    let parent = (is_plugin && owns_process).then(Parent::current).flatten();
    crate::logging::panics::install();
    if !launch.protocol_accepted {
        tracing::warn!("the launcher does not accept protocol version 6 and will say so");
    }

    let tls = launch.client_certificate.clone().map(Tls::new).transpose()?;
    let (listener, cleanup) = Listener::bind(options.transport, &launch).await?;
    let listener = Arc::new(listener);
    let exit = CancellationToken::new();
    let connections = Connections::new(options.closed);
    let (shutdown, on_shutdown) = mpsc::channel(1);
    let watch = Watch {
        shutdown: on_shutdown,
        launched: is_plugin.then(|| Launched {
            parent,
            poll: options.parent_poll,
            open: connections.watch(),
            grace: options.client_grace,
        }),
        signals,
        embedder: options.embedder.unwrap_or_default(),
    };

    let (sender, accepted) = mpsc::channel(16);
    let acceptor = Acceptor {
        listener: Arc::clone(&listener),
        tls: tls.clone(),
        timeout: options.tls_timeout,
        connections: connections.clone(),
        sender,
    };
    let accepting = AbortOnDropHandle::new(tokio::spawn(acceptor.run()));
    let serving = router(service, shutdown, &exit).serve_with_incoming_shutdown(
        ReceiverStream::new(accepted).map(Ok::<_, Infallible>),
        exit.clone().cancelled_owned(),
    );
    let mut serving = AbortOnDropHandle::new(tokio::spawn(serving));

    let ready = announcement(&options.mode, &listener, tls.as_ref());
    announce(&ready.1, options.output, is_plugin).map_err(ServeError::Announce)?;
    if let Some(hook) = options.ready {
        hook(&ready.0);
    }

    let outcome = tokio::select! {
        reason = watch.exit(&options.stop) => Ok(reason),
        ended = &mut serving => Err(ServeError::Transport(match ended {
            Ok(Ok(())) => "it ended without being asked".into(),
            Ok(Err(error)) => error.into(),
            Err(error) => error.into(),
        })),
    };
    match &outcome {
        Ok(reason) => tracing::debug!(?reason, "the server ends"),
        Err(error) => tracing::error!(%error, "the server ends by itself"),
    }
    drop(accepting);
    options.stop.stop();
    if outcome.as_ref().is_ok_and(|reason| reason.is_unannounced()) {
        // Nobody waits for us any more: let what runs finish, so that it leaves nothing half-done.
        let _ = tokio::time::timeout(options.orphan_grace, options.stop.idle()).await;
    }
    exit.cancel();
    if outcome.is_ok() && tokio::time::timeout(DRAIN, &mut serving).await.is_err() {
        connections.cut();
        let _ = tokio::time::timeout(CUT, &mut serving).await;
    }
    connections.cut();
    drop((serving, cleanup));
    outcome.map(drop)
}

fn router<P: Provider>(service: P, shutdown: mpsc::Sender<()>, exit: &CancellationToken) -> Router {
    let provider = ProviderServer::new(service)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_service(provider)
        .add_service(GrpcControllerServer::new(services::Controller { shutdown }))
        .add_service(GrpcStdioServer::new(services::Stdio { exit: exit.clone() }))
        .add_service(GrpcBrokerServer::new(services::Broker { exit: exit.clone() }))
        .add_service(HealthServer::new(services::Healthy { exit: exit.clone() }))
}

/// What the hook learns, and the line for stdout.
fn announcement(mode: &Mode, listener: &Listener, tls: Option<&Tls>) -> (Ready, String) {
    let (network, address) = (listener.network, listener.address.clone());
    match mode {
        Mode::Plugin => {
            let line = launch::handshake_line(network, &address, tls.map(Tls::certificate));
            (Ready { network, address, reattach: None }, line)
        }
        Mode::Reattach { source } => {
            let json = launch::reattach_json(source, network, &address);
            let line = launch::reattach_line(&json);
            (Ready { network, address, reattach: Some(json) }, line)
        }
    }
}

/// Writes the one line, to stdout unless the server is embedded. What a launched process prints afterwards leads
/// nowhere; a person at a terminal is told what the line is for.
fn announce(line: &str, embedder: Option<Box<dyn Write + Send>>, is_plugin: bool) -> io::Result<()> {
    let owns_process = embedder.is_none();
    let mut output = embedder.unwrap_or_else(|| Box::new(io::stdout()));
    output.write_all(line.as_bytes())?;
    output.flush()?;
    match (owns_process, is_plugin) {
        (false, _) => {}
        (true, true) => silence_stdout(),
        (true, false) => {
            let text =
                "Set this variable where Terraform runs, and it will use this process. Ctrl-C ends it.";
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }
    Ok(())
}

/// The launcher stops reading after a long line, and whoever prints then would block for ever.
fn silence_stdout() {
    #[cfg(unix)]
    {
        let null = std::fs::File::options().write(true).open("/dev/null");
        if let Err(error) = null.and_then(|null| Ok(rustix::stdio::dup2_stdout(null)?)) {
            // Nothing is lost unless something prints.
            tracing::warn!(%error, "cannot lead stdout to `/dev/null`; whatever prints much may block");
        }
    }
}

/// Accepts connections for ever. Each TLS handshake has its own task, so that a stalled peer holds up nobody.
struct Acceptor {
    listener: Arc<Listener>,
    tls: Option<Tls>,
    timeout: Duration,
    connections: Connections,
    sender: mpsc::Sender<Connection>,
}

impl Acceptor {
    async fn run(self) {
        let mut handshakes = tokio::task::JoinSet::new();
        loop {
            let io = tokio::select! {
                io = self.listener.accept(), if handshakes.len() < HANDSHAKES => io,
                Some(_) = handshakes.join_next() => continue,
            };
            let io = match io {
                Ok(io) => io,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection; still listening");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (connections, sender) = (self.connections.clone(), self.sender.clone());
            match self.tls.clone() {
                None => {
                    // Closed receiver: the server ends.
                    let _ = sender.send(connections.register(io)).await;
                }
                Some(tls) => {
                    let timeout = self.timeout;
                    handshakes.spawn(async move {
                        match tokio::time::timeout(timeout, tls.accept(io)).await {
                            Ok(Ok(stream)) => drop(sender.send(connections.register(stream)).await),
                            Ok(Err(error)) => {
                                let cause = std::error::Error::source(&error).map(ToString::to_string);
                                tracing::warn!(%error, cause, "a peer was refused");
                            }
                            Err(_) => tracing::warn!("a peer was refused: the TLS handshake took too long"),
                        }
                    });
                }
            }
        }
    }
}
