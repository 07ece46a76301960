//! A state store in a folder: one file a state, one a lock.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tfplugin::{Context, Diagnostic, Diagnostics, Locking, Model, StateLock, StateStore, Unlocking};

use crate::provider::Shared;

pub(crate) struct Files;

/// States in a folder.
#[derive(Clone, Model)]
pub(crate) struct Folder {
    /// Which.
    #[tf(required)]
    pub(crate) path: String,
    /// What to do instead of keeping states.
    #[tf(optional)]
    pub(crate) does: Option<String>,
}

/// A configured one.
pub(crate) struct Store {
    folder: PathBuf,
    does: String,
    shared: Shared,
}

impl Store {
    /// Ids are anything; file names are not.
    fn file(&self, id: &str, kind: &str) -> PathBuf {
        let mut name = String::new();
        for byte in id.bytes() {
            write!(name, "{byte:02x}").unwrap();
        }
        self.folder.join(format!("{name}.{kind}"))
    }

    fn id(path: &Path) -> Option<String> {
        let name = path.file_name()?.to_str()?.strip_suffix(".state")?;
        let byte = |at: usize| u8::from_str_radix(name.get(at..at + 2)?, 16).ok();
        let bytes = (0..name.len()).step_by(2).map(byte).collect::<Option<Vec<_>>>()?;
        String::from_utf8(bytes).ok()
    }

    /// Whole or not at all.
    fn put(&self, path: &Path, bytes: &[u8]) -> Result<(), Diagnostic> {
        let temporary = tempfile::NamedTempFile::new_in(&self.folder).map_err(|error| failed(&error))?;
        std::fs::write(temporary.path(), bytes).map_err(|error| failed(&error))?;
        temporary.persist(path).map(drop).map_err(|error| failed(&error.error))
    }

    /// Whole, or not at all because there is one.
    fn put_new(&self, path: &Path, bytes: &[u8]) -> Result<bool, Diagnostic> {
        let temporary = tempfile::NamedTempFile::new_in(&self.folder).map_err(|error| failed(&error))?;
        std::fs::write(temporary.path(), bytes).map_err(|error| failed(&error))?;
        match temporary.persist_noclobber(path) {
            Ok(_) => Ok(true),
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(failed(&error.error)),
        }
    }

    fn holder(&self, id: &str) -> Result<Option<StateLock>, Diagnostic> {
        match std::fs::read(self.file(id, "lock")) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).unwrap())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn act(cx: &Context<Self>, what: &'static str) -> Result<(), Diagnostics> {
        cx.client.shared.act(&cx.cancel, &cx.client.does, what).await
    }
}

fn failed(error: &std::io::Error) -> Diagnostic {
    Diagnostic::error("The folder cannot be used", error.to_string())
}

impl StateStore for Files {
    type Model = Folder;
    type Client = Shared;
    type Store = Store;

    const TYPE: &'static str = "wire_files";

    fn validate(&self, config: &Folder, diagnostics: &mut Diagnostics) {
        crate::provider::panics(config.does.as_deref().unwrap_or_default(), "validate");
        if config.path.is_empty() {
            diagnostics.error_at("path", "No folder", "A store needs a folder.");
        }
    }

    async fn configure(&self, cx: &Context<Shared>, config: Folder) -> Result<Store, Diagnostics> {
        let does = config.does.unwrap_or_default();
        cx.client.act(&cx.cancel, &does, "configure store").await?;
        std::fs::create_dir_all(&config.path).map_err(|error| failed(&error))?;
        Ok(Store { folder: config.path.into(), does, shared: (*cx.client).clone() })
    }

    async fn read(&self, cx: &Context<Store>, id: &str) -> Result<Option<Bytes>, Diagnostics> {
        Store::act(cx, "read state").await?;
        match std::fs::read(cx.client.file(id, "state")) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&error).into()),
        }
    }

    async fn write(&self, cx: &Context<Store>, id: &str, state: Bytes) -> Result<Diagnostics, Diagnostics> {
        Store::act(cx, "write state").await?;
        cx.client.put(&cx.client.file(id, "state"), &state)?;
        Ok(Diagnostics::new())
    }

    async fn lock(&self, cx: &Context<Store>, id: &str, lock: &StateLock) -> Result<Locking, Diagnostics> {
        Store::act(cx, "lock").await?;
        let record = serde_json::to_vec(lock).unwrap();
        loop {
            if cx.client.put_new(&cx.client.file(id, "lock"), &record)? {
                return Ok(Locking::Taken);
            }
            // It may have been freed in between.
            if let Some(holder) = cx.client.holder(id)? {
                return Ok(Locking::Held(holder));
            }
        }
    }

    async fn unlock(&self, cx: &Context<Store>, id: &str, lock_id: &str) -> Result<Unlocking, Diagnostics> {
        Store::act(cx, "unlock").await?;
        match cx.client.holder(id)? {
            None => Ok(Unlocking::NotLocked),
            Some(held) if held.id != lock_id => Ok(Unlocking::Held(held)),
            Some(_) => {
                std::fs::remove_file(cx.client.file(id, "lock")).map_err(|error| failed(&error))?;
                Ok(Unlocking::Done)
            }
        }
    }

    async fn list(&self, cx: &Context<Store>) -> Result<Vec<String>, Diagnostics> {
        Store::act(cx, "list states").await?;
        let entries = std::fs::read_dir(&cx.client.folder).map_err(|error| failed(&error))?;
        Ok(entries.filter_map(|entry| Store::id(&entry.ok()?.path())).collect())
    }

    async fn delete(&self, cx: &Context<Store>, id: &str) -> Result<bool, Diagnostics> {
        Store::act(cx, "delete state").await?;
        match std::fs::remove_file(cx.client.file(id, "state")) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(&error).into()),
        }
    }
}
