use tfplugin::{Attr, Model};

#[derive(Clone, Model)]
struct Service {
    #[tf(optional, required_with("kind"))]
    size: Attr<i64>,
    #[tf(optional, name = "type")]
    kind: Attr<String>,
}
