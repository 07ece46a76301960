//! Deployment policies, for an image that a service deploys by itself: no rollout asks them.

use std::time::Duration;

use spectra_delivery::{Admitted, Error, Signatures, admitted};
use spectra_journal::Holder;
use spectra_railway::InstanceRef;
use spectra_rollout::{Place, Violation};
use spectra_types::{EnvironmentId, ImageRef, PinnedImage, ProjectId, error_chain};
use tfplugin::{Diagnostic, Operation, Plan};

use super::ServiceModel;
use crate::errors::{UNCHANGED, sentence};
use crate::provider::{Cx, PROGRAM};

/// Attributes whose change deploys the image; the tests have every other one, with why it is none.
const DEPLOYED: [&str; 15] = [
    "project_id",
    "environment_id",
    "image",
    "health_check",
    "replicas",
    "regions",
    "restart_policy",
    "start_command",
    "pre_deploy_command",
    "overlap",
    "draining",
    "variables",
    "secrets_wo_version",
    "secret_names",
    "registry_credentials",
];

/// How long a registry is asked what a tag stands for, which is a service to whoever has to write it down.
const RESOLVE_WITHIN: Duration = Duration::from_secs(10);

/// At plan, where image and environment are known: an image that the policies do not let in is refused. Unlike for a rollout, that is an
/// error also where something else than signatures is missing: nothing that comes with the same apply makes a rollout of it.
pub(super) async fn check(cx: &Cx, plan: &mut Plan<ServiceModel>, planned: &ServiceModel) {
    let deploys = plan.operation == Operation::Create || DEPLOYED.iter().any(|name| plan.changes(*name));
    let known = (planned.project_id.as_known(), planned.environment_id.as_known(), planned.image.as_known());
    let (true, (Some(project), Some(environment), Some(image))) = (deploys, known) else { return };
    let Err(error) = ask(cx, project.get(), environment.get(), image.get()).await else { return };
    plan.diagnostics.push(match error {
        error @ (Error::Policy { .. } | Error::Unsigned(_) | Error::Interrupted { .. }) => {
            let policy = match error {
                Error::Interrupted { .. } => "",
                _ => " Where the policy is to change with this apply, apply it first, alone.",
            };
            let mut refused = refused(cx, image.get(), &error).await;
            refused.detail.push_str(policy);
            refused
        }
        error => Diagnostic::warning(
            "Deployment policies could not be asked about the image",
            format!(
                "{} [{}]. The apply asks again, and changes nothing before it has an answer.",
                sentence(&error_chain(&error)),
                error.code()
            ),
        )
        .at("image"),
    });
}

/// At apply, before anything is changed. `None`: nobody asks for signatures.
pub(super) async fn admit(cx: &Cx, planned: &ServiceModel) -> Result<Option<Admitted>, Diagnostic> {
    let known = (planned.project_id.as_known(), planned.environment_id.as_known(), planned.image.as_known());
    let (Some(project), Some(environment), Some(image)) = known else { return Ok(None) };
    match ask(cx, project.get(), environment.get(), image.get()).await {
        Ok(admitted) => Ok(admitted),
        Err(error) => Err(refused(cx, image.get(), &error).await),
    }
}

/// Writes down whose signatures let the image in.
pub(super) async fn write_down(
    cx: &Cx,
    admitted: Option<&Admitted>,
    instance: &InstanceRef,
) -> Result<(), Diagnostic> {
    let Some(admitted) = admitted else { return Ok(()) };
    let written = async {
        match cx.client.journal_if_there().await? {
            Some(journal) => {
                let by = Holder::of_this_process(PROGRAM);
                admitted.write_down(journal, &Place::from(instance.clone()), &by).await
            }
            None => Ok(()),
        }
    };
    written.await.map_err(|error: Error| {
        let detail = format!(
            "{} [{}]. Who signed an image is written down before it is deployed, so nothing was deployed. The next apply tries again.",
            sentence(&error_chain(&error)),
            error.code()
        );
        Diagnostic::error("The signatures of the image could not be written down", detail).at("image")
    })
}

/// What the policies say. Where there is no journal, there are none, and none is made.
async fn ask(
    cx: &Cx,
    project: &ProjectId,
    environment: &EnvironmentId,
    image: &ImageRef,
) -> Result<Option<Admitted>, Error> {
    let Some(journal) = cx.client.journal_if_there().await? else { return Ok(None) };
    let certificates = crate::signatures::certificates_if_needed();
    let signatures = Signatures { source: Some(cx.client.registry()), certificates, policies: &[] };
    admitted(journal, &signatures, (project, environment), image, &cx.cancel).await
}

