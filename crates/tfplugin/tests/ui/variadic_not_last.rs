use tfplugin::Model;

#[derive(Clone, Model)]
struct Arguments {
    #[tf(variadic)]
    parts: Vec<String>,
    separator: String,
}
