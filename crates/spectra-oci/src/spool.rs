//! Room on disks: temporary files for what is on its way, how much of it there is at once, and what is said when a disk is full.
//!
//! What is temporary lies in the system's folder for it, `TMPDIR` or `/tmp`. A push keeps compressed layers there until the
//! registry has them, and no more at once than its limit; whatever goes into a layout is made inside of it.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    Error,
    temporary::{Life, Temporary},
};

/// What room is counted in.
const UNIT: u64 = 64 * 1024;
/// A raw layer is not begun if not even this part of it is free: few files become smaller.
const SMALLEST_PART: u64 = 8;

/// Where temporary files go.
pub(crate) fn folder() -> PathBuf {
    std::env::temp_dir()
}

/// A temporary file in `folder` that is being written. Outside of the folder for temporary files it may get a name in the end.
pub(crate) fn file(folder: &Path) -> Result<(File, Temporary), Error> {
    let life = if folder == self::folder() { Life::Short } else { Life::Long };
    Temporary::new(folder, life)
}

/// Bytes that are free on the disk of a folder; nothing if the system does not say. Some file systems have no size at all, and are not
/// full for that.
fn free(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok().filter(|disk| disk.f_blocks > 0)?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// The least that a raw layer of this many bytes becomes, for [`ensure`].
pub(crate) const fn least(raw: u64) -> u64 {
    raw / SMALLEST_PART
}

/// Fails, before anything is written, if `folder` has less room than `needed` bytes. `what` says what cannot be done then.
pub(crate) fn ensure(folder: &Path, needed: u64, what: impl FnOnce() -> String) -> Result<(), Error> {
    match free(folder).filter(|free| *free < needed) {
        None => Ok(()),
        Some(free) => Err(Error::NoRoom {
            what: what(),
            folder: folder.to_owned(),
            needed: Some(needed),
            free: Some(free),
            temporary: folder == self::folder(),
            spooled: false,
            source: None,
        }),
    }
}

/// Room for what is temporary, shared by the tasks of a push.
pub(crate) struct Spool {
    room: Semaphore,
    units: u32,
}

/// A part of the room. Given back when dropped.
pub(crate) struct Room<'a>(Option<SemaphorePermit<'a>>);

impl Spool {
    /// Room of `limit` bytes, or as much as is free in `folder` if that is less.
    pub(crate) fn new(folder: &Path, limit: u64) -> Self {
        let units = units(free(folder).map_or(limit, |free| free.min(limit)));
        Self { room: Semaphore::new(units as usize), units }
    }

    /// Waits until there is room for `bytes`; whoever asks first is first. What is larger than all the room waits for all of it, and is
    /// alone then.
    pub(crate) async fn reserve(&self, bytes: u64) -> Room<'_> {
        // The semaphore is never closed.
        Room(self.room.acquire_many(units(bytes).min(self.units)).await.ok())
    }
}

impl Room<'_> {
    /// Gives back what is not needed for `bytes`.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        if let Some(permit) = &mut self.0 {
            drop(permit.split(permit.num_permits().saturating_sub(units(bytes) as usize)));
        }
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn what_does_not_fit_waits_until_something_is_gone() {
        let place = tempfile::tempdir().unwrap();
        let spool = Spool::new(place.path(), 10 * UNIT);
        let mut first = spool.reserve(6 * UNIT).now_or_never().unwrap();
        assert!(spool.reserve(5 * UNIT).now_or_never().is_none());
        // Compressed, it is smaller than it could have been.
        first.shrink(2 * UNIT);
        let second = spool.reserve(8 * UNIT).now_or_never().unwrap();
        assert!(spool.reserve(1).now_or_never().is_none());
        drop(first);
        drop(spool.reserve(1).now_or_never().unwrap());
        assert!(spool.reserve(1000 * UNIT).now_or_never().is_none(), "a giant waits for all the room");
        drop(second);
        let giant = spool.reserve(1000 * UNIT).now_or_never().unwrap();
        assert!(spool.reserve(1).now_or_never().is_none(), "and is alone");
        drop(giant);
        assert!(spool.reserve(10 * UNIT).now_or_never().is_some());
    }

    #[test]
    fn there_is_no_more_room_than_is_free() {
        let place = tempfile::tempdir().unwrap();
        let spool = Spool::new(place.path(), u64::MAX);
        assert!(
            u64::from(spool.units) <= free(place.path()).unwrap() / UNIT + 16 * 1024,
            "within a gibibyte"
        );
        let error = ensure(place.path(), u64::MAX, || "do it".to_owned()).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("cannot do it: `"), "{text}");
        assert!(text.ends_with(" bytes free, and at least 18446744073709551615 are needed"), "{text}");
        ensure(place.path(), 1, || unreachable!()).unwrap();
        #[cfg(target_os = "linux")]
        ensure(Path::new("/proc"), u64::MAX, || unreachable!("it has no size")).unwrap();
    }

    #[test]
    fn a_full_disk_is_named_and_what_to_do_about_it() {
        let full = || std::io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
        let error = Error::io("compress a layer into", folder())(full()).needs(1000);
        let text = error.to_string().replace(folder().to_str().unwrap(), "TMP");
        assert_eq!(text, "cannot compress a layer into `TMP`: `TMP` is full; up to 1000 bytes are needed");
        assert_eq!(error.code().to_string(), "SPX-321");
        assert!(error.hint().unwrap().contains("TMPDIR") && !error.hint().unwrap().contains("--spool-limit"));
        assert!(error.of_spool().hint().unwrap().contains("--spool-limit"), "it helps a push alone");
        let error = Error::io("write", "/srv/out/index.json")(full());
        assert_eq!(error.to_string(), "cannot write `/srv/out/index.json`: `/srv/out` is full");
        assert!(!error.hint().unwrap().contains("TMPDIR"));
        let other = std::io::Error::from(std::io::ErrorKind::NotFound);
        assert!(matches!(Error::io("write", "/srv")(other), Error::Io { .. }));
    }
}
