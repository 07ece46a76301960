//! Images of a Docker Engine, from a strict service on a socket that answers as Docker's API is published.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::Method,
    response::Response,
};
use spectra_oci::{Engine, NoProgress, OpenLimits, PushOptions};

use crate::fake::{Fake, client};

const ID: &str = "sha256:8f1b0e2ac1c7cd2cf2ed0bd0a3f8c0f4f4b1a4cf94dd1f8f6c1f2f5a0b7c6d5e";

/// What the service gives, and what it was asked.
#[derive(Default)]
struct Service {
    archive: Vec<u8>,
    asked: Vec<String>,
    /// The archive breaks off after this many bytes.
    cut: Option<usize>,
}

type Shared = Arc<Mutex<Service>>;

fn serve(socket: &Path, archive: Vec<u8>) -> Shared {
    let service: Shared = Arc::new(Mutex::new(Service { archive, ..Service::default() }));
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    let router = Router::new().fallback(answer).with_state(Arc::clone(&service));
    tokio::spawn(async move { axum::serve(listener, router).await });
    service
}

async fn answer(State(service): State<Shared>, request: Request) -> Response {
    let mut service = service.lock().unwrap();
    let path = request.uri().path().to_owned();
    service.asked.push(format!("{} {path}", request.method()));
    let json = |status: u16, text: String| {
        Response::builder()
            .status(status)
            .header("content-type", "application/json")
            .body(text.into())
            .unwrap()
    };
    if request.method() != Method::GET || request.uri().query().is_some() {
        return json(400, r#"{"message":"not a call of this API"}"#.to_owned());
    }
    match path.as_str() {
        "/images/team/app:v1/json" => {
            json(200, format!(r#"{{"Id":"{ID}","RepoTags":["team/app:v1"],"Size":10}}"#))
        }
        path if path == format!("/images/{ID}/get") => {
            let response = Response::builder().header("content-type", "application/x-tar");
            let Some(cut) = service.cut else {
                return response.body(service.archive.clone().into()).unwrap();
            };
            let pieces = [Ok(service.archive[..cut].to_vec()), Err(std::io::Error::other("cut"))];
            response.body(Body::from_stream(futures::stream::iter(pieces))).unwrap()
        }
        path => {
            let name = path.trim_start_matches("/images/").trim_end_matches("/json");
            json(404, format!(r#"{{"message":"No such image: {name}"}}"#))
        }
    }
}

/// What Docker sends for an image identifier: no names.
fn exported(directory: &Path) -> Vec<u8> {
    let path = directory.join("saved.tar");
    crate::layout::docker_save(&path, false);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    bytes
}

#[tokio::test]
async fn an_image_of_an_engine_is_pushed() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("docker.sock");
    let service = serve(&socket, exported(place.path()));
    let engine = Engine::named(&format!("unix://{}", socket.display())).unwrap();
    let exported = engine.export("team/app:v1", None, &OpenLimits::default()).await.unwrap();
    assert_eq!(exported.id, ID);
    let fake = Fake::start().await;
    let pushed = client()
        .push(&fake.image("app:1"), &exported.artifact, &PushOptions::default(), Arc::new(NoProgress))
        .await
        .unwrap();
    assert_eq!(pushed.uploaded, 3, "two layers and a configuration");
    assert_eq!(
        service.lock().unwrap().asked,
        ["GET /images/team/app:v1/json".to_owned(), format!("GET /images/{ID}/get")]
    );
}

#[tokio::test]
async fn what_an_engine_cannot_give() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("docker.sock");
    let service = serve(&socket, exported(place.path()));
    let address = format!("unix://{}", socket.display());
    let message =
        |error: spectra_oci::Error| error.to_string().replace(place.path().to_str().unwrap(), "DIR");
    let engine = Engine::named(&address).unwrap();
    let error = engine.export("other:v1", None, &OpenLimits::default()).await.unwrap_err();
    assert_eq!(error.code().to_string(), "SPX-351");
    assert!(error.hint().unwrap().contains("docker images"));
    insta::assert_snapshot!(message(error), @"export `other:v1`: the engine at `unix://DIR/docker.sock` answered 404: No such image: other:v1");
    service.lock().unwrap().cut = Some(700);
    // Whether the head of the answer got through before the connection broke is up to the scheduler.
    let cut = engine.export("team/app:v1", None, &OpenLimits::default()).await.unwrap_err();
    assert_eq!(cut.code().to_string(), "SPX-351", "{cut}");
    assert!(!cut.to_string().contains("http://"), "a made-up address helps nobody: {cut}");
    let nobody = Engine::named("unix:///nowhere/docker.sock").unwrap();
    let gone = nobody.export("x", None, &OpenLimits::default()).await.unwrap_err().to_string();
    assert!(
        gone.starts_with("export `x`: the engine at `unix:///nowhere/docker.sock` cannot be reached: "),
        "{gone}"
    );
}

#[tokio::test]
async fn an_archive_that_cannot_be_read_was_called_by_the_number_of_an_open_file() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("docker.sock");
    let gzip = |bytes: &[u8]| crate::hostile::gzipped(bytes);
    let good = exported(place.path());
    let junk = b"<html>a proxy's page</html>".to_vec();
    let service = serve(&socket, Vec::new());
    let engine = Engine::named(&format!("unix://{}", socket.display())).unwrap();
    let mut lost = good.clone();
    let at = lost.windows(8).position(|bytes| bytes == b"b/layer.").unwrap();
    lost[at] = b'x';
    for archive in
        [Vec::new(), junk.clone(), good[..700].to_vec(), lost, gzip(&junk), gzip(&good)[..60].to_vec()]
    {
        service.lock().unwrap().archive = archive;
        let error = engine.export("team/app:v1", None, &OpenLimits::default()).await.unwrap_err();
        let text = format!("{error}: {:?}", std::error::Error::source(&error));
        assert!(text.contains("`docker-daemon:team/app:v1`") && !text.contains("/proc/"), "{text}");
    }
    service.lock().unwrap().archive = gzip(&good);
    let exported = engine.export("team/app:v1", None, &OpenLimits::default()).await.unwrap();
    assert_eq!(exported.artifact.inspect(None).unwrap().layers.len(), 3);
}

#[test]
fn the_engine_is_found_where_docker_looks() {
    let place = tempfile::tempdir().unwrap();
    let find = |pairs: &[(&str, &str)]| {
        Engine::find(|name| pairs.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).into()))
    };
    let shown = |engine: Result<Engine, spectra_oci::Error>| engine.unwrap().to_string();
    assert_eq!(shown(find(&[("DOCKER_HOST", "unix:///x/y.sock")])), "unix:///x/y.sock");
    assert_eq!(shown(find(&[("DOCKER_HOST", "tcp://127.0.0.1:2375")])), "127.0.0.1:2375");
    let refused = |host: &str| find(&[("DOCKER_HOST", host)]).unwrap_err().to_string();
    insta::assert_snapshot!(refused("tcp://10.0.0.1:2376"), @"no Docker Engine was found; `tcp://10.0.0.1:2376` (DOCKER_HOST) is on another machine, which is only reached without TLS; forward its socket: `ssh -L /tmp/docker.sock:/var/run/docker.sock HOST`");
    insta::assert_snapshot!(refused("ssh://host"), @"no Docker Engine was found; `ssh://host` (DOCKER_HOST) is neither `unix://PATH` nor `tcp://HOST:PORT`");
    if !Path::new("/var/run/docker.sock").exists() {
        let runtime = place.path().to_str().unwrap();
        std::fs::write(place.path().join("docker.sock"), "").unwrap();
        assert_eq!(shown(find(&[("XDG_RUNTIME_DIR", runtime)])), format!("unix://{runtime}/docker.sock"));
    }
}
