//! What every JSON document of an image goes through before it is read: manifests, indices, configurations, and `manifest.json`.
//!
//! Readers disagree about JSON, too. Those in Go take a key for another that differs by case alone, and the last of several; others
//! go by the exact key. A document with `layers` and `Layers` is then one image to the scanner and another to the engine. Such
//! documents are refused, as in archives (`tar_index`) what can be read in two ways.

use std::{collections::HashSet, fmt, path::Path};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::error::Category;

use crate::{Descriptor, Error, limits::check_values, media_type};

/// What the keys of an object mean.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Keys that are read, with what is below them. Lists have the shape of their elements.
    Fields(&'static [(&'static str, &'static Self)]),
    /// A map of the user, such as labels, or something that is not read here: any keys, each once.
    Free,
}

const FREE: &Shape = &Shape::Free;

/// A manifest or an index.
pub(crate) const MANIFEST: &Shape = &Shape::Fields(&[
    ("schemaVersion", FREE),
    ("mediaType", FREE),
    ("config", DESCRIPTOR),
    ("layers", DESCRIPTOR),
    ("manifests", DESCRIPTOR),
    ("subject", DESCRIPTOR),
    ("artifactType", FREE),
    ("annotations", FREE),
]);

const DESCRIPTOR: &Shape = &Shape::Fields(&[
    ("mediaType", FREE),
    ("digest", FREE),
    ("size", FREE),
    ("platform", PLATFORM),
    ("artifactType", FREE),
    ("annotations", FREE),
    ("urls", FREE),
    ("data", FREE),
]);

const PLATFORM: &Shape = &Shape::Fields(&[
    ("os", FREE),
    ("architecture", FREE),
    ("variant", FREE),
    ("os.version", FREE),
    ("os.features", FREE),
]);

/// A configuration.
pub(crate) const CONFIG: &Shape = &Shape::Fields(&[
    ("created", FREE),
    ("os", FREE),
    ("architecture", FREE),
    ("variant", FREE),
    ("os.version", FREE),
    ("os.features", FREE),
    ("config", RUN),
    ("rootfs", &Shape::Fields(&[("type", FREE), ("diff_ids", FREE)])),
    ("history", &Shape::Fields(&[("created", FREE), ("created_by", FREE), ("empty_layer", FREE)])),
]);

/// How to run the image.
const RUN: &Shape = &Shape::Fields(&[
    ("User", FREE),
    ("ExposedPorts", FREE),
    ("Env", FREE),
    ("Entrypoint", FREE),
    ("Cmd", FREE),
    ("WorkingDir", FREE),
    ("Labels", FREE),
    ("StopSignal", FREE),
    ("Volumes", FREE),
    ("Healthcheck", HEALTH),
    ("Shell", FREE),
    ("OnBuild", FREE),
]);

const HEALTH: &Shape = &Shape::Fields(&[
    ("Test", FREE),
    ("Interval", FREE),
    ("Timeout", FREE),
    ("StartPeriod", FREE),
    ("StartInterval", FREE),
    ("Retries", FREE),
]);

/// `manifest.json` of `docker save`.
pub(crate) const SAVED: &Shape =
    &Shape::Fields(&[("Config", FREE), ("RepoTags", FREE), ("Layers", FREE), ("LayerSources", FREE)]);

/// `oci-layout`.
pub(crate) const MARKER: &Shape = &Shape::Fields(&[("imageLayoutVersion", FREE)]);

/// Refuses a document of too many values, and one that can be read in two ways. `origin` is the file or the image. What is no JSON at
/// all is left to whoever reads it: the configuration of an artifact may be anything.
pub(crate) fn check(origin: &Path, bytes: &[u8], shape: &'static Shape) -> Result<(), Error> {
    check_values(origin, bytes)?;
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    match Check(shape).deserialize(&mut reader) {
        // Only what is said below is about data, the rest is about the text.
        Err(error) if error.classify() == Category::Data => {
            // Without the place in the text, which means nothing to whoever has the image.
            let reason = error.to_string();
            let reason = reason.rsplit_once(" at line ").map_or(reason.as_str(), |(reason, _)| reason);
            Err(Error::input(origin, reason))
        }
        _ => Ok(()),
    }
}

