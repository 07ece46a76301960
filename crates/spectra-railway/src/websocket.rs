//! One WebSocket to Railway, from the name of the host to the acknowledged `graphql-transport-ws` session.
//!
//! The credential goes with the upgrade request; what `connection_init` carries is ignored there.

use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use http::header::{RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use hyper_util::client::proxy::matcher::Matcher;
use serde::Deserialize;
use serde_json::Value;
use spectra_types::SafeUrl;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use url::Url;

use crate::client::Client;
use crate::error::ErrorKind;
use crate::pace::retry_after;

/// How long everything up to the acknowledgement may take; real time, like every timeout of the transport.
const HANDSHAKE: Duration = Duration::from_secs(10);
const PROTOCOL: HeaderValue = HeaderValue::from_static("graphql-transport-ws");

/// Bytes to the edge and back, encrypted or not.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

pub(crate) type Socket = WebSocketStream<Box<dyn Wire>>;

/// Why there is no connection (any more).
#[derive(Debug)]
pub(crate) struct NoConnection {
    pub(crate) reason: String,
    /// Another attempt soon would end the same way.
    pub(crate) lasting: bool,
    /// How long the server asked to wait.
    pub(crate) wait: Duration,
}

impl NoConnection {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), lasting: false, wait: Duration::ZERO }
    }

    /// The server closed with this code.
    pub(crate) fn closed(code: u16, reason: &str) -> Self {
        let text = format!("closed with code {code} `{}`", reason.chars().take(120).collect::<String>());
        // 4408: the server waited too long for the begin, which says nothing about the next time.
        Self { lasting: (4400..4500).contains(&code) && code != 4408, ..Self::new(text) }
    }
}

/// One message of `graphql-transport-ws`.
#[derive(Debug, Deserialize)]
pub(crate) struct Incoming {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) id: Option<String>,
    #[serde(default)]
    pub(crate) payload: Value,
}

/// What arrived in one frame.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A message of the protocol.
    Message(Incoming),
    /// Something alive that says nothing: a ping (answered underneath), a pong, or text of no meaning.
    Noise,
    /// The end.
    End(NoConnection),
}

pub(crate) fn heard(frame: Option<Result<Message, WsError>>) -> Heard {
    match frame {
        Some(Ok(Message::Text(text))) => {
            serde_json::from_str(text.as_str()).map_or(Heard::Noise, Heard::Message)
        }
        Some(Ok(Message::Close(Some(frame)))) => {
            Heard::End(NoConnection::closed(frame.code.into(), &frame.reason))
        }
        Some(Ok(Message::Close(None))) => Heard::End(NoConnection::new("closed without a code")),
        Some(Ok(_)) => Heard::Noise,
        Some(Err(error)) => Heard::End(NoConnection::new(error.to_string())),
        None => Heard::End(NoConnection::new("cut (1006)")),
    }
}

/// Requests to this endpoint go through a proxy, as the process's environment has it.
pub(crate) fn is_proxied(endpoint: &Url) -> bool {
    if SafeUrl::from(endpoint.clone()).is_loopback() {
        return false;
    }
    endpoint.as_str().parse().is_ok_and(|uri| Matcher::from_system().intercept(&uri).is_some())
}

/// Opens a connection. Costs one request of the budget.
pub(crate) async fn open(client: &Client) -> Result<Socket, NoConnection> {
    let header = client.credential_pair().await.map_err(|error| NoConnection {
        lasting: matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::Forbidden),
        ..NoConnection::new(error.to_string())
    })?;
    client
        .turn()
        .await
        .map_err(|wait| NoConnection { wait, ..NoConnection::new("the request budget is used up") })?;
    match tokio::time::timeout(HANDSHAKE, handshake(client, header)).await {
        Ok(result) => result,
        Err(_) => Err(NoConnection::new(format!("not open after {} s", HANDSHAKE.as_secs()))),
    }
}

