//! Registries on this machine that have TLS.

use std::{net::SocketAddr, sync::Arc};

use spectra_sandbox::registry::RegistryAuth;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, pki_types::PrivateKeyDer},
};

use crate::{
    image::{build, registry},
    support::Place,
};

/// What a server of TLS does to whoever speaks plain HTTP.
#[derive(Clone, Copy)]
enum ToPlain {
    /// It says so, as those written in Go.
    Says,
    /// It hangs up.
    HangsUp,
}

/// TLS before `inner`, until the runtime ends. The certificate to trust is written to the place.
fn with_tls(place: &Place, inner: SocketAddr, to_plain: ToPlain) -> (SocketAddr, tokio::runtime::Runtime) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    place.write("authority.pem", &made.cert.pem());
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut first = [0];
                stream.peek(&mut first).await?;
                // A record of the handshake.
                if first != [22] {
                    // What is not read would break the connection before the answer is.
                    assert!(stream.read(&mut [0; 4096]).await? > 0);
                    return match to_plain {
                        ToPlain::Says => {
                            let answer = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
                            stream.write_all(answer).await
                        }
                        ToPlain::HangsUp => stream.shutdown().await,
                    };
                }
                let mut outside = acceptor.accept(stream).await?;
                let mut inside = TcpStream::connect(inner).await?;
                tokio::io::copy_bidirectional(&mut outside, &mut inside).await.map(drop)
            });
        }
    });
    (address, runtime)
}

#[test]
fn a_registry_with_tls_on_this_machine_could_not_be_used() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    let (address, _tls) = with_tls(&place, running.address, ToPlain::Says);
    let digest = build(&place);
    let host = format!("localhost:{}", address.port());
    let (image, other) = (format!("{host}/team/app:v1"), format!("{host}/team/other:v1"));

    let refused = place.run(&["image", "push", "layout", &image]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("Client sent an HTTP request to an HTTPS server"), "{}", refused.stderr);
    assert!(refused.stderr.contains("name it, as `image push --tls HOST:PORT` does"), "{}", refused.stderr);

    let certificate = place.path("authority.pem");
    place.set("SSL_CERT_FILE", certificate.to_str().unwrap());
    // A proxy that is not there is not asked.
    place.set("HTTPS_PROXY", "http://127.0.0.1:9");
    let pushed = place.run(&["image", "push", "layout", &image, "--tls", &host]).done();
    assert_eq!(pushed.stdout.trim(), digest);
    assert!(!pushed.stderr.contains("without TLS"), "{}", pushed.stderr);
    place.run(&["image", "copy", &image, &other, "--tls", &host]).done();
    let doctor = place.run(&["doctor", "--registry", &host, "--tls", &host]);
    assert!(doctor.stdout.contains(&format!("registry {host}: answers at https://")), "{}", doctor.stdout);
    let both = place.run(&["image", "inspect", &image, "--tls", &host, "--plain-http", &host]);
    assert_eq!(both.code, 2);
    assert!(both.stderr.contains("is named by `--tls` and by `--plain-http`"), "{}", both.stderr);
    place.set("SPECTRA_TLS", &host);
    place.run(&["image", "inspect", &other]).done();
}

#[test]
fn a_registry_that_hangs_up_on_plain_http_may_have_tls() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    let (address, _tls) = with_tls(&place, running.address, ToPlain::HangsUp);
    let host = format!("localhost:{}", address.port());
    let doctor = place.run(&["doctor", "--registry", &host]);
    assert!(
        doctor.stdout.contains("unless it is named, as `image push --tls HOST:PORT` does"),
        "{}",
        doctor.stdout
    );
}
