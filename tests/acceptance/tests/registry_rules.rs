//! A test during which somebody broke a rule of the registry fails.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::io::{Read as _, Write as _};

use spectra_acceptance::Sandbox;

#[test]
#[should_panic(expected = "a client broke rules of the registry")]
fn a_blob_that_is_sent_twice_fails_the_test() {
    let sandbox = Sandbox::start();
    // What two braces hash to.
    let digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    for _ in 0..2 {
        let mut socket = std::net::TcpStream::connect(sandbox.registry()).unwrap();
        let head = format!(
            "POST /v2/app/blobs/uploads/?digest=sha256:{digest} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}",
            sandbox.registry()
        );
        socket.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }
}
