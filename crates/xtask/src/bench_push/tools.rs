//! The programs that push: ours, and those that it is compared with where they are installed.

use std::path::{Path, PathBuf};

use super::Options;
use crate::error::Error;
use crate::process::{Job, on_path};

/// What is pushed.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// What `docker save` wrote, as it is.
    Archive(&'a Path),
    /// The same, compressed by zstd.
    ArchiveZstd(&'a Path),
    /// An OCI layout.
    Layout(&'a Path),
}

/// How ours treats its cache.
#[derive(Clone, Copy)]
pub(crate) enum Cache<'a> {
    None,
    In(&'a Path),
    TrustedIn(&'a Path),
}

/// Where the programs are.
pub(crate) struct Tools {
    pub(crate) ours: PathBuf,
    pub(crate) crane: Option<PathBuf>,
    pub(crate) skopeo: Option<PathBuf>,
    pub(crate) cosign: Option<PathBuf>,
}

impl Tools {
    /// What was named, or else is on PATH.
    pub(crate) fn find(ours: PathBuf, options: &Options) -> Result<Self, Error> {
        let named = |path: Option<&Path>, name: &str| match path {
            Some(path) if path.is_file() => Ok(Some(path.to_owned())),
            Some(path) => Err(Error::unexpected(path.display().to_string(), "there is no such program")),
            None => Ok(on_path(name)),
        };
        Ok(Self {
            ours,
            crane: named(options.crane.as_deref(), "crane")?,
            skopeo: named(options.skopeo.as_deref(), "skopeo")?,
            cosign: named(options.cosign.as_deref(), "cosign")?,
        })
    }

    pub(crate) fn ours(&self, source: Source<'_>, target: &str, cache: Cache<'_>) -> Job {
        let mut job = Job::new(&self.ours).args(["image", "push", "--no-progress", "--quiet"]);
        job = match source {
            Source::Archive(path) | Source::Layout(path) => job.arg(path),
            Source::ArchiveZstd(path) => job.args(["--compression", "zstd"]).arg(path),
        };
        job = match cache {
            Cache::None => job.arg("--no-cache"),
            Cache::In(directory) => job.arg("--cache-dir").arg(directory),
            Cache::TrustedIn(directory) => job.args(["--trust-cache", "--cache-dir"]).arg(directory),
        };
        job.arg(target)
    }

    /// Nothing if it is not installed, or cannot do it.
    pub(crate) fn crane(&self, source: Source<'_>, target: &str) -> Option<Job> {
        let job = Job::new(self.crane.as_ref()?).args(["push", "--insecure"]);
        match source {
            Source::Archive(path) | Source::Layout(path) => Some(job.arg(path).arg(target)),
            Source::ArchiveZstd(_) => None,
        }
    }

    /// Nothing if it is not installed.
    pub(crate) fn skopeo(&self, source: Source<'_>, target: &str) -> Option<Job> {
        let job = Job::new(self.skopeo.as_ref()?).args([
            "--insecure-policy",
            "copy",
            "--quiet",
            "--retry-times",
            "3",
            "--dest-tls-verify=false",
        ]);
        let (job, from) = match source {
            Source::Archive(path) => (job, format!("docker-archive:{}", path.display())),
            Source::ArchiveZstd(path) => {
                let zstd = ["--format", "oci", "--dest-compress-format", "zstd"];
                (job.args(zstd), format!("docker-archive:{}", path.display()))
            }
            Source::Layout(path) => (job, format!("oci:{}:bench", path.display())),
        };
        Some(job.arg(from).arg(format!("docker://{target}")))
    }
}
