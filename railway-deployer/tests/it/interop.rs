//! What is pushed is taken by other people's tools, and what they push is read here: `skopeo`, `umoci` and `podman`, on Debian's
//! registry and on the sandbox's.
//!
//! The part of a tool that is not on PATH is left out; see [`tool`].

use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{Place, tool};

/// How long a registry may take to answer.
const READY: Duration = Duration::from_mins(1);

/// Runs a tool to its successful end and returns what it printed.
fn run(place: &Place, tool: &Path, arguments: &[&str]) -> String {
    let output = Command::new(tool)
        .args(arguments)
        .current_dir(place.path("."))
        .env("HOME", place.path("."))
        .env("XDG_RUNTIME_DIR", place.path("."))
        .env("TMPDIR", place.path("."))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {arguments:?}: {stderr}", tool.display());
    String::from_utf8(output.stdout).unwrap()
}

/// Debian's registry.
struct Debian {
    child: Child,
    address: SocketAddr,
}

impl Drop for Debian {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Debian {
    fn start(place: &Place) -> Option<Self> {
        let program = tool("docker-registry")?;
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        place.write(
            "registry.yml",
            &format!(
                "version: 0.1\nlog: {{ level: error, accesslog: {{ disabled: true }} }}\n\
                 storage: {{ filesystem: {{ rootdirectory: \"{}\" }} }}\nhttp: {{ addr: \"{address}\" }}\n",
                place.path("debian").display()
            ),
        );
        let log = std::fs::File::create(place.path("debian.log")).unwrap();
        let child = Command::new(program)
            .arg("serve")
            .arg(place.path("registry.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // A signal to the test's group is not for it; dropping it is what ends it.
            .process_group(0)
            .spawn()
            .unwrap();
        let registry = Self { child, address };
        let deadline = Instant::now() + READY;
        while std::net::TcpStream::connect(address).is_err() {
            let log = std::fs::read_to_string(place.path("debian.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "it does not answer: {log}");
            std::thread::yield_now();
        }
        Some(registry)
    }
}

/// The tar of a layer with one file.
fn layer(name: &str, content: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(1_700_000_000);
    tar.append_data(&mut header, name, content).unwrap();
    tar.into_inner().unwrap()
}

/// An archive as `docker save` writes it: two raw layers, the second of some megabytes, so that it is compressed in several blocks.
fn saved(place: &Place) -> Vec<u8> {
    let noise: Vec<u8> =
        (0..1_500_000_u32).flat_map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()).collect();
    let layers = [layer("etc/motd", b"welcome\n"), layer("data/noise", &noise)];
    let diff_ids: Vec<String> = layers.iter().map(|layer| sha256(place, layer)).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": { "Entrypoint": ["/bin/app"], "Labels": { "team": "blue" } },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": [{ "created_by": "one" }, { "created_by": "two" }],
    });
    let manifest =
        json!([{ "Config": "config.json", "RepoTags": ["app:1"], "Layers": ["1/layer.tar", "2/layer.tar"] }]);
    let mut tar = tar::Builder::new(std::fs::File::create(place.path("app.tar")).unwrap());
    let (config, manifest) = (config.to_string(), manifest.to_string());
    for (name, content) in [
        ("1/layer.tar", layers[0].as_slice()),
        ("2/layer.tar", layers[1].as_slice()),
        ("config.json", config.as_bytes()),
        ("manifest.json", manifest.as_bytes()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, content).unwrap();
    }
    tar.into_inner().unwrap().flush().unwrap();
    noise
}

/// By the system's own tool: nothing of ours checks itself here.
fn sha256(place: &Place, bytes: &[u8]) -> String {
    std::fs::write(place.path("hashed"), bytes).unwrap();
    let output = run(place, Path::new("sha256sum"), &["hashed"]);
    format!("sha256:{}", output.split_whitespace().next().unwrap())
}

/// Pushes with both codecs and looks at what arrived with every tool there is.
fn accepted_by_tools(place: &Place, registry: &str, noise: &[u8]) {
    for codec in ["gzip", "zstd"] {
        let target = format!("{registry}/team/app:{codec}");
        let pushed =
            place.run(&["image", "push", "app.tar", &target, "--compression", codec, "--json"]).done().json();
        let digest = pushed["digest"].as_str().unwrap();
        if let Some(skopeo) = tool("skopeo") {
            let source = format!("docker://{target}");
            let seen: Value =
                serde_json::from_str(&run(place, &skopeo, &["inspect", "--tls-verify=false", &source]))
                    .unwrap();
            assert_eq!(
                (seen["Digest"].as_str(), seen["Labels"]["team"].as_str()),
                (Some(digest), Some("blue"))
            );
            // Copying checks every digest, compressed and not.
            let layout = format!("oci:copied-{codec}:v1");
            run(place, &skopeo, &["copy", "--src-tls-verify=false", "--preserve-digests", &source, &layout]);
            let copied = format!("copied-{codec}");
            let local = place.run(&["image", "inspect", &copied, "--json"]).done().json();
            assert_eq!(local["digest"].as_str(), Some(digest));
            // And the way back: what the tool pushes is what we read.
            let back = format!("{registry}/team/back:{codec}");
            run(
                place,
                &skopeo,
                &[
                    "copy",
                    "--dest-tls-verify=false",
                    "--preserve-digests",
                    &layout,
                    &format!("docker://{back}"),
                ],
            );
            assert_eq!(
                place.run(&["image", "inspect", &back, "--json"]).done().json()["digest"].as_str(),
                Some(digest)
            );
            if let Some(umoci) = tool("umoci").filter(|_| codec == "gzip") {
                run(place, &umoci, &["unpack", "--rootless", "--image", &format!("{copied}:v1"), "bundle"]);
                assert_eq!(std::fs::read(place.path("bundle/rootfs/data/noise")).unwrap(), noise);
                assert_eq!(std::fs::read(place.path("bundle/rootfs/etc/motd")).unwrap(), b"welcome\n");
            }
        }
        if let Some(podman) = tool("podman") {
            let (root, runroot) = (place.path("podman"), place.path("podman-run"));
            let (root, runroot) = (root.to_str().unwrap(), runroot.to_str().unwrap());
            let storage = ["--root", root, "--runroot", runroot, "--storage-driver", "vfs"];
            let podman = |arguments: &[&str]| run(place, &podman, &[&storage[..], arguments].concat());
            podman(&["pull", "--quiet", "--tls-verify=false", &target]);
            // Both are the same image to it, by their configuration; it keeps a list of the digests that they came under.
            let seen = podman(&["image", "inspect", "--format", "{{.RepoDigests}}", &target]);
            assert!(seen.contains(digest), "{seen}");
        }
    }
}

#[test]
fn on_the_sandbox() {
    let mut place = Place::new();
    let running = super::image::registry(&mut place, spectra_sandbox::registry::RegistryAuth::Anonymous);
    let noise = saved(&place);
    accepted_by_tools(&place, &running.address.to_string(), &noise);
}

#[test]
fn on_debians_registry() {
    let place = Place::new();
    let Some(debian) = Debian::start(&place) else { return };
    let noise = saved(&place);
    accepted_by_tools(&place, &debian.address.to_string(), &noise);
    // A layout, and the same again: nothing is sent twice.
    let target = format!("{}/team/layout:v1", debian.address);
    let digest = super::image::build(&place);
    let pushed = place.run(&["image", "push", "layout", &target, "--json"]).done().json();
    assert_eq!(pushed["digest"].as_str(), Some(digest.as_str()));
    let again = place.run(&["image", "push", "layout", &target, "--json"]).done().json();
    assert_eq!(again["uploaded_blobs"], 0);
}

/// What other tools write is read, whichever of their formats it is in.
#[test]
fn archives_of_other_tools() {
    let place = Place::new();
    let Some(skopeo) = tool("skopeo") else { return };
    saved(&place);
    let ours = place.run(&["image", "inspect", "app.tar", "--json"]).done().json();
    for kind in ["docker-archive", "oci-archive", "oci"] {
        run(&place, &skopeo, &["copy", "docker-archive:app.tar", &format!("{kind}:{kind}:app:1")]);
        let read = place.run(&["image", "inspect", kind, "--json"]).done().json();
        for key in ["labels", "entrypoint", "platform"] {
            assert_eq!(read[key], ours[key], "{kind}");
        }
        assert_eq!(read["layers"].as_array().unwrap().len(), 2, "{kind}");
    }
}
