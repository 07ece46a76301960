//! Between the model of `spectra_service` and the settings that Railway keeps.

use std::collections::BTreeMap;
use std::time::Duration;

use spectra_railway::{Change, Instance, InstanceUpdate, Placement, RegistryCredentials, RestartPolicy};
use spectra_types::{HumanDuration, ImageRef, Secret};
use tfplugin::{Attr, Text};

use super::model::{HealthCheckModel, RestartPolicyModel, RestartPolicyType, ServiceModel};
use crate::resources::managed_variables as managed;

/// Railway's own restart policy where none is set.
const DEFAULT_RETRIES: u32 = 10;
/// Railway's own time limit of the health check where none is set.
const DEFAULT_HEALTH_TIMEOUT: Duration = Duration::from_mins(5);

/// What has to be written to get from `prior` to `planned`; `None` if nothing.
pub(super) fn update(
    prior: Option<&ServiceModel>,
    planned: &ServiceModel,
    config: &ServiceModel,
) -> Option<InstanceUpdate> {
    let update = InstanceUpdate {
        image: image(prior, planned),
        registry_credentials: credentials(prior, planned, config),
        healthcheck_path: change_by(prior, planned, |model| {
            model.health_check.as_known()?.path.as_known().cloned()
        }),
        healthcheck_timeout: change_by(prior, planned, |model| {
            seconds(&model.health_check.as_known()?.timeout)
        }),
        start_command: change_by(prior, planned, |model| model.start_command.as_known().cloned()),
        pre_deploy_command: change_by(prior, planned, |model| model.pre_deploy_command.as_known().cloned()),
        overlap: change_by(prior, planned, |model| seconds(&model.overlap)),
        draining: change_by(prior, planned, |model| seconds(&model.draining)),
        placement: placement(prior, planned),
        restart_policy: restart_policy(prior, planned),
    };
    let nothing = update.image == Change::Keep
        && update.registry_credentials.is_none()
        && update.healthcheck_path == Change::Keep
        && update.healthcheck_timeout == Change::Keep
        && update.start_command == Change::Keep
        && update.pre_deploy_command == Change::Keep
        && update.overlap == Change::Keep
        && update.draining == Change::Keep
        && update.placement.is_none()
        && update.restart_policy.is_none();
    (!nothing).then_some(update)
}

/// Whether nothing but the image is written.
pub(super) fn is_image_alone(update: &InstanceUpdate) -> bool {
    update.image != Change::Keep
        && update.registry_credentials.is_none()
        && [&update.healthcheck_path, &update.start_command, &update.pre_deploy_command]
            .into_iter()
            .all(|change| *change == Change::Keep)
        && [&update.healthcheck_timeout, &update.overlap, &update.draining]
            .into_iter()
            .all(|change| *change == Change::Keep)
        && update.placement.is_none()
        && update.restart_policy.is_none()
}

fn seconds(duration: &Attr<Text<HumanDuration>>) -> Option<Duration> {
    duration.as_known().map(|duration| duration.get().get())
}

/// An image that is no longer given is left to whoever decides it from now on: clearing it would detach the service
/// from what it runs.
fn image(prior: Option<&ServiceModel>, planned: &ServiceModel) -> Change<String> {
    let before = prior.and_then(|prior| prior.image.as_known());
    match planned.image.as_known() {
        Some(image) if before != Some(image) => Change::Set(image.as_str().to_owned()),
        _ => Change::Keep,
    }
}

fn change_by<T: PartialEq>(
    prior: Option<&ServiceModel>,
    planned: &ServiceModel,
    pick: impl Fn(&ServiceModel) -> Option<T>,
) -> Change<T> {
    match (prior.and_then(&pick), pick(planned)) {
        (Some(before), Some(after)) if before == after => Change::Keep,
        (_, Some(after)) => Change::Set(after),
        (Some(_), None) => Change::Clear,
        (None, None) => Change::Keep,
    }
}

fn credentials(
    prior: Option<&ServiceModel>,
    planned: &ServiceModel,
    config: &ServiceModel,
) -> Option<RegistryCredentials> {
    let planned = planned.registry_credentials.as_known()?;
    let before = prior.and_then(|prior| prior.registry_credentials.as_known());
    let same = before.is_some_and(|before| {
        before.username == planned.username && before.password_wo_version == planned.password_wo_version
    });
    if same {
        return None;
    }
    let password = config.registry_credentials.as_known()?.password_wo.as_known()?;
    Some(RegistryCredentials {
        username: planned.username.as_known()?.clone(),
        password: Secret::new(password.expose().clone()),
    })
}

