//! Images that a Docker Engine (or podman's service, which speaks the same) has: exported through its API into a temporary
//! archive, and read from there.

use std::{
    ffi::OsString,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt as _;
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use spectra_types::SafeUrl;
use url::Url;

use crate::{
    Artifact, Error, OpenLimits, Platform,
    opening::{Opening, open_temporary},
    spool,
};

/// How long the engine may be silent. It packs large images before it sends the first byte.
const SILENCE: Duration = Duration::from_mins(5);
/// More than any answer but an archive has.
const MAX_ANSWER: usize = 1024 * 1024;

/// What an engine says when it refuses.
#[derive(Deserialize)]
struct Refused {
    message: String,
}

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    address: Address,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Address {
    Socket(PathBuf),
    Tcp(Url),
}

/// An image as the engine exported it.
#[derive(Debug, Clone)]
pub struct Exported {
    /// The image; its layers are raw as a rule. The archive that they are in goes with the last clone.
    pub artifact: Artifact,
    /// The engine's own identifier of the image.
    pub id: String,
}

impl Engine {
    /// The engine that `DOCKER_HOST` names, else the first socket there is of those that Docker and podman make. `lookup`
    /// gives the value of a variable.
    ///
    /// Docker's contexts are not read.
    pub fn find(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        let get = |name: &str| lookup(name).filter(|value| !value.is_empty());
        if let Some(host) = get("DOCKER_HOST") {
            return Self::named(&host.to_string_lossy());
        }
        let mut places = vec![PathBuf::from("/var/run/docker.sock")];
        if let Some(directory) = get("XDG_RUNTIME_DIR") {
            places.push(Path::new(&directory).join("docker.sock"));
            places.push(Path::new(&directory).join("podman/podman.sock"));
        }
        places.push(PathBuf::from("/run/podman/podman.sock"));
        if let Some(place) = places.iter().find(|place| place.exists()) {
            return Ok(Self { address: Address::Socket(place.clone()) });
        }
        let tried: Vec<String> = places.iter().map(|place| format!("`{}`", place.display())).collect();
        Err(Error::NoEngine {
            reason: format!("DOCKER_HOST is not set, and there is no {}", tried.join(", ")),
        })
    }

    /// The engine at `unix://PATH`, or without TLS at `tcp://HOST:PORT` on this machine.
    pub fn named(host: &str) -> Result<Self, Error> {
        if let Some(path) = host.strip_prefix("unix://") {
            return Ok(Self { address: Address::Socket(PathBuf::from(path)) });
        }
        let refuse =
            |reason: &str| Err(Error::NoEngine { reason: format!("`{host}` (DOCKER_HOST) {reason}") });
        let Some(rest) = host.strip_prefix("tcp://").or_else(|| host.strip_prefix("http://")) else {
            return refuse("is neither `unix://PATH` nor `tcp://HOST:PORT`");
        };
        match Url::parse(&format!("http://{rest}")) {
            Ok(url) if SafeUrl::from(url.clone()).is_loopback() => Ok(Self { address: Address::Tcp(url) }),
            Ok(_) => refuse(
                "is on another machine, which is only reached without TLS; forward its socket: `ssh -L /tmp/docker.sock:/var/run/docker.sock HOST`",
            ),
            Err(error) => refuse(&error.to_string()),
        }
    }

    /// Exports an image by a name such as `web:1`, `docker.io/library/web:1`, or by the engine's identifier.
    /// `platform` chooses if the engine has several platforms of it, but not all; `linux/amd64` by default.
    pub async fn export(
        &self,
        name: &str,
        platform: Option<&Platform>,
        limits: &OpenLimits,
    ) -> Result<Exported, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Inspected {
            id: String,
        }
        let attempt = format!("export `{name}`");
        let http = self.http(&attempt)?;
        let response = self.get(&http, &attempt, name, "json").await?;
        let bytes = self.short_body(&attempt, response).await?;
        let inspected: Inspected = serde_json::from_slice(&bytes).map_err(|error| {
            self.failed(&attempt, format!("described the image in a way that cannot be read: {error}"))
        })?;
        // By its identifier, which is one image; a name without a tag would export all tags.
        let response = self.get(&http, &attempt, &inspected.id, "get").await?;
        let (mut file, path) = spool::file(&spool::folder())?;
        let shown = PathBuf::from(format!("docker-daemon:{name}"));
        let (mut stream, mut size) = (response.bytes_stream(), 0);
        let (limits, platform) = (*limits, platform.cloned());
        while let Some(piece) = stream.next().await {
            let piece =
                piece.map_err(|error| self.failed(&attempt, format!("broke off: {}", causes(error))))?;
            size += piece.len() as u64;
            limits.check_size(&shown, size)?;
            file.write_all(&piece).map_err(Error::io("export the image into", path.folder()))?;
        }
        drop(file);
        let artifact = tokio::task::spawn_blocking(move || {
            let opening = Opening { platform: platform.as_ref(), limits, ..Opening::default() };
            open_temporary(Arc::new(path), &shown, &opening)
        })
        .await
        .map_err(|source| Error::Worker { attempt: attempt.clone(), source })??;
        Ok(Exported { artifact, id: inspected.id })
    }

    fn http(&self, attempt: &str) -> Result<reqwest::Client, Error> {
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(15))
            .read_timeout(SILENCE);
        if let Address::Socket(path) = &self.address {
            builder = builder.unix_socket(path.as_path());
        }
        builder.build().map_err(|error| self.failed(attempt, format!("cannot be asked: {}", causes(error))))
    }

    async fn get(
        &self,
        http: &reqwest::Client,
        attempt: &str,
        name: &str,
        what: &str,
    ) -> Result<Response, Error> {
        let mut url = match &self.address {
            // The host means nothing on a socket.
            Address::Socket(_) => Url::parse("http://docker/"),
            Address::Tcp(url) => Ok(url.clone()),
        }
        .map_err(|error| self.failed(attempt, error.to_string()))?;
        // The slashes of a name are slashes of the path; everything else is quoted by the URL.
        url.set_path(&format!("/images/{name}/{what}"));
        let response = http
            .get(url)
            .send()
            .await
            .map_err(|error| self.failed(attempt, format!("cannot be reached: {}", causes(error))))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = self.short_body(attempt, response).await.unwrap_or_default();
        let message = serde_json::from_slice::<Refused>(&bytes).map(|refused| refused.message);
        let message = message.map(|message| format!(": {message}")).unwrap_or_default();
        Err(Error::Engine {
            attempt: attempt.to_owned(),
            address: self.to_string(),
            reason: format!("answered {}{message}", status.as_u16()),
            missing: status == StatusCode::NOT_FOUND,
        })
    }

    async fn short_body(&self, attempt: &str, response: Response) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let mut stream = response.bytes_stream();
        while let Some(piece) = stream.next().await {
            bytes.extend(
                piece.map_err(|error| self.failed(attempt, format!("broke off: {}", causes(error))))?,
            );
            if bytes.len() > MAX_ANSWER {
                return Err(self.failed(attempt, "sent an answer without end".to_owned()));
            }
        }
        Ok(bytes)
    }

    fn failed(&self, attempt: &str, reason: String) -> Error {
        Error::Engine { attempt: attempt.to_owned(), address: self.to_string(), reason, missing: false }
    }
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.address {
            Address::Socket(path) => write!(f, "unix://{}", path.display()),
            Address::Tcp(url) => f.write_str(&SafeUrl::from(url.clone()).authority()),
        }
    }
}

/// An error's words with those below it; those of a connection say nothing on their own.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut texts = Vec::new();
    let mut next: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = next {
        texts.push(error.to_string());
        next = error.source();
    }
    texts.join(": ")
}
