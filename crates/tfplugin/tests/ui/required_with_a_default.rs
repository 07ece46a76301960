use tfplugin::{Attr, Model};

#[derive(Clone, Model)]
struct Service {
    #[tf(required, default = 3)]
    replicas: Attr<i64>,
}
