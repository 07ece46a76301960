//! Timeouts that users set, on a clock that stands still until everything waits.

use std::sync::Arc;
use std::time::Duration;

use tfplugin::testing::{Changed, Core, Failed, lint};
use tfplugin::{
    Apply, Attr, AttributePath, Configure, Context, Diagnostic, Diagnostics, Import, Model, Operation, Plan,
    Provider, Registry, Resource, StateSlot, Timeout, Timeouts, Value,
};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::core;
use crate::modifiers::{Kept, Named};

#[derive(Clone, Debug, Default, PartialEq, Model)]
pub(crate) struct Job {
    #[tf(computed)]
    id: Attr<String>,
    /// Which handler does what: `create-slow`. All others are quick.
    #[tf(required)]
    behaviour: Attr<String>,
    #[tf(optional)]
    timeouts: Attr<Timeouts>,
}

pub(crate) struct JobResource;

type R = JobResource;

/// What the handlers do with their time.
async fn work(
    cx: &Context<()>,
    operation: &str,
    behaviour: &Attr<String>,
) -> Result<Diagnostics, Diagnostics> {
    let minutes = |count: u64| sleep(Duration::from_secs(60 * count));
    let Some((_, what)) = behaviour.as_str().unwrap().split_once('-').filter(|(of, _)| *of == operation)
    else {
        return Ok(Diagnostics::new());
    };
    match what {
        "slow" => minutes(10).await,
        "polite" => {
            cx.cancel.cancelled().await;
            return Err(Diagnostic::error("Interrupted", "Half done.").into());
        }
        "finishes" => {
            cx.cancel.cancelled().await;
            sleep(Duration::from_secs(4)).await;
        }
        "deaf" => minutes(600).await,
        "fails" => {
            minutes(1).await;
            return Err(Diagnostic::error("Broken", "It broke by itself.").into());
        }
        "panics" => {
            cx.cancel.cancelled().await;
            panic!("interrupted badly")
        }
        other => panic!("no behaviour {other:?}"),
    }
    Ok(Diagnostics::new())
}

impl Resource for JobResource {
    type Model = Job;
    type Client = ();

    const TYPE: &'static str = "author_job";

    async fn plan(&self, _: Option<&Context<()>>, plan: &mut Plan<Job>) {
        if plan.operation != Operation::Delete && plan.changes_anything() {
            plan.set_unknown("id");
        }
    }

    async fn create(
        &self,
        cx: &Context<()>,
        apply: Apply<Job>,
        state: &StateSlot<Job>,
    ) -> Result<Diagnostics, Diagnostics> {
        state.save(Job { id: "half".into(), ..apply.planned.clone() });
        let outcome = work(cx, "create", &apply.planned.behaviour).await?;
        // Written by hand, and without a thought of the timeouts.
        state.save(Job { id: "whole".into(), behaviour: apply.planned.behaviour, timeouts: Attr::Null });
        Ok(outcome)
    }

    async fn read(&self, cx: &Context<()>, state: Job) -> Result<Option<Job>, Diagnostics> {
        work(cx, "read", &state.behaviour).await?;
        Ok(Some(Job { timeouts: Attr::Null, ..state }))
    }

    async fn update(
        &self,
        cx: &Context<()>,
        apply: Apply<Job>,
        state: &StateSlot<Job>,
    ) -> Result<Diagnostics, Diagnostics> {
        work(cx, "update", &apply.planned.behaviour).await?;
        state.save(Job { id: "changed".into(), ..apply.planned });
        Ok(Diagnostics::new())
    }

    async fn delete(
        &self,
        cx: &Context<()>,
        prior: Job,
        _: &StateSlot<Job>,
    ) -> Result<Diagnostics, Diagnostics> {
        work(cx, "delete", &prior.behaviour).await
    }

    async fn import(&self, _: &Context<()>, import: Import) -> Result<Job, Diagnostics> {
        import.partial([("id", import.id.as_str().into()), ("behaviour", "quick".into())])
    }
}

fn job(behaviour: &str, timeouts: Timeouts) -> Job {
    Job { id: Attr::Null, behaviour: behaviour.into(), timeouts: timeouts.into() }
}

fn limit(text: &str) -> Attr<tfplugin::Text<Timeout>> {
    Attr::Known(text.parse().unwrap())
}