async fn handshake(
    client: &Client,
    (name, value): (&'static str, HeaderValue),
) -> Result<Socket, NoConnection> {
    let endpoint = client.endpoint();
    let wire = connect(endpoint).await?;
    let mut url = endpoint.clone();
    let scheme = if endpoint.scheme() == "https" { "wss" } else { "ws" };
    url.set_scheme(scheme).map_err(|()| NoConnection::new("the endpoint has no WebSocket form"))?;
    let mut request: Request<()> =
        url.as_str().into_client_request().map_err(|error| NoConnection::new(error.to_string()))?;
    let headers = request.headers_mut();
    headers.insert(SEC_WEBSOCKET_PROTOCOL, PROTOCOL);
    headers.insert(name, value);
    if let Ok(agent) = HeaderValue::from_str(&client.config().user_agent) {
        headers.insert(USER_AGENT, agent);
    }
    let (mut socket, response) = match client_async(request, wire).await {
        Ok(opened) => opened,
        Err(WsError::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            return Err(refused(client, response.status(), response.headers(), body));
        }
        Err(error) => return Err(NoConnection::new(error.to_string())),
    };
    client.observe(response.headers());
    let lost = |error: WsError| NoConnection::new(error.to_string());
    socket.send(Message::text(r#"{"type":"connection_init"}"#)).await.map_err(lost)?;
    loop {
        match heard(socket.next().await) {
            Heard::Message(message) if message.kind == "connection_ack" => return Ok(socket),
            Heard::Message(message) if message.kind == "ping" => {
                socket.send(Message::text(r#"{"type":"pong"}"#)).await.map_err(lost)?;
            }
            Heard::Message(_) | Heard::Noise => {}
            Heard::End(end) => return Err(end),
        }
    }
}

/// The upgrade was answered as if it were a request.
fn refused(client: &Client, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> NoConnection {
    client.observe(headers);
    let refusal = NoConnection::new(format!("the upgrade was answered with HTTP {status}"));
    if status == StatusCode::TOO_MANY_REQUESTS || headers.contains_key(RETRY_AFTER) {
        let wait = retry_after(headers, body, client.config().clock.wall()).unwrap_or_default();
        if status == StatusCode::TOO_MANY_REQUESTS {
            // Requests would be refused too: everybody waits.
            client.block(wait);
        }
        return NoConnection { wait, ..refusal };
    }
    NoConnection { lasting: status.is_client_error(), ..refusal }
}

async fn connect(endpoint: &Url) -> Result<Box<dyn Wire>, NoConnection> {
    let address = endpoint.host_str().zip(endpoint.port_or_known_default());
    let (host, port) = address.ok_or_else(|| NoConnection::new("the endpoint names no host"))?;
    // An address of version 6 stands in brackets in a URL, and nowhere else.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let lost = |error: std::io::Error| NoConnection::new(format!("no connection: {error}"));
    let stream = TcpStream::connect((host, port)).await.map_err(lost)?;
    // Messages are short and someone waits for each.
    stream.set_nodelay(true).map_err(lost)?;
    if endpoint.scheme() != "https" {
        return Ok(Box::new(stream));
    }
    let name = rustls::pki_types::ServerName::try_from(host.to_owned())
        .map_err(|error| NoConnection::new(error.to_string()))?;
    let config = tls().map_err(|error| NoConnection::new(format!("no TLS: {error}")))?;
    let stream = TlsConnector::from(config).connect(name, stream).await.map_err(lost)?;
    Ok(Box::new(stream))
}

/// Trusts what the HTTP client trusts: the platform's roots, checked by the platform's rules.
fn tls() -> Result<Arc<rustls::ClientConfig>, rustls::Error> {
    use rustls_platform_verifier::BuilderVerifierExt as _;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    // A WebSocket begins as HTTP/1.1; an edge that may choose would choose HTTP/2.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_code_says_whether_to_come_back_soon() {
        for (code, lasting) in [(1001, false), (1006, false), (4401, true), (4429, true), (4408, false)] {
            assert_eq!(NoConnection::closed(code, "x").lasting, lasting, "{code}");
        }
    }

    #[tokio::test]
    async fn a_certificate_of_nobody_is_refused() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = made.signing_key.serialize_der().try_into().unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await.is_ok()
        });
        let endpoint = format!("https://localhost:{port}/graphql/v2").parse().unwrap();
        let refusal = connect(&endpoint).await.err().unwrap();
        assert!(refusal.reason.contains("certificate"), "{refusal:?}");
        assert!(!server.await.unwrap());
    }

    #[test]
    fn loopback_never_goes_through_a_proxy() {
        assert!(!is_proxied(&"http://127.0.0.1:7430/graphql/v2".parse().unwrap()));
    }
}