/// Why the image is not deployed, and what to do.
async fn refused(cx: &Cx, image: &ImageRef, error: &Error) -> Diagnostic {
    let remedy = match error {
        Error::Policy { violations } => {
            let mut remedies = Vec::new();
            if violations.iter().any(|one| !one.is_about_the_digest() && !one.is_about_the_image()) {
                remedies.push(
                    "Leave `image` out, and bring it out with `spectra_rollout`, which keeps to the policy."
                        .to_owned(),
                );
            }
            if violations.iter().any(Violation::is_about_the_digest) {
                remedies.push(match pinned(cx, image).await {
                    Some(pinned) => format!("Write `{pinned}`, which it is now."),
                    None => "Name it by its digest: `spectra_image` finds it.".to_owned(),
                });
            }
            if remedies.is_empty() {
                remedies.push("Take an image from there, or change the policy.".to_owned());
            }
            remedies.join(" ")
        }
        error => error.hint().map(|hint| format!("{}.", sentence(hint))).unwrap_or_default(),
    };
    let summary = match error {
        Error::Policy { .. } => "A deployment policy refuses the image",
        Error::Unsigned(_) => "The image is not signed as the deployment policy wants it",
        _ => "Deployment policies could not be asked about the image",
    };
    let detail = format!("{} [{}]. {UNCHANGED}\n\n{remedy}", sentence(&error_chain(error)), error.code());
    Diagnostic::error(summary, detail.trim_end().to_owned()).at("image")
}

