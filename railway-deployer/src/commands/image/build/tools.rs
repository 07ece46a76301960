//! Dockerfiles: the tools that build them, and what each is told.

use std::{
    ffi::{OsStr, OsString},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use clap::ValueEnum;
use spectra_oci::{Artifact, Platform};
use spectra_types::Secret;
use tokio::process::Command;

use super::child;
use crate::{failure::Failure, printer::Printer, scratch::Scratch};

/// A program that builds Dockerfiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Tool {
    /// `docker buildx`
    Docker,
    /// `buildah`
    Buildah,
    /// `podman`
    Podman,
}

/// The order in which tools are looked for.
const ORDER: [Tool; 3] = [Tool::Docker, Tool::Buildah, Tool::Podman];

/// How long docker may take to say whether it has its plugin.
const PATIENCE: Duration = Duration::from_secs(20);

impl Tool {
    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Buildah => "buildah",
            Self::Podman => "podman",
        }
    }
}

/// How a Dockerfile is built.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Flags {
    /// For a Dockerfile: what builds it; else the first that is there of docker (with buildx), buildah, podman
    #[arg(long, env = "SPECTRA_BUILDER")]
    pub(super) builder: Option<Tool>,
    /// For a Dockerfile: a build argument; not for secrets, which the image would show
    #[arg(long, env = "SPECTRA_BUILD_ARG", value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    /// For a Dockerfile: the stage to build; docker's `--target`
    #[arg(long, env = "SPECTRA_STAGE")]
    stage: Option<String>,
    /// For a Dockerfile: a secret for `RUN --mount=type=secret`, from a variable or a file
    #[arg(long, env = "SPECTRA_SECRET", value_name = "id=ID,env=NAME|src=FILE")]
    secret: Vec<BuildSecret>,
    /// For a Dockerfile: build every step anew
    #[arg(long, env = "SPECTRA_BUILD_NO_CACHE", value_parser = clap::builder::BoolishValueParser::new())]
    no_cache: bool,
    /// For a Dockerfile: ask the registry for base images even if they are there
    #[arg(long, env = "SPECTRA_PULL", value_parser = clap::builder::BoolishValueParser::new())]
    pull: bool,
    /// For a Dockerfile: where to take cached steps from, in the tool's own words
    #[arg(long, env = "SPECTRA_CACHE_FROM")]
    cache_from: Vec<String>,
    /// For a Dockerfile: where to keep cached steps, in the tool's own words
    #[arg(long, env = "SPECTRA_CACHE_TO")]
    cache_to: Vec<String>,
    /// For a Dockerfile with buildah or podman: how steps are isolated, such as `chroot` where containers cannot be nested
    #[arg(long, env = "SPECTRA_ISOLATION")]
    isolation: Option<String>,
}

impl Flags {
    /// The flags that were given, for errors about those that do not apply.
    pub(super) fn given(&self) -> Vec<&'static str> {
        let given = [
            (self.builder.is_some(), "--builder"),
            (!self.build_arg.is_empty(), "--build-arg"),
            (self.stage.is_some(), "--stage"),
            (!self.secret.is_empty(), "--secret"),
            (self.no_cache, "--no-cache"),
            (self.pull, "--pull"),
            (!self.cache_from.is_empty(), "--cache-from"),
            (!self.cache_to.is_empty(), "--cache-to"),
            (self.isolation.is_some(), "--isolation"),
        ];
        given.into_iter().filter_map(|(given, flag)| given.then_some(flag)).collect()
    }
}

/// A secret by the name of a variable or file: its value is never an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BuildSecret {
    id: String,
    from: SecretSource,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum SecretSource {
    Variable(String),
    File(PathBuf),
}

impl std::str::FromStr for BuildSecret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "write `id=ID,env=NAME` or `id=ID,src=FILE`";
        let (mut id, mut from) = (None, Vec::new());
        for part in text.split(',') {
            match part.split_once('=') {
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("env", value)) => from.push(SecretSource::Variable(value.to_owned())),
                Some(("src" | "source", value)) => from.push(SecretSource::File(value.into())),
                // The text may be the secret itself, so it is not repeated.
                _ => {
                    return Err(format!("a secret has a part that is none of `id`, `env` and `src`; {form}"));
                }
            }
        }
        match (id.filter(|id| !id.is_empty()), from.pop(), from.is_empty()) {
            (Some(id), Some(from), true) => Ok(Self { id, from }),
            _ => Err(format!("a secret needs an id and one source; {form}")),
        }
    }
}

impl BuildSecret {
    /// The argument that tools take, and the value, held so that output is redacted.
    fn resolve(&self) -> Result<(String, Secret<String>), Failure> {
        match &self.from {
            SecretSource::Variable(name) => {
                let value = std::env::var(name).map_err(|_| {
                    Failure::usage(format!(
                        "the secret `{}` is to come from the variable `{name}`, which is not set",
                        self.id
                    ))
                })?;
                Ok((format!("id={},env={name}", self.id), Secret::from(value)))
            }
            SecretSource::File(path) => {
                let value = std::fs::read(path).map_err(Failure::file("read the secret in", path))?;
                let value = String::from_utf8_lossy(&value).trim().to_owned();
                let path = std::path::absolute(path).map_err(Failure::file("find", path))?;
                Ok((format!("id={},src={}", self.id, path.display()), Secret::from(value)))
            }
        }
    }
}

