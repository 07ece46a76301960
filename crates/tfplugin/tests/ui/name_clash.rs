use tfplugin::{Attr, Model};

#[derive(Clone, Model)]
struct Service {
    #[tf(required)]
    kind: Attr<String>,
    #[tf(optional, name = "kind")]
    sort: Attr<String>,
}
