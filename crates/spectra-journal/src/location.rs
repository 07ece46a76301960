//! Where a journal is.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use spectra_types::{SafeUrl, Secret};

use crate::error::Error;

/// The environment variable that names the journal.
pub const JOURNAL_VARIABLE: &str = "SPECTRA_JOURNAL";
/// The journal where none is named.
pub const DEFAULT_JOURNAL: &str = "sqlite://.spectra/journal.db";

/// The place of a journal: a SQLite file, or a PostgreSQL database.
#[derive(Clone, PartialEq, Eq)]
pub struct Location(pub(crate) Place);

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Place {
    File(PathBuf),
    Postgres(Box<Server>),
}

/// How far a connection to PostgreSQL is protected; the names are libpq's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// Plain text. Has to be written out, except on this machine.
    Disable,
    /// Encrypted; who answers is not checked, unless `sslrootcert` names an authority.
    Require,
    /// Encrypted, and the certificate comes from a known authority.
    VerifyCa,
    /// Also, the certificate is the host's. What holds when nothing is written and the host is another.
    VerifyFull,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// Without the parameters that are ours.
    pub(crate) url: SafeUrl,
    /// `None` if nothing was written.
    pub(crate) ssl_mode: Option<SslMode>,
    pub(crate) root_certificates: Option<PathBuf>,
    /// As it was written, for people.
    shown: SafeUrl,
}

impl Server {
    /// Whether the bytes stay on this machine: a unix socket or a loopback address.
    pub(crate) fn is_local(&self) -> bool {
        let url = self.url.expose();
        let hosts: Vec<_> = url
            .query_pairs()
            .filter(|(key, _)| key == "host" || key == "hostaddr")
            .map(|(_, host)| host.into_owned())
            .collect();
        let local = |host: &str| {
            host.starts_with('/')
                || host == "localhost"
                || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        };
        let named = match url.host_str() {
            None | Some("") => !hosts.is_empty(),
            // A unix socket's folder is written with its slashes encoded.
            Some(host) => {
                host.to_ascii_lowercase().starts_with("%2f") || local(host.trim_matches(['[', ']']))
            }
        };
        named && hosts.iter().flat_map(|hosts| hosts.split(',')).all(local)
    }

    /// The URL as it was written, without what is secret in it.
    pub(crate) const fn shown(&self) -> &SafeUrl {
        &self.shown
    }

    /// The mode that holds.
    pub(crate) fn effective_mode(&self) -> SslMode {
        self.ssl_mode.unwrap_or(if self.is_local() { SslMode::Disable } else { SslMode::VerifyFull })
    }
}

impl Location {
    /// Reads `sqlite://relative/path`, `sqlite:///absolute/path`, `postgres://…` or `postgresql://…`.
    ///
    /// A password in the URL becomes known to the process's redactor.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if let Some(path) = text.strip_prefix("sqlite://") {
            return file(path);
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return server(text);
        }
        Err(refused("it begins neither with `sqlite://` nor with `postgres://`"))
    }

    /// What `SPECTRA_JOURNAL` says, else the file `.spectra/journal.db` in the current folder.
    pub fn from_env() -> Result<Self, Error> {
        match std::env::var(JOURNAL_VARIABLE) {
            Ok(text) if !text.trim().is_empty() => Self::parse(text.trim()),
            _ => Self::parse(DEFAULT_JOURNAL),
        }
    }

    /// A SQLite file.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Place::File(path.into()))
    }

    /// Whether it is a file of this machine; another machine has its own.
    #[must_use]
    pub const fn is_file(&self) -> bool {
        matches!(self.0, Place::File(_))
    }

    /// The file, if it is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Place::File(path) => Some(path),
            Place::Postgres(_) => None,
        }
    }
}

fn refused(reason: impl Into<String>) -> Error {
    Error::Location { reason: reason.into() }
}

fn file(path: &str) -> Result<Location, Error> {
    if path.is_empty() || path.ends_with('/') {
        return Err(refused("there is no file behind `sqlite://`"));
    }
    if path.contains(['?', '#', '\0']) {
        return Err(refused("a file has no parameters: `?` and `#` are not accepted in its path"));
    }
    Ok(Location::file(path))
}

