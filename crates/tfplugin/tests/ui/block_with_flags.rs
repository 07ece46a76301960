use tfplugin::Model;

#[derive(Clone, Model)]
struct Service {
    #[tf(block(max = 3), required)]
    probe: Vec<Probe>,
}

#[derive(Clone, Model)]
struct Probe {
    #[tf(required)]
    path: String,
}
