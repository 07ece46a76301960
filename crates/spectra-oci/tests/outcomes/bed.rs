//! A registry that wants a login, an image that is there under the tag, and one that is to replace it.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use sha2::Digest as _;
use spectra_oci::{
    Artifact, Client, ClientOptions, Credential, Error, ImageBuilder, Keychain, LayerInput, Layout,
    NoProgress, OpenLimits, Progress, PushOptions, Pushed, RetryPolicy,
};
use spectra_sandbox::registry::{Quirks, Registry, RegistryConfig};
use spectra_types::{Algorithm, Digest, ImageRef, Secret};

pub(crate) const PASSWORD: &str = "c0rrect-horse-battery";

pub(crate) struct Bed {
    pub(crate) registry: Registry,
    pub(crate) target: ImageRef,
    pub(crate) old: Artifact,
    pub(crate) new: Artifact,
    pub(crate) options: PushOptions,
    host: String,
    /// How long silence is borne.
    patience: Mutex<Duration>,
    server: tokio::task::JoinHandle<()>,
    directory: tempfile::TempDir,
    images: AtomicU32,
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An image of three layers, each with some kilobytes that do not compress and that no image of another seed has.
fn image(directory: &Path, seed: u32) -> Artifact {
    image_of(directory, seed, 1000)
}

/// The same with so many numbers of four bytes in each layer.
fn image_of(directory: &Path, seed: u32, numbers: u32) -> Artifact {
    let mut builder =
        ImageBuilder::new().entrypoint(vec!["/app".to_owned()]).label("seed", &seed.to_string());
    for layer in 0..3_u32 {
        let content = directory.join(format!("{seed}-{layer}"));
        std::fs::create_dir_all(&content).unwrap();
        let start = (seed * 3 + layer) * numbers;
        let noise: Vec<u8> =
            (start..start + numbers).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        std::fs::write(content.join(format!("file-{layer}")), noise).unwrap();
        builder = builder.layer(LayerInput { directory: content, target: "/".to_owned() });
    }
    let layout = Layout::create(directory.join(format!("{seed}.layout"))).unwrap();
    builder.build(&layout, None).unwrap();
    spectra_oci::open(layout.root(), None).unwrap()
}

/// Reads a whole image.
pub(crate) async fn read_by(client: &Client, image: &ImageRef) -> Result<(), Error> {
    client.open(image, None, quiet()).await?.download(2, &OpenLimits::default()).await.map(drop)
}

/// Nobody watches.
pub(crate) fn quiet() -> Arc<dyn Progress> {
    Arc::new(NoProgress)
}

impl Bed {
    pub(crate) async fn start() -> Self {
        Self::with(json!({})).await
    }

    /// With switches besides the login, unless they have one of their own.
    pub(crate) async fn with(quirks: Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::open(RegistryConfig::new(directory.path().join("registry"))).await.unwrap();
        let mut quirks: Quirks = serde_json::from_value(quirks).unwrap();
        if quirks.login.is_none() {
            let login = json!({ "scheme": "bearer", "user": "bot", "password": PASSWORD });
            quirks.login = serde_json::from_value(login).unwrap();
        }
        registry.set_quirks(quirks);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(registry.clone().serve(listener));
        Self {
            registry,
            target: format!("{host}/team/app:v1").parse().unwrap(),
            old: image(directory.path(), 0),
            new: image(directory.path(), 1),
            options: PushOptions::default(),
            host,
            patience: Mutex::new(Duration::from_mins(1)),
            server,
            directory,
            images: AtomicU32::new(2),
        }
    }

    /// The new image once more, with a manifest that is about another image.
    pub(crate) fn image_about(&self, subject: &Digest) -> Artifact {
        let layout = self.directory.path().join("1.layout");
        let blob = |digest: &Digest| layout.join("blobs/sha256").join(digest.hex());
        let manifest = std::fs::read(blob(self.new.digest().unwrap())).unwrap();
        let mut manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let size = std::fs::metadata(blob(self.new.digest().unwrap())).unwrap().len();
        let media_type = manifest["mediaType"].clone();
        manifest["subject"] = json!({ "mediaType": media_type, "digest": subject, "size": size });
        manifest["artifactType"] = json!("application/vnd.example.note");
        manifest["annotations"] = json!({ "by": "somebody" });
        let bytes = manifest.to_string();
        let digest = Digest::from_bytes(Algorithm::Sha256, &sha2::Sha256::digest(bytes.as_bytes())).unwrap();
        std::fs::write(blob(&digest), &bytes).unwrap();
        let index = json!({ "schemaVersion": 2, "manifests": [
            { "mediaType": media_type, "digest": digest, "size": bytes.len() }
        ] });
        std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
        spectra_oci::open(&layout, None).unwrap()
    }

