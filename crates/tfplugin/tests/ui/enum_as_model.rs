use tfplugin::Model;

#[derive(Clone, Model)]
enum Service {
    Image,
    Source,
}
