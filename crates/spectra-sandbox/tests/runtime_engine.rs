//! A real container through a real engine. Runs only where `SPECTRA_SANDBOX_ENGINE_SOCKET` names the socket of
//! one (`podman --runtime runc system service --time=0 unix:///tmp/p.sock`), and needs a statically linked
//! busybox at `/bin/busybox` or in `SPECTRA_SANDBOX_BUSYBOX`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use reqwest::Client;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use spectra_sandbox::{
    contract::{ImagePuller, Instance, InstanceSpec, InstanceStatus, LogLine, Runtime},
    pull::{Reach, RegistryPuller},
    registry::{Registry, RegistryConfig},
    runtime::{ContainerRuntime, EngineKind},
};
use spectra_types::{Algorithm, Digest};
use tokio::{net::TcpListener, sync::mpsc};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const PATIENCE: Duration = Duration::from_mins(2);

fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Algorithm::Sha256, &Sha256::digest(bytes)).unwrap()
}

/// A layer with busybox, a page, and a place for temporary files.
fn layer(busybox: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content, mode) in
        [("bin/busybox", busybox, 0o755), ("www/index.html", b"from a container".as_slice(), 0o644)]
    {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_cksum();
        archive.append_data(&mut header, path, content).unwrap();
    }
    let mut link = tar::Header::new_ustar();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    link.set_mode(0o777);
    archive.append_link(&mut link, "bin/sh", "busybox").unwrap();
    archive.into_inner().unwrap()
}

async fn push(url: &str, layer: &[u8]) -> Digest {
    let client = Client::builder().no_proxy().build().unwrap();
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": ["/bin/sh", "-c", "echo serving $GREETING; exec /bin/busybox httpd -f -p $PORT -h /www"],
            "Env": ["PATH=/bin"],
            "ExposedPorts": { "3000/tcp": {} },
        },
        "rootfs": { "type": "layers", "diff_ids": [sha256(layer).to_string()] },
    })
    .to_string();
    let descriptor = |kind: &str, bytes: &[u8]| json!({ "mediaType": kind, "digest": sha256(bytes).to_string(), "size": bytes.len() });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config.as_bytes()),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    })
    .to_string();
    for bytes in [layer, config.as_bytes()] {
        let url = format!("{url}/v2/team/app/blobs/uploads/?digest={}", sha256(bytes));
        assert!(client.post(url).body(bytes.to_vec()).send().await.unwrap().status().is_success());
    }
    let digest = sha256(manifest.as_bytes());
    let put =
        client.put(format!("{url}/v2/team/app/manifests/{digest}")).header("content-type", OCI_MANIFEST);
    assert!(put.body(manifest).send().await.unwrap().status().is_success());
    digest
}

async fn until(instance: &dyn Instance, wanted: impl Fn(InstanceStatus) -> bool) -> InstanceStatus {
    let mut status = instance.status();
    let reached = tokio::time::timeout(PATIENCE, status.wait_for(|status| wanted(*status))).await;
    *reached.expect("the status in time").unwrap()
}

#[tokio::test]
async fn a_container_serves_ends_and_leaves_nothing_behind() {
    let Some(socket) = std::env::var_os("SPECTRA_SANDBOX_ENGINE_SOCKET").map(PathBuf::from) else {
        eprintln!("skipped: SPECTRA_SANDBOX_ENGINE_SOCKET names no engine");
        return;
    };
    let busybox = std::env::var_os("SPECTRA_SANDBOX_BUSYBOX").unwrap_or_else(|| "/bin/busybox".into());
    let busybox = std::fs::read(busybox).expect("a statically linked busybox");

    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(RegistryConfig::new(folder.path())).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap();
    let router = registry.router();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let digest = push(&format!("http://{host}"), &layer(&busybox)).await;
    let image = format!("{host}/team/app@{digest}");
    let puller = RegistryPuller::new(Reach::Loopback, PATIENCE);
    let facts = puller.pull(image.parse().unwrap(), None).await.unwrap();

    let owner = folder.path().display().to_string();
    let connect = || ContainerRuntime::connect(EngineKind::Podman, Some(socket.clone()), owner.clone());
    let runtime = connect().await.unwrap();
    let spec = |start_command: Option<&str>| {
        let (logs, lines) = mpsc::unbounded_channel::<LogLine>();
        let spec = InstanceSpec {
            deployment_id: "deployment-1".parse().unwrap(),
            service: "web".into(),
            image: image.parse().unwrap(),
            credentials: None,
            pulled: facts.clone(),
            variables: BTreeMap::from([("GREETING".to_owned(), "good-morning".to_owned().into())]),
            start_command: start_command.map(str::to_owned),
            port: None,
            tcp_ports: vec![9000],
            replica: 0,
            logs,
        };
        (spec, lines)
    };

    let (wanted, mut lines) = spec(None);
    let instance = runtime.start(wanted).await.unwrap();
    assert_eq!(until(&*instance, |status| status != InstanceStatus::Starting).await, InstanceStatus::Running);
    assert!(
        instance.addr_of(9000).is_some_and(|addr| addr != instance.addr()),
        "published beside the main port"
    );
    assert_eq!(instance.addr_of(9001), None, "nobody asked for it");
    let client = Client::builder().no_proxy().build().unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    // The engine's own listener may be there before the program is.
    let page = loop {
        if let Ok(answer) = client.get(format!("http://{}/", instance.addr())).send().await {
            break answer.text().await.unwrap();
        }
        assert!(tokio::time::Instant::now() < deadline, "never answered");
        tokio::task::yield_now().await;
    };
    assert_eq!(page, "from a container");
    assert_eq!(lines.recv().await.unwrap().message, "serving good-morning");
    instance.stop(Duration::from_millis(100)).await;
    assert_eq!(*instance.status().borrow(), InstanceStatus::Stopped);
    assert!(client.get(format!("http://{}/", instance.addr())).send().await.is_err());

    let (wanted, _lines) = spec(Some("exit 7"));
    let instance = runtime.start(wanted).await.unwrap();
    let ended = until(&*instance, |status| matches!(status, InstanceStatus::Exited(_))).await;
    assert_eq!(ended, InstanceStatus::Exited(7));
    instance.stop(Duration::ZERO).await;

    // As a killed sandbox leaves it: running, and nobody to remove it.
    let (wanted, _lines) = spec(None);
    let orphan = runtime.start(wanted).await.unwrap();
    let addr = orphan.addr();
    until(&*orphan, |status| status == InstanceStatus::Running).await;
    std::mem::forget(orphan);
    let again = connect().await.unwrap();
    assert!(tokio::net::TcpStream::connect(addr).await.is_err(), "the leftover still listens");
    drop(again);
}
