//! Rollouts that are written in a file: TOML or JSON, one as the document itself, or several under `rollout`.

use std::path::Path;

use serde_json::{Map, Value};
use spectra_rollout::RolloutRequest;
use spectra_types::PinnedImage;

use super::place::PlaceFlags;
use crate::failure::Failure;

/// The key of several rollouts in one file.
const SEVERAL: &str = "rollout";

/// Reads a file. What it leaves open of place and image is taken from the flags.
pub(super) fn read(
    path: &Path,
    service: &PlaceFlags,
    image: Option<&PinnedImage>,
) -> Result<Vec<RolloutRequest>, Failure> {
    let text = std::fs::read_to_string(path).map_err(Failure::file("read", path))?;
    let json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let shown = path.display();
    parse(&text, json, service, image).map_err(|reason| Failure::usage(format!("`{shown}`: {reason}")))
}

fn parse(
    text: &str,
    json: bool,
    service: &PlaceFlags,
    image: Option<&PinnedImage>,
) -> Result<Vec<RolloutRequest>, String> {
    let document: Value = if json {
        serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?
    } else {
        toml::from_str(text).map_err(|error| format!("it is not TOML: {}", error.to_string().trim_end()))?
    };
    let Value::Object(mut document) = document else { return Err("it is not an object".to_owned()) };
    let several = match document.remove(SEVERAL) {
        None => return Ok(vec![request("", document, service, image)?]),
        Some(Value::Array(several)) => several,
        Some(_) => return Err(format!("`{SEVERAL}` is not a list: write `[[{SEVERAL}]]`")),
    };
    if let Some(key) = document.keys().next() {
        return Err(format!("`{key}` stands beside `{SEVERAL}`, which holds all there is"));
    }
    if several.is_empty() {
        return Err(format!("`{SEVERAL}` is empty: there is nothing to roll out"));
    }
    let mut requests: Vec<RolloutRequest> = Vec::with_capacity(several.len());
    for (index, one) in several.into_iter().enumerate() {
        let at = format!("{SEVERAL}[{index}]");
        let Value::Object(fields) = one else { return Err(format!("`{at}` is not an object")) };
        let request = request(&format!("{at}."), fields, service, image)?;
        let places = request.places();
        let twice =
            requests.iter().position(|other| other.places().iter().any(|place| places.contains(place)));
        if let Some(other) = twice {
            return Err(format!(
                "`{at}` and `{SEVERAL}[{other}]` act on the same service; they run at once, so one would keep the other out"
            ));
        }
        requests.push(request);
    }
    Ok(requests)
}

fn request(
    path: &str,
    mut fields: Map<String, Value>,
    service: &PlaceFlags,
    image: Option<&PinnedImage>,
) -> Result<RolloutRequest, String> {
    if let Some(image) = image {
        if fields.contains_key("candidate") {
            return Err(format!("`{path}candidate` is given there and by `--image`"));
        }
        fields.insert("candidate".to_owned(), Value::String(image.to_string()));
    }
    let place = fields.entry("place").or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(place) = place {
        let given = [
            ("project", service.project.as_ref().map(ToString::to_string)),
            ("environment", service.environment.as_ref().map(ToString::to_string)),
            ("service", service.service.as_ref().map(ToString::to_string)),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                place.entry(name).or_insert(Value::String(value));
            }
        }
    }
    let value = Value::Object(fields);
    let mut unknown = Vec::new();
    let mut note = |at: serde_ignored::Path<'_>| unknown.push(at.to_string());
    let request = serde_path_to_error::deserialize(serde_ignored::Deserializer::new(&value, &mut note));
    let request = request.map_err(|error| {
        let at = error.path().to_string();
        // The root has no name of its own.
        if at == "." { error.inner().to_string() } else { format!("`{path}{at}`: {}", error.inner()) }
    })?;
    match unknown.first() {
        None => Ok(request),
        Some(key) => Err(format!("`{path}{key}` is not known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        bake = "10m"
        on_inconclusive = { hold = "1h" }
        candidate = "ghcr.io/team/web@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

        [place]
        project = "p"
        environment = "e"
        service = "s"

        [health]
        path = "/healthz"
        interval = "1s"

        [approval]
        required = 2
        github_environment = "production"

        [[steps]]
        step = "migrate"
        name = "add-column"
        part = "expand"
        up = { command = ["migrate", "up"] }
        down = { command = ["migrate", "down"] }

        [[steps]]
        step = "canary"
        duration = "5m"

        [[steps.metrics]]
        name = "errors"
        source = { kind = "http_log_status", ratio = "server_error" }
        max = 0.01
        compare = { max_ratio = 1.5 }

        [[steps]]
        step = "pause"
        approval = "1h"

        [[steps]]
        step = "wave"
        services = ["s", "t"]
        pause = "30s"
    "#;

    #[test]
    fn a_file_is_written_as_it_is_read() {
        let read = parse(TEXT, false, &PlaceFlags::default(), None).unwrap();
        assert_eq!(read[0].steps.len(), 4);
        let toml = toml::to_string(&read[0]).unwrap();
        assert_eq!(parse(&toml, false, &PlaceFlags::default(), None).unwrap(), read, "{toml}");
        let json = serde_json::to_string(&serde_json::json!({ "rollout": read })).unwrap();
        assert_eq!(parse(&json, true, &PlaceFlags::default(), None).unwrap(), read, "{json}");
    }

    #[test]
    fn flags_fill_in_what_a_file_leaves_open() {
        let flags = PlaceFlags {
            project: Some("p-1".parse().unwrap()),
            environment: Some("e-1".parse().unwrap()),
            service: Some("s-1".parse().unwrap()),
        };
        let image: PinnedImage = format!("team/web@sha256:{}", "b".repeat(64)).parse().unwrap();
        let text = "[[rollout]]\n[[rollout]]\nplace = { service = \"s-2\" }";
        let read = parse(text, false, &flags, Some(&image)).unwrap();
        let services: Vec<_> = read.iter().map(|request| request.place.service.as_str()).collect();
        assert_eq!(services, ["s-1", "s-2"]);
        assert!(
            read.iter().all(|request| request.candidate == image && request.place.project.as_str() == "p-1")
        );
    }
}
