use tfplugin::Model;

#[derive(Clone, Model)]
struct Service {
    #[tf(required)]
    name: String,
    #[tf(optional)]
    region: String,
}