/// What a manifest or index says about itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    media_type: Option<String>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    manifests: Option<IgnoredAny>,
}

/// Refuses a manifest that is also an index, and one that is not what its own media type says, or `stated`: the type in its descriptor, or
/// that of the registry's answer. (CVE-2021-41190 is about such documents.)
pub(crate) fn check_type(origin: &Path, bytes: &[u8], stated: Option<&str>) -> Result<(), Error> {
    // Whoever reads it says why it cannot be read.
    let Ok(outline) = serde_json::from_slice::<Outline>(bytes) else { return Ok(()) };
    let refuse = |reason: String| Err(Error::input(origin, reason));
    let image_key = match (&outline.layers, &outline.config) {
        (Some(_), _) => Some("layers"),
        (None, Some(_)) => Some("config"),
        (None, None) => None,
    };
    let is_index = outline.manifests.is_some();
    if let Some(key) = image_key.filter(|_| is_index) {
        return refuse(format!(
            "a document has `{key}` and `manifests`: to some it is an image, to others an index"
        ));
    }
    for text in outline.media_type.as_deref().into_iter().chain(stated) {
        if let Some(key) = image_key.filter(|_| media_type::is_index(text)) {
            return refuse(format!("a document has `{key}`, and the type of an index: `{text}`"));
        }
        if is_index && media_type::is_manifest(text) {
            return refuse(format!("a document has `manifests`, and the type of one image: `{text}`"));
        }
    }
    Ok(())
}

/// Refuses a document whose own type, if it says any, is not the one of its descriptor.
pub(crate) fn check_same_type(origin: &Path, bytes: &[u8], descriptor: &Descriptor) -> Result<(), Error> {
    let outline: Result<Outline, _> = serde_json::from_slice(bytes);
    let stated = &descriptor.media_type;
    match outline.ok().and_then(|outline| outline.media_type).filter(|own| own != stated) {
        Some(own) => {
            let (own, stated) = (own.escape_debug(), stated.escape_debug());
            Err(Error::input(
                origin,
                format!("`{}` has the type `{own}`, and `{stated}` where it is named", descriptor.digest),
            ))
        }
        None => Ok(()),
    }
}

#[derive(Clone, Copy)]
struct Check(&'static Shape);

impl Check {
    /// The key that readers in Go take this one for, and what is below it.
    fn field(self, folded: &str) -> Option<(&'static str, &'static Shape)> {
        let Shape::Fields(fields) = self.0 else { return None };
        fields.iter().find(|(name, _)| fold(name) == folded).copied()
    }
}

/// As Go compares keys. Two letters beyond ASCII are small and capital letters of it, too.
fn fold(key: &str) -> String {
    let fold = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    };
    key.chars().map(fold).collect()
}

impl<'de> DeserializeSeed<'de> for Check {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let shown = |key: &str| key.chars().take(64).collect::<String>().escape_debug().to_string();
            let folded = fold(&key);
            let field = self.field(&folded);
            if let Some((name, _)) = field
                && name != key
            {
                let shown = shown(&key);
                return Err(A::Error::custom(format!(
                    "a document has the key `{shown}`, which some readers take for `{name}`"
                )));
            }
            let shape = field.map_or(FREE, |(_, shape)| shape);
            let unique = if matches!(self.0, Shape::Free) { key.clone() } else { folded };
            if !seen.insert(unique) {
                let shown = shown(&key);
                return Err(A::Error::custom(format!(
                    "a document has the key `{shown}` twice; readers disagree about which of them counts"
                )));
            }
            map.next_value_seed(Check(shape))?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(shape: &'static Shape, text: &str) -> String {
        let error = check(Path::new("x"), text.as_bytes(), shape).unwrap_err().to_string();
        error.strip_prefix("cannot read `x` as an image: a document has ").unwrap().to_owned()
    }

