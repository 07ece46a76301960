//! `image.toml`: what an image consists of. Strict: a key that is not known is an error with its place and the nearest known key.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Component, Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, de};
use spectra_oci::{FileRule, Files, Healthcheck, ImageBuilder, Owner, Patterns, Platform};
use spectra_types::{HumanDuration, ImageRef};

use crate::failure::Failure;

/// The file that `image build` looks for.
pub(super) const FILE_NAME: &str = "image.toml";

/// Everything about an image but where it is written. Flags of the command line end up here too.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Recipe {
    /// The image to build on, by digest; without one, nothing is below.
    pub(super) base: Option<ImageRef>,
    /// What the image runs on; several make an index.
    pub(super) platforms: Vec<Text<Platform>>,
    pub(super) entrypoint: Vec<String>,
    pub(super) cmd: Vec<String>,
    pub(super) user: Option<Text<Account>>,
    pub(super) workdir: Option<String>,
    pub(super) ports: Vec<Port>,
    pub(super) stop_signal: Option<String>,
    /// The one time that everything carries, in seconds since 1970.
    pub(super) created: Option<u32>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) healthcheck: Option<Check>,
    pub(super) files: Vec<Entry>,
    /// The file that says all this; for messages.
    #[serde(skip)]
    pub(super) file: PathBuf,
}

/// Who names a path. What a recipe names, perhaps somebody else's, is in the context; on the command line a user may name anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Named {
    #[default]
    ByRecipe,
    ByUser,
}

/// One `[[files]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// A file or directory, relative to the context; `{os}`, `{arch}`, `{variant}` and `{platform}` stand for the platform.
    pub(super) from: String,
    /// Where it goes in the image.
    pub(super) to: String,
    #[serde(default)]
    pub(super) mode: Option<Text<Mode>>,
    #[serde(default)]
    pub(super) directory_mode: Option<Text<Mode>>,
    #[serde(default)]
    pub(super) owner: Option<Text<User>>,
    #[serde(default)]
    pub(super) exclude: Vec<String>,
    /// A file of patterns, such as `.dockerignore`; they come before those of `exclude`.
    #[serde(default)]
    pub(super) exclude_from: Option<PathBuf>,
    /// Entries of the same layer share one; without a name, each has its own.
    #[serde(default)]
    pub(super) layer: Option<String>,
    #[serde(default)]
    pub(super) rules: Vec<Rule>,
    #[serde(skip)]
    named: Named,
}

/// One exception of an [`Entry`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    files: Vec<String>,
    #[serde(default)]
    mode: Option<Text<Mode>>,
    #[serde(default)]
    owner: Option<Text<User>>,
}

/// `[healthcheck]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    /// The program and its arguments.
    command: Vec<String>,
    #[serde(default)]
    interval: HumanDuration,
    #[serde(default)]
    timeout: HumanDuration,
    #[serde(default)]
    start_period: HumanDuration,
    #[serde(default)]
    start_interval: HumanDuration,
    #[serde(default)]
    retries: u32,
}

/// A value that is written as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text<T>(pub(super) T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(de::Error::custom)
    }
}

/// Permission bits, octal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mode(pub(super) u32);

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        u32::from_str_radix(text, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777 && text.bytes().all(|byte| byte.is_ascii_digit()))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a mode; write it octal, such as `0755`"))
    }
}

/// `UID` or `UID:GID`. Names mean different numbers in different images, so numbers alone are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct User(pub(super) Owner);

impl FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (user, group) = text.split_once(':').unwrap_or((text, text));
        match (user.parse(), group.parse()) {
            (Ok(user), Ok(group)) => Ok(Self(Owner { user, group })),
            _ => {
                Err(format!("`{text}` is not an owner; write numbers, UID or UID:GID, such as `65532:65532`"))
            }
        }
    }
}

/// `USER` or `USER:GROUP` that the program runs as, by names or numbers, which an engine looks up in the image. Empty for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account(String);

