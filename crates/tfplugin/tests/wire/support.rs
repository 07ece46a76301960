//! A served provider and a client of it.

use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tfplugin::proto::tfplugin6::provider_client::ProviderClient;
use tfplugin::proto::tfplugin6::{self as proto, configure_provider};
use tfplugin::server::{Ready, ServeError, ServeOptions};
use tfplugin::testing::to_value;
use tfplugin::{AttributePath, Model, Provider, codec, serve_embedded};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

pub(crate) type Client = ProviderClient<Channel>;

/// Nothing in these tests may take longer; most of it takes milliseconds.
pub(crate) const DEADLINE: Duration = Duration::from_mins(2);

/// A provider that is served inside the test.
pub(crate) struct Wire {
    ready: Ready,
    until: CancellationToken,
    served: JoinHandle<Result<(), ServeError>>,
    _folder: TempDir,
}

impl Wire {
    pub(crate) async fn start<P: Provider>(provider: P) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let until = CancellationToken::new();
        let (sender, on_ready) = oneshot::channel();
        let options = ServeOptions::reattach(P::ADDRESS)
            .environment([("PLUGIN_UNIX_SOCKET_DIR", folder.path().to_str().unwrap())])
            .embedded(io::sink(), until.clone())
            .on_ready(move |ready| sender.send(ready.clone()).unwrap());
        let served = tokio::spawn(serve_embedded(provider, options));
        Self { ready: on_ready.await.unwrap(), until, served, _folder: folder }
    }

    /// Over a connection of its own, to a provider that is not configured.
    pub(crate) async fn connect(&self) -> Client {
        ProviderClient::new(self.channel().await)
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX)
    }

    pub(crate) async fn channel(&self) -> Channel {
        let mut stream = Some(TokioIo::new(UnixStream::connect(&self.ready.address).await.unwrap()));
        let connector = tower::service_fn(move |_| {
            let stream = stream.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
            async move { stream }
        });
        Endpoint::from_static("http://unused").connect_with_connector(connector).await.unwrap()
    }

    /// The same, configured.
    pub(crate) async fn client<M: Model>(&self, config: &M) -> Client {
        let mut client = self.connect().await;
        let request = configure_provider::Request {
            terraform_version: "1.14.0".to_owned(),
            config: Some(value(config)),
            client_capabilities: None,
        };
        let response = client.configure_provider(request).await.unwrap().into_inner();
        assert_eq!(response.diagnostics, []);
        client
    }

    /// The server still answers, and ends when it is told.
    pub(crate) async fn ended(self) {
        self.until.cancel();
        within(self.served).await.unwrap().unwrap();
    }
}

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("still waiting after {DEADLINE:?}"))
}

/// As core encodes it.
pub(crate) fn value<M: Model>(model: &M) -> proto::DynamicValue {
    let bytes = codec::msgpack::encode(&to_value(model).unwrap(), &M::block().implied_type()).unwrap();
    msgpack(bytes)
}

pub(crate) fn msgpack(bytes: impl Into<Bytes>) -> proto::DynamicValue {
    proto::DynamicValue { msgpack: bytes.into(), json: Bytes::new() }
}

/// As core decodes it.
pub(crate) fn model<M: Model>(value: Option<&proto::DynamicValue>) -> M {
    let ty = M::block().implied_type();
    let value = codec::msgpack::decode(&value.unwrap().msgpack, &ty).unwrap();
    M::from_value(&value, &AttributePath::root()).unwrap()
}

/// The text of the errors, one a line.
pub(crate) fn errors(diagnostics: &[proto::Diagnostic]) -> String {
    let errors = diagnostics.iter().filter(|message| message.severity == 1);
    errors.map(|message| format!("{}: {}", message.summary, message.detail)).collect::<Vec<_>>().join("\n")
}
