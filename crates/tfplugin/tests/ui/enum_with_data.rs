use tfplugin::TfEnum;

#[derive(Clone, Debug, PartialEq, TfEnum)]
enum Source {
    Image,
    Repository(String),
}
