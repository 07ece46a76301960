//! `image build`: an `image.toml`, a directory or a Dockerfile into an OCI layout.

mod child;
mod own;
mod recipe;
mod tools;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::{Args, builder::BoolishValueParser};
use serde_json::{Value, json};
use spectra_oci::{Artifact, BuiltImage, Compression, Layout, Packing, Platform};
use spectra_types::{ExitCode, ImageRef};

use self::recipe::{Account, Entry, FILE_NAME, Port, Recipe, Text, User, twice};
use super::{Login, from_variable};
use crate::{
    failure::Failure,
    printer::{Printer, bytes},
    progress::push_progress,
};

/// Arguments of `image build`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The directory to build from: with an `image.toml` or a Dockerfile in it, else its content becomes the image
    context: PathBuf,
    /// What to build: a file whose name ends in `.toml` is read as `image.toml`, any other as a Dockerfile
    #[arg(long, short, env = "SPECTRA_FILE")]
    file: Option<PathBuf>,
    /// Where to write the layout; an existing one gets another image
    #[arg(long, short, env = "SPECTRA_OUTPUT")]
    output: PathBuf,
    /// Name of the image inside the layout
    #[arg(long, env = "SPECTRA_NAME")]
    name: Option<String>,
    /// What the image runs on, linux/amd64 by default; several make an index
    #[arg(long, env = "SPECTRA_PLATFORM", value_delimiter = ',')]
    platform: Vec<Platform>,
    /// A label
    #[arg(long, env = "SPECTRA_LABEL", value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// The one time that everything in the image carries, in seconds since 1970; 0 by default, but for a Dockerfile now
    #[arg(long, env = "SOURCE_DATE_EPOCH", value_name = "SECONDS")]
    created: Option<Created>,
    #[command(flatten)]
    content: Content,
    #[command(flatten)]
    tools: tools::Flags,
    /// Where base images are kept; the user's cache by default
    #[arg(long, env = "SPECTRA_BASE_CACHE", value_name = "DIRECTORY")]
    base_cache: Option<PathBuf>,
    #[command(flatten)]
    notes: Earlier,
    #[command(flatten)]
    login: Login,
}

/// What the image is made of; in addition to an `image.toml`, or instead of one.
#[derive(Debug, Args)]
struct Content {
    /// Where in the image the directory's content goes; `/` by default
    #[arg(long, env = "SPECTRA_TARGET")]
    target: Option<String>,
    /// What to leave out of the directory, a pattern as in `.dockerignore`
    #[arg(long, env = "SPECTRA_EXCLUDE", value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Owner of all files, in numbers
    #[arg(long, env = "SPECTRA_OWNER", value_name = "UID[:GID]")]
    owner: Option<User>,
    /// Another layer on top
    #[arg(long, env = "SPECTRA_LAYER", value_name = "DIRECTORY:TARGET")]
    layer: Vec<String>,
    /// The image to build on, by digest
    #[arg(long, env = "SPECTRA_BASE", value_name = "IMAGE@DIGEST")]
    base: Option<ImageRef>,
    /// The program and its fixed arguments, one a flag
    #[arg(long, env = "SPECTRA_ENTRYPOINT", value_name = "ARGUMENT", allow_hyphen_values = true)]
    entrypoint: Vec<String>,
    /// A default argument, one a flag
    #[arg(long, env = "SPECTRA_CMD", value_name = "ARGUMENT", allow_hyphen_values = true)]
    cmd: Vec<String>,
    /// An environment variable; not for secrets, which everyone who can pull the image would read
    #[arg(long, env = "SPECTRA_ENV", value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// An annotation of the manifest
    #[arg(long, env = "SPECTRA_ANNOTATION", value_name = "NAME=VALUE")]
    annotation: Vec<String>,
    /// User, or user:group, that the program runs as
    #[arg(long, env = "SPECTRA_USER")]
    user: Option<Account>,
    /// Where the program starts
    #[arg(long, env = "SPECTRA_WORKDIR")]
    workdir: Option<String>,
    /// A port that the program listens on, such as 8080 or 53/udp
    #[arg(long, env = "SPECTRA_EXPOSE", value_name = "PORT")]
    expose: Vec<Port>,
    /// The signal that asks the program to end
    #[arg(long, env = "SPECTRA_STOP_SIGNAL", value_name = "SIGNAL")]
    stop_signal: Option<String>,
}

