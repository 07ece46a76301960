use tfplugin::{Attr, Model};

#[derive(Clone, Model)]
struct Service {
    #[tf(optional, stable)]
    region: Attr<String>,
}