/// What to build.
pub(super) struct Request<'a> {
    pub(super) file: &'a Path,
    pub(super) context: &'a Path,
    pub(super) platforms: &'a [Platform],
    pub(super) labels: &'a [String],
    pub(super) created: Option<u32>,
    pub(super) flags: &'a Flags,
}

/// What was built, and the folder that its blobs are in.
pub(super) struct Built {
    pub(super) artifact: Artifact,
    pub(super) tool: Tool,
    pub(super) _folder: Scratch,
}

/// Builds a Dockerfile with the tool that was asked for or is there.
pub(super) async fn build(request: &Request<'_>, printer: Printer) -> Result<Built, Failure> {
    let (tool, program) = find(request.flags.builder).await?;
    if tool == Tool::Docker && request.flags.isolation.is_some() {
        return Err(Failure::usage(
            "`--isolation` is for buildah and podman; docker's builders have their own",
        ));
    }
    let mut secrets = Vec::new();
    for secret in &request.flags.secret {
        secrets.push(secret.resolve()?);
    }
    let arguments: Vec<&str> = secrets.iter().map(|(argument, _)| argument.as_str()).collect();
    let mut run = Run {
        tool,
        program: &program,
        request,
        secrets: &arguments,
        no_cache: request.flags.no_cache,
        printer,
    };
    let mut built = run.build().await?;
    let mut missing = missing_platform(&built.artifact, request.platforms);
    // buildah before 1.29 and podman before 4.4 take cached steps on `FROM scratch` from another platform's build.
    if let (Some(platform), false) = (&missing, run.no_cache) {
        printer.note(&format!(
            "`{}` built nothing for `{platform}`, as old versions do that take cached steps of another platform; building again without the cache",
            tool.program()
        ));
        run.no_cache = true;
        built = run.build().await?;
        missing = missing_platform(&built.artifact, request.platforms);
    }
    match missing {
        None => Ok(built),
        Some(platform) => Err(Failure::Builder {
            code: "SPX-354",
            message: format!("`{}` built no image for `{platform}`", tool.program()),
            hint: "check that its base images exist for the platform; no image was written",
        }),
    }
}

/// The first platform that was asked for and not built.
fn missing_platform(artifact: &Artifact, wanted: &[Platform]) -> Option<Platform> {
    wanted.iter().find(|platform| artifact.for_platform(platform).is_err()).cloned()
}

/// One run of a tool.
struct Run<'a> {
    tool: Tool,
    program: &'a Path,
    request: &'a Request<'a>,
    /// The arguments of `--secret`.
    secrets: &'a [&'a str],
    no_cache: bool,
    printer: Printer,
}

impl Run<'_> {
    async fn build(&self) -> Result<Built, Failure> {
        let folder = Scratch::new("spectra-build-")?;
        let output = Output::new(folder.path(), self.request.platforms.len() > 1);
        let what = if self.tool == Tool::Docker { "buildx build" } else { "build" };
        self.step(self.build_arguments(&output), what).await?;
        let path = if self.tool == Tool::Docker {
            output.archive.clone()
        } else {
            self.take_over(&output).await?;
            output.layout.clone()
        };
        let artifact = tokio::task::spawn_blocking(move || spectra_oci::open(&path, None)).await??;
        Ok(Built { artifact, tool: self.tool, _folder: folder })
    }

    /// Has buildah or podman write what it built into the layout.
    async fn take_over(&self, output: &Output) -> Result<(), Failure> {
        let Some(list) = &output.list else {
            let id = std::fs::read_to_string(&output.id).map_err(Failure::file("read", &output.id))?;
            return self.step(push_arguments(id.trim(), output), "push").await;
        };
        let pushed = self.step(push_list_arguments(list, output), "manifest push").await;
        // The list was only a means; its images stay in the tool's store as its cache.
        let removed = self.step(["manifest", "rm", list].map(OsString::from).to_vec(), "manifest rm").await;
        pushed.and(removed)
    }

    fn build_arguments(&self, output: &Output) -> Vec<OsString> {
        let mut arguments = Arguments::default();
        let (tool, request) = (self.tool, self.request);
        let flags = request.flags;
        match tool {
            Tool::Docker => {
                let mut target = OsString::from("type=oci,dest=");
                target.push(&output.archive);
                if request.created.is_some() {
                    // Without it the time is in the configuration alone, and files keep their own.
                    target.push(",rewrite-timestamp=true");
                }
                // Attestations are made and signed by `image attest`; in the image they would make an index of it.
                arguments.words(&[
                    "buildx",
                    "build",
                    "--progress",
                    "plain",
                    "--provenance=false",
                    "--sbom=false",
                    "--output",
                ]);
                arguments.0.push(target);
            }
            Tool::Buildah | Tool::Podman => {
                arguments.words(&["build", "--format", "oci", "--layers"]);
                match &output.list {
                    Some(list) => arguments.pair("--manifest", list),
                    None => arguments.pair("--iidfile", &output.id),
                }
                if let Some(isolation) = &flags.isolation {
                    arguments.pair("--isolation", isolation);
                }
                if let Some(created) = request.created {
                    arguments.pair("--timestamp", created.to_string());
                }
            }
        }
        arguments.pair("--file", request.file);
        let platforms: Vec<String> = request.platforms.iter().map(ToString::to_string).collect();
        arguments.pair("--platform", platforms.join(","));
        for argument in &flags.build_arg {
            arguments.pair("--build-arg", argument);
        }
        for label in request.labels {
            arguments.pair("--label", label);
        }
        if let Some(stage) = &flags.stage {
            arguments.pair("--target", stage);
        }
        for secret in self.secrets {
            arguments.pair("--secret", secret);
        }
        if self.no_cache {
            arguments.words(&["--no-cache"]);
        }
        if flags.pull {
            // To docker the flag is a switch; to the others a word would be the next argument.
            arguments.words(&[if tool == Tool::Docker { "--pull" } else { "--pull=always" }]);
        }
        for cache in &flags.cache_from {
            arguments.pair("--cache-from", cache);
        }
        for cache in &flags.cache_to {
            arguments.pair("--cache-to", cache);
        }
        arguments.0.push(request.context.into());
        arguments.0
    }

    async fn step(&self, arguments: Vec<OsString>, what: &str) -> Result<(), Failure> {
        let mut command = Command::new(self.program);
        command.args(arguments);
        if let Some(created) = self.request.created {
            command.env("SOURCE_DATE_EPOCH", created.to_string());
        }
        child::run(command, &format!("`{} {what}`", self.tool.program()), self.printer).await
    }
}