impl FromStr for Account {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let odd =
            |part: &str| part.is_empty() || part.contains(|c: char| c.is_whitespace() || c.is_control());
        if !text.is_empty() && (text.matches(':').count() > 1 || text.split(':').any(odd)) {
            return Err(format!(
                "`{}` is not a user; write USER or USER:GROUP, names or numbers, such as `65532:65532`",
                text.escape_debug()
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A platform that is named twice, in whatever way: an index has one image for each.
pub(super) fn twice(platforms: &[Platform]) -> Option<&Platform> {
    let again =
        |(number, platform): &(usize, &Platform)| platforms[..*number].iter().any(|one| one.is(platform));
    platforms.iter().enumerate().find(again).map(|(_, platform)| platform)
}

/// A port, as a number or as text with a protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port(String);

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The builder knows what a port is; here it is only asked, so that the place of the error is known.
        ImageBuilder::new().expose(text).map_err(|error| {
            let text = error.to_string();
            text.strip_prefix("cannot build an image: ").unwrap_or(&text).to_owned()
        })?;
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Port;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port such as 8080 or \"53/udp\"")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Port, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Port, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Port, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Recipe {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(Failure::file("read", path))?;
        let refused = |problem| Failure::Recipe { message: format!("{}:{problem}", path.display()) };
        let recipe = Self::parse(&text).map_err(refused)?;
        let platforms: Vec<Platform> = recipe.platforms.iter().map(|platform| platform.0.clone()).collect();
        if let Some(platform) = twice(&platforms) {
            return Err(refused(format!(" `platforms` names `{platform}` twice")));
        }
        Ok(Self { file: path.to_owned(), ..recipe })
    }

    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let before = text.get(..at).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            format!("{line}:{column}: {}", explain(error.message()))
        })
    }

    /// The builder for one platform, without its base.
    pub(super) fn builder(&self, platform: &Platform, context: &Path) -> Result<ImageBuilder, Failure> {
        let mut builder = ImageBuilder::new()
            .platform(platform.clone())
            .created(self.created.unwrap_or_default())
            .entrypoint(self.entrypoint.clone())
            .cmd(self.cmd.clone());
        for (name, value) in &self.env {
            builder = builder.env(name, value);
        }
        for (name, value) in &self.labels {
            builder = builder.label(name, value);
        }
        for (name, value) in &self.annotations {
            builder = builder.annotation(name, value);
        }
        for port in &self.ports {
            builder = builder.expose(&port.0)?;
        }
        if let Some(user) = &self.user {
            builder = builder.user(&user.0.0);
        }
        if let Some(directory) = &self.workdir {
            builder = builder.working_dir(directory);
        }
        if let Some(signal) = &self.stop_signal {
            builder = builder.stop_signal(signal);
        }
        if let Some(check) = &self.healthcheck {
            builder = builder.healthcheck(check.healthcheck()?);
        }
        for layer in self.layers(platform, context)? {
            builder = builder.files(layer);
        }
        Ok(builder)
    }

    /// The files of each layer, in the order in which layers are first named.
    fn layers(&self, platform: &Platform, context: &Path) -> Result<Vec<Vec<Files>>, Failure> {
        let mut layers: Vec<(Option<&str>, Vec<Files>)> = Vec::new();
        for (number, entry) in self.files.iter().enumerate() {
            entry.check(platform, context).map_err(|problem| Failure::Recipe {
                message: format!("{}: `[[files]]` number {}: {problem}", self.file.display(), number + 1),
            })?;
            let files = entry.files(platform, context)?;
            let same = entry
                .layer
                .as_deref()
                .and_then(|name| layers.iter_mut().find(|(other, _)| *other == Some(name)));
            match same {
                Some((_, layer)) => layer.push(files),
                None => layers.push((entry.layer.as_deref(), vec![files])),
            }
        }
        Ok(layers.into_iter().map(|(_, files)| files).collect())
    }
}

impl Entry {
    /// A directory or file with plain attributes, named on the command line.
    pub(super) fn new(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self {
            from: from.into(),
            to: to.into(),
            mode: None,
            directory_mode: None,
            owner: None,
            exclude: Vec::new(),
            exclude_from: None,
            layer: None,
            rules: Vec::new(),
            named: Named::ByUser,
        }
    }

    /// Refuses paths of a recipe that lead out of the context: an image would carry what lies elsewhere on the machine of whoever builds.
    fn check(&self, platform: &Platform, context: &Path) -> Result<(), String> {
        if self.named == Named::ByUser {
            return Ok(());
        }
        // What stands for nothing is refused where it is used.
        let from = fill(&self.from, platform).unwrap_or_else(|_| self.from.clone());
        inside("from", Path::new(&from), context)?;
        self.exclude_from.as_ref().map_or(Ok(()), |file| inside("exclude_from", file, context))
    }