fn placement(prior: Option<&ServiceModel>, planned: &ServiceModel) -> Option<Placement> {
    let pick = |model: &ServiceModel| -> Option<Placement> {
        if let Some(regions) = model.regions.as_known() {
            let counts = regions
                .iter()
                .filter_map(|(region, count)| Some((region.clone(), u32::try_from(*count.as_known()?).ok()?)))
                .collect();
            return Some(Placement::Regions(counts));
        }
        let replicas = model.replicas.as_known()?;
        Some(Placement::Replicas(u32::try_from(*replicas).ok()?))
    };
    match (prior.and_then(pick), pick(planned)) {
        (before, after) if before == after => None,
        (_, Some(after)) => Some(after),
        // No longer asked for: one, which is what a new service has.
        (Some(_), None) => Some(Placement::Replicas(1)),
        (None, None) => None,
    }
}

fn restart_policy(prior: Option<&ServiceModel>, planned: &ServiceModel) -> Option<RestartPolicy> {
    let pick = |model: &ServiceModel| {
        let policy = model.restart_policy.as_known()?;
        Some(RestartPolicy {
            condition: condition(*policy.r#type.as_known()?),
            max_retries: u32::try_from(*policy.max_retries.as_known()?).ok()?,
        })
    };
    match (prior.and_then(pick), pick(planned)) {
        (before, after) if before == after => None,
        (_, Some(after)) => Some(after),
        (Some(_), None) => Some(RestartPolicy {
            condition: spectra_railway::RestartPolicyType::OnFailure,
            max_retries: DEFAULT_RETRIES,
        }),
        (None, None) => None,
    }
}

const fn condition(policy: RestartPolicyType) -> spectra_railway::RestartPolicyType {
    match policy {
        RestartPolicyType::OnFailure => spectra_railway::RestartPolicyType::OnFailure,
        RestartPolicyType::Always => spectra_railway::RestartPolicyType::Always,
        RestartPolicyType::Never => spectra_railway::RestartPolicyType::Never,
    }
}

/// What Railway has, in the words that state has for it: a text that means the same is kept.
pub(super) fn read(state: ServiceModel, found: &Instance) -> ServiceModel {
    // After an import nothing is known but the ids; everything that is set is taken over then.
    let imported = state.name.is_null();
    let managed = managed::read(&state.managed(), &found.variables);
    let (replicas, regions) = read_placement(&state, found);
    ServiceModel {
        name: found.service_name.clone().into(),
        image: read_image(&state.image, found.image.as_deref()),
        health_check: read_health_check(&state, found),
        replicas,
        regions,
        restart_policy: read_restart_policy(&state, found),
        start_command: found.start_command.clone().into(),
        pre_deploy_command: found.pre_deploy_command.clone().into(),
        overlap: read_seconds(&state.overlap, found.overlap),
        draining: read_seconds(&state.draining, found.draining),
        variables: managed.variables,
        // Which of the variables are managed here, only configuration says: taking all of them over would plan to
        // delete those that other resources manage.
        secret_names: if imported { Attr::Known([].into_iter().collect()) } else { managed.secret_names },
        ..state
    }
}

/// Where no image is given here, somebody else decides it, a rollout for instance, and it is not looked at.
fn read_image(before: &Attr<Text<ImageRef>>, found: Option<&str>) -> Attr<Text<ImageRef>> {
    let Some(before) = before.as_known() else { return Attr::Null };
    let Some(found) = found.and_then(|text| text.parse::<Text<ImageRef>>().ok()) else { return Attr::Null };
    Attr::Known(if found.get() == before.get() { before.clone() } else { found })
}

fn read_seconds(before: &Attr<Text<HumanDuration>>, found: Option<Duration>) -> Attr<Text<HumanDuration>> {
    let found = found.unwrap_or_default();
    match before.as_known() {
        Some(text) if text.get().get() == found => before.clone(),
        None if found.is_zero() => Attr::Null,
        _ => Text::new(HumanDuration::new(found)).into(),
    }
}

fn read_health_check(state: &ServiceModel, found: &Instance) -> Attr<HealthCheckModel> {
    let Some(path) = &found.healthcheck_path else { return Attr::Null };
    let timeout = found.healthcheck_timeout.unwrap_or(DEFAULT_HEALTH_TIMEOUT);
    let before = state.health_check.as_known().map(|check| check.timeout.clone()).unwrap_or_default();
    Attr::Known(HealthCheckModel { path: path.clone().into(), timeout: read_seconds(&before, Some(timeout)) })
}

fn read_restart_policy(state: &ServiceModel, found: &Instance) -> Attr<RestartPolicyModel> {
    let policy = &found.restart_policy;
    let r#type = match &policy.condition {
        spectra_railway::RestartPolicyType::OnFailure => RestartPolicyType::OnFailure,
        spectra_railway::RestartPolicyType::Always => RestartPolicyType::Always,
        spectra_railway::RestartPolicyType::Never => RestartPolicyType::Never,
        // A policy that this version has no word for cannot be compared.
        spectra_railway::RestartPolicyType::Other(_) => return state.restart_policy.clone(),
    };
    let default = r#type == RestartPolicyType::OnFailure && policy.max_retries == DEFAULT_RETRIES;
    if state.restart_policy.is_null() && default {
        return Attr::Null;
    }
    Attr::Known(RestartPolicyModel {
        r#type: r#type.into(),
        max_retries: i64::from(policy.max_retries).into(),
    })
}

