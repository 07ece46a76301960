use tfplugin::{Attr, Model};

#[derive(Clone, Model)]
struct Service {
    #[tf(required)]
    name: Attr<String>,
    #[tf(optinal)]
    region: Attr<String>,
}
