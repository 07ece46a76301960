use tfplugin::{Attr, Model};

#[derive(Clone, Model)]
struct Service {
    #[tf(default = std::time::Duration::from_secs(1))]
    timeout: Attr<String>,
}
