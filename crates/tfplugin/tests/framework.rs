//! Planning and applying, through the small core that providers' own tests use.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tfplugin::testing::{Changed, Core, Failed, lint};
use tfplugin::{
    Apply, Attr, AttributePath, Configure, Context, Diagnostic, Diagnostics, Import, Model, Operation, Plan,
    Provider, Registry, Resource, Set, StateSlot, Value,
};

/// Services that exist, by id.
type Remote = Arc<Mutex<BTreeMap<String, Service>>>;

#[derive(Default)]
struct Cloud(Remote);

#[derive(Clone, Debug, PartialEq, Model)]
struct Service {
    #[tf(computed, stable)]
    id: Attr<String>,
    #[tf(required, force_new)]
    name: Attr<String>,
    #[tf(default = 1, validate(range(1..=9)))]
    replicas: Attr<i64>,
    #[tf(optional)]
    image: Attr<String>,
    /// Changes with the image alone.
    #[tf(computed)]
    digest: Attr<String>,
    /// Changes with every update.
    #[tf(computed)]
    revision: Attr<i64>,
    #[tf(optional)]
    place: Attr<Place>,
    #[tf(optional)]
    ports: Attr<Set<Port>>,
    #[tf(optional)]
    volumes: Attr<Vec<Volume>>,
}

#[derive(Clone, Debug, PartialEq, Model)]
struct Place {
    #[tf(required, force_new)]
    region: Attr<String>,
    #[tf(default = "a")]
    zone: Attr<String>,
}

#[derive(Clone, Debug, PartialEq, Model)]
struct Port {
    #[tf(required)]
    number: Attr<i64>,
    #[tf(default = "tcp")]
    protocol: Attr<String>,
}

#[derive(Clone, Debug, PartialEq, Model)]
struct Volume {
    #[tf(required)]
    path: Attr<String>,
    #[tf(computed, stable)]
    id: Attr<String>,
}

fn service(name: &str) -> Service {
    Service {
        id: Attr::Null,
        name: name.into(),
        replicas: Attr::Null,
        image: Attr::Null,
        digest: Attr::Null,
        revision: Attr::Null,
        place: Attr::Null,
        ports: Attr::Null,
        volumes: Attr::Null,
    }
}

fn port(number: i64) -> Port {
    Port { number: number.into(), protocol: Attr::Null }
}

fn volume(path: &str) -> Volume {
    Volume { path: path.into(), id: Attr::Null }
}

impl Provider for Cloud {
    type Config = ();
    type Client = Remote;
    type Meta = ();

    const NAME: &'static str = "cloud";
    const ADDRESS: &'static str = "registry.terraform.io/example/cloud";
    const VERSION: &'static str = "0.0.1";

    async fn configure(&self, _: Configure<()>) -> Result<Remote, Diagnostics> {
        Ok(Arc::clone(&self.0))
    }

    fn register(&self, registry: &mut Registry<Self>) {
        registry.resource(ServiceResource);
    }
}

struct ServiceResource;

impl ServiceResource {
    fn finish(mut planned: Service, revision: i64) -> Service {
        planned.id = planned.id.or_unknown(|| format!("id-{revision}"));
        let image = planned.image.clone();
        planned.digest = planned.digest.or_unknown(|| format!("sha256:{:?}", image.as_str()));
        planned.revision = planned.revision.or_unknown(|| revision);
        for volume in planned.volumes.known_mut().into_iter().flatten() {
            let path = volume.path.clone();
            volume.id = volume.id.clone().or_unknown(|| format!("volume-{}", path.as_str().unwrap()));
        }
        planned
    }
}

impl Resource for ServiceResource {
    type Model = Service;
    type Client = Remote;

    const TYPE: &'static str = "cloud_service";

    async fn plan(&self, _: Option<&Context<Remote>>, plan: &mut Plan<Service>) {
        if plan.operation == Operation::Delete
            && plan.prior.as_ref().is_some_and(|prior| prior.name.as_str() == Some("kept"))
        {
            plan.error("name", "Protected", "`kept` is not deleted.");
        }
        if plan.operation == Operation::Update && !plan.changes("image") {
            plan.keep_prior("digest");
        }
    }

    async fn create(
        &self,
        cx: &Context<Remote>,
        apply: Apply<Service>,
        state: &StateSlot<Service>,
    ) -> Result<Diagnostics, Diagnostics> {
        let made = Self::finish(apply.planned, 1);
        state.save(made.clone());
        if made.image.as_str() == Some("broken") {
            return Err(Diagnostic::error("Does not start", "It was made, and does not run.")
                .at("image")
                .into());
        }
        cx.client.lock().unwrap().insert(made.id.as_str().unwrap().to_owned(), made);
        Ok(Diagnostics::new())
    }

    async fn read(&self, cx: &Context<Remote>, state: Service) -> Result<Option<Service>, Diagnostics> {
        if state.image.as_str() == Some("broken") {
            return Ok(Some(state));
        }
        Ok(cx.client.lock().unwrap().get(state.id.as_str().unwrap()).cloned())
    }

