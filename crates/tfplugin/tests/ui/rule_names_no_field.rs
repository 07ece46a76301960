use tfplugin::{Attr, Model};

#[derive(Clone, Model)]
struct Service {
    #[tf(optional, conflicts_with("source", "imgae"))]
    archive: Attr<String>,
    #[tf(optional)]
    image: Attr<String>,
    #[tf(optional)]
    source: Attr<String>,
}
