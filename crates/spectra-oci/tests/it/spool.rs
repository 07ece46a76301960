//! How much a push keeps on disk while the registry is slow.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use spectra_oci::{BlobOutcome, Progress, PushOptions};
use spectra_types::Digest;
use tokio::sync::{Notify, Semaphore};

use crate::{
    cache::{archive, noise},
    fake::{Fake, client},
};

const LAYER: usize = 1 << 20;

/// Counts the layers that are compressed, or about to be, and not with the registry yet.
#[derive(Default)]
struct Watch {
    /// Now, and at most.
    here: Mutex<(usize, usize)>,
    changed: Notify,
}

impl Watch {
    async fn until(&self, count: usize) {
        while self.here.lock().unwrap().0 < count {
            self.changed.notified().await;
        }
    }
}

impl Progress for Watch {
    fn compressing(&self, _: usize, _: u64) {
        let mut here = self.here.lock().unwrap();
        here.0 += 1;
        here.1 = here.1.max(here.0);
        self.changed.notify_one();
    }

    fn finished(&self, _: &Digest, outcome: BlobOutcome) {
        assert_eq!(outcome, BlobOutcome::Uploaded);
        let mut here = self.here.lock().unwrap();
        // The configuration is no layer.
        here.0 = here.0.saturating_sub(1);
    }
}

#[tokio::test]
async fn compressing_waits_for_the_registry_when_the_limit_is_reached() {
    for (limit, expected) in [(3 * LAYER + LAYER / 2, 3), (LAYER / 2, 1)] {
        let fake = Fake::start().await;
        let gate = Arc::new(Semaphore::new(0));
        fake.lock().uploads_wait = Some(Arc::clone(&gate));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image.tar");
        let layers: Vec<Vec<u8>> = (0..8).map(|number| noise(&[number], LAYER)).collect();
        archive(&path, &layers);
        let artifact = spectra_oci::open(&path, None).unwrap();
        let watch = Arc::new(Watch::default());
        let (target, progress) = (fake.image("a:1"), Arc::clone(&watch));
        let options = PushOptions { spool_limit: limit as u64, ..PushOptions::default() };
        let pushing =
            tokio::spawn(async move { client().push(&target, &artifact, &options, progress as _).await });
        watch.until(expected).await;
        let more = tokio::time::timeout(Duration::from_millis(300), watch.until(expected + 1)).await;
        assert!(more.is_err(), "another one is compressed while the registry has none of {expected}");
        gate.add_permits(9);
        let pushed = pushing.await.unwrap().unwrap();
        assert_eq!(pushed.uploaded, 9);
        // The configuration, whenever it arrives, may count as one of them.
        let most = watch.here.lock().unwrap().1;
        assert!(most <= expected, "{most}");
        assert!(fake.lock().violations.is_empty(), "{:?}", fake.lock().violations);
    }
}
