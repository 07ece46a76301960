use tfplugin::{Attr, Model};

#[derive(Clone, Model)]
struct Service {
    #[tf(optional, never_null)]
    region: Attr<String>,
}
