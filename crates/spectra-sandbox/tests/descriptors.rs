//! A process that has no file descriptor left. A test binary of its own: the limit is the whole process's.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{fs::File, iter, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use spectra_sandbox::registry::{Registry, RegistryConfig};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// The clock jumps from pause to pause, so that the server tries often and nobody waits.
#[tokio::test(start_paused = true)]
async fn who_comes_while_there_is_no_descriptor_is_served_when_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(RegistryConfig::new(folder.path())).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(registry.serve(listener));

    setrlimit(Resource::Nofile, Rlimit { current: Some(128), ..getrlimit(Resource::Nofile) }).unwrap();
    let mut all: Vec<File> = iter::repeat_with(|| File::open("/dev/null")).map_while(Result::ok).collect();
    assert!(!all.is_empty());
    // One for the client; none is left for the server's end.
    all.pop();
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET /v2/ HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let early = tokio::time::timeout(Duration::from_secs(10), client.read_to_end(&mut answer)).await;
    assert!(early.is_err(), "nobody can have answered: {early:?}");

    drop(all);
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}
