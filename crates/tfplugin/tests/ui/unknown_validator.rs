use tfplugin::{Attr, Model};

#[derive(Clone, Model)]
struct Service {
    #[tf(required, validate(lenght(1..=3)))]
    name: Attr<String>,
}
