//! A journal in a PostgreSQL database.
//!
//! One task has the one connection. Each write locks the head row first, so that writers of many machines
//! append one after the other; the time is the server's, read when the lock was given. A connection that is
//! lost is made anew. If it was lost during a commit, the records' keys tell whether that commit happened:
//! whoever holds the head's lock sees the end of every transaction before.

mod statements;

use std::{
    future::Future,
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, try_join};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_postgres::{Client, Config, NoTls, config::SslMode as WireMode, error::SqlState, types::Type};

use crate::{
    error::Error,
    journal::IfMissing,
    location::Server,
    operation::{Answer, Write, perform},
    store::{Inbox, Request, Waiting, Work},
    tls,
};

use statements::{Open, leases, records, summary};

/// The schema's steps; the table `spectra_journal_schema` says how many the database has.
const SCHEMA: [&str; 1] = ["
    CREATE TABLE spectra_journal_records (
        seq bigint PRIMARY KEY,
        version bigint NOT NULL,
        at text NOT NULL,
        key text NOT NULL UNIQUE,
        subject text NOT NULL,
        rollout text,
        kind text NOT NULL,
        fence bigint,
        body text NOT NULL,
        previous text NOT NULL,
        hash text NOT NULL
    );
    CREATE INDEX spectra_journal_by_subject ON spectra_journal_records (subject, seq);
    CREATE INDEX spectra_journal_by_rollout ON spectra_journal_records (rollout, seq)
        WHERE rollout IS NOT NULL;
    CREATE TABLE spectra_journal_head (
        one integer PRIMARY KEY CHECK (one = 1),
        seq bigint NOT NULL,
        hash text NOT NULL
    );
    CREATE TABLE spectra_journal_leases (
        subject text PRIMARY KEY,
        fence bigint NOT NULL,
        holder text,
        since text,
        expires_at text
    );
    INSERT INTO spectra_journal_head
        VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');
"];

/// Taken while the schema is looked at and changed: `spxjrnl` as a number.
const SCHEMA_LOCK: i64 = 0x73_7078_6a72_6e6c;

/// A writer that stops in the middle of its transaction is put out after 15 seconds, so that 25 are enough to
/// wait for the others.
const SESSION: &str = "
    SET idle_in_transaction_session_timeout = '15s';
    SET lock_timeout = '25s';
    SET default_transaction_isolation = 'read committed';
    SET client_min_messages = 'warning'";
const LOCK_TIMEOUT: Duration = Duration::from_secs(25);

/// How long to connect may take, unless the URL says.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an attempt may take before its connection is given up.
const ATTEMPT: Duration = Duration::from_secs(40);
/// No attempt begins after so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// As `Timestamp` reads it; the server's own format depends on its settings.
const NOW: &str = r#"SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#;

/// Connects, creates the tables where they are missing, and serves the inbox in a task until every sender is
/// gone.
pub(crate) async fn start(
    server: &Server,
    if_missing: IfMissing,
    inbox: mpsc::Receiver<Request>,
) -> Result<(), Error> {
    let location = server.shown().to_string();
    let mut config: Config =
        server.url.expose().as_str().parse().map_err(|error: tokio_postgres::Error| Error::Location {
            reason: spectra_types::error_chain(&error),
        })?;
    let tls = tls::client(server, &location)?;
    config.ssl_mode(if tls.is_some() { WireMode::Require } else { WireMode::Disable });
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT);
    }
    if config.get_application_name().is_none() {
        config.application_name("spectra-journal");
    }
    let tls = tls.map(tokio_postgres_rustls::MakeRustlsConnect::new);
    let mut store = Store { config, tls, location, client: None };
    let prepared = async {
        store.client().await?;
        store.prepare(if_missing).await
    };
    match within(ATTEMPT, prepared).await {
        Ok(()) => {}
        Err(failure) => return Err(store.error("create or read the tables", failure, false)),
    }
    tokio::spawn(store.serve(Inbox::new(inbox)));
    Ok(())
}

struct Store {
    config: Config,
    tls: Option<tokio_postgres_rustls::MakeRustlsConnect>,
    location: String,
    client: Option<Client>,
}

