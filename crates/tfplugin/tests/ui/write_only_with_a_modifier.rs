use tfplugin::{Attr, Model, Value};

#[derive(Clone, Model)]
struct Service {
    #[tf(optional, write_only, same_as = anything)]
    password_wo: Attr<String>,
}

fn anything(_: &Value, _: &Value) -> bool {
    true
}
