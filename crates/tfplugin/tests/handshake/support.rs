//! A provider that does next to nothing, and a launcher's side of the wire.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    PKCS_ECDSA_P521_SHA512,
};
use tempfile::TempDir;
use tfplugin::proto::plugin::Empty;
use tfplugin::proto::plugin::grpc_controller_client::GrpcControllerClient;
use tfplugin::proto::tfplugin6::provider_client::ProviderClient;
use tfplugin::proto::tfplugin6::provider_server::Provider;
use tfplugin::proto::tfplugin6::{
    Diagnostic, Schema, apply_resource_change, get_provider_schema, schema, stop_provider,
    validate_provider_config,
};
use tfplugin::server::{ConnectionId, Ready, ServeError, ServeOptions, StopToken, run_call, serve};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

/// Nothing in these tests may take longer; most of it takes milliseconds.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
pub(crate) const COOKIE: (&str, &str) =
    ("TF_PLUGIN_MAGIC_COOKIE", "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2");

/// Answers a few calls; the type name of an apply says what it does.
pub(crate) struct Bare {
    pub(crate) stop: StopToken,
    /// Sent to when an apply begins.
    pub(crate) begun: tokio::sync::mpsc::UnboundedSender<()>,
    /// Written when an apply saw its token trip.
    pub(crate) marker: Option<std::path::PathBuf>,
}

impl Bare {
    pub(crate) fn new(stop: StopToken) -> (Self, tokio::sync::mpsc::UnboundedReceiver<()>) {
        let (begun, on_begin) = tokio::sync::mpsc::unbounded_channel();
        (Self { stop, begun, marker: None }, on_begin)
    }
}

fn diagnostics(summary: String) -> Vec<Diagnostic> {
    vec![Diagnostic { severity: 1, summary, ..Diagnostic::default() }]
}

#[tonic::async_trait]
impl Provider for Bare {
    async fn get_provider_schema(
        &self,
        _request: Request<get_provider_schema::Request>,
    ) -> Result<Response<get_provider_schema::Response>, Status> {
        let provider = Some(Schema { version: 0, block: Some(schema::Block::default()) });
        Ok(Response::new(get_provider_schema::Response { provider, ..Default::default() }))
    }

    /// Says over which connection it was called, and how many calls run.
    async fn validate_provider_config(
        &self,
        request: Request<validate_provider_config::Request>,
    ) -> Result<Response<validate_provider_config::Response>, Status> {
        let connection = ConnectionId::of(&request).map(|id| id.to_string()).unwrap_or_default();
        let running = self.stop.calls_in_flight().to_string();
        let diagnostics = [connection, running].into_iter().flat_map(diagnostics).collect();
        Ok(Response::new(validate_provider_config::Response { diagnostics }))
    }

    async fn apply_resource_change(
        &self,
        request: Request<apply_resource_change::Request>,
    ) -> Result<Response<apply_resource_change::Response>, Status> {
        let what = request.into_inner().type_name;
        let (begun, marker) = (self.begun.clone(), self.marker.clone());
        let outcome = run_call(&self.stop, move |cancel| async move {
            let _ = begun.send(());
            match what.as_str() {
                "panic" => panic!("no such widget"),
                "stubborn" => std::future::pending().await,
                "block" => loop {
                    std::thread::park();
                },
                "print" => {
                    // More than any pipe holds.
                    io::stdout().write_all(&vec![b'x'; 1 << 20]).unwrap();
                    "printed".to_owned()
                }
                "quick" => format!("cancelled: {}", cancel.is_cancelled()),
                _ => {
                    cancel.cancelled().await;
                    if let Some(marker) = marker {
                        std::fs::write(marker, "unwound").unwrap();
                    }
                    "unwound".to_owned()
                }
            }
        })
        .await;
        let summary = outcome.unwrap_or_else(|report| report.to_string());
        Ok(Response::new(apply_resource_change::Response {
            diagnostics: diagnostics(summary),
            ..Default::default()
        }))
    }

    async fn stop_provider(
        &self,
        _request: Request<stop_provider::Request>,
    ) -> Result<Response<stop_provider::Response>, Status> {
        self.stop.stop();
        Ok(Response::new(stop_provider::Response::default()))
    }
}

/// Collects what the server prints.
#[derive(Clone, Default)]
pub(crate) struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A server inside the test.
pub(crate) struct TestServer {
    pub(crate) ready: Ready,
    pub(crate) output: Output,
    pub(crate) until: CancellationToken,
    pub(crate) served: JoinHandle<Result<(), ServeError>>,
    pub(crate) begun: tokio::sync::mpsc::UnboundedReceiver<()>,
    /// Where the socket folder is made.
    pub(crate) folder: TempDir,
}

