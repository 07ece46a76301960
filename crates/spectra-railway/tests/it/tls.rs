//! The WebSocket over TLS.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use spectra_railway::{Client, ClientConfig, DeploymentStatus, FeedChange};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::fake::TOKEN;
use crate::sockets::Sockets;

const PORT: &str = "SPECTRA_TEST_WSS_PORT";
const DEADLINE: Duration = Duration::from_secs(30);

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The roots are the process's, so the client is a process of its own: this test once more, with the variable set.
#[tokio::test]
async fn the_socket_trusts_the_roots_that_requests_trust() {
    if let Ok(port) = std::env::var(PORT) {
        return follow(&port).await;
    }
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let roots = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(roots.path(), made.cert.pem()).unwrap();
    let key = made.signing_key.serialize_der().try_into().unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = Tls { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
    let mut server = Sockets::serve(tls, &format!("https://localhost:{port}/graphql/v2"));
    let child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tls::the_socket_trusts_the_roots_that_requests_trust"])
        .env("SSL_CERT_FILE", roots.path())
        .env_remove("SSL_CERT_DIR")
        .env(PORT, port.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let told = async {
        let mut connection = server.accept().await;
        let id = connection.subscribed("d1").await;
        connection.status(&id, "d1", "SLEEPING");
        // Until the child has gone.
        while !matches!(connection.hear("the end").await, crate::sockets::Heard::Closed(_)) {}
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), told);
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

async fn follow(port: &str) {
    let mut config = ClientConfig::new(TOKEN.into());
    config.endpoint = format!("https://localhost:{port}/graphql/v2").parse().unwrap();
    let client = Client::new(config).unwrap();
    // Over the HTTP client, which trusts the same.
    client.identity().await.unwrap();
    let mut feed = client.follow_deployment(&"d1".parse().unwrap());
    let change = tokio::time::timeout(DEADLINE, feed.changed(Duration::from_hours(1))).await;
    assert_eq!(change.unwrap(), FeedChange::Pushed(DeploymentStatus::Sleeping));
}
