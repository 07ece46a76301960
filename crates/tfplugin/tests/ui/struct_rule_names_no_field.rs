use tfplugin::{Attr, Model};

#[derive(Clone, Model)]
#[tf(exactly_one_of("image", "repo"))]
struct Service {
    #[tf(optional)]
    image: Attr<String>,
    #[tf(optional)]
    source: Attr<String>,
}
