//! How to serve.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::connection::ClosedHook;
use super::{ConnectionId, StopToken, Transport};

/// How to serve. Begin with [`plugin`](Self::plugin) or [`reattach`](Self::reattach).
pub struct ServeOptions {
    pub(super) mode: Mode,
    pub(super) transport: Transport,
    pub(super) environment: BTreeMap<String, String>,
    pub(crate) stop: StopToken,
    pub(super) closed: Option<ClosedHook>,
    pub(super) ready: Option<ReadyHook>,
    pub(super) output: Option<Box<dyn Write + Send>>,
    pub(super) embedder: Option<CancellationToken>,
    pub(super) tls_timeout: Duration,
    pub(super) parent_poll: Duration,
    pub(super) client_grace: Duration,
    pub(super) orphan_grace: Duration,
}

/// Told the address.
type ReadyHook = Box<dyn FnOnce(&Ready) + Send>;

/// Who starts the process.
pub(super) enum Mode {
    /// Terraform or OpenTofu.
    Plugin,
    /// A person or a test; the source address is what Terraform looks for.
    Reattach { source: String },
}

/// The server accepts connections.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ready {
    /// `unix` or `tcp`.
    pub network: &'static str,
    /// The socket's path, or `host:port`.
    pub address: String,
    /// The value of `TF_REATTACH_PROVIDERS`, when serving for reattachment.
    pub reattach: Option<String>,
}

impl ServeOptions {
    /// As a plugin: with the environment of this process, the handshake on stdout, and TLS as the launcher asks.
    #[must_use]
    pub fn plugin() -> Self {
        Self::new(Mode::Plugin)
    }

    /// For a debugger: no cookie, no TLS, any number of Terraform runs, until Ctrl-C. Prints the line that sets
    /// `TF_REATTACH_PROVIDERS`. `source` is the full source address, `registry.terraform.io/acme/widget`.
    #[must_use]
    pub fn reattach(source: impl Into<String>) -> Self {
        Self::new(Mode::Reattach { source: source.into() })
    }

    fn new(mode: Mode) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            mode,
            transport: Transport::default(),
            environment: std::env::vars_os().filter_map(text).collect(),
            stop: StopToken::new(),
            closed: None,
            ready: None,
            output: None,
            embedder: None,
            tls_timeout: Duration::from_secs(10),
            parent_poll: Duration::from_secs(1),
            client_grace: Duration::from_mins(5),
            orphan_grace: Duration::from_secs(30),
        }
    }

    /// Socket or port. Default: a socket, except on Windows.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// The token that the handlers use too: it is tripped when the server ends, and says what still runs.
    #[must_use]
    pub fn stop(mut self, stop: StopToken) -> Self {
        self.stop = stop;
        self
    }

    /// Called once for every connection that was accepted, when it has closed; by any thread, so it must not
    /// block. Calls that came over the connection may still run. Hooks add up.
    #[must_use]
    pub fn on_connection_closed(mut self, hook: impl Fn(ConnectionId) + Send + Sync + 'static) -> Self {
        let before = self.closed.take();
        self.closed = Some(Arc::new(move |connection| {
            if let Some(before) = &before {
                before(connection);
            }
            hook(connection);
        }));
        self
    }

    /// Called once, when connections are accepted.
    #[must_use]
    pub fn on_ready(mut self, hook: impl FnOnce(&Ready) + Send + 'static) -> Self {
        self.ready = Some(Box::new(hook));
        self
    }

    /// Replaces the environment of the process.
    #[must_use]
    pub fn environment<N, V>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: Into<String>,
    {
        self.environment = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self
    }

    /// Serves inside a larger program, until the token trips: the line goes to `output`, and signals, stdout and
    /// the parent process are left alone.
    #[must_use]
    pub fn embedded(mut self, output: impl Write + Send + 'static, until: CancellationToken) -> Self {
        self.output = Some(Box::new(output));
        self.embedder = Some(until);
        self
    }

    /// How long a peer may take for the TLS handshake. Default 10 s.
    #[must_use]
    pub fn tls_timeout(mut self, timeout: Duration) -> Self {
        self.tls_timeout = timeout;
        self
    }

    /// How often to look whether the launching process is still there. Default 1 s. Not zero.
    #[must_use]
    pub fn parent_poll(mut self, interval: Duration) -> Self {
        self.parent_poll = interval.max(Duration::from_millis(1));
        self
    }

    /// How long to stay without any connection, from the start on. Default 5 min. The parent is watched much
    /// closer; this is for systems and sandboxes that do not show it.
    #[must_use]
    pub fn client_grace(mut self, grace: Duration) -> Self {
        self.client_grace = grace;
        self
    }

    /// How long calls in flight may take to unwind once the launching process is gone. Default 30 s.
    #[must_use]
    pub fn orphan_grace(mut self, grace: Duration) -> Self {
        self.orphan_grace = grace;
        self
    }
}

impl fmt::Debug for ServeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeOptions").field("transport", &self.transport).finish_non_exhaustive()
    }
}
