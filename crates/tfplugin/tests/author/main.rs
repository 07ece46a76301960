//! What the author of a resource declares instead of writing it: rules between fields, checks of texts, how single
//! attributes are planned, and timeouts. Everything goes through the small core that providers' own tests use.

#![expect(clippy::unwrap_used, reason = "a test")]

mod demands;
mod hosts;
mod modifiers;
mod rules;
mod timeouts;

use tfplugin::testing::{Core, Failed};
use tfplugin::{Configure, Diagnostics, Provider, Registry};

/// A provider without anything behind it.
struct Author;

impl Provider for Author {
    type Config = rules::Settings;
    type Client = ();
    type Meta = ();

    const NAME: &'static str = "author";
    const ADDRESS: &'static str = "registry.terraform.io/example/author";
    const VERSION: &'static str = "0.0.1";

    async fn configure(&self, _: Configure<rules::Settings>) -> Result<(), Diagnostics> {
        Ok(())
    }

    fn register(&self, registry: &mut Registry<Self>) {
        registry
            .resource(rules::ThingResource)
            .resource(demands::DemandResource)
            .resource(demands::PlainResource)
            .resource(hosts::HostResource)
            .resource(modifiers::RecordResource)
            .resource(timeouts::JobResource)
            .data_source(rules::Look);
    }
}

#[test]
fn the_schemas_are_sound() {
    assert_eq!(tfplugin::testing::lint(Author), Vec::<String>::new());
}

async fn core() -> Core<Author> {
    Core::new(Author, &rules::settings()).await.unwrap()
}

/// Where and why: `place: detail`.
fn refusals(failed: Failed) -> Vec<String> {
    let line = |message: tfplugin::Diagnostic| {
        let place = message.attribute.map(|path| path.to_string()).unwrap_or_default();
        format!("{place}: {}", message.detail)
    };
    failed.diagnostics().into_iter().map(line).collect()
}
