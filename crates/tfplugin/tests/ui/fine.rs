//! The one case that compiles: were the setting at fault, every other would fail for the wrong reason.

use tfplugin::{Attr, Model, TfEnum, Value};

/// A service.
#[derive(Clone, Model)]
#[tf(version = 1, exactly_one_of("image", "source"))]
pub struct Service {
    #[tf(required, validate(length(1..=63), pattern("^[a-z]+$")), same_as = anything)]
    name: Attr<String>,
    #[tf(optional, conflicts_with("source"))]
    image: Attr<String>,
    #[tf(optional)]
    source: Attr<Source>,
    #[tf(computed, stable, never_null)]
    id: Attr<String>,
}

#[derive(Clone, Debug, PartialEq, TfEnum)]
pub enum Source {
    Here,
    There,
}

fn anything(_: &Value, _: &Value) -> bool {
    true
}