impl TestServer {
    /// As a plugin, with the environment given beside the cookie.
    pub(crate) async fn plugin(environment: &[(&str, &str)]) -> Self {
        Self::start(ServeOptions::plugin(), environment, |options| options).await
    }

    pub(crate) async fn start(
        options: ServeOptions,
        environment: &[(&str, &str)],
        configure: impl FnOnce(ServeOptions) -> ServeOptions,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut variables = vec![COOKIE, ("PLUGIN_UNIX_SOCKET_DIR", folder.path().to_str().unwrap())];
        variables.extend(environment);
        let (output, until, stop) = (Output::default(), CancellationToken::new(), StopToken::new());
        let (sender, on_ready) = oneshot::channel();
        let options = configure(options.environment(variables))
            .stop(stop.clone())
            .embedded(output.clone(), until.clone())
            .on_ready(move |ready| sender.send(ready.clone()).unwrap());
        let (provider, begun) = Bare::new(stop);
        let served = tokio::spawn(serve(provider, options));
        let ready = within(on_ready).await.unwrap();
        Self { ready, output, until, served, begun, folder }
    }

    /// The certificate of the handshake line.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        let text = self.output.text();
        let field = text.trim_end().split('|').nth(5).unwrap();
        base64::engine::general_purpose::STANDARD_NO_PAD.decode(field).unwrap()
    }

    pub(crate) async fn dial(&self) -> Box<dyn Stream> {
        dial(self.ready.network, &self.ready.address).await
    }

    pub(crate) async fn plain(&self) -> Channel {
        channel(self.dial().await).await.unwrap()
    }

    /// Waits for the end, which must leave nothing behind.
    pub(crate) async fn ended(self) {
        within(self.served).await.unwrap().unwrap();
        assert_eq!(std::fs::read_dir(self.folder.path()).unwrap().count(), 0, "the socket folder is left");
    }
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(crate) async fn dial(network: &str, address: &str) -> Box<dyn Stream> {
    match network {
        #[cfg(unix)]
        "unix" => Box::new(tokio::net::UnixStream::connect(address).await.unwrap()),
        "tcp" => Box::new(tokio::net::TcpStream::connect(address).await.unwrap()),
        other => panic!("unknown network {other}"),
    }
}

/// HTTP/2 over this one stream.
pub(crate) async fn channel(stream: Box<dyn Stream>) -> Result<Channel, tonic::transport::Error> {
    let mut stream = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        let stream = stream.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        async move { stream }
    });
    Endpoint::from_static("http://unused").connect_with_connector(connector).await
}

/// What every test of access asks: does a call get through?
pub(crate) async fn schema(channel: Channel) -> Result<get_provider_schema::Response, Status> {
    let request = get_provider_schema::Request {};
    Ok(within(ProviderClient::new(channel).get_provider_schema(request)).await?.into_inner())
}

/// Which connection the server thinks this is.
pub(crate) async fn connection_name(channel: Channel) -> String {
    told(channel).await.remove(0)
}

/// Waits until a call runs.
pub(crate) async fn until_running(channel: Channel) {
    until_all_run(channel, 1).await;
}

/// Waits until so many calls run.
pub(crate) async fn until_all_run(channel: Channel, calls: usize) {
    within(async {
        while told(channel.clone()).await[1].parse::<usize>().unwrap() < calls {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn told(channel: Channel) -> Vec<String> {
    let request = validate_provider_config::Request { config: None };
    let response = within(ProviderClient::new(channel).validate_provider_config(request)).await.unwrap();
    response.into_inner().diagnostics.into_iter().map(|diagnostic| diagnostic.summary).collect()
}

pub(crate) async fn apply(channel: Channel, what: &str) -> Result<String, Status> {
    let request = apply_resource_change::Request { type_name: what.to_owned(), ..Default::default() };
    let response = within(ProviderClient::new(channel).apply_resource_change(request)).await?;
    Ok(response.into_inner().diagnostics.remove(0).summary)
}

pub(crate) async fn shutdown(channel: Channel) {
    within(GrpcControllerClient::new(channel).shutdown(Empty {})).await.unwrap();
}

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("still waiting after {DEADLINE:?}"))
}

/// A certificate as the Go launcher makes them: P-521, self-signed, an authority of its own.
pub(crate) struct Identity {
    pub(crate) certificate: rcgen::Certificate,
    pub(crate) key: KeyPair,
}

impl Identity {
    pub(crate) fn new() -> Self {
        Self::of(KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).unwrap())
    }

    /// The same key and name in a certificate of its own: serial numbers are drawn.
    pub(crate) fn certified_again(&self) -> Self {
        Self::of(KeyPair::from_pem(&self.key.serialize_pem()).unwrap())
    }

    fn of(key: KeyPair) -> Self {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "localhost");
        params.distinguished_name.push(DnType::OrganizationName, "HashiCorp");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, key }
    }
}
