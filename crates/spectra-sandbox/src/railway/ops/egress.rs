//! Egress gateways: fixed addresses that a service's outgoing traffic would come from, one for each region.
//! Nothing leaves the machine through them.

use std::collections::BTreeSet;

use crate::core::Draft;
use crate::railway::auth::Identity;
use crate::railway::ops::instances::REGIONS;
use crate::railway::ops::{Place, audit, born, new_id};
use crate::railway::refusal::Refusal;
use crate::store::rows::EgressGateway;

/// Gives the service a gateway in `region`, or in every region where it has replicas. What it has stays.
pub(crate) fn create(
    draft: &mut Draft,
    who: &Identity,
    environment: &str,
    service: &str,
    region: Option<&str>,
) -> Result<(), Refusal> {
    let instance = who.instance(&draft.world, environment, service)?;
    let regions: BTreeSet<String> = match region {
        None => instance.placement().into_iter().collect(),
        Some(wanted) => {
            let known = REGIONS.iter().find(|(name, .., legacy)| wanted == *name || wanted == *legacy);
            let known = known.ok_or_else(|| Refusal::input(format!("Invalid region \"{wanted}\"")))?;
            BTreeSet::from([known.0.to_owned()])
        }
    };
    for region in regions {
        let twin = draft.world.egress_gateways.iter().any(|row| {
            row.environment_id == environment && row.service_id == service && row.region == region
        });
        if twin {
            continue;
        }
        let row = EgressGateway {
            id: new_id(),
            environment_id: environment.to_owned(),
            service_id: service.to_owned(),
            region,
            // A range for documentation (RFC 5737): no address of anybody.
            ipv4: format!("203.0.113.{}", rand::random_range(1..=254)),
            times: born(draft),
        };
        let id = row.id.clone();
        draft.world.egress_gateways.insert(&id, row);
        let place = Place { project: Some(&instance.project_id), environment: Some(environment) };
        audit(draft, who, "egress_gateway", "create", &id, place);
    }
    Ok(())
}

/// Takes all gateways of a service away, in one environment or in every one that the caller reaches. Returns the
/// environments that lost some.
pub(crate) fn clear(
    draft: &mut Draft,
    who: &Identity,
    environment: &str,
    service: &str,
    everywhere: bool,
) -> Result<BTreeSet<String>, Refusal> {
    let instance = who.instance(&draft.world, environment, service)?;
    let rows = draft.world.egress_gateways.iter().filter(|row| row.service_id == service);
    let lost: BTreeSet<String> = rows
        .map(|row| row.environment_id.clone())
        .filter(|id| id == environment || everywhere && who.environment(&draft.world, id).is_ok())
        .collect();
    for environment in &lost {
        remove_of(draft, environment, service);
        let place = Place { project: Some(&instance.project_id), environment: Some(environment) };
        audit(draft, who, "egress_gateway", "clear", service, place);
    }
    Ok(lost)
}

/// An instance takes its gateways along.
pub(crate) fn remove_of(draft: &mut Draft, environment: &str, service: &str) {
    let rows = draft.world.egress_gateways.iter();
    let ids: Vec<_> = rows
        .filter(|row| row.environment_id == environment && row.service_id == service)
        .map(|row| row.id.clone())
        .collect();
    for id in ids {
        draft.world.egress_gateways.remove(&id);
    }
}