fn server(text: &str) -> Result<Location, Error> {
    let shown: SafeUrl =
        text.parse().map_err(|error: spectra_types::SafeUrlError| refused(error.to_string()))?;
    let mut url = shown.expose().clone();
    let passwords =
        url.password().into_iter().map(str::to_owned).chain(
            url.query_pairs().filter(|(key, _)| key == "password").map(|(_, value)| value.into_owned()),
        );
    for password in passwords {
        // In a URL it may be encoded; both texts are secret.
        let decoded = url::form_urlencoded::parse(format!("p={}", password.replace('+', "%2B")).as_bytes())
            .next()
            .map(|(_, value)| value.into_owned());
        drop(decoded.map(Secret::new));
        drop(Secret::new(password));
    }
    let mut ssl_mode = None;
    let mut root_certificates = None;
    let mut others = Vec::new();
    for (key, value) in url.query_pairs() {
        match &*key {
            "sslmode" => {
                ssl_mode = Some(match &*value {
                    "disable" => SslMode::Disable,
                    "require" => SslMode::Require,
                    "verify-ca" => SslMode::VerifyCa,
                    "verify-full" => SslMode::VerifyFull,
                    _ => {
                        return Err(refused(
                            "`sslmode` is `disable`, `require`, `verify-ca` or `verify-full`; modes that fall back to plain text are not accepted",
                        ));
                    }
                });
            }
            "sslrootcert" if value == "system" => {}
            "sslrootcert" => root_certificates = Some(PathBuf::from(&*value)),
            _ => others.push((key.into_owned(), value.into_owned())),
        }
    }
    if others.is_empty() {
        url.set_query(None);
    } else {
        url.query_pairs_mut().clear().extend_pairs(&others);
    }
    // The client reads `+` as it is.
    let query = url.query().map(|query| query.replace('+', "%20"));
    url.set_query(query.as_deref());
    url.as_str().parse::<tokio_postgres::Config>().map_err(|error| {
        refused(format!("PostgreSQL's client does not accept it: {}", spectra_types::error_chain(&error)))
    })?;
    let server = Server { url: url.into(), ssl_mode, root_certificates, shown };
    Ok(Location(Place::Postgres(Box::new(server))))
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// Never shows a password.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::File(path) => write!(f, "sqlite://{}", path.display()),
            Place::Postgres(server) => server.shown.fmt(f),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> Server {
        match Location::parse(text).unwrap().0 {
            Place::Postgres(server) => *server,
            Place::File(_) => panic!("a file"),
        }
    }

    #[test]
    fn files_are_relative_or_absolute() {
        let relative: Location = "sqlite://.spectra/journal.db".parse().unwrap();
        assert_eq!(relative.path(), Some(Path::new(".spectra/journal.db")));
        let absolute: Location = "sqlite:///var/lib/j.db".parse().unwrap();
        assert_eq!(absolute.path(), Some(Path::new("/var/lib/j.db")));
        assert!(absolute.is_file());
        assert_eq!(absolute.to_string(), "sqlite:///var/lib/j.db");
        assert_eq!(relative.to_string(), "sqlite://.spectra/journal.db");
    }

    #[test]
    fn a_password_is_never_shown() {
        for text in [
            "postgres://me:pa%20ss-w0rd@db.example.com/spectra?sslmode=require",
            "postgres://db.example.com/spectra?user=me&password=pa%20ss-w0rd",
        ] {
            let location = Location::parse(text).unwrap();
            let shown = format!("{location} {location:?}");
            assert!(!shown.contains("w0rd"), "{shown}");
            assert!(shown.contains("db.example.com/spectra"), "{shown}");
        }
        let redactor = spectra_types::Redactor::global();
        assert_eq!(redactor.redact("pa ss-w0rd pa%20ss-w0rd"), "[redacted] [redacted]");
    }

    #[test]
    fn plain_text_is_for_this_machine_or_written_out() {
        for (text, mode) in [
            ("postgres://127.0.0.1:5432/x", SslMode::Disable),
            ("postgres://localhost/x", SslMode::Disable),
            ("postgres://[::1]/x", SslMode::Disable),
            ("postgres://%2Frun%2Fpostgresql/x", SslMode::Disable),
            ("postgres:///x?host=/run/postgresql", SslMode::Disable),
            ("postgres://10.0.0.1/x?sslmode=disable", SslMode::Disable),
            ("postgres://10.0.0.1/x", SslMode::VerifyFull),
            ("postgres://localhost.example.com/x", SslMode::VerifyFull),
            ("postgres://localhost/x?hostaddr=10.0.0.1", SslMode::VerifyFull),
            ("postgres:///x?host=/run/postgresql,db.example.com", SslMode::VerifyFull),
            ("postgres://localhost/x?sslmode=require", SslMode::Require),
            ("postgres://db/x?sslmode=verify-ca&sslrootcert=/ca.pem", SslMode::VerifyCa),
        ] {
            assert_eq!(server(text).effective_mode(), mode, "{text}");
        }
        let parsed = server("postgres://db/x?sslrootcert=/a/ca.pem&application_name=a%20b");
        assert_eq!(parsed.root_certificates.as_deref(), Some(Path::new("/a/ca.pem")));
        let config: tokio_postgres::Config = parsed.url.expose().as_str().parse().unwrap();
        assert_eq!(config.get_application_name(), Some("a b"));
    }

    #[test]
    fn other_texts_are_refused_without_repeating_them() {
        for text in [
            "journal.db",
            "sqlite://",
            "sqlite://folder/",
            "sqlite://a?mode=memory",
            "mysql://me:secret-1@host/x",
            "postgres://me:secret-1@host:port/x",
            "postgres://host/x?sslmode=prefer&password=secret-1",
            "postgres://host/x?unknown=secret-1",
        ] {
            let error = Location::parse(text).unwrap_err();
            assert_eq!(error.code().as_str(), "SPX-500", "{text}");
            assert!(!error.to_string().contains("secret-1"), "{error}");
            assert!(error.hint().is_some());
        }
    }
}
