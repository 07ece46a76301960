use tfplugin::{Attr, Model};

#[derive(Clone, Model)]
struct Service {
    #[tf(required, computed)]
    id: Attr<String>,
}
