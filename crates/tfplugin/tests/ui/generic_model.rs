use tfplugin::{Attr, Model};

#[derive(Clone, Model)]
struct Service<T> {
    #[tf(optional)]
    name: Attr<T>,
}