fn create(text: &str) -> Timeouts {
    Timeouts { create: limit(text), ..Timeouts::default() }
}

fn messages(failed: Failed) -> Vec<(String, String)> {
    let place = |path: Option<AttributePath>| path.map(|path| path.to_string()).unwrap_or_default();
    failed.diagnostics().into_iter().map(|message| (message.summary, place(message.attribute))).collect()
}

fn two(one: (&str, &str), other: (&str, &str)) -> Vec<(String, String)> {
    [one, other].map(|(summary, place)| (summary.to_owned(), place.to_owned())).to_vec()
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_stops_in_time_is_reported_with_the_timeout_and_its_own_words() {
    let mut core = core().await;
    let begun = Instant::now();
    let failed = core.apply::<R>("a", &job("create-polite", create("1m30s"))).await.unwrap_err();
    assert_eq!(begun.elapsed(), Duration::from_secs(90));
    let text = failed.to_string();
    assert!(text.contains("`timeouts.create` allows 1m30s for creating `author_job`"), "{text}");
    assert_eq!(
        messages(failed),
        two(("Timeout of 1m30s has passed", "timeouts.create"), ("Interrupted", ""))
    );
    assert!(core.is_tainted("a"));
    assert_eq!(core.value("a").get("id"), Some(&Value::from("half")), "what was saved is kept");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_ends_well_after_all_has_succeeded() {
    let mut core = core().await;
    let begun = Instant::now();
    core.apply::<R>("a", &job("create-finishes", create("5m"))).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(304));
    assert_eq!(core.value("a").get("id"), Some(&Value::from("whole")));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_does_not_hear_is_left_running_and_its_state_handed_over() {
    let mut core = core().await;
    let begun = Instant::now();
    let failed = core.apply::<R>("a", &job("create-deaf", create("5m"))).await.unwrap_err();
    assert_eq!(begun.elapsed(), Duration::from_secs(305));
    assert!(failed.to_string().contains("what happens from now on is not in it"), "{failed}");
    assert_eq!(messages(failed), [("Timeout of 5m has passed".to_owned(), "timeouts.create".to_owned())]);
    assert_eq!(core.value("a").get("id"), Some(&Value::from("half")));
    assert!(core.is_tainted("a"));
}

/// A resource whose creation says when it has really ended.
struct Told(Arc<Notify>);

#[derive(Clone)]
struct ToldResource(Arc<Notify>);

impl Provider for Told {
    type Config = ();
    type Client = ();
    type Meta = ();

    const NAME: &'static str = "told";
    const ADDRESS: &'static str = "registry.terraform.io/example/told";
    const VERSION: &'static str = "0.0.1";

    async fn configure(&self, _: Configure<()>) -> Result<(), Diagnostics> {
        Ok(())
    }

    fn register(&self, registry: &mut Registry<Self>) {
        registry.resource(ToldResource(Arc::clone(&self.0)));
    }
}

#[derive(Clone, Debug, Model)]
struct ToldJob {
    #[tf(default = Timeouts { create: limit("1m"), ..Timeouts::default() })]
    timeouts: Attr<Timeouts>,
}

impl Resource for ToldResource {
    type Model = ToldJob;
    type Client = ();

    const TYPE: &'static str = "told_job";

    async fn create(
        &self,
        _: &Context<()>,
        apply: Apply<ToldJob>,
        state: &StateSlot<ToldJob>,
    ) -> Result<Diagnostics, Diagnostics> {
        sleep(Duration::from_mins(10)).await;
        state.save(apply.planned);
        self.0.notify_one();
        Ok(Diagnostics::new())
    }

    async fn read(&self, _: &Context<()>, state: ToldJob) -> Result<Option<ToldJob>, Diagnostics> {
        Ok(Some(state))
    }

    async fn update(
        &self,
        _: &Context<()>,
        _: Apply<ToldJob>,
        _: &StateSlot<ToldJob>,
    ) -> Result<Diagnostics, Diagnostics> {
        Ok(Diagnostics::new())
    }

    async fn delete(
        &self,
        _: &Context<()>,
        _: ToldJob,
        _: &StateSlot<ToldJob>,
    ) -> Result<Diagnostics, Diagnostics> {
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Context<()>, import: Import) -> Result<ToldJob, Diagnostics> {
        import.partial([])
    }
}

#[tokio::test(start_paused = true)]
async fn a_running_apply_is_not_dropped_and_a_default_is_a_timeout_too() {
    assert_eq!(lint(Told(Arc::default())), Vec::<String>::new());
    let ended = Arc::new(Notify::new());
    let mut core = Core::new(Told(Arc::clone(&ended)), &()).await.unwrap();
    let begun = Instant::now();
    let failed = core.apply::<ToldResource>("a", &ToldJob { timeouts: Attr::Null }).await.unwrap_err();
    assert_eq!(begun.elapsed(), Duration::from_secs(65));
    assert_eq!(messages(failed), [("Timeout of 1m has passed".to_owned(), "timeouts.create".to_owned())]);
    assert!(core.state::<ToldResource>("a").is_none(), "nothing had been saved");
    ended.notified().await;
    assert_eq!(begun.elapsed(), Duration::from_mins(10), "it ran to its end");
}

#[tokio::test(start_paused = true)]
async fn without_a_timeout_there_is_no_limit() {
    let mut core = core().await;
    core.apply::<R>("a", &Job { timeouts: Attr::Null, ..job("create-slow", Timeouts::default()) })
        .await
        .unwrap();
    core.apply::<R>("b", &job("create-slow", Timeouts { delete: limit("1s"), ..Timeouts::default() }))
        .await
        .unwrap();
    core.apply::<R>("c", &job("create-slow", create("11m"))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_failure_in_time_says_nothing_of_timeouts() {
    let mut core = core().await;
    let failed = core.apply::<R>("a", &job("create-fails", create("5m"))).await.unwrap_err();
    assert_eq!(messages(failed), [("Broken".to_owned(), String::new())]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_after_the_timeout_says_both() {
    let mut core = core().await;
    let failed = core.apply::<R>("a", &job("create-panics", create("5m"))).await.unwrap_err();
    let found = messages(failed);
    assert_eq!(found[0].0, "Timeout of 5m has passed");
    assert_eq!(found[1].0, "The provider failed unexpectedly in `author_job`");
}

#[tokio::test(start_paused = true)]
async fn each_operation_has_its_own() {
    let timeouts =
        Timeouts { create: limit("1h"), read: limit("2s"), update: limit("3s"), delete: limit("4s") };
    let mut core = core().await;
    core.apply::<R>("a", &job("quick", timeouts.clone())).await.unwrap();
    let failed = core.apply::<R>("a", &job("update-polite", timeouts.clone())).await.unwrap_err();
    assert_eq!(messages(failed), two(("Timeout of 3s has passed", "timeouts.update"), ("Interrupted", "")));
    assert_eq!(core.value("a").get("id"), Some(&Value::from("whole")), "the prior state is kept");

    core.apply::<R>("b", &job("delete-polite", timeouts.clone())).await.unwrap();
    let failed = core.destroy::<R>("b").await.unwrap_err();
    assert_eq!(messages(failed), two(("Timeout of 4s has passed", "timeouts.delete"), ("Interrupted", "")));
    assert!(core.state::<R>("b").is_some(), "what could not be deleted is kept");

    core.apply::<R>("c", &job("read-polite", timeouts.clone())).await.unwrap();
    let failed = core.refresh::<R>("c").await.unwrap_err();
    assert_eq!(messages(failed), two(("Timeout of 2s has passed", "timeouts.read"), ("Interrupted", "")));
    core.apply::<R>("d", &job("read-deaf", timeouts)).await.unwrap();
    let begun = Instant::now();
    let failed = core.refresh::<R>("d").await.unwrap_err();
    assert_eq!(begun.elapsed(), Duration::from_secs(7), "a look that does not end is given up");
    assert_eq!(messages(failed), [("Timeout of 2s has passed".to_owned(), "timeouts.read".to_owned())]);
    assert!(core.state::<R>("d").is_some(), "nothing was learned about the object");
}

#[tokio::test(start_paused = true)]
async fn other_timeouts_alone_update_state_and_nothing_else() {
    let mut core = core().await;
    // It would hang if it were called.
    core.apply::<R>("a", &job("update-deaf", create("5m"))).await.unwrap();
    let next = job("update-deaf", Timeouts { update: limit("1s"), ..create("9m") });
    let outcome = core.plan::<R>("a", &next).await.unwrap();
    assert_eq!(outcome.changed, Changed::Updated, "Terraform shows it");
    assert!(outcome.value.is_wholly_known(), "and nothing else is thought to change");
    let begun = Instant::now();
    core.apply::<R>("a", &next).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO, "the handler is not called");
    let path = |name: &str| AttributePath::from("timeouts").attribute(name);
    assert_eq!(core.value("a").get_path(&path("create")), Some(&Value::from("9m")));
    assert_eq!(core.value("a").get("id"), Some(&Value::from("whole")));
    assert_eq!(core.apply::<R>("a", &next).await.unwrap().changed, Changed::Nothing);
    let later = Job { timeouts: Attr::Unknown, ..next.clone() };
    let none = Job { timeouts: Attr::Null, ..next };
    core.apply_planned::<R>("a", &later, &none).await.unwrap();
    assert_eq!(core.value("a").get("timeouts"), Some(&Value::Null), "also when they are known later");
}

#[tokio::test(start_paused = true)]
async fn timeouts_survive_handlers_that_forget_them() {
    let mut core = core().await;
    core.apply::<R>("a", &job("quick", create("5m"))).await.unwrap();
    core.refresh::<R>("a").await.unwrap();
    let path = AttributePath::from("timeouts").attribute("create");
    assert_eq!(core.value("a").get_path(&path), Some(&Value::from("5m")));
    core.import::<R>("b", "whole").await.unwrap();
    assert_eq!(core.value("b").get("timeouts"), Some(&Value::Null));
}

#[tokio::test]
async fn what_is_no_duration_is_refused_where_it_stands() {
    use tfplugin::{FromValue as _, ToValue as _};

    // A model holds only timeouts that are right, so the text goes in as a value.
    let timeouts = Timeouts::from_value(
        &Value::object([("create", Value::from("5 minutes"))]),
        &AttributePath::from("timeouts"),
    );
    let refused = timeouts.unwrap_err();
    assert_eq!(refused.attribute, Some(AttributePath::from("timeouts").attribute("create")));
    assert!(refused.detail.contains("`1h30m`"), "{}", refused.detail);
    let validators = &Timeouts::block().attributes[0].validators;
    assert!(validators.iter().all(|validator| (validator.check)(&"90s".into()).is_ok()));
    assert!(validators.iter().any(|validator| (validator.check)(&"0s".into()).is_err()));
    assert_eq!(create("90s").to_value().get("create"), Some(&Value::from("90s")), "the text is kept");
}

/// Timeouts where no one enforces them.
struct Odd;

#[derive(Clone, Debug, Model)]
struct OddSettings {
    #[tf(optional)]
    timeouts: Attr<Timeouts>,
}

#[derive(Clone, Debug, Model)]
struct OddJob {
    #[tf(optional)]
    limits: Attr<Timeouts>,
    #[tf(optional, force_new)]
    timeouts: Attr<Timeouts>,
    #[tf(optional)]
    step: Attr<Step>,
}

#[derive(Clone, Debug, Model)]
struct Step {
    #[tf(optional)]
    timeouts: Attr<Timeouts>,
}

impl Named for OddJob {
    const TYPE: &'static str = "odd_job";
}

impl Provider for Odd {
    type Config = OddSettings;
    type Client = ();
    type Meta = ();

    const NAME: &'static str = "odd";
    const ADDRESS: &'static str = "registry.terraform.io/example/odd";
    const VERSION: &'static str = "0.0.1";

    async fn configure(&self, _: Configure<OddSettings>) -> Result<(), Diagnostics> {
        Ok(())
    }

    fn register(&self, registry: &mut Registry<Self>) {
        registry.resource(Kept::<OddJob>(std::marker::PhantomData));
    }
}

#[test]
fn timeouts_that_no_one_enforces_are_found() {
    let found = lint(Odd);
    let nowhere =
        "is of type `Timeouts`, which is enforced only as attribute `timeouts` of a managed resource itself";
    assert_eq!(found.len(), 4, "{found:#?}");
    assert_eq!(found[0], format!("provider block of `odd`: `timeouts` {nowhere}"));
    assert_eq!(found[1], format!("resource `odd_job`: `limits` {nowhere}"));
    assert!(found[2].starts_with("resource `odd_job`: `timeouts` are timeouts: the user sets them"));
    assert_eq!(found[3], format!("resource `odd_job`: `step.timeouts` {nowhere}"));
}
