//! `image build`, `push`, `inspect`, end to end against the sandbox's registry.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, header},
};
use spectra_sandbox::registry::{Registry, RegistryAuth, RegistryConfig};

use crate::support::{Place, content};

/// The sandbox's registry alone, on a thread of its own.
pub(crate) struct Running {
    pub(crate) registry: Registry,
    pub(crate) address: SocketAddr,
    runtime: tokio::runtime::Runtime,
}

impl Running {
    /// A front end before the registry that may be called by any name: the registry sees its own.
    pub(crate) fn front(&self) -> SocketAddr {
        let own = HeaderValue::from_str(&self.address.to_string()).unwrap();
        let rename = move |mut request: Request| {
            request.headers_mut().insert(header::HOST, own.clone());
            std::future::ready(request)
        };
        self.runtime.block_on(serve(self.registry.router().layer(axum::middleware::map_request(rename))))
    }
}

async fn serve(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

pub(crate) fn registry(place: &mut Place, auth: RegistryAuth) -> Running {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = RegistryConfig { auth, ..RegistryConfig::new(place.path("registry")) };
    let (registry, address) = runtime.block_on(async {
        let registry = Registry::open(config).await.unwrap();
        let address = serve(registry.router()).await;
        (registry, address)
    });
    place.scrub(&address.to_string(), "[REGISTRY]");
    Running { registry, address, runtime }
}

/// Lets in nobody but `bot` with `corr3ct-horse`.
pub(crate) fn closed() -> RegistryAuth {
    RegistryAuth::Bearer {
        user: "bot".to_owned(),
        password: "corr3ct-horse".into(),
        token_lifetime: std::time::Duration::from_mins(1),
        anonymous_pull: false,
    }
}

/// Builds an image and pushes it; its name by digest.
pub(crate) fn pushed(place: &Place, running: &Running) -> String {
    build(place);
    let target = format!("{}/team/app:v1", running.address);
    let pushed = place.run(&["image", "push", "layout", &target, "--print", "image"]).done();
    pushed.stdout.trim().to_owned()
}

pub(crate) fn build(place: &Place) -> String {
    content(place, "in");
    let run = place.run(&[
        "image",
        "build",
        "in",
        "--output",
        "layout",
        "--name",
        "v1",
        "--entrypoint",
        "/bin/app",
        "--entrypoint",
        "--verbose",
        "--env",
        "MODE=a=b",
        "--label",
        "dev.spectra.sandbox.body=hello",
        "--expose",
        "8080",
        "--user",
        "1000:1000",
        "--workdir",
        "/etc",
    ]);
    run.done().stdout.trim().to_owned()
}

#[test]
fn build_push_inspect() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    let digest = build(&place);
    let target = format!("{}/team/app:v1", running.address);
    insta::assert_snapshot!(place.run(&["image", "push", "layout", &target]).shown(), @"
    exit 0
    --- stdout
    sha256:[HEX]
    --- stderr
    [TIME] sha256:[HEX] uploaded
    [TIME] sha256:[HEX] uploaded
    [TIME] sha256:[HEX] manifest written
    pushed `[REGISTRY]/team/app:v1`: 2 blobs sent (632 B), 0 already there
    ");
    insta::assert_snapshot!(place.run(&["image", "push", "layout", &target, "--no-progress"]).shown(), @"
    exit 0
    --- stdout
    sha256:[HEX]
    --- stderr
    pushed `[REGISTRY]/team/app:v1`: 0 blobs sent (0 B), 2 already there
    ");
    insta::assert_snapshot!(place.run(&["image", "inspect", &target]).shown(), @"
    exit 0
    --- stdout
    image        [REGISTRY]/team/app@sha256:[HEX]
    digest       sha256:[HEX]
    type         application/vnd.oci.image.manifest.v1+json
    platform     linux/amd64
    size         632 B
    created      1970-01-01T00:00:00Z
    entrypoint   /bin/app --verbose
    user         1000:1000
    workdir      /etc
    ports        8080/tcp
    env          MODE=a=b
    label        dev.spectra.sandbox.body=hello
    layer        sha256:[HEX] 182 B
    --- stderr
    ");
    let json = place.run(&["image", "inspect", &target, "--json"]).done().json();
    assert_eq!((json["version"].as_u64(), json["kind"].as_str()), (Some(1), Some("image.inspect")));
    assert_eq!(json["digest"], digest.as_str());
    assert_eq!(json["labels"]["dev.spectra.sandbox.body"], "hello");
    let local = place.run(&["image", "inspect", "layout", "--json"]).done().json();
    assert_eq!(local["digest"], json["digest"]);
    let pushed = place.run(&["image", "push", "layout", &target, "--tag", "stable", "--json"]).done().json();
    assert_eq!(pushed["tags"], serde_json::json!(["v1", "stable"]));
    let pinned = format!("{}/team/app@{digest}", running.address);
    assert_eq!(pushed["image"], pinned.as_str());
    let image = place.run(&["image", "push", "layout", &target, "--print", "image"]).done().stdout;
    assert_eq!(image.trim_end(), pinned);
    assert!(running.registry.violations().is_empty(), "{:?}", running.registry.violations());
}

#[test]
fn a_level_that_a_codec_does_not_have_is_wrong_usage() {
    let place = Place::new();
    let push = ["image", "push", "x", "127.0.0.1:1/x", "--compression", "zstd", "--compression-level", "40"];
    insta::assert_snapshot!(place.run(&push).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error[SPX-320]: zstd has no level 40; it has 1 to 19
    ");
    let run = place.run(&["image", "push", "x", "127.0.0.1:1/x", "--compression", "xz"]);
    let shown = run.shown();
    assert!(shown.contains("exit 2") && shown.contains("write `gzip` or `zstd`"), "{shown}");
}

#[test]
fn builds_are_reproducible_anywhere() {
    let (one, two) = (Place::new(), Place::new());
    assert_eq!(build(&one), build(&two));
}

#[test]
fn what_cannot_be_found() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    let target = format!("{}/team/none:v1", running.address);
    insta::assert_snapshot!(place.run(&["image", "inspect", &target]).shown(), @"
    exit 1
    --- stdout
    --- stderr
    error[SPX-305]: get the manifest of `[REGISTRY]/team/none:v1`: `[REGISTRY]` does not have it (404): MANIFEST_UNKNOWN: `team/none` has no manifest `v1`
    hint: check registry, repository and tag; some registries also answer so when credentials are missing, and some want the repository created first
    ");
    insta::assert_snapshot!(place.run(&["image", "push", "missing", &target]).shown(), @"
    exit 1
    --- stdout
    --- stderr
    error[SPX-300]: cannot open `missing`
      caused by: No such file or directory (os error 2)
    ");
    let run = place.run(&["image", "inspect", &target, "--json"]);
    let error: serde_json::Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!((run.code, error["error"]["code"].as_str()), (1, Some("SPX-305")));
    assert!(run.stdout.is_empty());
}

#[test]
fn credentials_are_needed_and_never_shown() {
    let mut place = Place::new();
    let running = registry(&mut place, closed());
    build(&place);
    let target = format!("{}/team/app:v1", running.address);
    insta::assert_snapshot!(place.run(&["image", "push", "layout", &target]).shown(), @"
    exit 6
    --- stdout
    --- stderr
    error[SPX-306]: push `[REGISTRY]/team/app:v1`: the configuration `sha256:[HEX]`: get an access token: `[REGISTRY]` refused anonymous access (401): UNAUTHORIZED: a user and a password are needed
    hint: log in with `docker login HOST`, or set DOCKER_USERNAME, DOCKER_PASSWORD and, except for Docker Hub, DOCKER_REGISTRY
    ");
    let login = ["image", "push", "layout", &target, "--username", "bot", "--password-stdin"];
    let wrong = place.run_with_input(&login, "wr0ng-horse\n");
    assert_eq!(wrong.code, 6, "{}", wrong.shown());
    assert!(!wrong.stderr.contains("wr0ng-horse"));
    place.run_with_input(&login, "corr3ct-horse\n").done();
    place.set("DOCKER_USERNAME", "bot");
    place.set("DOCKER_PASSWORD", "corr3ct-horse");
    assert_eq!(place.run(&["image", "inspect", &target]).code, 6, "the variables are for Docker Hub");
    place.set("DOCKER_REGISTRY", &running.address.to_string());
    place.run(&["image", "inspect", &target]).done();
}

#[test]
fn an_interrupt_is_exit_code_130() {
    let place = Place::new();
    build(&place);
    // A registry that takes the connection and never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("{}/app:v1", listener.local_addr().unwrap());
    let child = place
        .command()
        .args(["image", "push", "layout", &target])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Once it has connected, its handlers are in place.
    let _connection = listener.accept().unwrap();
    let process = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "error: interrupted\n");
}
