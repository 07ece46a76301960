//! A PostgreSQL server for tests: on loopback, in a temporary folder, as a user without privileges.
//!
//! [`shared`] gives one server to all tests of a process. It ends with the process, also if that is killed:
//! the server's keeper waits at a pipe whose other end the process has.

#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::{
    io,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// The variable that makes a missing PostgreSQL a failure.
pub const REQUIRE: &str = "SPECTRA_REQUIRE_POSTGRES";

/// What to do when there is none.
pub const ADVICE: &str = "install it: `apt-get install postgresql`, or another way to have `initdb`, `postgres`, \
                          `createdb` and `psql` on PATH or in /usr/lib/postgresql/*/bin";

/// How long the server may take to start.
const START: Duration = Duration::from_mins(1);

/// The process's server; `None`, with a word on standard error, if this machine has no PostgreSQL.
///
/// # Panics
///
/// Panics if the server does not start, or if there is none and `SPECTRA_REQUIRE_POSTGRES` is `1`.
#[must_use]
pub fn shared() -> Option<&'static Server> {
    static SERVER: LazyLock<Option<Server>> = LazyLock::new(|| start(&Options::default()));
    SERVER.as_ref()
}

/// A server of one's own; as [`shared`] otherwise.
///
/// # Panics
///
/// As [`shared`].
#[must_use]
#[allow(clippy::panic, reason = "tests stop here, with the advice")]
pub fn start(options: &Options) -> Option<Server> {
    let Some(programs) = Programs::find() else {
        let required = std::env::var(REQUIRE).is_ok_and(|value| value == "1");
        assert!(!required, "there is no PostgreSQL on this machine; {ADVICE}");
        eprintln!("skipped: there is no PostgreSQL on this machine; {ADVICE}");
        return None;
    };
    match Server::start(programs, options) {
        Ok(server) => Some(server),
        Err(error) => panic!("PostgreSQL did not start: {error}"),
    }
}

/// How a server differs from the default: settings of `postgresql.conf`, and files in the data folder.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Such as `("ssl", "on")`.
    pub settings: Vec<(String, String)>,
    /// Such as `("server.key", …)`; only the server's user can read them.
    pub files: Vec<(String, String)>,
}

/// Where PostgreSQL's programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Looks on PATH, and where Debian has them, the newest version first.
    #[must_use]
    pub fn find() -> Option<Self> {
        let mut folders: Vec<PathBuf> =
            std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
        let mut debian: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
            .collect();
        debian.sort();
        folders.extend(debian.into_iter().rev().map(|(_, folder)| folder));
        folders
            .into_iter()
            .find(|folder| {
                ["initdb", "postgres", "createdb", "psql"].iter().all(|name| folder.join(name).is_file())
            })
            .map(|folder| Self { folder })
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.folder.join(name));
        // What the caller's environment says about some other server.
        for variable in ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSWORD", "PGSSLMODE", "PGOPTIONS"] {
            command.env_remove(variable);
        }
        command
    }
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    programs: Programs,
    port: u16,
    keeper: Child,
    databases: AtomicU32,
    /// Also holds the sockets.
    folder: PathBuf,
}

/// A database of its own on a server.
#[derive(Debug)]
pub struct Database<'s> {
    server: &'s Server,
    name: String,
}

