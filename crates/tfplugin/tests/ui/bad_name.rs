use tfplugin::{Attr, Model};

#[derive(Clone, Model)]
struct Service {
    #[tf(required, name = "Display-Name")]
    name: Attr<String>,
}
