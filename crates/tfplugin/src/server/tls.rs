//! Mutual TLS as the launcher does it: each side trusts exactly one certificate of the other.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::ServeError;

/// The only application protocol spoken; the launcher insists on hearing it.
const ALPN: &[u8] = b"h2";
/// The name the launcher expects in the certificate, whatever the address.
const SERVER_NAME: &str = "localhost";
/// How far the clocks of certificate maker and checker may differ.
const CLOCK_SKEW: Duration = Duration::from_mins(1);

/// The server's side of the handshake, with a key made for this process alone.
#[derive(Clone)]
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    certificate: CertificateDer<'static>,
}

/// Why a peer did not get in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the TLS handshake failed")]
    Handshake(#[source] std::io::Error),
    #[error("the peer did not negotiate HTTP/2 (ALPN `h2`)")]
    Protocol,
}

impl Tls {
    /// Makes a key and a certificate, and admits `client` alone.
    pub(crate) fn new(client: CertificateDer<'static>) -> Result<Self, ServeError> {
        let (certificate, key) = generate().map_err(ServeError::Certificate)?;
        // Named explicitly: another crate may have set a process-wide default without P-521, which the
        // launcher's certificate needs.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(PinnedClient { client, provider: Arc::clone(&provider) });
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
                builder.with_client_cert_verifier(verifier).with_single_cert(vec![certificate.clone()], key)
            })
            .map_err(ServeError::Tls)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would skip the check of the certificate; there is one connection anyway.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), certificate })
    }

    /// The certificate for the handshake line, DER.
    pub(crate) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    pub(crate) async fn accept<S>(&self, io: S) -> Result<TlsStream<S>, Refusal>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = self.acceptor.accept(io).await.map_err(Refusal::Handshake)?;
        // A client that offers no protocol at all passes the handshake.
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(Refusal::Protocol);
        }
        Ok(stream)
    }
}

/// P-256: small, quick to make, and accepted by every launcher.
fn generate() -> Result<(CertificateDer<'static>, KeyPair), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    // The name must be an alternative name: the common name alone is not looked at.
    let mut params = CertificateParams::new(vec![SERVER_NAME.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, SERVER_NAME);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = (SystemTime::now() - CLOCK_SKEW).into();
    let certificate = params.self_signed(&key)?;
    Ok((certificate.der().clone(), key))
}

/// Admits the one client whose certificate came in the environment.
///
/// The usual verification cannot be used: the client's certificate is its own authority, which the web's
/// rules forbid. Equality of the whole certificate says more than a chain would; the handshake signature then
/// proves that the peer holds its key.
#[derive(Debug)]
struct PinnedClient {
    client: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for PinnedClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if end_entity.as_ref() == self.client.as_ref() {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