impl Server {
    fn start(programs: Programs, options: &Options) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("spectra-postgres-").tempdir()?;
        let data = folder.path().join("data");
        std::fs::create_dir(&data)?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        let owner = owner(folder.path())?;
        let own = |path: &Path| match owner {
            Some((user, group)) => chown(path, Some(user), Some(group)),
            None => Ok(()),
        };
        own(folder.path())?;
        own(&data)?;
        let demoted = |mut command: Command| {
            if let Some((user, group)) = owner {
                command.gid(group).uid(user);
            }
            command.current_dir(folder.path()).stdin(Stdio::null());
            command
        };
        let mut initdb = demoted(programs.command("initdb"));
        initdb.arg("-D").arg(&data).args(["-A", "trust", "-U", "postgres", "-E", "UTF8"]);
        initdb.args(["--locale=C", "--no-sync"]);
        succeed(initdb)?;
        for (name, content) in &options.files {
            let path = data.join(name);
            std::fs::write(&path, content)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            own(&path)?;
        }
        // Another program may take the port between the question and the server's start.
        let mut last = io::Error::other("no port was tried");
        for _ in 0..5 {
            let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
            match keeper(&programs, options, &demoted, folder.path(), &data, port) {
                Ok(keeper) => {
                    // The keeper removes it.
                    let folder = folder.keep();
                    return Ok(Self { programs, port, keeper, databases: AtomicU32::new(0), folder });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the unix socket.
    #[must_use]
    pub fn socket_folder(&self) -> &Path {
        &self.folder
    }

    /// Makes an empty database.
    ///
    /// # Panics
    ///
    /// Panics if the server refuses.
    #[must_use]
    #[allow(clippy::panic, reason = "tests stop here, with what the server says")]
    pub fn database(&self) -> Database<'_> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut createdb = self.client("createdb");
        createdb.args(["-T", "template0", &name]);
        if let Err(error) = succeed(createdb) {
            panic!("create a database: {error}");
        }
        Database { server: self, name }
    }

    fn client(&self, name: &str) -> Command {
        let mut command = self.programs.command(name);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres"]);
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // It ends by itself; a test has nobody to tell that it did not.
        drop(self.keeper.wait());
    }
}

impl Database<'_> {
    /// Its URL, of the user `postgres`, who needs no password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}", self.server.port, self.name)
    }

    /// Its name on the server.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs statements.
    ///
    /// # Panics
    ///
    /// Panics if a statement fails.
    pub fn run(&self, statements: &str) {
        drop(self.query(statements));
    }

    /// Runs statements through psql, and gives what they print: a row a line, columns separated by `|`.
    ///
    /// # Panics
    ///
    /// Panics if a statement fails.
    #[must_use]
    #[allow(clippy::panic, reason = "tests stop here, with what the server says")]
    pub fn query(&self, statements: &str) -> String {
        let mut psql = self.server.client("psql");
        psql.args(["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-d", &self.name, "-c", statements]);
        match succeed(psql) {
            Ok(text) => text.trim_end().to_owned(),
            Err(error) => panic!("{statements}: {error}"),
        }
    }
}

/// Starts the server below a shell that ends it, and removes the folder, when its standard input ends: with
/// this process, however that ends.
fn keeper(
    programs: &Programs,
    options: &Options,
    demoted: &dyn Fn(Command) -> Command,
    folder: &Path,
    data: &Path,
    port: u16,
) -> io::Result<Child> {
    const SCRIPT: &str = r#"
        folder=$1; shift
        "$@" </dev/null &
        server=$!
        read -r _
        kill -INT "$server" 2>/dev/null
        wait "$server"
        [ -e "$folder/ready" ] && cd / && rm -rf "$folder"
    "#;
    let log = std::fs::File::create(folder.join("log"))?;
    let mut shell = demoted(Command::new("sh"));
    shell.args(["-c", SCRIPT, "sh"]).arg(folder).arg(programs.folder.join("postgres"));
    shell.arg("-D").arg(data).args(["-p", &port.to_string(), "-k"]).arg(folder);
    let settings = [
        ("listen_addresses", "127.0.0.1"),
        ("fsync", "off"),
        ("full_page_writes", "off"),
        ("max_connections", "200"),
    ];
    let own = options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in settings.into_iter().chain(own) {
        shell.arg("-c").arg(format!("{name}={value}"));
    }
    shell.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).process_group(0);
    let mut keeper = shell.spawn()?;
    let begun = Instant::now();
    loop {
        // The last line of this file says `ready` when connections are accepted.
        let pid_file = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        if pid_file.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
            std::fs::write(folder.join("ready"), "")?;
            return Ok(keeper);
        }
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        let dead = log.contains("database system is shut down") || log.contains("FATAL:");
        if dead || begun.elapsed() > START || keeper.try_wait()?.is_some() {
            drop(keeper.stdin.take());
            keeper.wait()?;
            return Err(io::Error::other(log));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whom to run the server as: PostgreSQL refuses root. `None` if this process is somebody else already.
fn owner(folder: &Path) -> io::Result<Option<(u32, u32)>> {
    if std::fs::metadata(folder)?.uid() != 0 {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| {
            let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut fields = line.split(':').skip(2);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        })
        .map(Some)
        .ok_or_else(|| io::Error::other("there is neither a user `postgres` nor `nobody` to run it as"))
}

fn succeed(mut command: Command) -> io::Result<String> {
    let output = command.output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("{command:?}: {}: {errors}", output.status)))
    }
}
