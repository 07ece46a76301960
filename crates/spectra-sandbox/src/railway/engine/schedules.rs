//! Waits for backup schedules, for the end of what they made, and for the end of deployments that never served.

use std::sync::Arc;
use std::time::Duration;

use crate::core::Core;
use crate::railway::ops::{backup_schedules, deployments};

/// After a change that could not be written, in sandbox time.
const AGAIN: Duration = Duration::from_mins(1);

/// Runs until the sandbox stops.
pub(super) async fn keep(core: Arc<Core>) {
    let mut changed = core.changes();
    loop {
        // Marked as seen before the look, so that no change is missed between the two.
        changed.mark_unchanged();
        let settings = core.settings();
        let retention = settings.failed_retention;
        let world = core.world();
        let due =
            backup_schedules::due(&world).into_iter().chain(deployments::retired_at(&world, retention)).min();
        if due.is_some_and(|tick| tick <= core.clock.now()) {
            let real = |duration: Duration| core.clock.real(duration).unwrap_or(duration);
            let done = core.mutate(|draft| {
                backup_schedules::run(draft, &settings, real);
                deployments::retire(draft, retention);
                Ok(())
            });
            let Err(refusal) = done else { continue };
            tracing::error!(message = %refusal.message, "what was scheduled was not done");
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
