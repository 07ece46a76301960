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
        assert!(apply.planned.path.as_str() != Some("crash"), "cannot use canary-of-a-panic");
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

/// Has a field that cannot say that it is not known yet.
#[derive(Clone, Debug, Model)]
pub(crate) struct Plain {
    #[tf(computed, stable)]
    id: Attr<String>,
    #[tf(required)]
    size: i64,
    #[tf(default = 1)]
    level: Attr<i64>,
    #[tf(computed)]
    serial: Attr<i64>,
    #[tf(optional)]
    how: Attr<String>,
}

pub(crate) struct PlainResource;

impl Resource for PlainResource {
    type Model = Plain;
    type Client = ();

    const TYPE: &'static str = "author_plain";

    async fn plan(&self, _: Option<&Context<()>>, plan: &mut Plan<Plain>) {
        match plan.planned.as_ref().and_then(|planned| planned.how.as_str()) {
            Some("replace") if plan.operation == Operation::Update => plan.require_replace("size"),
            Some("level") => plan.set("level", 9),
            Some("serial") => plan.set("serial", 7),
            _ => {}
        }
    }

    async fn create(
        &self,
        _: &Context<()>,
        apply: Apply<Plain>,
        state: &StateSlot<Plain>,
    ) -> Result<Diagnostics, Diagnostics> {
        let serial = apply.planned.serial.or_unknown(|| 7);
        state.save(Plain { id: "p".into(), serial, ..apply.planned });
        Ok(Diagnostics::new())
    }

    async fn read(&self, _: &Context<()>, state: Plain) -> Result<Option<Plain>, Diagnostics> {
        Ok(Some(state))
    }

    async fn update(
        &self,
        _: &Context<()>,
        apply: Apply<Plain>,
        state: &StateSlot<Plain>,
    ) -> Result<Diagnostics, Diagnostics> {
        let serial = apply.planned.serial.or_unknown(|| 8);
        state.save(Plain { serial, ..apply.planned });
        Ok(Diagnostics::new())
    }

    async fn delete(
        &self,
        _: &Context<()>,
        _: Plain,
        _: &StateSlot<Plain>,
    ) -> Result<Diagnostics, Diagnostics> {
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Context<()>, import: Import) -> Result<Plain, Diagnostics> {
        import.partial([("id", import.id.as_str().into()), ("size", 0.into())])
    }
}

/// It held until the value was unknown in some first plan; then Terraform refused the apply.
#[tokio::test]
async fn a_plan_that_may_not_run_must_not_say_more_than_the_schema() {
    let mut core = core().await;
    let plain = |size, how: &str| Plain {
        id: Attr::Null,
        size,
        level: Attr::Null,
        serial: Attr::Null,
        how: how.into(),
    };
    core.apply::<PlainResource>("a", &plain(1, "")).await.unwrap();
    for (how, place) in [("replace", "size: "), ("level", "level: ")] {
        let said = refusals(core.plan::<PlainResource>("a", &plain(2, how)).await.unwrap_err());
        assert!(said.len() == 1 && said[0].starts_with(place), "{said:?}");
        assert!(said[0].contains("While the value of `size` is not known yet"), "{said:?}");
    }
    // What is unknown without the author may be known with.
    let outcome = core.apply::<PlainResource>("a", &plain(2, "serial")).await.unwrap();
    assert_eq!(outcome.changed, Changed::Updated);
    // What does not change demands nothing.
    core.apply::<PlainResource>("a", &plain(2, "replace")).await.unwrap();
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

/// What a log line hides stood in the message to the user.
#[tokio::test]
async fn the_text_of_a_panic_goes_through_the_redactor() {
    tfplugin::logging::set_redactor(|text| text.replace("canary-of-a-panic", "[redacted]").into());
    let mut core = core().await;
    core.apply::<DemandResource>("a", &demand("", "x")).await.unwrap();
    let said = refusals(core.apply::<DemandResource>("a", &demand("crash", "x")).await.unwrap_err());
    assert!(said.len() == 1 && said[0].contains("cannot use [redacted] (at "), "{said:?}");
}