    async fn update(
        &self,
        cx: &Context<Remote>,
        apply: Apply<Service>,
        state: &StateSlot<Service>,
    ) -> Result<Diagnostics, Diagnostics> {
        let before = apply.prior.unwrap().revision.known().unwrap();
        if apply.planned.image.as_str() == Some("broken") {
            return Err(Diagnostic::error("Does not start", "The old one still runs.").at("image").into());
        }
        let made = Self::finish(apply.planned, before + 1);
        cx.client.lock().unwrap().insert(made.id.as_str().unwrap().to_owned(), made.clone());
        state.save(made);
        Ok(Diagnostics::new())
    }

    async fn delete(
        &self,
        cx: &Context<Remote>,
        prior: Service,
        _: &StateSlot<Service>,
    ) -> Result<Diagnostics, Diagnostics> {
        cx.client.lock().unwrap().remove(prior.id.as_str().unwrap());
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Context<Remote>, import: Import) -> Result<Service, Diagnostics> {
        import.partial([("id", Value::from(import.id.as_str()))])
    }
}

async fn core() -> (Core<Cloud>, Remote) {
    let cloud = Cloud::default();
    let remote = Arc::clone(&cloud.0);
    (Core::new(cloud, &()).await.unwrap(), remote)
}

type R = ServiceResource;

fn messages(failed: Failed) -> Vec<String> {
    failed
        .diagnostics()
        .into_iter()
        .map(|message| format!("{} at {:?}", message.summary, message.attribute))
        .collect()
}

#[test]
fn the_schemas_are_sound() {
    assert_eq!(lint(Cloud::default()), Vec::<String>::new());
}

#[tokio::test]
async fn a_create_plans_what_it_knows_and_leaves_the_rest_open() {
    let (mut core, _) = core().await;
    let outcome = core.plan::<R>("a", &service("a")).await.unwrap();
    assert_eq!(outcome.changed, Changed::Created);
    assert_eq!(outcome.value.get("replicas"), Some(&Value::from(1)), "the default is planned");
    assert_eq!(outcome.value.get("image"), Some(&Value::Null), "what is left out is planned so");
    for open in ["id", "digest", "revision"] {
        assert!(outcome.value.get(open).unwrap().is_unknown(), "{open}");
    }
    core.apply::<R>("a", &service("a")).await.unwrap();
    let outcome = core.apply::<R>("a", &service("a")).await.unwrap();
    assert_eq!(outcome.changed, Changed::Nothing, "a second apply has nothing to do");
}

#[tokio::test]
async fn an_update_keeps_what_is_stable_and_what_the_author_keeps() {
    let (mut core, _) = core().await;
    core.apply::<R>("a", &service("a")).await.unwrap();
    let more = Service { replicas: 3.into(), ..service("a") };
    let outcome = core.plan::<R>("a", &more).await.unwrap();
    assert_eq!(outcome.changed, Changed::Updated);
    assert_eq!(outcome.value.get("id"), Some(&Value::from("id-1")));
    assert!(!outcome.value.get("digest").unwrap().is_unknown(), "kept, for the image is the same");
    assert!(outcome.value.get("revision").unwrap().is_unknown());
    core.apply::<R>("a", &more).await.unwrap();
    let image = Service { image: "b".into(), ..more };
    assert!(core.plan::<R>("a", &image).await.unwrap().value.get("digest").unwrap().is_unknown());
}

#[tokio::test]
async fn a_default_comes_back_when_the_value_is_left_out_again() {
    let (mut core, _) = core().await;
    core.apply::<R>("a", &Service { replicas: 3.into(), ..service("a") }).await.unwrap();
    core.apply::<R>("a", &service("a")).await.unwrap();
    assert_eq!(core.value("a").get("replicas"), Some(&Value::from(1)));
}

#[tokio::test]
async fn defaults_reach_into_objects_and_elements_of_sets() {
    let (mut core, _) = core().await;
    let place = Place { region: "eu".into(), zone: Attr::Null };
    let udp = Port { protocol: "udp".into(), ..port(2) };
    let config =
        Service { place: place.into(), ports: Set::from(vec![port(3), udp, port(1)]).into(), ..service("a") };
    core.apply::<R>("a", &config).await.unwrap();
    let state = core.state::<R>("a").unwrap().unwrap();
    assert_eq!(state.place.as_known().unwrap().zone, "a".into());
    let mut ports: Vec<_> = state.ports.as_known().unwrap().iter().map(|port| format!("{port:?}")).collect();
    ports.sort();
    assert_eq!(ports.len(), 3);
    assert!(ports[0].contains("tcp") && ports[1].contains("udp") && ports[2].contains("tcp"), "{ports:?}");
    assert_eq!(core.plan::<R>("a", &config).await.unwrap().changed, Changed::Nothing);
}

