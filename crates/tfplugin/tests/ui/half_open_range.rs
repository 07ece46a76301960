use tfplugin::{Attr, Model};

#[derive(Clone, Model)]
struct Service {
    #[tf(required, validate(range(1..50)))]
    replicas: Attr<i64>,
}