    fn files(&self, platform: &Platform, context: &Path) -> Result<Files, Failure> {
        let mut lines = String::new();
        if let Some(file) = &self.exclude_from {
            let path = context.join(file);
            lines = std::fs::read_to_string(&path).map_err(Failure::file("read", &path))?;
        }
        let exclude = Patterns::parse(lines.lines().chain(self.exclude.iter().map(String::as_str)))?;
        let rules = self.rules.iter().map(|rule| {
            Ok(FileRule {
                files: Patterns::parse(rule.files.iter().map(String::as_str))?,
                mode: rule.mode.as_ref().map(|mode| mode.0.0),
                owner: rule.owner.as_ref().map(|owner| owner.0.0),
            })
        });
        Ok(Files {
            from: context.join(fill(&self.from, platform)?),
            to: self.to.clone(),
            mode: self.mode.as_ref().map(|mode| mode.0.0),
            directory_mode: self.directory_mode.as_ref().map(|mode| mode.0.0),
            owner: self.owner.as_ref().map(|owner| owner.0.0).unwrap_or_default(),
            exclude,
            rules: rules.collect::<Result<_, spectra_oci::Error>>()?,
        })
    }
}

impl Check {
    fn healthcheck(&self) -> Result<Healthcheck, Failure> {
        if self.command.is_empty() {
            return Err(Failure::usage(
                "the health check has an empty command; leave `[healthcheck]` out instead",
            ));
        }
        let nanoseconds = |time: HumanDuration| {
            u64::try_from(time.get().as_nanos())
                .map_err(|_| Failure::usage(format!("`{time}` is too long for a health check")))
        };
        let mut test = vec!["CMD".to_owned()];
        test.extend(self.command.iter().cloned());
        Ok(Healthcheck {
            test,
            interval: nanoseconds(self.interval)?,
            timeout: nanoseconds(self.timeout)?,
            start_period: nanoseconds(self.start_period)?,
            start_interval: nanoseconds(self.start_interval)?,
            retries: u64::from(self.retries),
        })
    }
}

/// Refuses a path that leads out of the context, by itself or through a link. What is not there leads nowhere.
fn inside(attribute: &str, path: &Path, context: &Path) -> Result<(), String> {
    let refused = |how: &str| {
        let (path, context) = (path.display(), context.display());
        Err(format!(
            "`{attribute} = \"{path}\"` {how}; a recipe takes files of the context `{context}` alone. Put them there, build from a \
             directory above, or name them on the command line with `--layer DIRECTORY:TARGET`"
        ))
    };
    let mut depth = 0_u32;
    for part in path.components() {
        match part {
            Component::RootDir | Component::Prefix(_) => return refused("is an absolute path"),
            Component::CurDir => {}
            Component::Normal(_) => depth += 1,
            Component::ParentDir => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return refused("leads out of it"),
            },
        }
    }
    match (context.canonicalize(), context.join(path).canonicalize()) {
        (Ok(context), Ok(found)) if !found.starts_with(&context) => {
            refused(&format!("leads through a link to `{}`", found.display()))
        }
        _ => Ok(()),
    }
}

/// Puts the platform's words into a path.
fn fill(text: &str, platform: &Platform) -> Result<String, Failure> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((word, behind)) = after.split_once('}') else { break };
        filled.push_str(before);
        match word {
            "os" => filled.push_str(&platform.os),
            "arch" => filled.push_str(&platform.architecture),
            "variant" => filled.push_str(platform.variant.as_deref().unwrap_or_default()),
            "platform" => filled.push_str(&platform.to_string().replace('/', "-")),
            _ => {
                return Err(Failure::usage(format!(
                    "`{{{word}}}` in `{text}` stands for nothing; there are `{{os}}`, `{{arch}}`, `{{variant}}` and `{{platform}}` (such as `linux-arm64-v8`)"
                )));
            }
        }
        rest = behind;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// The parser's words; of an unknown key the nearest known one too.