/// Whether Railway's `region` is meant by `given`, which may be the older name that it begins with.
pub(super) fn is_region(given: &str, region: &str) -> bool {
    given == region || region.strip_prefix(given).is_some_and(|rest| rest.starts_with('-'))
}

type Regions = Attr<BTreeMap<String, Attr<i64>>>;

fn read_placement(state: &ServiceModel, found: &Instance) -> (Attr<i64>, Regions) {
    let total = i64::from(found.total_replicas());
    let by_region = || {
        let before = state.regions.as_known();
        let counts = found.regions.iter().map(|(region, count)| {
            // A region may have been given by its older, shorter name.
            let given = before.into_iter().flat_map(BTreeMap::keys).find(|given| is_region(given, region));
            (given.unwrap_or(region).clone(), Attr::Known(i64::from(*count)))
        });
        Attr::Known(counts.collect::<BTreeMap<_, _>>())
    };
    if state.regions.is_known() && !found.regions.is_empty() {
        return (Attr::Null, by_region());
    }
    match (found.regions.len(), total) {
        (0 | 1, 1) if state.replicas.is_null() => (Attr::Null, Attr::Null),
        (0 | 1, _) => (total.into(), Attr::Null),
        _ => (Attr::Null, by_region()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions(counts: &[(&str, u32)]) -> BTreeMap<String, u32> {
        counts.iter().map(|(region, count)| ((*region).to_owned(), *count)).collect()
    }

    /// What Railway has of a service that nobody has set anything of.
    fn untouched() -> Instance {
        Instance {
            id: "i-1".to_owned(),
            service: "s-1".parse().unwrap(),
            service_name: "web".to_owned(),
            environment: "e-1".parse().unwrap(),
            image: None,
            repository: None,
            healthcheck_path: None,
            healthcheck_timeout: None,
            start_command: None,
            pre_deploy_command: None,
            overlap: None,
            draining: None,
            replicas: Some(1),
            regions: regions(&[("us-west2", 1)]),
            restart_policy: RestartPolicy {
                condition: spectra_railway::RestartPolicyType::OnFailure,
                max_retries: 10,
            },
            variables: BTreeMap::new(),
            domains: Vec::new(),
            latest_deployment: None,
            active_deployments: Vec::new(),
        }
    }

    fn everything() -> Instance {
        Instance {
            image: Some("redis:7".to_owned()),
            healthcheck_path: Some("/healthz".to_owned()),
            healthcheck_timeout: Some(Duration::from_mins(1)),
            start_command: Some("serve".to_owned()),
            pre_deploy_command: Some("migrate".to_owned()),
            overlap: Some(Duration::from_secs(5)),
            draining: Some(Duration::from_secs(90)),
            regions: regions(&[("us-west2", 1), ("us-east4-eqdc4a", 2)]),
            restart_policy: RestartPolicy {
                condition: spectra_railway::RestartPolicyType::Always,
                max_retries: 3,
            },
            variables: BTreeMap::from([(
                "A".to_owned(),
                spectra_railway::Variable { value: Some("1".into()), sealed: false },
            )]),
            ..untouched()
        }
    }

    fn nothing() -> ServiceModel {
        ServiceModel {
            id: Attr::Known("s-1".parse().unwrap()),
            project_id: Attr::Known("p-1".parse().unwrap()),
            environment_id: Attr::Known("e-1".parse().unwrap()),
            allow_fan_out: false.into(),
            ..ServiceModel::default()
        }
    }

    fn named() -> ServiceModel {
        ServiceModel {
            name: "web".to_owned().into(),
            secret_names: Attr::Known([].into_iter().collect()),
            ..nothing()
        }
    }

    fn duration(text: &str) -> Attr<Text<HumanDuration>> {
        Attr::Known(text.parse().unwrap())
    }

    fn same(left: &ServiceModel, right: &ServiceModel) {
        let value = |model| tfplugin::testing::to_value(model).unwrap();
        assert_eq!(value(left), value(right));
    }

    #[test]
    fn importing_an_untouched_service_reads_as_a_configuration_of_its_name() {
        same(&read(nothing(), &untouched()), &named());
    }

    #[test]
    fn importing_takes_over_the_settings_but_neither_image_nor_variables() {
        let configured = ServiceModel {
            health_check: Attr::Known(HealthCheckModel {
                path: "/healthz".to_owned().into(),
                timeout: duration("1m"),
            }),
            regions: Attr::Known(
                [("us-west2".to_owned(), Attr::Known(1)), ("us-east4-eqdc4a".to_owned(), Attr::Known(2))]
                    .into(),
            ),
            restart_policy: Attr::Known(RestartPolicyModel {
                r#type: RestartPolicyType::Always.into(),
                max_retries: 3.into(),
            }),
            start_command: "serve".to_owned().into(),
            pre_deploy_command: "migrate".to_owned().into(),
            overlap: duration("5s"),
            draining: duration("1m30s"),
            ..named()
        };
        let imported = read(nothing(), &everything());
        same(&imported, &configured);
        assert!(update(Some(&imported), &configured, &configured).is_none());
    }

    #[test]
    fn what_was_written_reads_back_in_the_words_it_was_written_in() {
        let written = ServiceModel {
            image: Attr::Known("docker.io/library/redis:7".parse().unwrap()),
            health_check: Attr::Known(HealthCheckModel {
                path: "/healthz".to_owned().into(),
                timeout: duration("60s"),
            }),
            regions: Attr::Known(
                [("us-west2".to_owned(), Attr::Known(1)), ("us-east4".to_owned(), Attr::Known(2))].into(),
            ),
            restart_policy: Attr::Known(RestartPolicyModel {
                r#type: RestartPolicyType::Always.into(),
                max_retries: 3.into(),
            }),
            start_command: "serve".to_owned().into(),
            pre_deploy_command: "migrate".to_owned().into(),
            overlap: duration("5000ms"),
            draining: duration("90s"),
            variables: Attr::Known([("A".to_owned(), Attr::Known("1".to_owned()))].into()),
            ..named()
        };
        same(&read(written.clone(), &everything()), &written);
    }

    #[test]
    fn an_image_that_is_no_longer_given_stays_what_the_service_is_set_to() {
        let prior = ServiceModel { image: Attr::Known("redis:7".parse().unwrap()), ..named() };
        assert!(update(Some(&prior), &named(), &named()).is_none());
    }

    #[test]
    fn what_a_fork_has_copied_is_cleared_unless_it_is_asked_for() {
        let copied = read(named(), &everything());
        let asked = ServiceModel { start_command: "serve".to_owned().into(), ..named() };
        let update = update(Some(&copied), &asked, &asked).unwrap();
        assert_eq!(update.start_command, Change::Keep);
        assert_eq!(update.pre_deploy_command, Change::Clear);
        assert_eq!(update.healthcheck_path, Change::Clear);
        assert!(!is_image_alone(&update));
    }
}
