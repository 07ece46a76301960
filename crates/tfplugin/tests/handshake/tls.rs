//! Who gets in. The table of what works with the Go launcher, as far as the server decides it: its side of the handshake here, its
//! certificate in [`super::certificate`]. What the launcher decides (which curves it accepts, whose names it checks) is seen
//! where a real one runs.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use tfplugin::server::{ServeOptions, Transport};
use tokio::io::AsyncReadExt as _;
use tokio_rustls::TlsConnector;
use tonic::transport::Channel;

use crate::support::{Identity, TestServer, channel, connection_name, schema, shutdown, within};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A launcher: trusts exactly the certificate of the handshake line, under the name `localhost`.
struct Launcher<'a> {
    certificate: Option<&'a Identity>,
    /// The key that signs, when it is not that of the certificate.
    key: Option<&'a Identity>,
    /// Sent along behind the certificate.
    behind: Option<&'a Identity>,
    version: &'static SupportedProtocolVersion,
    alpn: &'a [&'a str],
}

impl<'a> Launcher<'a> {
    fn new(identity: &'a Identity) -> Self {
        Self { certificate: Some(identity), key: None, behind: None, version: &TLS13, alpn: &["h2"] }
    }

    fn config(&self, trusted: Vec<u8>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(trusted)).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[self.version])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match self.certificate {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_cert_resolver(Arc::new(Certified::new(
                identity,
                self.key.unwrap_or(identity),
                self.behind,
            ))),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// A call through TLS: the answer, or how far it came.
    async fn call(&self, server: &TestServer) -> Result<(), String> {
        let channel = self.connect(server).await?;
        schema(channel).await.map(drop).map_err(|status| format!("call: {status}"))
    }

    async fn connect(&self, server: &TestServer) -> Result<Channel, String> {
        let connector = TlsConnector::from(Arc::new(self.config(server.certificate())));
        let name = ServerName::try_from("localhost").unwrap();
        let stream = within(Box::pin(connector.connect(name, server.dial().await))).await;
        let stream = stream.map_err(|error| format!("handshake: {error}"))?;
        within(channel(Box::new(stream))).await.map_err(|error| format!("http: {error}"))
    }
}

/// Presents its certificate whatever is asked for, and does not check that the key belongs to it.
#[derive(Debug)]
struct Certified(Arc<CertifiedKey>);

impl Certified {
    fn new(certificate: &Identity, key: &Identity, behind: Option<&Identity>) -> Self {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.key.serialize_der()));
        let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
        let chain = std::iter::once(certificate).chain(behind);
        let chain = chain.map(|identity| identity.certificate.der().clone()).collect();
        Self(Arc::new(CertifiedKey::new(chain, key)))
    }
}

impl ResolvesClientCert for Certified {
    fn resolve(&self, _hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // A Go client sends nothing when its curve is not offered: the reason why the provider needs P-521.
        schemes.contains(&SignatureScheme::ECDSA_NISTP521_SHA512).then(|| Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

pub(crate) async fn server(identity: &Identity, transport: Transport) -> TestServer {
    let pem = identity.certificate.pem();
    TestServer::start(ServeOptions::plugin(), &[("PLUGIN_CLIENT_CERT", &pem)], |options| {
        options.transport(transport)
    })
    .await
}

#[tokio::test]
async fn the_launcher_gets_in_over_either_version_and_transport() {
    let identity = Identity::new();
    for transport in [Transport::default(), Transport::Tcp] {
        for version in VERSIONS {
            let server = server(&identity, transport).await;
            assert_eq!(server.output.text().trim_end().split('|').count(), 6);
            let launcher = Launcher { version, ..Launcher::new(&identity) };
            let channel = launcher.connect(&server).await.unwrap();
            schema(channel.clone()).await.unwrap();
            assert!(connection_name(channel.clone()).await.starts_with("connection-"));
            shutdown(channel).await;
            server.ended().await;
        }
    }
}

#[tokio::test]
async fn nobody_else_gets_in() {
    let (identity, other) = (Identity::new(), Identity::new());
    let again = identity.certified_again();
    let server = server(&identity, Transport::default()).await;
    for version in VERSIONS {
        let right = || Launcher { version, ..Launcher::new(&identity) };
        let refused = [
            ("another certificate", Launcher { certificate: Some(&other), ..right() }),
            ("no certificate", Launcher { certificate: None, ..right() }),
            ("the certificate without its key", Launcher { key: Some(&other), ..right() }),
            (
                "another one, with the right one behind it",
                Launcher { certificate: Some(&other), behind: Some(&identity), ..right() },
            ),
            ("the right key in another certificate", Launcher { certificate: Some(&again), ..right() }),
            ("no application protocol", Launcher { alpn: &[], ..right() }),
            ("another application protocol", Launcher { alpn: &["http/1.1"], ..right() }),
        ];
        for (what, launcher) in refused {
            let outcome = launcher.call(&server).await;
            assert!(outcome.is_err(), "{what} over {version:?} got in");
        }
        // And the refusals have not disturbed the one who may.
        right().call(&server).await.unwrap();
    }
    server.until.cancel();
    server.ended().await;
}

#[tokio::test]
async fn plaintext_is_refused_where_a_certificate_was_given() {
    let identity = Identity::new();
    let server = server(&identity, Transport::default()).await;
    let outcome = match within(channel(server.dial().await)).await {
        Ok(channel) => schema(channel).await.map_err(|status| status.to_string()),
        Err(error) => Err(error.to_string()),
    };
    assert!(outcome.is_err());
    Launcher::new(&identity).call(&server).await.unwrap();
    server.until.cancel();
    server.ended().await;
}

#[tokio::test]
async fn a_stalled_peer_holds_up_nobody_and_is_put_out() {
    let identity = Identity::new();
    let pem = identity.certificate.pem();
    let server = TestServer::start(ServeOptions::plugin(), &[("PLUGIN_CLIENT_CERT", &pem)], |options| {
        options.tls_timeout(Duration::from_millis(300))
    })
    .await;
    let mut stalled = server.dial().await;
    Launcher::new(&identity).call(&server).await.unwrap();
    // Not even a crowd keeps the launcher out for longer than the patience with it.
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(server.dial().await);
    }
    Launcher::new(&identity).call(&server).await.unwrap();
    // Closed by the server, without a word from us.
    assert_eq!(within(stalled.read(&mut [0; 1])).await.unwrap_or(0), 0);
    server.until.cancel();
    server.ended().await;
}

/// The launcher verifies by name: an address or another name must not do.
#[tokio::test]
async fn the_certificate_is_for_localhost_alone() {
    let identity = Identity::new();
    let server = server(&identity, Transport::default()).await;
    let launcher = Launcher::new(&identity);
    for name in ["example.com", "127.0.0.1"] {
        let connector = TlsConnector::from(Arc::new(launcher.config(server.certificate())));
        let name = ServerName::try_from(name).unwrap();
        assert!(within(Box::pin(connector.connect(name, server.dial().await))).await.is_err());
    }
    server.until.cancel();
    server.ended().await;
}

/// Each process has a key of its own.
#[tokio::test]
async fn certificates_are_not_reused() {
    let identity = Identity::new();
    let (first, second) =
        (server(&identity, Transport::default()).await, server(&identity, Transport::default()).await);
    assert_ne!(first.certificate(), second.certificate());
    for server in [first, second] {
        server.until.cancel();
        server.ended().await;
    }
}
