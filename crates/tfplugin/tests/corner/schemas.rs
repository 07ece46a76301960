//! The schema as a core understands it.

use serde_json::Value;

use crate::terraform::Terraform;

fn schema(terraform: &Terraform) -> Value {
    let workspace = terraform.workspace();
    workspace.write("");
    let said = workspace.ok(&["providers", "schema", "-json"]);
    let all: Value = serde_json::from_str(&said.stdout).unwrap();
    all["provider_schemas"][terraform.address()].clone()
}

/// What was read before.
fn golden() -> (std::path::PathBuf, Option<Value>) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corner/schema.json");
    let kept = std::fs::read(&path).ok().map(|text| serde_json::from_slice(&text).unwrap());
    (path, kept)
}

/// The release that the kept schema was read with: the one that `cargo xtask test` installs.
const PINNED: (u64, u64) = (1, 15);

/// A change of the schema is a change of what users may write: it has to be seen. `UPDATE_GOLDEN=1` writes the new one.
pub(crate) fn the_schema_is_what_it_was(terraform: &Terraform) {
    let (path, kept) = golden();
    let now = schema(terraform);
    let pinned = terraform.release() == PINNED;
    if pinned && std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, format!("{}\n", serde_json::to_string_pretty(&now).unwrap())).unwrap();
        return;
    }
    let mut differences = Vec::new();
    compare(&kept.unwrap_or_default(), &now, "", pinned, &mut differences);
    assert!(
        differences.is_empty(),
        "{terraform} reads another schema than {path:?}:\n{}",
        differences.join("\n")
    );
}

/// What another release leaves out or adds is its own business, if it is a whole kind of thing or a message; `exact` where
/// nothing may differ.
fn compare(kept: &Value, now: &Value, path: &str, exact: bool, differences: &mut Vec<String>) {
    let (Value::Object(kept_members), Value::Object(now_members)) = (kept, now) else {
        if kept != now {
            differences.push(format!("{path}: was {}, is {}", short(kept), short(now)));
        }
        return;
    };
    for (key, kept) in kept_members {
        match now_members.get(key) {
            Some(now) => compare(kept, now, &format!("{path}.{key}"), exact, differences),
            None if !exact && (path.is_empty() || key == "deprecation_message") => {}
            None => differences.push(format!("{path}.{key} is gone")),
        }
    }
    for key in now_members.keys().filter(|key| exact && !kept_members.contains_key(*key)) {
        differences.push(format!("{path}.{key} is new"));
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(200).collect()
}