/// What earlier builds noted of layers. What `--no-cache` means here is the builder's word.
#[derive(Debug, Args)]
struct Earlier {
    /// Not for a Dockerfile: where earlier commands noted what layers become; without it, `$XDG_CACHE_HOME/spectra` or
    /// `~/.cache/spectra`
    #[arg(long, env = "SPECTRA_CACHE_DIR", value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Not for a Dockerfile: neither use nor write notes, wherever they are
    #[arg(long, env = "SPECTRA_NO_CACHE", value_parser = BoolishValueParser::new())]
    no_notes: bool,
    /// Not for a Dockerfile: take files for what they were when they had the same inode, size and times, and read them not again
    #[arg(long, env = "SPECTRA_TRUST_CACHE", value_parser = BoolishValueParser::new())]
    trust_cache: bool,
}

impl Earlier {
    /// The flags that were given, each with its variable.
    fn given(&self) -> Vec<(&'static str, &'static str)> {
        let given = [
            (self.cache_dir.is_some(), "--cache-dir", "SPECTRA_CACHE_DIR"),
            (self.no_notes, "--no-notes", "SPECTRA_NO_CACHE"),
            (self.trust_cache, "--trust-cache", "SPECTRA_TRUST_CACHE"),
        ];
        given.into_iter().filter_map(|(given, flag, variable)| given.then_some((flag, variable))).collect()
    }

    fn packing(self) -> Packing {
        super::Notes { cache_dir: self.cache_dir, no_cache: self.no_notes, trust_cache: self.trust_cache }
            .packing(Compression::default())
    }
}

/// A time in seconds since 1970. A variable that is set to nothing is as good as not set.
#[derive(Debug, Clone, Copy)]
struct Created(Option<u32>);

impl FromStr for Created {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() { Ok(Self(None)) } else { text.parse().map(|seconds| Self(Some(seconds))) }
    }
}

impl Arguments {
    fn created(&self) -> Option<u32> {
        self.created.and_then(|created| created.0)
    }
}

/// What there is to build.
enum Way {
    Recipe(PathBuf),
    Dockerfile(PathBuf),
    Directory,
}

pub(super) async fn run(arguments: Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    if let Some(platform) = twice(&arguments.platform) {
        return Err(Failure::usage(format!("`--platform` names `{platform}` twice; leave one out")));
    }
    // What lies in it decides what the other flags mean.
    std::fs::metadata(&arguments.context).map_err(Failure::file("read", &arguments.context))?;
    match choose(&arguments, printer)? {
        Way::Dockerfile(file) => build_dockerfile(&file, arguments, printer).await,
        Way::Recipe(file) => {
            let whole = ["--target", "--exclude"];
            let given: Vec<&str> =
                arguments.content.given().into_iter().filter(|flag| whole.contains(flag)).collect();
            refuse(&given, "is for a directory; each `[[files]]` of a recipe has its own")?;
            let mut recipe = Recipe::read(&file)?;
            recipe.created = arguments.created().or(recipe.created);
            Box::pin(build_own(recipe, arguments, printer)).await
        }
        Way::Directory => {
            let from =
                std::path::absolute(&arguments.context).map_err(Failure::file("find", &arguments.context))?;
            let Some(from) = from.to_str() else {
                return Err(Failure::usage(format!("`{}` is not UTF-8", from.display())));
            };
            let target = arguments.content.target.clone().unwrap_or_else(|| "/".to_owned());
            let mut entry = Entry::new(from, target);
            entry.exclude.clone_from(&arguments.content.exclude);
            let recipe = Recipe { created: arguments.created(), files: vec![entry], ..Recipe::default() };
            Box::pin(build_own(recipe, arguments, printer)).await
        }
    }
}

/// What the arguments and the directory's content ask for.
fn choose(arguments: &Arguments, printer: Printer) -> Result<Way, Failure> {
    let context = &arguments.context;
    if let Some(file) = &arguments.file {
        if !file.is_file() {
            return Err(Failure::usage(format!("`{}` is not a file", file.display())));
        }
        let is_recipe = file.extension().is_some_and(|extension| extension == "toml");
        return Ok(if is_recipe { Way::Recipe(file.clone()) } else { Way::Dockerfile(file.clone()) });
    }
    let there = |name: &str| Some(context.join(name)).filter(|path| path.is_file());
    let dockerfile = there("Dockerfile").or_else(|| there("Containerfile"));
    if let Some(recipe) = there(FILE_NAME) {
        if let Some(other) = dockerfile {
            let (recipe, other) = (recipe.display(), other.display());
            printer.note(&format!("building `{recipe}`; `--file {other}` would build that"));
        }
        return Ok(Way::Recipe(recipe));
    }
    match dockerfile {
        // Flags that say what to run can only be about the directory's content.
        Some(file) if arguments.content.entrypoint.is_empty() && arguments.content.cmd.is_empty() => {
            Ok(Way::Dockerfile(file))
        }
        _ => Ok(Way::Directory),
    }
}

