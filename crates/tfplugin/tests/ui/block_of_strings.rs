use tfplugin::Model;

#[derive(Clone, Model)]
struct Service {
    #[tf(block)]
    domain: Vec<String>,
}
