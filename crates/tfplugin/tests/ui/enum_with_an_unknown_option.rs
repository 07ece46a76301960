use tfplugin::TfEnum;

#[derive(Clone, Debug, PartialEq, TfEnum)]
enum Source {
    #[tf(rename = "docker-image")]
    Image,
    Repository,
}
