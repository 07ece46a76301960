//! The server answers, and leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::{
    net::TcpStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use spectra_test_postgres::{Options, start};

#[test]
fn databases_are_apart_and_nothing_is_left_behind() {
    let options =
        Options { settings: vec![("work_mem".to_owned(), "123kB".to_owned())], ..Options::default() };
    let Some(server) = start(&options) else { return };
    let (one, other) = (server.database(), server.database());
    one.run("CREATE TABLE t (x int); INSERT INTO t VALUES (7)");
    assert_eq!(one.query("SELECT x, 'a' FROM t"), "7|a");
    assert_eq!(other.query("SELECT to_regclass('t') IS NULL"), "t");
    assert_eq!(one.query("SHOW work_mem"), "123kB");
    let (port, folder) = (server.port(), server.socket_folder().to_owned());
    assert!(folder.exists());
    drop(server);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(!folder.exists());
}

/// Says where its server is, and waits to be killed.
#[test]
#[ignore = "the process of the other test"]
fn the_process_to_kill() {
    let server = spectra_test_postgres::shared().unwrap();
    println!("> {}", server.port());
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn a_killed_process_leaves_no_server() {
    if spectra_test_postgres::Programs::find().is_none() {
        return;
    }
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "the_process_to_kill", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(process.stdout.take().unwrap()));
    let port: u16 = lines
        .find_map(|line| line.unwrap().split_once("> ").map(|(_, port)| port.parse().unwrap()))
        .expect("it starts a server");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    process.kill().unwrap();
    process.wait().unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        assert!(Instant::now() < deadline, "the server goes on");
        std::thread::yield_now();
    }
}