fn explain(message: &str) -> String {
    let Some(rest) = message.strip_prefix("unknown field ") else { return message.to_owned() };
    let mut words = rest.split('`').skip(1).step_by(2);
    let Some(unknown) = words.next() else { return message.to_owned() };
    let known: Vec<&str> = words.collect();
    let distance = |word: &&str| strsim::damerau_levenshtein(unknown, word);
    let nearest =
        known.iter().copied().min_by_key(distance).filter(|word| distance(word) * 2 <= word.len().max(2));
    let advice = nearest.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default();
    let known: Vec<String> = known.iter().map(|word| format!("`{word}`")).collect();
    format!("unknown key `{unknown}`{advice} (known here: {})", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_named_with_its_place() {
        let refused = |text: &str| Recipe::parse(text).unwrap_err();
        insta::assert_snapshot!(refused("user = \"1\"\nentripoint = [\"/a\"]\n"), @"2:1: unknown key `entripoint`; did you mean `entrypoint`? (known here: `base`, `platforms`, `entrypoint`, `cmd`, `user`, `workdir`, `ports`, `stop_signal`, `created`, `env`, `labels`, `annotations`, `healthcheck`, `files`)");
        insta::assert_snapshot!(refused("[[files]]\nfrom = \"a\"\nto = \"/\"\n  owners = \"1\"\n"), @"4:3: unknown key `owners`; did you mean `owner`? (known here: `from`, `to`, `mode`, `directory_mode`, `owner`, `exclude`, `exclude_from`, `layer`, `rules`)");
        insta::assert_snapshot!(refused("[[files]]\nfrom = \"a\"\nto = \"/\"\nmode = \"rwx\"\n"), @"4:8: `rwx` is not a mode; write it octal, such as `0755`");
        insta::assert_snapshot!(refused("[[files]]\nfrom = \"a\"\nto = \"/\"\nowner = \"nobody\"\n"), @"4:9: `nobody` is not an owner; write numbers, UID or UID:GID, such as `65532:65532`");
        insta::assert_snapshot!(refused("ports = [8080, 70000]\n"), @"1:16: `70000` is not a port; write a number from 1 to 65535, optionally with `/tcp` or `/udp`");
        insta::assert_snapshot!(refused("base = \"UPPER\"\n"), @"1:8: repository `UPPER` has upper-case letters, which registries refuse; write `upper`");
        insta::assert_snapshot!(refused("quite_another = 1\n"), @"1:1: unknown key `quite_another` (known here: `base`, `platforms`, `entrypoint`, `cmd`, `user`, `workdir`, `ports`, `stop_signal`, `created`, `env`, `labels`, `annotations`, `healthcheck`, `files`)");
        insta::assert_snapshot!(refused("[healthcheck]\ncommand = [\"/x\"]\ninterval = \"30\"\n"), @"3:12: duration `30` does not say the unit of `30`; write `30s` for seconds");
    }

    #[test]
    fn a_whole_recipe() {
        let recipe = Recipe::parse(
            r#"
            platforms = ["linux/amd64", "linux/arm64/v8"]
            entrypoint = ["/app"]
            ports = [8080, "53/udp"]
            env = { A = "1" }
            healthcheck = { command = ["/app", "--check"], interval = "30s", retries = 3 }
            [[files]]
            from = "dist/{os}-{arch}{variant}/app"
            to = "/app"
            layer = "app"
            [[files]]
            from = "assets"
            to = "/srv"
            [[files]]
            from = "dist/{platform}/lib"
            to = "/lib/"
            layer = "app"
            rules = [{ files = ["*.so"], mode = "0444", owner = "1:2" }]
            "#,
        )
        .unwrap();
        let layers = recipe.layers(&recipe.platforms[1].0, Path::new("ctx")).unwrap();
        let from: Vec<Vec<&str>> = layers
            .iter()
            .map(|layer| layer.iter().map(|files| files.from.to_str().unwrap()).collect())
            .collect();
        assert_eq!(
            from,
            [vec!["ctx/dist/linux-arm64v8/app", "ctx/dist/linux-arm64-v8/lib"], vec!["ctx/assets"]]
        );
        let check = recipe.healthcheck.unwrap().healthcheck().unwrap();
        assert_eq!((check.test[0].as_str(), check.interval, check.retries), ("CMD", 30_000_000_000, 3));
        assert!(fill("a/{cpu}", &Platform::default()).is_err());
        assert_eq!(fill("a/{b", &Platform::default()).unwrap(), "a/{b");
    }
}