    #[test]
    fn keys_that_some_readers_take_for_others() {
        let cases = [
            (
                MANIFEST,
                r#"{"layers":[],"Layers":[]}"#,
                "the key `Layers`, which some readers take for `layers`",
            ),
            // Alone it is as bad: layers to one, none to the other.
            (MANIFEST, r#"{"Layers":[]}"#, "the key `Layers`, which some readers take for `layers`"),
            (
                MANIFEST,
                "{\"layer\u{17f}\":[]}",
                "the key `layer\u{17f}`, which some readers take for `layers`",
            ),
            (
                MANIFEST,
                r#"{"manifests":[{"digest":"a"},{"Digest":"b"}]}"#,
                "the key `Digest`, which some readers take for `digest`",
            ),
            (
                MANIFEST,
                r#"{"manifests":[{"platform":{"OS":"b"}}]}"#,
                "the key `OS`, which some readers take for `os`",
            ),
            (
                CONFIG,
                r#"{"rootfs":{"diff_ids":[],"DIFF_IDS":[]}}"#,
                "the key `DIFF_IDS`, which some readers take for `diff_ids`",
            ),
            (CONFIG, r#"{"config":{"Env":[],"env":[]}}"#, "the key `env`, which some readers take for `Env`"),
            (
                CONFIG,
                r#"{"config":{"Env":[]},"config":{}}"#,
                "the key `config` twice; readers disagree about which of them counts",
            ),
            (
                CONFIG,
                r#"{"config":{"Labels":{"a":"1","a":"2"}}}"#,
                "the key `a` twice; readers disagree about which of them counts",
            ),
            (
                CONFIG,
                r#"{"comment":1,"Comment":2}"#,
                "the key `Comment` twice; readers disagree about which of them counts",
            ),
            (
                SAVED,
                r#"[{"Config":"b.json"},{"config":"a.json"}]"#,
                "the key `config`, which some readers take for `Config`",
            ),
        ];
        for (shape, text, expected) in cases {
            assert_eq!(refusal(shape, text), expected, "{text}");
        }
    }

    #[test]
    fn keys_of_the_user_are_free() {
        let config = r#"{"config":{"Labels":{"a":"1","A":"2","layers":"x","Layers":"y"},"Volumes":{"/a":{},"/A":{}},
            "Healthcheck":{"Interval":30000000000}},"container_config":{"Labels":{"a":"","A":""}},
            "history":[{"created_by":"x","empty_layer":true},{"created_by":"y"}],"docker_version":"27.1"}"#;
        check(Path::new("x"), config.as_bytes(), CONFIG).unwrap();
        let manifest =
            r#"{"annotations":{"a":"1","A":"2"},"layers":[{"annotations":{"b":"","B":""},"size":1.5e3}]}"#;
        check(Path::new("x"), manifest.as_bytes(), MANIFEST).unwrap();
        // The configuration of an artifact may be anything.
        for text in ["", "no JSON", "[1,null,true,-2]", "{\"a\":"] {
            check(Path::new("x"), text.as_bytes(), CONFIG).unwrap();
        }
    }

    #[test]
    fn an_image_that_is_an_index() {
        let refusal = |text: &str, stated: &str| {
            let error = check_type(Path::new("x"), text.as_bytes(), Some(stated)).unwrap_err().to_string();
            error.strip_prefix("cannot read `x` as an image: a document has ").unwrap().to_owned()
        };
        let both = r#"{"config":{},"layers":[],"manifests":[]}"#;
        let expected = "`layers` and `manifests`: to some it is an image, to others an index";
        assert_eq!(refusal(both, media_type::MANIFEST), expected);
        assert_eq!(
            refusal(r#"{"config":{},"layers":[]}"#, media_type::INDEX),
            "`layers`, and the type of an index: `application/vnd.oci.image.index.v1+json`"
        );
        assert_eq!(
            refusal(r#"{"manifests":[]}"#, media_type::DOCKER_MANIFEST),
            "`manifests`, and the type of one image: `application/vnd.docker.distribution.manifest.v2+json`"
        );
        let own = format!(r#"{{"mediaType":"{}","layers":[]}}"#, media_type::DOCKER_LIST);
        assert_eq!(
            refusal(&own, "application/json"),
            "`layers`, and the type of an index: `application/vnd.docker.distribution.manifest.list.v2+json`"
        );
        for (text, stated) in [
            (r#"{"config":{},"layers":[],"manifests":null}"#, media_type::MANIFEST),
            (r#"{"manifests":[]}"#, media_type::INDEX),
            (r#"{"manifests":[]}"#, "application/json"),
        ] {
            check_type(Path::new("x"), text.as_bytes(), Some(stated)).unwrap();
        }
    }
}
