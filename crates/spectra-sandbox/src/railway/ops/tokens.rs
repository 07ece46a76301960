//! Project tokens. The secret is answered once; what is kept is its hash and a masked tail.

use crate::core::Draft;
use crate::railway::auth::{Identity, found, hash};
use crate::railway::ops::{Place, audit, born, new_id};
use crate::railway::refusal::Refusal;
use crate::store::rows::ProjectToken;

/// Returns the secret.
pub(crate) fn create(
    draft: &mut Draft,
    who: &Identity,
    project: &str,
    environment: &str,
    name: &str,
) -> Result<String, Refusal> {
    who.admin()?;
    who.project(&draft.world, project)?;
    let row = who.environment(&draft.world, environment)?;
    if row.project_id != project {
        return Err(Refusal::not_found("Environment"));
    }
    if name.trim().is_empty() {
        return Err(Refusal::input("Invalid token name"));
    }
    let secret = new_id();
    let id = new_id();
    let times = born(draft);
    draft.world.tokens.insert(
        &id,
        ProjectToken {
            id: id.clone(),
            project_id: project.to_owned(),
            environment_id: environment.to_owned(),
            name: name.to_owned(),
            hash: hash(&secret),
            display: format!("****-{}", &secret[secret.len() - 4..]),
            times,
        },
    );
    let place = Place { project: Some(project), environment: Some(environment) };
    audit(draft, who, "project_token", "create", &id, place);
    Ok(secret)
}

pub(crate) fn delete(draft: &mut Draft, who: &Identity, id: &str) -> Result<(), Refusal> {
    who.admin()?;
    let row = found(draft.world.tokens.get(id), "ProjectToken", |row| row.times.live())?;
    let stamp = draft.stamp;
    if let Some(row) = draft.world.tokens.get_mut(id) {
        row.times.deleted_at = Some(stamp);
    }
    let place = Place { project: Some(&row.project_id), environment: Some(&row.environment_id) };
    audit(draft, who, "project_token", "delete", id, place);
    Ok(())
}
