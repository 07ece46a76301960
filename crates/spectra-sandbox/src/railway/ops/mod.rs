//! What each mutation does to the state. Functions take a draft (all or nothing), the caller's identity and the
//! knobs; they never wait and never reach outside.

#![expect(clippy::option_option, reason = "absent, null and a value are three different things on this wire")]

pub(crate) mod activity;
pub(crate) mod backup_schedules;
pub(crate) mod change_sets;
pub(crate) mod config;
pub(crate) mod custom_domains;
pub(crate) mod deployments;
pub(crate) mod domains;
pub(crate) mod egress;
pub(crate) mod environments;
pub(crate) mod instances;
pub(crate) mod notifications;
pub(crate) mod patches;
pub(crate) mod private_networks;
pub(crate) mod projects;
pub(crate) mod proxies;
pub(crate) mod services;
pub(crate) mod tokens;
pub(crate) mod triggers;
pub(crate) mod variables;
pub(crate) mod volumes;

use crate::core::Draft;
use crate::railway::auth::Identity;
use crate::store::rows::Times;

/// A new object id.
pub(crate) fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Times of an object that comes into being now.
pub(crate) fn born(draft: &Draft) -> Times {
    Times { created_at: draft.stamp, created_tick: draft.tick, updated_at: draft.stamp, deleted_at: None }
}

/// Where something happened, for the audit log.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place<'a> {
    pub(crate) project: Option<&'a str>,
    pub(crate) environment: Option<&'a str>,
}

/// Writes a row of the audit log; the configuration of the environment counts as changed.
pub(crate) fn audit(
    draft: &mut Draft,
    who: &Identity,
    object: &str,
    action: &str,
    id: &str,
    place: Place<'_>,
) {
    activity::write(draft, activity::Actor::of(who), object, action, id, place);
    if let Some(environment) = place.environment
        && let Some(row) = draft.world.environments.get_mut(environment)
    {
        row.generation += 1;
        row.times.updated_at = draft.stamp;
    }
}

/// Lower-case letters, digits and single hyphens, for host names.
pub(crate) fn label(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        if character.is_ascii_alphanumeric() {
            out.push(character.to_ascii_lowercase());
        } else if !out.ends_with('-') && !out.is_empty() {
            out.push('-');
        }
    }
    out.trim_end_matches('-').to_owned()
}