impl Content {
    /// The flags that were given, for errors about those that do not apply.
    fn given(&self) -> Vec<&'static str> {
        let given = [
            (self.target.is_some(), "--target"),
            (!self.exclude.is_empty(), "--exclude"),
            (self.owner.is_some(), "--owner"),
            (!self.layer.is_empty(), "--layer"),
            (self.base.is_some(), "--base"),
            (!self.entrypoint.is_empty(), "--entrypoint"),
            (!self.cmd.is_empty(), "--cmd"),
            (!self.env.is_empty(), "--env"),
            (!self.annotation.is_empty(), "--annotation"),
            (self.user.is_some(), "--user"),
            (self.workdir.is_some(), "--workdir"),
            (!self.expose.is_empty(), "--expose"),
            (self.stop_signal.is_some(), "--stop-signal"),
        ];
        given.into_iter().filter_map(|(given, flag)| given.then_some(flag)).collect()
    }

    /// Puts the flags over what the recipe says.
    fn apply(&self, recipe: &mut Recipe) -> Result<(), Failure> {
        for layer in &self.layer {
            let (directory, target) = layer.rsplit_once(':').ok_or_else(|| {
                Failure::usage(format!(
                    "`--layer {layer}` has no `:`; write DIRECTORY:TARGET, such as `assets:/srv/assets`"
                ))
            })?;
            // Relative to where the command runs, as flags are.
            let directory = std::path::absolute(directory).map_err(Failure::file("find", directory))?;
            let Some(directory) = directory.to_str() else {
                return Err(Failure::usage(format!("`--layer {layer}` is not UTF-8")));
            };
            recipe.files.push(Entry::new(directory, target));
        }
        if let Some(owner) = &self.owner {
            for entry in &mut recipe.files {
                entry.owner = Some(Text(*owner));
            }
        }
        for (flag, pairs, map) in [
            ("--env", &self.env, &mut recipe.env),
            ("--annotation", &self.annotation, &mut recipe.annotations),
        ] {
            for pair in pairs {
                let (name, value) = split(flag, pair)?;
                map.insert(name.to_owned(), value.to_owned());
            }
        }
        recipe.ports.extend(self.expose.iter().cloned());
        // A new program has no use for the arguments of another.
        if !self.entrypoint.is_empty() {
            recipe.entrypoint.clone_from(&self.entrypoint);
            recipe.cmd.clear();
        }
        if !self.cmd.is_empty() {
            recipe.cmd.clone_from(&self.cmd);
        }
        for (flag, field) in
            [(&self.workdir, &mut recipe.workdir), (&self.stop_signal, &mut recipe.stop_signal)]
        {
            if flag.is_some() {
                field.clone_from(flag);
            }
        }
        if let Some(user) = &self.user {
            recipe.user = Some(Text(user.clone()));
        }
        if self.base.is_some() {
            recipe.base.clone_from(&self.base);
        }
        Ok(())
    }
}

async fn build_own(mut recipe: Recipe, arguments: Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    refuse(&arguments.tools.given(), "is for a Dockerfile")?;
    arguments.content.apply(&mut recipe)?;
    for pair in &arguments.label {
        let (name, value) = split("--label", pair)?;
        recipe.labels.insert(name.to_owned(), value.to_owned());
    }
    if !arguments.platform.is_empty() {
        recipe.platforms = arguments.platform.into_iter().map(Text).collect();
    }
    let layout = Layout::create(&arguments.output)?.progress(push_progress(printer));
    let root = layout.root().to_owned();
    let place = own::Place {
        context: arguments.context,
        layout,
        name: arguments.name.clone(),
        cache: arguments.base_cache,
        packing: arguments.notes.packing(),
    };
    let built = own::build(recipe, place, arguments.login, printer).await?;
    let (size, entries, reused) = (
        built.images.iter().map(|image| image.size).sum::<u64>(),
        built.images.iter().map(|image| image.entries).sum::<u64>(),
        built.images.iter().map(|image| image.reused).sum::<usize>(),
    );
    let of = if built.images.len() > 1 { format!("{} images, ", built.images.len()) } else { String::new() };
    printer.note(&format!(
        "built {} in `{}`: {of}{entries} entries, {}",
        built.root.digest.short(),
        root.display(),
        bytes(size)
    ));
    let left_out: BTreeSet<_> = built.images.iter().flat_map(|image| &image.left_out).collect();
    for path in left_out {
        printer.note(&format!("`{}` is what builds write, and was left out of the image", path.display()));
    }
    let first = &built.images[0];
    let mut value = json!({
        "layout": root,
        "name": arguments.name,
        "builder": "spectra",
        "digest": built.root.digest,
        "media_type": built.root.media_type,
        "size": size,
        "entries": entries,
        "reused_layers": reused,
        "images": built.images.iter().map(image_json).collect::<Vec<_>>(),
    });
    if built.images.len() == 1 {
        value["config_digest"] = json!(first.config);
        value["layers"] = image_json(first)["layers"].clone();
    }
    printer.data("image.build", &value, built.root.digest.to_string())?;
    Ok(ExitCode::Done)
}

