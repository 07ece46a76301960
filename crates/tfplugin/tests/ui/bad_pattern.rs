use tfplugin::{Attr, Model};

#[derive(Clone, Model)]
struct Service {
    #[tf(required, validate(length(1..=63), pattern("^[a-z+$")))]
    name: Attr<String>,
}
