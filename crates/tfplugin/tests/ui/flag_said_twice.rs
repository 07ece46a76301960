use tfplugin::{Attr, Model};

#[derive(Clone, Model)]
struct Service {
    #[tf(optional, sensitive)]
    #[tf(sensitive)]
    token: Attr<String>,
}
