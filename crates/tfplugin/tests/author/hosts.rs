//! An identity that may change while the object lives.

use tfplugin::testing::Changed;
use tfplugin::{Apply, Attr, Context, Diagnostics, Import, Model, Resource, StateSlot, Value};

use crate::core;

#[derive(Clone, Debug, Default, Model)]
#[tf(mutable_identity)]
pub(crate) struct Host {
    #[tf(computed, stable, identity)]
    id: Attr<String>,
    #[tf(required, identity)]
    name: Attr<String>,
    /// The name that somebody else gives it.
    #[tf(optional)]
    renamed: Attr<String>,
}

pub(crate) struct HostResource;

impl Resource for HostResource {
    type Model = Host;
    type Client = ();

    const TYPE: &'static str = "author_host";

    async fn create(
        &self,
        _: &Context<()>,
        apply: Apply<Host>,
        state: &StateSlot<Host>,
    ) -> Result<Diagnostics, Diagnostics> {
        state.save(Host { id: "h1".into(), ..apply.planned });
        Ok(Diagnostics::new())
    }

    async fn read(&self, _: &Context<()>, state: Host) -> Result<Option<Host>, Diagnostics> {
        let name = if state.renamed.is_null() { state.name.clone() } else { state.renamed.clone() };
        Ok(Some(Host { name, ..state }))
    }

    async fn update(
        &self,
        _: &Context<()>,
        apply: Apply<Host>,
        state: &StateSlot<Host>,
    ) -> Result<Diagnostics, Diagnostics> {
        state.save(apply.planned);
        Ok(Diagnostics::new())
    }

    async fn delete(
        &self,
        _: &Context<()>,
        _: Host,
        _: &StateSlot<Host>,
    ) -> Result<Diagnostics, Diagnostics> {
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Context<()>, import: Import) -> Result<Host, Diagnostics> {
        import.partial([("id", import.id.as_str().into())])
    }
}

#[tokio::test]
async fn a_mutable_identity_goes_with_an_update_and_with_what_is_read() {
    let mut core = core().await;
    let named = |name: &str| Host { name: name.into(), ..Host::default() };
    let identity = |name: &str| Value::object([("id", "h1".into()), ("name", name.into())]);
    core.apply::<HostResource>("a", &named("one")).await.unwrap();
    assert_eq!(core.identity::<HostResource>("a"), identity("one"));
    let outcome = core.apply::<HostResource>("a", &named("two")).await.unwrap();
    assert_eq!((outcome.changed, core.identity::<HostResource>("a")), (Changed::Updated, identity("two")));
    // Its required part changes underneath.
    let config = Host { renamed: "three".into(), ..named("two") };
    core.apply::<HostResource>("a", &config).await.unwrap();
    let outcome = core.plan::<HostResource>("a", &config).await.unwrap();
    assert_eq!((outcome.changed, core.identity::<HostResource>("a")), (Changed::Updated, identity("three")));
    core.destroy::<HostResource>("a").await.unwrap();
}
