use tfplugin::{Attr, Model};

#[derive(Clone, Model)]
struct Service {
    #[tf(optional)]
    health: Attr<Health>,
}

#[derive(Clone, Model)]
struct Health {
    #[tf(block)]
    probe: Vec<Probe>,
}

#[derive(Clone, Model)]
struct Probe {
    #[tf(required)]
    path: Attr<String>,
}