#[tokio::test]
async fn computed_values_in_lists_go_with_the_index() {
    let (mut core, _) = core().await;
    let config = |paths: &[&str]| Service {
        volumes: paths.iter().map(|path| volume(path)).collect::<Vec<_>>().into(),
        ..service("a")
    };
    core.apply::<R>("a", &config(&["x"])).await.unwrap();
    let outcome = core.plan::<R>("a", &config(&["x", "y"])).await.unwrap();
    let id = |index: u64| {
        outcome.value.get_path(&AttributePath::from("volumes").index(index).attribute("id")).cloned()
    };
    assert_eq!(id(0), Some(Value::from("volume-x")));
    assert_eq!(id(1), Some(Value::unknown()));
    core.apply::<R>("a", &config(&["x", "y"])).await.unwrap();
    core.apply::<R>("a", &config(&[])).await.unwrap();
    assert_eq!(
        core.value("a").get("volumes"),
        Some(&Value::list([])),
        "an empty list stays empty, and is not null"
    );
}

#[tokio::test]
async fn a_change_that_forces_a_new_object_replaces() {
    let (mut core, remote) = core().await;
    let at = |region: &str| Service {
        place: Place { region: region.into(), zone: Attr::Null }.into(),
        ..service("a")
    };
    core.apply::<R>("a", &at("eu")).await.unwrap();
    let outcome = core.plan::<R>("a", &at("us")).await.unwrap();
    assert_eq!(outcome.changed, Changed::Replaced);
    assert_eq!(outcome.replaced_by, [AttributePath::from("place").attribute("region")]);
    assert!(outcome.value.get("id").unwrap().is_unknown(), "the new object has another id");
    core.apply::<R>("a", &at("us")).await.unwrap();
    assert_eq!(remote.lock().unwrap().len(), 1);
    let outcome = core.plan::<R>("a", &service("a")).await.unwrap();
    assert_eq!(outcome.replaced_by, [AttributePath::from("place")], "the object with the forcing part goes");
}

#[tokio::test]
async fn drift_is_read_back() {
    let (mut core, remote) = core().await;
    core.apply::<R>("a", &service("a")).await.unwrap();
    remote.lock().unwrap().get_mut("id-1").unwrap().replicas = 7.into();
    assert_eq!(core.plan::<R>("a", &service("a")).await.unwrap().changed, Changed::Updated);
    remote.lock().unwrap().clear();
    assert_eq!(core.plan::<R>("a", &service("a")).await.unwrap().changed, Changed::Created);
}

#[tokio::test]
async fn values_that_are_known_later_are_planned_unknown() {
    let (mut core, _) = core().await;
    let early =
        Service { image: Attr::Unknown, replicas: Attr::Unknown, volumes: Attr::Unknown, ..service("a") };
    let late =
        Service { image: "x".into(), replicas: 2.into(), volumes: vec![volume("v")].into(), ..service("a") };
    core.apply_planned::<R>("a", &early, &late).await.unwrap();
    assert_eq!(core.value("a").get("digest"), Some(&Value::from("sha256:Some(\"x\")")));
}

#[tokio::test]
async fn a_create_that_fails_half_way_is_tainted_and_replaced() {
    let (mut core, _) = core().await;
    let failed = core.apply::<R>("a", &Service { image: "broken".into(), ..service("a") }).await.unwrap_err();
    assert_eq!(messages(failed), ["Does not start at Some(AttributePath([Attribute(\"image\")]))"]);
    assert!(core.is_tainted("a"));
    let outcome = core.apply::<R>("a", &service("a")).await.unwrap();
    assert_eq!(outcome.changed, Changed::Replaced);
    assert!(!core.is_tainted("a"));
}

#[tokio::test]
async fn an_update_that_fails_leaves_the_old_state() {
    let (mut core, _) = core().await;
    core.apply::<R>("a", &service("a")).await.unwrap();
    let before = core.value("a");
    core.apply::<R>("a", &Service { image: "broken".into(), ..service("a") }).await.unwrap_err();
    assert_eq!(core.value("a"), before);
}

#[tokio::test]
async fn bad_values_and_refused_deletions_are_errors() {
    let (mut core, _) = core().await;
    let refused = core.validate::<R>(&Service { replicas: 10.into(), ..service("a") }).unwrap_err();
    assert_eq!(
        messages(refused),
        ["Invalid value for `replicas` at Some(AttributePath([Attribute(\"replicas\")]))"]
    );
    core.apply::<R>("kept", &service("kept")).await.unwrap();
    assert!(core.destroy::<R>("kept").await.unwrap_err().to_string().contains("`kept` is not deleted."));
    assert!(core.state::<R>("kept").is_some());
}

#[tokio::test]
async fn an_import_is_completed_by_reading() {
    let (mut core, _) = core().await;
    core.apply::<R>("a", &service("a")).await.unwrap();
    core.import::<R>("b", "id-1").await.unwrap();
    assert_eq!(core.value("b"), core.value("a"));
    assert!(core.import::<R>("c", "nowhere").await.unwrap_err().to_string().contains("read as gone"));
    core.destroy::<R>("b").await.unwrap();
    assert!(core.state::<R>("b").is_none());
}