/// The files and names by which a tool hands over what it built.
struct Output {
    archive: PathBuf,
    layout: PathBuf,
    id: PathBuf,
    /// The name of the tool's list of images, if there are several.
    list: Option<String>,
}

impl Output {
    fn new(folder: &Path, several: bool) -> Self {
        // The folder's name is unique, and so is the list's.
        let unique = folder.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        Self {
            archive: folder.join("image.tar"),
            layout: folder.join("layout"),
            id: folder.join("id"),
            list: several
                .then(|| format!("localhost/{}", unique.replace(|c: char| !c.is_ascii_alphanumeric(), "-"))),
        }
    }

    /// The layout in the tools' words.
    fn target(&self) -> OsString {
        let mut target = OsString::from("oci:");
        target.push(&self.layout);
        target.push(":image");
        target
    }
}

fn push_arguments(id: &str, output: &Output) -> Vec<OsString> {
    vec!["push".into(), id.into(), output.target()]
}

fn push_list_arguments(list: &str, output: &Output) -> Vec<OsString> {
    vec!["manifest".into(), "push".into(), "--all".into(), list.into(), output.target()]
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn words(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }

    fn pair(&mut self, flag: &str, value: impl AsRef<OsStr>) {
        self.0.push(flag.into());
        self.0.push(value.as_ref().to_owned());
    }
}

/// The tool that was asked for, or the first that is there.
async fn find(wanted: Option<Tool>) -> Result<(Tool, PathBuf), Failure> {
    for tool in ORDER.into_iter().filter(|tool| wanted.is_none_or(|wanted| wanted == *tool)) {
        let Some(path) = on_path(tool.program()) else { continue };
        if tool == Tool::Docker && !has_buildx(&path).await {
            continue;
        }
        return Ok((tool, path));
    }
    let message = match wanted {
        None => "no builder for Dockerfiles is on PATH: neither docker with buildx, nor buildah, nor podman"
            .to_owned(),
        Some(Tool::Docker) => "docker with its plugin buildx is not on PATH".to_owned(),
        Some(tool) => format!("`{}` is not on PATH", tool.program()),
    };
    Err(Failure::Builder {
        code: "SPX-353",
        message,
        hint: "install one: `apt-get install buildah`, `apt-get install podman`, or Docker with docker-buildx-plugin; an `image.toml` needs none",
    })
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|candidate| {
        candidate
            .metadata()
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    })
}

async fn has_buildx(docker: &Path) -> bool {
    let mut command = Command::new(docker);
    command.args(["buildx", "version"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.kill_on_drop(true);
    // A client may wait for its daemon for ever.
    let answer = tokio::time::timeout(PATIENCE, command.status()).await;
    answer.is_ok_and(|status| status.is_ok_and(|status| status.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_named_and_never_given() {
        let parse = |text: &str| text.parse::<BuildSecret>();
        let secret = parse("id=npm,env=NPM_TOKEN").unwrap();
        assert_eq!(secret.from, SecretSource::Variable("NPM_TOKEN".to_owned()));
        assert_eq!(parse("id=npm,src=/run/npm").unwrap().from, SecretSource::File("/run/npm".into()));
        for text in ["id=npm", "env=X", "id=,env=X", "id=a,env=X,src=y", "id=a,value=hunter2", "hunter2"] {
            let error = parse(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
