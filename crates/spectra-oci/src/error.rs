//! What can go wrong, said in terms of the image, the layer, the host and the registry's own words.

use std::{
    io,
    path::{Path, PathBuf},
};

use spectra_types::{Digest, ErrorCode, ImageRefError, SafeUrl};

use crate::{manifest::StoredOther, spool};

/// An error of this crate. The text says what was attempted on which object; the cause is in `source`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A disk has no room for what has to be written.
    #[error("cannot {what}: `{}` {}", folder.display(), lacks(*needed, *free))]
    NoRoom {
        /// What was attempted on which file or layer.
        what: String,
        /// Where there is no room.
        folder: PathBuf,
        /// Bytes that are needed: at least if nothing was written yet, else at most. Missing if nobody knows.
        needed: Option<u64>,
        /// Bytes that were free, if that was seen before anything was written.
        free: Option<u64>,
        /// Whether this is the folder for temporary files.
        temporary: bool,
        /// Whether a push was about to put a compressed layer there, of which its options say how much there is at once.
        spooled: bool,
        /// The system's words, if the disk was found to be full by writing.
        source: Option<io::Error>,
    },
    /// A file or directory is not the image that was expected, or is damaged.
    #[error("cannot read `{}` as an image: {reason}", path.display())]
    Input {
        /// The file or directory.
        path: PathBuf,
        /// What was expected and found.
        reason: String,
    },
    /// An input goes beyond a limit that keeps hostile ones from filling memory or disk.
    #[error("cannot read `{}` as an image: {what} is more than {limit}", path.display())]
    Limit {
        /// The file or directory, or the image of a registry.
        path: PathBuf,
        /// What is too much.
        what: String,
        /// How much is allowed, with its unit.
        limit: String,
        /// The flag that raises the limit, if it can be raised.
        flag: Option<&'static str>,
    },
    /// An image cannot be built from what was given.
    #[error("cannot build an image: {reason}")]
    Build {
        /// What and why.
        reason: String,
    },
    /// Content does not have the digest under which it is known.
    #[error("{what} has the digest {found}, expected {expected}; it is damaged or was changed")]
    DigestMismatch {
        /// The object.
        what: String,
        /// The promised digest.
        expected: Digest,
        /// The computed digest.
        found: Digest,
    },
    /// The reference to write to names another digest than that of the image.
    #[error("{} written to `{target}`: the image has the digest {found}{}", if *sent == 0 { "nothing is" } else { "no manifest and no tag is" }, unused(*sent))]
    OtherDigest {
        /// The reference, with the digest that it names.
        target: String,
        /// The digest of the image.
        found: Digest,
        /// Blobs that were uploaded before that was known, and that nothing names now.
        sent: usize,
    },
    /// The registry took a manifest and said that it stored another one.
    #[error(transparent)]
    StoredOther(Box<StoredOther>),
    /// A reference cannot be used here.
    #[error(transparent)]
    Reference(#[from] ImageRefError),
    /// The registry has no such image or repository.
    #[error("{attempt}: `{host}` does not have it ({status}){}", said(message))]
    NotFound {
        /// What was attempted on which object.
        attempt: String,
        /// The registry.
        host: String,
        /// HTTP status.
        status: u16,
        /// The registry's words.
        message: String,
    },
    /// The registry or its token service refused the credentials, or wants some.
    #[error("{attempt}: `{host}` refused {} ({status}){}", used, said(message))]
    NotAuthorised {
        /// What was attempted on which object.
        attempt: String,
        /// The registry or token service.
        host: String,
        /// HTTP status.
        status: u16,
        /// Which credentials were used and where they come from, such as `anonymous access`.
        used: String,
        /// The registry's words.
        message: String,
    },
    /// The registry answered with an error that repeating does not cure, or did so too often.
    #[error("{attempt}: `{host}` answered {status}{}{}", after(*attempts), said(message))]
    Registry {
        /// What was attempted on which object.
        attempt: String,
        /// The registry.
        host: String,
        /// HTTP status.
        status: u16,
        /// How often it was tried; 0 if that was not counted.
        attempts: u32,
        /// The registry's words.
        message: String,
    },
    /// The registry's answer breaks the protocol or a safety rule of ours.
    #[error("{attempt}: `{host}` gave an answer that cannot be used: {reason}")]
    Protocol {
        /// What was attempted on which object.
        attempt: String,
        /// The registry.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No answer: connection, TLS, time-out or reset.
    #[error("{attempt}: cannot reach `{host}`{}", after(*attempts))]
    Transport {
        /// What was attempted on which object.
        attempt: String,
        /// The host.
        host: String,
        /// How often it was tried; 0 if that was not counted.
        attempts: u32,
        /// Why; carries no URL, for it may be signed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A credential file or helper cannot be used.
    #[error("cannot read registry credentials for `{host}` from {from}: {reason}")]
    Credentials {
        /// The registry.
        host: String,
        /// The file or helper.
        from: String,
        /// Why.
        reason: String,
    },
    /// A token was asked for, and the registry has no token service.
    #[error("get a token of the registry `{host}`: it has none to give; it wants {wants}")]
    NoTokens {
        /// The registry.
        host: String,
        /// What it wants instead.
        wants: &'static str,
    },
    /// There is no engine to take an image from.
    #[error("no Docker Engine was found; {reason}")]
    NoEngine {
        /// Where it was looked for, or why what `DOCKER_HOST` names cannot be used.
        reason: String,
    },
    /// The Docker Engine cannot be reached, or refused.
    #[error("{attempt}: the engine at `{address}` {reason}")]
    Engine {
        /// What was attempted on which image.
        attempt: String,
        /// Its socket or host.
        address: String,
        /// Its words, or why there are none.
        reason: String,
        /// Whether it has no such image.
        missing: bool,
    },
    /// A file would be overwritten.
    #[error("cannot write `{}`: it exists", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// What is there is nothing that a file may take the place of.
    #[error("cannot write `{}`: it is {what}, not a file", path.display())]
    NotAFile {
        /// What is there.
        path: PathBuf,
        /// What it is instead, such as `a directory`.
        what: &'static str,
    },
    /// A way to compress has no such level.
    #[error("{codec} has no level {level}; it has {lowest} to {highest}")]
    Level {
        /// The way to compress.
        codec: &'static str,
        /// What was asked for.
        level: i32,
        /// The first level.
        lowest: i32,
        /// The last level.
        highest: i32,
    },
    /// A worker task ended unexpectedly.
    #[error("{attempt}: the worker ended early")]
    Worker {
        /// What was attempted.
        attempt: String,
        /// Why.
        source: tokio::task::JoinError,
    },
}

fn lacks(needed: Option<u64>, free: Option<u64>) -> String {
    match (needed, free) {
        (Some(needed), Some(free)) => format!("has {free} bytes free, and at least {needed} are needed"),
        (Some(needed), None) => format!("is full; up to {needed} bytes are needed"),
        (None, _) => "is full".to_owned(),
    }
}

fn unused(blobs: usize) -> String {
    match blobs {
        0 => String::new(),
        1 => "; one blob that was uploaded may lie there unused".to_owned(),
        blobs => format!("; {blobs} blobs that were uploaded may lie there unused"),
    }
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn after(attempts: u32) -> String {
    if attempts > 1 { format!(" after {attempts} attempts") } else { String::new() }
}

/// Whether a host with an optional port is this machine.
fn is_loopback(host: &str) -> bool {
    format!("http://{host}/").parse::<SafeUrl>().is_ok_and(|url| url.is_loopback())
}

impl Error {
    /// The stable code, for documentation and scripts.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::new(match self {
            Self::Io { .. } => "SPX-300",
            Self::Input { .. } => "SPX-301",
            Self::Build { .. } => "SPX-302",
            Self::DigestMismatch { .. } => "SPX-303",
            Self::Reference(_) => "SPX-304",
            Self::NotFound { .. } => "SPX-305",
            Self::NotAuthorised { .. } => "SPX-306",
            Self::Registry { .. } => "SPX-307",
            Self::Protocol { .. } => "SPX-308",
            Self::Transport { .. } => "SPX-309",
            Self::Credentials { .. } => "SPX-310",
            Self::Worker { .. } => "SPX-311",
            Self::NoTokens { .. } => "SPX-312",
            Self::NoEngine { .. } => "SPX-350",
            Self::Engine { .. } => "SPX-351",
            Self::Exists { .. } | Self::NotAFile { .. } => "SPX-352",
            Self::Limit { .. } => "SPX-313",
            Self::Level { .. } => "SPX-320",
            Self::NoRoom { .. } => "SPX-321",
            Self::StoredOther(_) => "SPX-322",
            Self::OtherDigest { .. } => "SPX-323",
        })
    }

    /// Advice that follows from the kind of error, if there is any.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotAuthorised { .. } => Some(
                "log in with `docker login HOST`, or set DOCKER_USERNAME, DOCKER_PASSWORD and, except for Docker Hub, DOCKER_REGISTRY",
            ),
            Self::NotFound { .. } => Some(
                "check registry, repository and tag; some registries also answer so when credentials are missing, and some want the repository created first",
            ),
            Self::NoEngine { .. } => Some(
                "start Docker, or `podman system service --time=0 unix://PATH`, and name its socket in DOCKER_HOST=unix://PATH",
            ),
            Self::Credentials { .. } => Some(
                "repair the file or log in again; DOCKER_CONFIG names another folder with a `config.json`, and an empty one is as good as no logins",
            ),
            Self::Engine { missing: true, .. } => Some(
                "`docker images` lists what it has; an image of a registry needs no `docker-daemon:` before it",
            ),
            Self::Exists { .. } => Some("choose another file, or give `--force` to replace it"),
            Self::NotAFile { .. } => Some("choose another file; `--force` replaces files alone"),
            Self::Limit { flag: Some(_), .. } => Some(
                "if you trust the archive, raise the limit: `--max-unpacked BYTES` or `--max-ratio NUMBER`",
            ),
            Self::NoRoom { temporary: true, spooled: true, .. } => Some(
                "free some space there, or set TMPDIR to a folder with more; `image push` and `image copy` keep less there at once with `--spool-limit`",
            ),
            Self::NoRoom { temporary: true, .. } => {
                Some("free some space there, or set TMPDIR to a folder with more")
            }
            Self::NoRoom { .. } => Some("free some space there, or write to another place"),
            Self::StoredOther(_) => Some(
                "the registry, or a proxy before it, changes manifests or their headers; when that is repaired, push again, which writes the tag anew. Until then use images by digest; `image inspect` shows what the tag names, and pushing the old image puts the tag back",
            ),
            Self::DigestMismatch { .. } => Some("build or save the image again"),
            Self::OtherDigest { .. } => Some(
                "see whether this is the image that was meant; a reference to write to needs a tag, and no digest",
            ),
            // What servers of TLS say to plain HTTP: Go's in words, nginx in a page, others in none.
            Self::Registry { status: 400, host, message, .. }
                if is_loopback(host) && (message.is_empty() || message.contains("HTTPS")) =>
            {
                Some(
                    "a registry on this machine is spoken to without TLS; where it has TLS, name it, as `image push --tls HOST:PORT` does",
                )
            }
            Self::Transport { host, .. } if is_loopback(host) => Some(
                "check that it runs; a registry on this machine is spoken to without TLS unless it is named, as `image push --tls HOST:PORT` does; pushing again skips what has arrived",
            ),
            Self::Transport { .. } => Some(
                "check the host name, the network and the proxy settings; a registry without TLS has to be named, as `image push --plain-http HOST` does; pushing again skips what has arrived",
            ),
            _ => None,
        }
    }

    /// Whether the same call may succeed later without any change.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Transport { .. } => true,
            Self::Registry { status, .. } => crate::retry::is_retryable(*status),
            _ => false,
        }
    }

    /// Whether whoever repeats calls should repeat this one. What was repeated to the end inside of it, such as getting a token,
    /// is not: the attempts would multiply, and a wait that was asked for would be forgotten.
    pub(crate) const fn may_be_repeated(&self) -> bool {
        self.retryable()
            && !matches!(self, Self::Registry { attempts: 1.., .. } | Self::Transport { attempts: 1.., .. })
    }

    /// Writes down how often it was tried, unless that was done where it was repeated.
    pub(crate) const fn count(&mut self, number: u32) {
        if let Self::Registry { attempts, .. } | Self::Transport { attempts, .. } = self
            && *attempts == 0
        {
            *attempts = number;
        }
    }

    /// Whether the object does not exist.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether credentials are missing, wrong or not sufficient.
    #[must_use]
    pub const fn is_not_authorised(&self) -> bool {
        matches!(self, Self::NotAuthorised { .. })
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::full(action, &path, source),
            _ => Self::Io { action, path, source },
        }
    }

    /// Writing to a file failed because its disk is full.
    fn full(action: &str, path: &Path, source: io::Error) -> Self {
        let above = path.parent().filter(|_| !path.is_dir()).unwrap_or(path);
        let folder = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        Self::NoRoom {
            what: format!("{action} `{}`", path.display()),
            // What is temporary is called by its folder, since it has no name.
            temporary: path == spool::folder(),
            spooled: false,
            folder: folder.to_owned(),
            needed: None,
            free: None,
            source: Some(source),
        }
    }

    /// With the number of bytes that would have been enough, if there was no room for them.
    pub(crate) fn needs(mut self, bytes: u64) -> Self {
        if let Self::NoRoom { needed: needed @ None, .. } = &mut self {
            *needed = Some(bytes);
        }
        self
    }

    /// As the error of a push that compresses a layer.
    pub(crate) fn of_spool(mut self) -> Self {
        if let Self::NoRoom { spooled, .. } = &mut self {
            *spooled = true;
        }
        self
    }

    pub(crate) fn input(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Input { path: path.into(), reason: reason.into() }
    }
}