/// How an attempt failed.
enum Failure {
    /// Not to be mended by trying again.
    Final(Error),
    /// What the server answered.
    Server(tokio_postgres::Error),
    TimedOut(Duration),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Server(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl Failure {
    /// Whether the connection is the reason, or two transactions got in each other's way.
    fn is_passing(&self) -> bool {
        match self {
            Self::Final(_) => false,
            Self::TimedOut(_) => true,
            Self::Server(error) => match error.code() {
                Some(code) => {
                    // Class 08: connection exceptions. Class 57P0: the server or an administrator ends it.
                    code.code().starts_with("08")
                        || code.code().starts_with("57P0")
                        || *code == SqlState::TOO_MANY_CONNECTIONS
                        || *code == SqlState::T_R_SERIALIZATION_FAILURE
                        || *code == SqlState::T_R_DEADLOCK_DETECTED
                        || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
                }
                // Without an answer from the server it is the line.
                None => error.is_closed() || is_io(error),
            },
        }
    }
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        if next.is::<std::io::Error>() {
            return true;
        }
        cause = next.source();
    }
    false
}

async fn within<R>(limit: Duration, attempt: impl Future<Output = Result<R, Failure>>) -> Result<R, Failure> {
    tokio::time::timeout(limit, attempt).await.unwrap_or(Err(Failure::TimedOut(limit)))
}

impl Store {
    /// In the words of the journal's users.
    fn error(&self, attempt: &'static str, failure: Failure, unsure: bool) -> Error {
        let location = self.location.clone();
        let passing = failure.is_passing();
        match failure {
            Failure::Final(error) => error,
            Failure::TimedOut(limit) => {
                let source = format!("no answer within {} s", limit.as_secs()).into();
                Error::Unreachable { attempt, location, unsure, source }
            }
            Failure::Server(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                Error::Busy { attempt, location, waited: LOCK_TIMEOUT }
            }
            // While connecting there is no client: a refused password, an unknown database, TLS.
            Failure::Server(error) if passing || self.client.is_none() => {
                Error::Unreachable { attempt, location, unsure, source: Box::new(error) }
            }
            Failure::Server(error) => Error::Database { attempt, location, source: Box::new(error) },
        }
    }

    /// The connection, which is made if there is none.
    async fn client(&mut self) -> Result<(), Failure> {
        if self.client.as_ref().is_some_and(|client| !client.is_closed()) {
            return Ok(());
        }
        self.client = None;
        let client = match self.tls.clone() {
            Some(tls) => connected(self.config.connect(tls).await?),
            None => connected(self.config.connect(NoTls).await?),
        };
        client.batch_execute(SESSION).await?;
        self.client = Some(client);
        Ok(())
    }

    fn connection(&self) -> Result<&Client, Failure> {
        self.client.as_ref().ok_or_else(|| Failure::Final(Error::Closed { location: self.location.clone() }))
    }

    async fn prepare(&self, if_missing: IfMissing) -> Result<(), Failure> {
        let client = self.connection()?;
        let known = i64::try_from(SCHEMA.len()).unwrap_or(i64::MAX);
        let check = |found: i64| {
            if found > known || found < 0 {
                return Err(Error::NewerSchema { location: self.location.clone(), found, known });
            }
            Ok(found)
        };
        // Without a lock at first, and without the right to create anything: readers may lack it.
        let exists = client
            .query_typed_one("SELECT to_regclass('spectra_journal_schema') IS NOT NULL", &[])
            .await?
            .try_get::<_, bool>(0)?;
        if exists && check(schema(client).await?)? == known {
            return Ok(());
        }
        if !exists && if_missing == IfMissing::Fail {
            return Err(Error::Missing { location: self.location.clone() }.into());
        }
        client.batch_execute("BEGIN").await?;
        client.query_typed("SELECT pg_advisory_xact_lock($1)", &[(&SCHEMA_LOCK, Type::INT8)]).await?;
        client
            .batch_execute("CREATE TABLE IF NOT EXISTS spectra_journal_schema (version bigint NOT NULL)")
            .await?;
        let done = usize::try_from(check(schema(client).await?)?).unwrap_or(0);
        for step in SCHEMA.iter().skip(done) {
            client.batch_execute(step).await?;
        }
        client.batch_execute("DELETE FROM spectra_journal_schema").await?;
        client.query_typed("INSERT INTO spectra_journal_schema VALUES ($1)", &[(&known, Type::INT8)]).await?;
        client.batch_execute("COMMIT").await?;
        Ok(())
    }

    async fn serve(mut self, mut inbox: Inbox) {
        while let Some(work) = inbox.next().await {
            match work {
                Work::Writes(writes) => self.write(writes, &mut inbox).await,
                Work::Read(request) => self.read(request).await,
            }
        }
    }

    async fn write(&mut self, writes: Vec<Waiting>, inbox: &mut Inbox) {
        let (writes, replies): (Vec<_>, Vec<_>) = writes.into_iter().unzip();
        match self.transact(&writes).await {
            Ok(answers) => {
                for ((write, reply), answer) in writes.iter().zip(replies).zip(answers) {
                    inbox.answer(write, reply, Ok(answer));
                }
            }
            Err(error) if writes.len() == 1 => {
                if let Some((write, reply)) = writes.iter().zip(replies).next() {
                    inbox.answer(write, reply, Err(error));
                }
            }
            // The next ones would wait as long, each of them.
            Err(Error::Unreachable { unsure, source, .. }) => {
                let reason = source.to_string();
                for (write, reply) in writes.iter().zip(replies) {
                    let error = Error::Unreachable {
                        attempt: write.attempt(),
                        location: self.location.clone(),
                        unsure,
                        source: reason.clone().into(),
                    };
                    inbox.answer(write, reply, Err(error));
                }
            }
            // Each hears what is wrong with its own.
            Err(_) => {
                for (write, reply) in writes.into_iter().zip(replies) {
                    let answer = self.transact(std::slice::from_ref(&write)).await;
                    let closed = Error::Closed { location: self.location.clone() };
                    inbox.answer(&write, reply, answer.and_then(|mut answers| answers.pop().ok_or(closed)));
                }
            }
        }
    }

