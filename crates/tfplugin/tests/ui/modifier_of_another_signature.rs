use tfplugin::{Attr, Model, Value};

#[derive(Clone, Model)]
struct Service {
    #[tf(optional, force_new_if = shrinks)]
    size: Attr<i64>,
}

fn shrinks(prior: &Value) -> bool {
    prior.is_null()
}
