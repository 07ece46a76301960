use tfplugin::{Attr, Model};

#[derive(Clone, Model)]
#[tf(versoin = 2)]
struct Service {
    #[tf(required)]
    name: Attr<String>,
}