/// What a tag stands for now; `None` where nobody says so in time.
async fn pinned(cx: &Cx, image: &ImageRef) -> Option<PinnedImage> {
    let resolved = tokio::time::timeout(RESOLVE_WITHIN, cx.client.registry().resolve(image));
    tokio::select! {
        () = cx.cancel.cancelled() => None,
        resolved = resolved => Some(resolved.ok()?.ok()?.image),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use spectra_journal::Location;
    use spectra_rollout::{DeploymentPolicy, Reach};
    use tfplugin::{Apply, Attr, Diagnostics, Model as _, Resource as _, Sensitive, StateSlot};
    use tokio::net::TcpListener;

    use super::super::model::{
        HealthCheckModel, RegistryCredentialsModel, RestartPolicyModel, RestartPolicyType,
    };
    use super::*;
    use crate::fake::{Fake, instance, list, signed_by_somebody, snapshot};
    use crate::resources::managed_variables::Secrets;
    use crate::resources::service::Service;

    fn web(image: &str) -> ServiceModel {
        ServiceModel {
            project_id: Attr::Known("p-1".parse().unwrap()),
            environment_id: Attr::Known("e-1".parse().unwrap()),
            name: "web".to_owned().into(),
            image: Attr::Known(image.parse().unwrap()),
            ..ServiceModel::default()
        }
    }

    fn policy(environment: &str) -> DeploymentPolicy {
        DeploymentPolicy::new("careful", Reach::Environment { environment: environment.parse().unwrap() })
    }

    async fn railway() -> Fake {
        let fake = Fake::start().await;
        fake.answer("EnvironmentSnapshot", snapshot(&[instance(&json!({}))], &json!({})));
        fake.answer("ServiceList", json!({ "project": { "services": list(&[]) } }));
        fake
    }

    /// What the plan says, and that it is about the image.
    async fn refused(fake: &Fake, image: &str) -> String {
        let failed = fake.core().await.plan::<Service>("web", &web(image)).await.unwrap_err();
        let said = failed.to_string();
        for one in failed.diagnostics().iter() {
            assert_eq!(one.attribute.as_ref().map(ToString::to_string).as_deref(), Some("image"), "{said}");
        }
        said
    }

    #[tokio::test]
    async fn an_image_of_a_service_was_held_against_no_policy() {
        let fake = railway().await;
        let ours = "ghcr.io/acme/web:1";
        let plan = async |model: &ServiceModel| fake.core().await.plan::<Service>("web", model).await;
        plan(&web(ours)).await.unwrap();
        assert!(
            !fake.journal().parse::<Location>().unwrap().path().unwrap().exists(),
            "a plan makes no journal"
        );
        // For another environment.
        fake.put(&DeploymentPolicy { health_required: true, ..policy("e-2") }).await;
        plan(&web(ours)).await.unwrap();
        fake.put(&DeploymentPolicy { health_required: true, ..policy("e-1") }).await;
        let said = refused(&fake, ours).await;
        assert!(said.contains("SPX-438") && said.contains("`health_required`"), "{said}");
        assert!(said.contains("Leave `image` out, and bring it out with `spectra_rollout`"), "{said}");
        plan(&ServiceModel { image: Attr::Null, ..web(ours) }).await.unwrap();
        let from = vec!["ghcr.io/acme/*".to_owned()];
        fake.put(&DeploymentPolicy { allowed_repositories: from, ..policy("e-1") }).await;
        plan(&web(ours)).await.unwrap();
        let said = refused(&fake, "ghcr.io/other/web:1").await;
        assert!(said.contains("images may come from ghcr.io/acme/*"), "{said}");
    }

    #[tokio::test]
    async fn a_policy_that_came_after_the_plan_is_kept_to_before_anything_is_changed() {
        let fake = railway().await;
        fake.put(&DeploymentPolicy { health_required: true, ..policy("e-1") }).await;
        let cx = fake.cx().await;
        let model = web("ghcr.io/acme/web:1");
        let says = |refused: Diagnostics| {
            let said: Vec<_> = refused.iter().map(|one| one.detail.clone()).collect();
            assert!(said.len() == 1 && said[0].contains("SPX-438"), "{said:?}");
        };
        let create = Apply { prior: None, planned: model.clone(), config: model.clone() };
        says(Box::pin(Service.create(&cx, create, &StateSlot::new(None))).await.unwrap_err());
        let prior =
            ServiceModel { id: Attr::Known("s-1".parse().unwrap()), image: Attr::Null, ..model.clone() };
        let planned = ServiceModel {
            name: "shop".to_owned().into(),
            image: model.image.clone(),
            start_command: "serve".to_owned().into(),
            ..prior.clone()
        };
        let slot = StateSlot::new(Some(prior.clone()));
        let update = Apply { prior: Some(prior), planned: planned.clone(), config: planned };
        says(Box::pin(Service.update(&cx, update, &slot)).await.unwrap_err());
        assert_eq!(fake.seen(), [""; 0]);
    }

    /// What an apply makes of a change.
    enum Does {
        Deploy,
        /// The service is made anew, and deployed.
        Replace,
        /// Neither, for this reason.
        Nothing(&'static str),
    }

    /// Changes an attribute, and says what an apply makes of that. Whoever adds an attribute decides here, and in [`DEPLOYED`].
    fn change(attribute: &str, to: &mut ServiceModel) -> Does {
        let command = || Attr::Known("serve --slowly".to_owned());
        let time = || Attr::Known("20s".parse().unwrap());
        match attribute {
            "project_id" => to.project_id = Attr::Known("p-2".parse().unwrap()),
            "environment_id" => to.environment_id = Attr::Known("e-2".parse().unwrap()),
            "image" => to.image = Attr::Known("ghcr.io/acme/web:2".parse().unwrap()),
            "health_check" => {
                to.health_check =
                    Attr::Known(HealthCheckModel { path: "/up".to_owned().into(), timeout: time() });
            }
            "replicas" => to.replicas = 2.into(),
            "regions" => to.regions = Attr::Known([("us-west2".to_owned(), 2.into())].into()),
            "restart_policy" => {
                let r#type = Attr::Known(RestartPolicyType::Always);
                to.restart_policy = Attr::Known(RestartPolicyModel { r#type, max_retries: 3.into() });
            }
            "start_command" => to.start_command = command(),
            "pre_deploy_command" => to.pre_deploy_command = command(),
            "overlap" => to.overlap = time(),
            "draining" => to.draining = time(),
            "variables" => {
                to.variables = Attr::Known([("COLOUR".to_owned(), "red".to_owned().into())].into());
            }
            "secrets_wo_version" => to.secrets_wo_version = 2.into(),
            "secret_names" => {
                to.secrets_wo = secrets(&["TOKEN", "SALT"]);
                to.secret_names = Attr::Known(["TOKEN", "SALT"].map(str::to_owned).into_iter().collect());
            }
            "registry_credentials" => {
                to.registry_credentials = Attr::Known(RegistryCredentialsModel {
                    username: "robot".to_owned().into(),
                    password_wo: Attr::Known(Sensitive("swordfish".to_owned())),
                    password_wo_version: Attr::Null,
                });
            }
            "id" => return Does::Nothing("Railway gives it, and it stays as it is"),
            "name" => {
                to.name = "shop".to_owned().into();
                return Does::Nothing("the service is called something else, and runs what it ran");
            }
            "secrets_wo" => {
                to.secrets_wo = Attr::Known(
                    [("TOKEN".to_owned(), Attr::Known(Sensitive("another-hidden".to_owned())))].into(),
                );
                return Does::Nothing("nobody sees it: names and version say what is written");
            }
            "allow_fan_out" => {
                to.allow_fan_out = true.into();
                return Does::Nothing("it is looked at while the service is made, and no more afterwards");
            }
            new => {
                panic!("does a change of `{new}` deploy the image? Say so here, and in `DEPLOYED` if it does")
            }
        }
        if matches!(attribute, "project_id" | "environment_id") { Does::Replace } else { Does::Deploy }
    }

    fn secrets(names: &[&str]) -> Secrets {
        let secret = || Attr::Known(Sensitive("hidden-value".to_owned()));
        Attr::Known(names.iter().map(|name| ((*name).to_owned(), secret())).collect())
    }

    /// What an apply says, to which a policy refuses to deploy the image.
    async fn applied(fake: &Fake, prior: &ServiceModel, config: ServiceModel, does: &Does) -> String {
        let cx = fake.cx().await;
        let planned = ServiceModel { secrets_wo: Attr::Null, ..config.clone() };
        let prior = Some(prior.clone()).filter(|_| !matches!(does, Does::Replace));
        let slot = StateSlot::new(prior.clone());
        let apply = Apply { prior: prior.clone(), planned, config };
        let applied = match prior {
            Some(_) => Box::pin(Service.update(&cx, apply, &slot)).await,
            None => Box::pin(Service.create(&cx, apply, &slot)).await,
        };
        applied
            .map_or_else(|refused| refused.iter().map(|one| one.detail.clone()).collect(), |_| String::new())
    }

    #[tokio::test]
    async fn every_attribute_deploys_or_has_a_reason_why_not_and_the_plan_knows_as_the_apply_does() {
        let schema = ServiceModel::block();
        assert!(schema.blocks.is_empty(), "what is in blocks is not looked at here");
        let fake = railway().await;
        let renamed = json!({ "id": "s-1", "name": "shop", "projectId": "p-1", "deletedAt": null });
        fake.answer("ServiceUpdate", json!({ "serviceUpdate": renamed }));
        let everywhere = DeploymentPolicy::new("careful", Reach::Everything);
        fake.put(&DeploymentPolicy { health_required: true, ..everywhere }).await;
        let prior = ServiceModel {
            id: Attr::Known("s-1".parse().unwrap()),
            variables: Attr::Known([("COLOUR".to_owned(), "blue".to_owned().into())].into()),
            secrets_wo_version: 1.into(),
            secret_names: Attr::Known(["TOKEN".to_owned()].into_iter().collect()),
            allow_fan_out: false.into(),
            ..web("ghcr.io/acme/web:1")
        };
        for attribute in &schema.attributes {
            let name = attribute.name.as_str();
            let mut config = ServiceModel { secrets_wo: secrets(&["TOKEN"]), ..prior.clone() };
            let does = change(name, &mut config);
            assert_eq!(matches!(does, Does::Replace), attribute.force_new, "{name}");
            let said = applied(&fake, &prior, config, &does).await;
            let (deploys, why) = match does {
                Does::Deploy => (true, "it is written to Railway, and takes effect with a deployment"),
                Does::Replace => (true, "another service is made, and deployed"),
                Does::Nothing(why) => (false, why),
            };
            assert_eq!(said.contains("SPX-438"), deploys, "{name}: {why}: {said}");
            assert!(deploys || said.is_empty(), "{name}: {said}");
            assert_eq!(DEPLOYED.contains(&name), deploys, "{name}: {why}");
        }
        for name in DEPLOYED {
            assert!(schema.attribute(name).is_some(), "there is no `{name}`");
        }
    }

    #[tokio::test]
    async fn an_apply_that_is_interrupted_waits_for_no_registry() {
        let fake = railway().await;
        fake.put(&DeploymentPolicy { signatures: Some(signed_by_somebody()), ..policy("e-1") }).await;
        // It accepts connections, and says nothing.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = silent.local_addr().unwrap().port();
        let image = format!("127.0.0.1:{port}/acme/web@sha256:{}", "a".repeat(64));
        let refused = admit(&fake.stopped().await, &web(&image)).await.unwrap_err();
        assert!(refused.detail.contains("SPX-446"), "{}", refused.detail);
        assert!(refused.detail.contains(UNCHANGED), "{}", refused.detail);
    }
}
