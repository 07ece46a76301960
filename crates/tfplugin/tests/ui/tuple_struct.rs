use tfplugin::{Attr, Model};

#[derive(Clone, Model)]
struct Service(Attr<String>);
