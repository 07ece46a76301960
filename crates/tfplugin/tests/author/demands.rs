//! What an author demands of a plan: replacements, by paths that may be wrong.

use tfplugin::testing::Changed;
use tfplugin::{
    Apply, Attr, AttributePath, Context, Diagnostics, Import, Model, Operation, Plan, Resource, Set,
    StateSlot,
};

use crate::{core, refusals};

#[derive(Clone, Debug, Default, Model)]
pub(crate) struct Demand {
    #[tf(computed, stable)]
    id: Attr<String>,
    /// Where the demand goes.
    #[tf(required)]
    path: Attr<String>,
    #[tf(optional)]
    parts: Attr<Set<Part>>,
}

#[derive(Clone, Debug, PartialEq, Model)]
struct Part {
    #[tf(required)]
    label: Attr<String>,
}

pub(crate) struct DemandResource;

impl Resource for DemandResource {
    type Model = Demand;
    type Client = ();

    const TYPE: &'static str = "author_demand";

    async fn plan(&self, _: Option<&Context<()>>, plan: &mut Plan<Demand>) {
        if plan.operation != Operation::Update {
            return;
        }
        match plan.planned.as_ref().and_then(|planned| planned.path.as_str()) {
            Some("typo") => plan.require_replace("pathh"),
            Some("set") => {
                plan.require_replace(AttributePath::from("parts").index(0).attribute("label"));
            }
            _ => {}
        }
    }

    async fn create(
        &self,
        _: &Context<()>,
        apply: Apply<Demand>,
        state: &StateSlot<Demand>,
    ) -> Result<Diagnostics, Diagnostics> {
        state.save(Demand { id: "d".into(), ..apply.planned });
        Ok(Diagnostics::new())
    }

    async fn read(&self, _: &Context<()>, state: Demand) -> Result<Option<Demand>, Diagnostics> {
        Ok(Some(state))
    }

    async fn update(
        &self,
        _: &Context<()>,
        apply: Apply<Demand>,
        state: &StateSlot<Demand>,
    ) -> Result<Diagnostics, Diagnostics> {
        state.save(apply.planned);
        Ok(Diagnostics::new())
    }

    async fn delete(
        &self,
        _: &Context<()>,
        _: Demand,
        _: &StateSlot<Demand>,
    ) -> Result<Diagnostics, Diagnostics> {
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Context<()>, import: Import) -> Result<Demand, Diagnostics> {
        import.partial([("id", import.id.as_str().into())])
    }
}

fn demand(path: &str, label: &str) -> Demand {
    let parts = [Part { label: label.into() }].into_iter().collect::<Set<_>>();
    Demand { id: Attr::Null, path: path.into(), parts: Attr::Known(parts) }
}

/// Core said "for a non-existent attribute path", without a word of where it came from.
#[tokio::test]
async fn a_replacement_for_an_attribute_that_is_not_there_is_a_provider_bug() {
    let mut core = core().await;
    core.apply::<DemandResource>("a", &demand("", "x")).await.unwrap();
    let said = refusals(core.plan::<DemandResource>("a", &demand("typo", "x")).await.unwrap_err());
    assert!(said.len() == 1 && said[0].starts_with("pathh: "), "{said:?}");
    assert!(said[0].contains("the schema has no such attribute"), "{said:?}");
}

#[tokio::test]
async fn a_replacement_because_of_an_element_of_a_set_is_one_because_of_the_set() {
    let mut core = core().await;
    core.apply::<DemandResource>("a", &demand("", "x")).await.unwrap();
    let outcome = core.plan::<DemandResource>("a", &demand("set", "y")).await.unwrap();
    assert_eq!((outcome.changed, outcome.replaced_by), (Changed::Replaced, vec!["parts".into()]));
    let outcome = core.plan::<DemandResource>("a", &demand("set", "x")).await.unwrap();
    assert_eq!(outcome.changed, Changed::Updated, "the set does not change");
}
