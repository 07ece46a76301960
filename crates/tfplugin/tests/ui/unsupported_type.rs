use tfplugin::{Attr, Model};

#[derive(Clone, Model)]
struct Service {
    #[tf(required)]
    name: Attr<String>,
    #[tf(computed)]
    started: Attr<std::time::Instant>,
}