    /// A client of its own, that has learnt nothing yet.
    pub(crate) fn client(&self) -> Client {
        let credential = Credential::Basic { username: "bot".to_owned(), password: Secret::from(PASSWORD) };
        self.client_with(Keychain::empty().with(&self.host, credential))
    }

    /// A client that has no password.
    pub(crate) fn anonymous(&self) -> Client {
        self.client_with(Keychain::empty())
    }

    fn client_with(&self, keychain: Keychain) -> Client {
        let retry = RetryPolicy { base: Duration::from_millis(1), attempts: 3, ..RetryPolicy::default() };
        let stall_timeout = *self.patience.lock().unwrap();
        Client::new(keychain, ClientOptions { retry, stall_timeout, ..ClientOptions::default() })
    }

    pub(crate) async fn push(&self, image: &Artifact) -> Result<Pushed, Error> {
        self.client().push(&self.target, image, &self.options, quiet()).await
    }

    /// Reads the whole image under the tag.
    pub(crate) async fn read(&self) -> Result<(), Error> {
        read_by(&self.client(), &self.target).await
    }

    pub(crate) async fn push_old(&self) {
        self.push(&self.old).await.unwrap();
    }

    pub(crate) fn fault(&self, request: &str, action: &Value, count: Option<u32>) {
        self.registry.clear_faults();
        let rule = json!({ "operation": format!("registry.{request}"), "action": action, "count": count });
        self.registry.set_fault(rule).unwrap();
        let silent = *action == json!({ "type": "hang" });
        *self.patience.lock().unwrap() =
            if silent { Duration::from_millis(250) } else { Duration::from_mins(1) };
    }

    /// The registry is well again.
    pub(crate) fn heals(&self) {
        self.registry.clear_faults();
        *self.patience.lock().unwrap() = Duration::from_mins(1);
    }

    pub(crate) async fn push_with_fault(
        &self,
        request: &str,
        action: &Value,
        count: Option<u32>,
    ) -> Result<Pushed, Error> {
        self.fault(request, action, count);
        // A new one each time: a blob of a push that failed may still arrive after it.
        let fresh = image(self.directory.path(), self.images.fetch_add(1, Ordering::SeqCst));
        let pushed = self.push(&fresh).await;
        assert!(self.registry.faults_applied() > 0, "{action} on {request} was never met");
        pushed
    }

    /// An image with layers of three megabytes.
    pub(crate) fn large_image(&self) -> Artifact {
        image_of(self.directory.path(), self.images.fetch_add(1, Ordering::SeqCst), 800_000)
    }

    /// How often a switch has changed an answer.
    pub(crate) fn met(&self, switch: &str) -> u64 {
        self.registry.met().get(switch).copied().unwrap_or(0)
    }

    /// What the tag names now.
    pub(crate) async fn tag(&self) -> Option<Digest> {
        match self.client().resolve(&self.target).await {
            Ok(resolved) => Some(resolved.image.digest().clone()),
            Err(error) if error.is_not_found() => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn names_image_and_host(&self, error: &Error) {
        let text = error.to_string();
        assert!(text.contains(&self.host), "{text}");
        let mut all = format!("{text} {error:?}");
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            all = format!("{all} {cause}");
            source = cause.source();
        }
        assert!(!all.contains(PASSWORD) && !all.contains("signature="), "{all}");
    }

    /// Pushes an image under a lasting fault. The tag stays what it was.
    pub(crate) async fn fails(&self, case: &str, request: &str, action: &Value) -> Error {
        let Err(error) = self.push_with_fault(request, action, None).await else {
            panic!("{case}: it went well")
        };
        self.names_image_and_host(&error);
        assert!(error.to_string().contains(&self.target.to_string()), "{case}: {error}");
        self.heals();
        assert_eq!(self.tag().await.as_ref(), self.old.digest(), "{case}");
        error
    }

    /// Without faults the same push succeeds.
    pub(crate) async fn recovers(&self) {
        self.heals();
        let pushed = self.push(&self.new).await.unwrap();
        assert_eq!(self.tag().await.as_ref(), Some(pushed.image.digest()));
        assert_eq!(Some(pushed.image.digest()), self.new.digest());
        self.read().await.unwrap();
    }
}
