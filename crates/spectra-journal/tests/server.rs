//! What only a server has: lost connections, its own clock, TLS, many who create the tables at once.

#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use jiff::Timestamp;
use spectra_journal::{Error, Journal, Location, ManualClock, Query};
use spectra_test_postgres::{Database, Options};
use support::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

fn database() -> Option<Database<'static>> {
    spectra_test_postgres::shared().map(spectra_test_postgres::Server::database)
}

async fn open(url: &str) -> Result<Journal, Error> {
    Journal::open(&url.parse::<Location>().unwrap()).await
}

/// When the proxy cuts a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// The server is never asked to commit.
    BeforeTheCommit,
    /// The server has committed, and its answer is lost.
    AfterTheCommit,
}

/// Stands before the server and cuts as many commits as it is told.
struct Proxy {
    port: u16,
    cuts: Arc<AtomicU32>,
}

impl Proxy {
    async fn start(server: u16, cut: Cut) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cuts = Arc::new(AtomicU32::new(0));
        tokio::spawn({
            let cuts = Arc::clone(&cuts);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                    tokio::spawn(pass(client, server, cut, Arc::clone(&cuts)));
                }
            }
        });
        Self { port, cuts }
    }

    fn url(&self, database: &Database<'_>) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}", self.port, database.name())
    }

    /// Waits until every cut was made.
    fn is_through(&self) -> bool {
        self.cuts.load(Ordering::SeqCst) == 0
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, cut: Cut, cuts: Arc<AtomicU32>) {
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(count @ 1..) = read else { return };
                let commits = asked[..count].windows(7).any(|bytes| bytes == b"COMMIT\0");
                let cutting = commits
                    && cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
                if cutting && cut == Cut::BeforeTheCommit {
                    return;
                }
                server.write_all(&asked[..count]).await.unwrap();
                if cutting {
                    // The server's answer says that it is done; nobody else hears it.
                    assert_ne!(server.read(&mut answered).await.unwrap(), 0);
                    return;
                }
            }
            read = server.read(&mut answered) => {
                let Ok(count @ 1..) = read else { return };
                if client.write_all(&answered[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn nothing_is_lost_or_done_twice(cut: Cut) {
    let Some(database) = database() else { return };
    let proxy = Proxy::start(spectra_test_postgres::shared().unwrap().port(), cut).await;
    let journal = open(&proxy.url(&database)).await.unwrap();

    proxy.cuts.store(1, Ordering::SeqCst);
    let record = journal.append(note(1)).await.unwrap();
    assert!(proxy.is_through());
    assert_eq!(record.seq, 1);

    proxy.cuts.store(2, Ordering::SeqCst);
    let lease = acquired(journal.acquire("s", stranger("a"), TTL).await.unwrap());
    assert!(proxy.is_through());
    assert_eq!(lease.fence(), 1);
    proxy.cuts.store(1, Ordering::SeqCst);
    assert_eq!(lease.append(note(3)).await.unwrap().seq, 3);
    proxy.cuts.store(1, Ordering::SeqCst);
    let held = journal.unlock("s", stranger("b"), "test").await.unwrap().unwrap();
    assert_eq!(held.holder.id, "a");

    // Many at once share transactions, some of which are cut.
    proxy.cuts.store(3, Ordering::SeqCst);
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..300 {
        let journal = journal.clone();
        writers.spawn(async move { journal.append(note(number)).await.unwrap().seq });
    }
    let mut seqs = writers.join_all().await;
    seqs.sort_unstable();
    assert_eq!(seqs, (5..305).collect::<Vec<_>>());

    proxy.cuts.store(1, Ordering::SeqCst);
    let lease = acquired(journal.acquire("s", stranger("b"), TTL).await.unwrap());
    proxy.cuts.store(1, Ordering::SeqCst);
    lease.release().await.unwrap();
    assert!(proxy.is_through());
    assert_eq!(journal.verify(None).await.unwrap().records, 306);
    let keys: std::collections::BTreeSet<_> =
        journal.records(&Query::default()).await.unwrap().into_iter().map(|record| record.key).collect();
    assert_eq!(keys.len(), 306);
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_not_done_again() {
    nothing_is_lost_or_done_twice(Cut::AfterTheCommit).await;
}

#[tokio::test]
async fn a_connection_that_was_lost_before_the_commit_is_made_anew() {
    nothing_is_lost_or_done_twice(Cut::BeforeTheCommit).await;
}

#[tokio::test]
async fn connections_that_an_administrator_ends_are_made_anew() {
    let Some(database) = database().map(Arc::new) else { return };
    let journal = open(&database.url()).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for number in 1..=3 {
        assert_eq!(journal.append(note(number)).await.unwrap().seq, number);
        database.run(end);
        assert_eq!(journal.head().await.unwrap().0, number);
        database.run(end);
    }
    // Also in the middle of many writes.
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..400 {
        let journal = journal.clone();
        writers.spawn(async move { journal.append(note(number)).await.unwrap() });
    }
    let ending = tokio::task::spawn_blocking({
        let database = Arc::clone(&database);
        move || {
            for _ in 0..5 {
                database.run(end);
            }
        }
    });
    assert_eq!(writers.join_all().await.len(), 400);
    ending.await.unwrap();
    assert_eq!(journal.verify(None).await.unwrap().records, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_keeps_the_head_is_waited_for() {
    let Some(database) = database() else { return };
    let journal = open(&database.url()).await.unwrap();
    journal.append(note(1)).await.unwrap();
    let (client, connection) = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("BEGIN; SELECT * FROM spectra_journal_head FOR UPDATE").await.unwrap();
    let append = tokio::spawn({
        let journal = journal.clone();
        async move { journal.append(note(2)).await.unwrap().seq }
    });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let deadline = Instant::now() + TTL;
    while database.query(waiting) != "1" {
        assert!(Instant::now() < deadline, "the append does not wait for the head");
    }
    assert!(!append.is_finished());
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(append.await.unwrap(), 2);
}

#[tokio::test]
async fn the_servers_clock_counts_and_not_the_runners() {
    let Some(database) = database() else { return };
    let wrong = Arc::new(ManualClock::new("2001-01-01T00:00:00Z".parse().unwrap()));
    let journal = Journal::open_with_clock(&database.url().parse().unwrap(), wrong).await.unwrap();
    let before: Timestamp = database
        .query("SET timezone = 'UTC'; SELECT to_json(clock_timestamp())")
        .trim_matches('"')
        .parse()
        .unwrap();
    let record = journal.append(note(1)).await.unwrap();
    assert!(record.at >= before, "{} {before}", record.at);
    assert!(record.at.duration_since(before) < jiff::SignedDuration::from_mins(1));
    let lease = acquired(journal.acquire("s", stranger("a"), TTL).await.unwrap());
    let held = journal.lease_of("s").await.unwrap().unwrap();
    assert!(!held.expired && held.since >= record.at && lease.surely_held());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_may_create_the_tables_at_once() {
    let Some(database) = database() else { return };
    let mut opening = tokio::task::JoinSet::new();
    for number in 0..12 {
        let url = database.url();
        opening.spawn(async move { open(&url).await.unwrap().append(note(number)).await.unwrap() });
    }
    assert_eq!(opening.join_all().await.len(), 12);
    assert_eq!(open(&database.url()).await.unwrap().verify(None).await.unwrap().records, 12);
}

#[tokio::test]
async fn a_newer_schema_is_left_as_it_is() {
    let Some(database) = database() else { return };
    drop(open(&database.url()).await.unwrap());
    database.run("UPDATE spectra_journal_schema SET version = 99");
    for error in [
        open(&database.url()).await.unwrap_err(),
        Journal::open_existing(&database.url().parse().unwrap()).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::NewerSchema { found: 99, known: 1, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_at_once() {
    // Bound and not listening for PostgreSQL's protocol: closed again, so that the port is refused.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = open(&format!("postgres://me:s3cret-pw@127.0.0.1:{port}/x")).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { unsure: false, .. }), "{error}");
    assert!(error.retryable() && error.hint().is_some());
    let text = spectra_types::error_chain(&error);
    assert!(!text.contains("s3cret") && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_unix_socket_is_reached_by_its_folder() {
    let Some(database) = database() else { return };
    let folder = spectra_test_postgres::shared().unwrap().socket_folder().display().to_string();
    let port = spectra_test_postgres::shared().unwrap().port();
    let encoded = folder.replace('/', "%2F");
    let url = format!("postgres://postgres@{encoded}:{port}/{}", database.name());
    assert_eq!(open(&url).await.unwrap().append(note(1)).await.unwrap().seq, 1);
}

/// An authority and a certificate of its own for a name, as PEM.
fn certificates(name: &str) -> (String, String, String) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(parameters, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let server =
        rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    (authority.pem(), server.pem(), key.serialize_pem())
}

#[tokio::test]
async fn tls_is_what_the_url_asks_for() {
    let (authority, certificate, key) = certificates("db.example.com");
    let options = Options {
        settings: vec![("ssl".to_owned(), "on".to_owned())],
        files: vec![("server.crt".to_owned(), certificate), ("server.key".to_owned(), key)],
    };
    let Some(server) = spectra_test_postgres::start(&options) else { return };
    let database = server.database();
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (folder.path().join("ours.pem"), folder.path().join("other.pem"));
    std::fs::write(&ours, authority).unwrap();
    std::fs::write(&other, certificates("db.example.com").0).unwrap();
    let encrypted = async |url: &str| -> Result<bool, Error> {
        let journal = open(url).await?;
        journal.append(note(1)).await?;
        let query = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE application_name = 'spectra-journal'";
        let found = database.query(query);
        drop(journal);
        // Its connection is not to be counted for the next.
        let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'spectra-journal'";
        let deadline = Instant::now() + TTL;
        while database.query(count) != "0" {
            assert!(Instant::now() < deadline, "a journal that was dropped stays connected");
            tokio::task::yield_now().await;
        }
        Ok(found == "t")
    };
    let url = database.url();
    let (ours, other) = (ours.display(), other.display());
    // The name is reached at a loopback address, as a resolver would have it.
    let named = url.replace("127.0.0.1", "db.example.com") + "?hostaddr=127.0.0.1";
    assert!(!encrypted(&url).await.unwrap(), "nothing written, and on this machine");
    assert!(encrypted(&format!("{url}?sslmode=require")).await.unwrap());
    assert!(encrypted(&format!("{url}?sslmode=require&sslrootcert={ours}")).await.unwrap());
    assert!(encrypted(&format!("{url}?sslmode=verify-ca&sslrootcert={ours}")).await.unwrap());
    assert!(encrypted(&format!("{named}&sslrootcert={ours}")).await.unwrap(), "verify-full for another host");
    assert!(encrypted(&format!("{named}&sslmode=verify-full&sslrootcert={ours}")).await.unwrap());
    for refused in [
        format!("{url}?sslmode=verify-full&sslrootcert={ours}"),
        format!("{url}?sslrootcert={ours}"),
        format!("{url}?sslmode=require&sslrootcert={other}"),
        format!("{named}&sslmode=verify-full&sslrootcert={other}"),
        format!("{named}&sslmode=verify-full"),
        named.clone(),
    ] {
        let error = encrypted(&refused).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{refused}: {error}");
    }
    for refused in [
        format!("{url}?sslmode=verify-full&sslrootcert={ours}.missing"),
        format!("{url}?sslmode=disable&sslrootcert={ours}"),
    ] {
        let error = encrypted(&refused).await.unwrap_err();
        assert!(matches!(error, Error::Tls { .. }), "{refused}: {error}");
    }
    // A server without TLS is not spoken to in plain text.
    if let Some(plain) = spectra_test_postgres::shared() {
        let error = encrypted(&format!("{}?sslmode=require", plain.database().url())).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    }
}

/// The server proves that it knows the password too, to whoever does not check its certificate.
#[tokio::test]
async fn a_password_is_bound_to_the_channel_and_never_shown() {
    let (_, certificate, key) = certificates("db.example.com");
    let rules = "host all postgres 127.0.0.1/32 trust\nhostssl all spectra 127.0.0.1/32 scram-sha-256\n";
    let files = [("server.crt", certificate), ("server.key", key), ("pg_hba.conf", rules.to_owned())];
    let options = Options {
        settings: vec![("ssl".to_owned(), "on".to_owned())],
        files: files.into_iter().map(|(name, content)| (name.to_owned(), content)).collect(),
    };
    let Some(server) = spectra_test_postgres::start(&options) else { return };
    let database = server.database();
    database
        .run("CREATE ROLE spectra LOGIN PASSWORD 'p@ss w0rd-1'; GRANT CREATE ON SCHEMA public TO spectra");
    let url = |password: &str| {
        format!(
            "postgres://spectra:{password}@127.0.0.1:{}/{}?sslmode=require&channel_binding=require",
            server.port(),
            database.name()
        )
    };
    assert_eq!(open(&url("p%40ss%20w0rd-1")).await.unwrap().append(note(1)).await.unwrap().seq, 1);
    let error = open(&url("wr0ng-p%40ss")).await.unwrap_err();
    let text = format!("{} {error:?}", spectra_types::error_chain(&error));
    assert!(text.contains("password authentication failed") && !text.contains("wr0ng"), "{text}");
    // Without TLS the server refuses, and the password is not sent.
    let plain = url("p%40ss%20w0rd-1").replace("sslmode=require&channel_binding=require", "sslmode=disable");
    let error = open(&plain).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    // Who may create nothing is told so.
    database.run("REVOKE CREATE ON SCHEMA public FROM spectra");
    let other = url("p%40ss%20w0rd-1").replace(database.name(), server.database().name());
    let error = open(&other).await.unwrap_err();
    assert!(matches!(error, Error::Database { .. }), "{error}");
    assert!(spectra_types::error_chain(&error).contains("permission denied"), "{error:?}");
}
