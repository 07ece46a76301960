use tfplugin::{Attr, Model, Value};

#[derive(Clone, Model)]
struct Service {
    #[tf(optional, validate(with = odd))]
    size: Attr<i64>,
}

fn odd(value: &Value) -> bool {
    value.is_null()
}
