use tfplugin::{Attr, Model};

#[derive(Clone, Model)]
#[tf(at_least_one_of("image"))]
struct Service {
    #[tf(optional)]
    image: Attr<String>,
}