    /// All of the writes in one transaction, or none; tried again while the reason to fail is a passing one.
    ///
    /// Boxed, for the compiler cannot see that the future may go to another thread otherwise
    /// (<https://github.com/rust-lang/rust/issues/102211>).
    fn transact<'a>(&'a mut self, writes: &'a [Write]) -> BoxFuture<'a, Result<Vec<Answer>, Error>> {
        Box::pin(self.repeat(writes))
    }

    async fn repeat(&mut self, writes: &[Write]) -> Result<Vec<Answer>, Error> {
        let attempt = writes.first().map_or("append a record", Write::attempt);
        let begun = Instant::now();
        // Whether an earlier attempt got as far as its commit.
        let mut unsure = false;
        let mut pause = Duration::from_millis(20);
        loop {
            let mut committing = false;
            let failure = match within(ATTEMPT, self.once(writes, unsure, &mut committing)).await {
                Ok(answers) => return Ok(answers),
                Err(failure) => failure,
            };
            unsure |= committing;
            // Whatever it is in the middle of ends with it.
            let passing = failure.is_passing();
            let error = self.error(attempt, failure, unsure);
            self.client = None;
            if !passing || begun.elapsed() >= PATIENCE {
                return Err(error);
            }
            tracing::debug!(location = self.location, %error, "the journal's transaction is tried again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    async fn once(
        &mut self,
        writes: &[Write],
        unsure: bool,
        committing: &mut bool,
    ) -> Result<Vec<Answer>, Failure> {
        self.client().await?;
        let client = self.connection()?;
        client.batch_execute("BEGIN").await?;
        // Sent together, and done one after the other.
        let (head, now) = try_join(
            client.query_typed("SELECT seq, hash FROM spectra_journal_head FOR UPDATE", &[]),
            client.query_typed_one(NOW, &[]),
        )
        .await?;
        let corrupt = |reason: String| Error::Corrupt { location: self.location.clone(), reason };
        let head = head
            .first()
            .ok_or_else(|| corrupt("the row that names the last record is missing".to_owned()))?;
        let head = (head.try_get::<_, i64>(0)?.cast_unsigned(), head.try_get(1)?);
        let now = now
            .try_get::<_, &str>(0)?
            .parse()
            .map_err(|error| corrupt(format!("the server's time cannot be read: {error}")))?;
        let mut open = Open { client, location: &self.location, now, head, rows: Vec::new() };
        let mut answers = Vec::with_capacity(writes.len());
        for write in writes {
            answers.push(perform(&mut open, write, unsure).await?);
        }
        open.flush().await?;
        *committing = true;
        client.batch_execute("COMMIT").await?;
        Ok(answers)
    }

    fn time(&self, text: &str) -> Result<Timestamp, Error> {
        text.parse().map_err(|error| Error::Corrupt {
            location: self.location.clone(),
            reason: format!("the server's time cannot be read: {error}"),
        })
    }

    /// Reads; tried again while the reason to fail is a passing one.
    async fn again<R>(
        &mut self,
        attempt: &'static str,
        read: impl for<'c> Fn(&'c Client) -> BoxFuture<'c, Result<R, Failure>> + Send + Sync,
    ) -> Result<R, Error> {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(20);
        loop {
            let once = async {
                self.client().await?;
                read(self.connection()?).await
            };
            let failure = match within(ATTEMPT, once).await {
                Ok(found) => return Ok(found),
                Err(failure) => failure,
            };
            let passing = failure.is_passing();
            let error = self.error(attempt, failure, false);
            self.client = None;
            if !passing || begun.elapsed() >= PATIENCE {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    async fn read(&mut self, request: Request) {
        // Who asked may be gone; then nobody hears the answer.
        match request {
            Request::Records(query, reply) => {
                let rows =
                    self.again("read records", |client| Box::pin(records(client, query.clone()))).await;
                drop(reply.send(rows));
            }
            Request::Summary(reply) => {
                drop(reply.send(self.again("read the head", |client| Box::pin(summary(client))).await));
            }
            Request::Leases(subject, reply) => {
                let leases = self
                    .again("read leases", |client| Box::pin(leases(client, subject.clone())))
                    .await
                    .and_then(|(leases, now)| Ok((leases, self.time(&now)?)));
                drop(reply.send(leases));
            }
            // Is no read; its waiter is told that the journal is closed.
            Request::Write(..) => {}
        }
    }
}

fn connected<S, T>(connected: (Client, tokio_postgres::Connection<S, T>)) -> Client
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (client, connection) = connected;
    tokio::spawn(async move {
        // Whoever waits for an answer hears of it too.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a journal's connection ended");
        }
    });
    client
}

/// The version of the schema; 0 if none was ever written.
async fn schema(client: &Client) -> Result<i64, tokio_postgres::Error> {
    client
        .query_typed_one("SELECT coalesce(max(version), 0) FROM spectra_journal_schema", &[])
        .await?
        .try_get(0)
}
