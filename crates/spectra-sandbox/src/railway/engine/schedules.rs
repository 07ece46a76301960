//! Waits for backup schedules and for the end of what they made.

use std::sync::Arc;
use std::time::Duration;

use crate::core::Core;
use crate::railway::ops::backup_schedules;

/// After a change that could not be written, in sandbox time.
const AGAIN: Duration = Duration::from_mins(1);

/// Runs until the sandbox stops.
pub(super) async fn keep(core: Arc<Core>) {
    let mut changed = core.changes();
    loop {
        // Marked as seen before the look, so that no change is missed between the two.
        changed.mark_unchanged();
        let due = backup_schedules::due(&core.world());
        if due.is_some_and(|tick| tick <= core.clock.now()) {
            let settings = core.settings();
            let real = |duration: Duration| core.clock.real(duration).unwrap_or(duration);
            let done = core.mutate(|draft| {
                backup_schedules::run(draft, &settings, real);
                Ok(())
            });
            let Err(refusal) = done else { continue };
            tracing::error!(message = %refusal.message, "scheduled backups were not made");
            tokio::select! {
                () = core.shutdown.cancelled() => return,
                () = core.clock.sleep(AGAIN) => continue,
            }
        }
        let wait = async {
            match due {
                Some(tick) => core.clock.sleep_until(tick).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = core.shutdown.cancelled() => return,
            result = changed.changed() => if result.is_err() { return },
            () = wait => {}
        }
    }
}
