//! Showing a push: bars on a terminal, lines with a time stamp elsewhere.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use spectra_oci::{BlobOutcome, NoProgress, Progress};
use spectra_types::Digest;

use crate::printer::{Printer, bytes, drawn};

/// The progress that fits the terminal and the flags.
pub(crate) fn push_progress(printer: Printer) -> Arc<dyn Progress> {
    if printer.is_interactive() {
        Arc::new(Bars::default())
    } else if printer.shows_progress() && !printer.is_json() {
        Arc::new(Lines(printer))
    } else {
        Arc::new(NoProgress)
    }
}

const fn word(outcome: BlobOutcome) -> &'static str {
    match outcome {
        BlobOutcome::Present => "present",
        BlobOutcome::Mounted => "mounted",
        BlobOutcome::Uploaded => "uploaded",
        BlobOutcome::Downloaded => "downloaded",
    }
}

fn waiting(layout: &Path) -> String {
    format!("waiting for another process that writes `{}`", layout.display())
}

/// One bar a blob.
#[derive(Default)]
struct Bars {
    all: MultiProgress,
    bars: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Bars {
    fn with(&self, digest: &Digest, action: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = self.bars.lock().unwrap_or_else(PoisonError::into_inner).get(digest) {
            action(bar);
        }
    }
}

impl Progress for Bars {
    fn compressing(&self, layer: usize, size: u64) {
        // Errors come from a broken or closed terminal, and there is nobody to tell.
        let _ = self.all.println(drawn(&format!("compressing layer {} ({})", layer + 1, bytes(size))));
    }

    fn started(&self, digest: &Digest, size: u64) {
        let bar = self.all.add(ProgressBar::new(size));
        let template = "{prefix}  [{bar:30}] {bytes:>10} of {total_bytes:<10} {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(digest.short());
        self.bars.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.clone(), bar);
    }

    fn sent(&self, digest: &Digest, count: u64) {
        self.with(digest, |bar| bar.inc(count));
    }

    fn restarted(&self, digest: &Digest, offset: u64) {
        self.with(digest, |bar| bar.set_position(offset));
    }

    fn finished(&self, digest: &Digest, outcome: BlobOutcome) {
        self.with(digest, |bar| {
            bar.set_position(bar.length().unwrap_or_default());
            bar.finish_with_message(word(outcome));
        });
    }

    fn waiting(&self, layout: &Path) {
        let _ = self.all.println(drawn(&waiting(layout)));
    }

    fn retrying(&self, _: &str, reason: &str, wait: Duration) {
        let _ = self.all.println(drawn(&format!("{reason}; trying again in {:.1} s", wait.as_secs_f64())));
    }
}

/// One line an event.
struct Lines(Printer);

impl Lines {
    fn line(&self, text: &str) {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        self.0.line(&format!("{now} {text}"));
    }
}

impl Progress for Lines {
    fn compressing(&self, layer: usize, size: u64) {
        self.line(&format!("compressing layer {} ({})", layer + 1, bytes(size)));
    }

    fn finished(&self, digest: &Digest, outcome: BlobOutcome) {
        self.line(&format!("{} {}", digest.short(), word(outcome)));
    }

    fn waiting(&self, layout: &Path) {
        self.line(&waiting(layout));
    }

    fn retrying(&self, _: &str, reason: &str, wait: Duration) {
        self.line(&format!("{reason}; trying again in {:.1} s", wait.as_secs_f64()));
    }

    fn manifest(&self, digest: &Digest) {
        self.line(&format!("{} manifest written", digest.short()));
    }
}
