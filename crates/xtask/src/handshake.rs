//! Starts the provider the way Terraform does and asks for its schema, timing each part.
//!
//! No client certificate is offered, so the plugin serves plain HTTP/2 and the figures hold no TLS. The
//! schema's bytes are counted, not decoded: decoding is the client's time.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::error::Error;

/// go-plugin's constant for Terraform providers: proof of being launched by Terraform, not a secret.
const COOKIE: &str = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2";
/// How long a provider that was asked to end may take.
const GRACE: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(20);
/// A gRPC message that is empty: no compression, length zero.
const EMPTY_MESSAGE: &[u8] = &[0, 0, 0, 0, 0];

/// What one start cost.
pub(crate) struct Start {
    /// From the start of the process to the handshake line.
    pub(crate) handshake: Duration,
    /// From the start of the process to the last byte of the schema.
    pub(crate) schema: Duration,
    /// Highest resident memory, in KiB, after the schema was answered.
    pub(crate) peak_rss_kib: u64,
    /// Size of the schema's answer on the wire.
    pub(crate) schema_bytes: usize,
}

/// Starts `provider` once, asks for the schema, shuts it down and waits for it.
pub(crate) async fn once(provider: &Path) -> Result<Start, Error> {
    let begun = Instant::now();
    let mut child = Command::new(provider)
        .env("TF_PLUGIN_MAGIC_COOKIE", COOKIE)
        .env("PLUGIN_PROTOCOL_VERSIONS", "5,6")
        .env("PLUGIN_MIN_PORT", "10000")
        .env("PLUGIN_MAX_PORT", "25000")
        .env_remove("PLUGIN_CLIENT_CERT")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| Error::Spawn { program: provider.display().to_string(), source })?;
    let measured = timeout(LIMIT, measure(&mut child, begun)).await;
    // Asked first, so that it removes its socket; ended by its process id whatever happened above. kill_on_drop covers
    // a dropped future.
    if let Some(pid) = child.id().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    if timeout(GRACE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
    match measured {
        Ok(result) => result,
        Err(_) => Err(Error::Handshake(format!("no schema within {} s", LIMIT.as_secs()))),
    }
}

async fn measure(child: &mut Child, begun: Instant) -> Result<Start, Error> {
    let stdout = child.stdout.take().ok_or_else(|| Error::Handshake("no standard output".to_owned()))?;
    let mut reader = BufReader::new(stdout);
    let mut line = String::new();
    reader.read_line(&mut line).await.map_err(|error| Error::Handshake(error.to_string()))?;
    let handshake = begun.elapsed();
    let fields: Vec<_> = line.trim_end().split('|').collect();
    let (network, address) = match fields.as_slice() {
        ["1", "6", network, address, "grpc", ..] => (*network, *address),
        _ => return Err(Error::Handshake(format!("`{}` is not a handshake line", line.trim_end()))),
    };
    let schema_bytes = match network {
        "unix" => schema(UnixStream::connect(address).await.map_err(broken)?).await?,
        "tcp" => schema(TcpStream::connect(address).await.map_err(broken)?).await?,
        other => return Err(Error::Handshake(format!("`{other}` is not a network"))),
    };
    let elapsed = begun.elapsed();
    let pid = child.id().ok_or_else(|| Error::Handshake("the provider ended early".to_owned()))?;
    Ok(Start { handshake, schema: elapsed, peak_rss_kib: peak_rss(pid)?, schema_bytes })
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Handshake(error.to_string())
}

/// One unary gRPC call over a fresh HTTP/2 connection; returns how many bytes were answered.
async fn schema(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<usize, Error> {
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(16 << 20)
        .initial_connection_window_size(16 << 20)
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(broken)?;
    let driver = tokio::spawn(connection);
    let mut client = client.ready().await.map_err(broken)?;
    let request = http::Request::post("http://localhost/tfplugin6.Provider/GetProviderSchema")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .map_err(broken)?;
    let (response, mut body) = client.send_request(request, false).map_err(broken)?;
    body.send_data(Bytes::from_static(EMPTY_MESSAGE), true).map_err(broken)?;
    let response = response.await.map_err(broken)?;
    let early = status(response.headers());
    let mut stream = response.into_body();
    let mut total = 0;
    while let Some(part) = stream.data().await {
        let part = part.map_err(broken)?;
        total += part.len();
        stream.flow_control().release_capacity(part.len()).map_err(broken)?;
    }
    let trailers = stream.trailers().await.map_err(broken)?;
    driver.abort();
    match trailers.as_ref().and_then(status).or(early).as_deref() {
        Some("0") if total > 5 => Ok(total),
        Some("0") => Err(Error::Handshake("the schema is empty".to_owned())),
        code => Err(Error::Handshake(format!("GetProviderSchema ended with gRPC status {code:?}"))),
    }
}

fn status(headers: &http::HeaderMap) -> Option<String> {
    headers.get("grpc-status").and_then(|value| value.to_str().ok()).map(ToOwned::to_owned)
}

/// `VmHWM` of a running process, in KiB.
fn peak_rss(pid: u32) -> Result<u64, Error> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    text.lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| Error::unexpected(path, "there is no VmHWM"))
}