fn image_json(image: &BuiltImage) -> Value {
    json!({
        "platform": image.manifest.platform.as_ref().map(ToString::to_string),
        "digest": image.manifest.digest,
        "config_digest": image.config,
        "layers": image.layers.iter().map(|layer| json!({
            "media_type": layer.media_type, "digest": layer.digest, "size": layer.size
        })).collect::<Vec<_>>(),
    })
}

async fn build_dockerfile(file: &Path, arguments: Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    refuse(&arguments.content.given(), "is for an image.toml or a directory; a Dockerfile says it itself")?;
    refuse_what_builders_do(&arguments, printer)?;
    let layout = Layout::create(&arguments.output)?;
    let root = layout.root().to_owned();
    let absolute = |path: &Path| std::path::absolute(path).map_err(Failure::file("find", path));
    let (file, context) = (absolute(file)?, absolute(&arguments.context)?);
    let default = [Platform::default()];
    let request = tools::Request {
        file: &file,
        context: &context,
        platforms: if arguments.platform.is_empty() { &default } else { &arguments.platform },
        labels: &arguments.label,
        created: arguments.created(),
        flags: &arguments.tools,
    };
    let built = tools::build(&request, printer).await?;
    let tool = built.tool.program();
    let (name, progress) = (arguments.name.clone(), push_progress(printer));
    let (descriptor, images) = tokio::task::spawn_blocking(move || {
        let descriptor = built.artifact.store(&layout, name.as_deref(), &Packing::default(), &progress)?;
        Ok::<_, spectra_oci::Error>((descriptor, summaries(&built.artifact)?))
    })
    .await??;
    printer.note(&format!("built {} in `{}` with {tool}", descriptor.digest.short(), root.display()));
    let value = json!({
        "layout": root,
        "name": arguments.name,
        "builder": tool,
        "digest": descriptor.digest,
        "media_type": descriptor.media_type,
        "images": images,
    });
    printer.data("image.build", &value, descriptor.digest.to_string())?;
    Ok(ExitCode::Done)
}

/// Refuses what would have no effect on a Dockerfile, because its builder has its own ways. A variable may be set for other commands of
/// the same job, and is no reason to fail.
fn refuse_what_builders_do(arguments: &Arguments, printer: Printer) -> Result<(), Failure> {
    const LOGIN: &str = "is for the registry of a recipe's base image; a Dockerfile may name images of any registry, and its \
         builder has its own logins: `docker login`, `buildah login` or `podman login`";
    let base_cache = arguments.base_cache.as_ref().map(|_| ("--base-cache", "SPECTRA_BASE_CACHE"));
    let notes = arguments.notes.given();
    // A flag and its variable look the same here; one whose variable is set counts as not given.
    let on_the_command_line = |given: &[(&'static str, &'static str)]| -> Vec<&'static str> {
        given.iter().filter(|(_, variable)| !from_variable(variable)).map(|(flag, _)| *flag).collect()
    };
    let login = arguments.login.given();
    refuse(&on_the_command_line(&login), LOGIN)?;
    refuse(
        &on_the_command_line(base_cache.as_slice()),
        "is where base images of recipes are kept; a Dockerfile's builder has its own store",
    )?;
    refuse(
        &on_the_command_line(&notes),
        "is about layers that are compressed here; those of a Dockerfile are its builder's, with `--no-cache`, `--cache-from` and `--cache-to`",
    )?;
    if let Some((_, variable)) = login.first() {
        printer.note(&format!("{variable} is not used: it {LOGIN}"));
    }
    Ok(())
}

fn summaries(artifact: &Artifact) -> Result<Vec<Value>, spectra_oci::Error> {
    let images = artifact.images().into_iter().map(|image| {
        let inspection = Artifact::Image(image.clone()).inspect(None)?;
        Ok(json!({
            "platform": inspection.platform.to_string(),
            "digest": inspection.digest,
            "layers": inspection.layers,
        }))
    });
    images.collect()
}

fn refuse(given: &[&str], why: &str) -> Result<(), Failure> {
    match given.first() {
        Some(flag) => Err(Failure::usage(format!("`{flag}` {why}"))),
        None => Ok(()),
    }
}

fn split<'a>(flag: &str, pair: &'a str) -> Result<(&'a str, &'a str), Failure> {
    pair.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| Failure::usage(format!("`{flag} {pair}` has no `=`; write NAME=VALUE")))
}
