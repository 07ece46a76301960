//! Our schema file holds only what is used, and says of it exactly what Railway's does.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn manifest() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The vendor's introspection, kept beside the repository and not in it.
fn reference() -> Option<Value> {
    let path = manifest()
        .ancestors()
        .map(|dir| dir.join("shared/reference/railway-schema.json"))
        .find(|p| p.exists())?;
    let text = std::fs::read_to_string(path).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let schema = [&json["data"]["__schema"], &json["__schema"]].into_iter().find(|schema| schema.is_object());
    Some(schema.expect("an introspection result").clone())
}

/// `kind name` and members in the order of the file: `field(arg: Type, …): Type`.
#[derive(Debug)]
struct Definition {
    kind: String,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: String,
    arguments: Vec<(String, String)>,
    ty: String,
}

/// Reads the file as we write it: one member a line, no descriptions.
fn ours() -> BTreeMap<String, Definition> {
    let text = std::fs::read_to_string(manifest().join("graphql/schema.graphql")).unwrap();
    let mut definitions = BTreeMap::new();
    let mut open: Option<(String, Definition)> = None;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some((name, definition)) = &mut open {
            if line == "}" {
                let (name, definition) = (name.clone(), open.take().unwrap().1);
                assert!(definitions.insert(name, definition).is_none());
                continue;
            }
            definition.members.push(member(line, &definition.kind));
            continue;
        }
        let mut words = line.split_whitespace();
        let kind = words.next().unwrap().to_owned();
        match kind.as_str() {
            "scalar" => {
                let definition = Definition { kind, members: Vec::new() };
                definitions.insert(words.next().unwrap().to_owned(), definition);
            }
            "schema" => open = Some(("schema".to_owned(), Definition { kind, members: Vec::new() })),
            _ => {
                let name = words.next().unwrap().to_owned();
                assert_eq!(words.next(), Some("{"), "{line}");
                open = Some((name, Definition { kind, members: Vec::new() }));
            }
        }
    }
    definitions
}

fn member(line: &str, kind: &str) -> Member {
    if kind == "enum" {
        return Member { name: line.to_owned(), arguments: Vec::new(), ty: String::new() };
    }
    let (head, ty) = match line.rfind(')') {
        Some(end) => (&line[..=end], line[end + 1..].trim_start_matches(':').trim()),
        None => line.split_once(':').map(|(name, ty)| (name, ty.trim())).unwrap(),
    };
    let (name, arguments) = match head.split_once('(') {
        None => (head, Vec::new()),
        Some((name, list)) => {
            let arguments = list
                .trim_end_matches(')')
                .split(',')
                .map(|argument| {
                    let (name, ty) = argument.split_once(':').unwrap();
                    (name.trim().to_owned(), ty.trim().to_owned())
                })
                .collect();
            (name, arguments)
        }
    };
    Member { name: name.trim().to_owned(), arguments, ty: ty.to_owned() }
}

/// `[Name!]!` as introspection tells it.
fn written(ty: &Value) -> String {
    match ty["kind"].as_str().unwrap() {
        "NON_NULL" => format!("{}!", written(&ty["ofType"])),
        "LIST" => format!("[{}]", written(&ty["ofType"])),
        _ => ty["name"].as_str().unwrap().to_owned(),
    }
}

fn named<'a>(list: &'a Value, name: &str) -> Option<&'a Value> {
    list.as_array()?.iter().find(|item| item["name"] == name)
}

#[test]
fn schema_file_agrees_with_railways() {
    let Some(reference) = reference() else {
        eprintln!("skipped: no shared/reference/railway-schema.json beside the repository");
        return;
    };
    let mut compared = 0;
    for (name, definition) in ours() {
        if definition.kind == "schema" {
            continue;
        }
        let theirs = named(&reference["types"], &name).unwrap_or_else(|| panic!("there is no type `{name}`"));
        let kind = match definition.kind.as_str() {
            "type" => "OBJECT",
            "input" => "INPUT_OBJECT",
            "enum" => "ENUM",
            "scalar" => "SCALAR",
            other => panic!("unexpected `{other}`"),
        };
        assert_eq!(theirs["kind"], kind, "{name}");
        for member in &definition.members {
            compared += 1;
            let path = format!("{name}.{}", member.name);
            let list = match kind {
                "OBJECT" => "fields",
                "INPUT_OBJECT" => "inputFields",
                _ => "enumValues",
            };
            let field = named(&theirs[list], &member.name).unwrap_or_else(|| panic!("there is no `{path}`"));
            if kind == "ENUM" {
                continue;
            }
            let (ty, default) = match member.ty.split_once('=') {
                Some((ty, default)) => (ty.trim(), Some(default.trim())),
                None => (member.ty.as_str(), None),
            };
            assert_eq!(written(&field["type"]), ty, "{path}");
            assert_eq!(field["defaultValue"].as_str(), default, "default of {path}");
            for (argument, ty) in &member.arguments {
                let theirs = named(&field["args"], argument)
                    .unwrap_or_else(|| panic!("there is no argument `{argument}` of `{path}`"));
                assert_eq!(written(&theirs["type"]), *ty, "{path}({argument})");
            }
            // What we leave out must be optional there.
            for argument in field["args"].as_array().into_iter().flatten() {
                let name = argument["name"].as_str().unwrap();
                let known = member.arguments.iter().any(|(known, _)| known == name);
                let required = argument["type"]["kind"] == "NON_NULL" && argument["defaultValue"].is_null();
                assert!(known || !required, "`{path}` needs `{name}`");
            }
        }
        if kind == "INPUT_OBJECT" {
            for field in theirs["inputFields"].as_array().unwrap() {
                let field_name = field["name"].as_str().unwrap();
                let known = definition.members.iter().any(|member| member.name == field_name);
                let required = field["type"]["kind"] == "NON_NULL" && field["defaultValue"].is_null();
                assert!(known || !required, "`{name}` needs `{field_name}`");
            }
        }
        if kind == "ENUM" {
            let theirs = theirs["enumValues"].as_array().unwrap().len();
            assert_eq!(definition.members.len(), theirs, "values of {name}");
        }
    }
    assert!(compared > 200, "only {compared} members were compared");
}

/// The derive macro compiles every document that the crate uses against our schema file. That the files and the
/// operations are the same set, one operation a file, is seen here.
#[test]
fn one_operation_a_file_and_every_file_is_used() {
    let source = std::fs::read_to_string(manifest().join("src/gql.rs")).unwrap();
    let mut files = 0;
    for entry in std::fs::read_dir(manifest().join("graphql")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() == "schema.graphql" {
            continue;
        }
        files += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let operations: Vec<_> = text
            .lines()
            .filter(|line| ["query ", "mutation ", "subscription "].iter().any(|kind| line.starts_with(kind)))
            .collect();
        assert_eq!(operations.len(), 1, "{}", path.display());
        let words: Vec<_> = operations[0].split([' ', '(']).collect();
        let effect = if words[0] == "mutation" { "Write" } else { "Read" };
        let expected = format!("{}, \"graphql/{}\", {effect},", words[1], file_name(&path));
        assert!(source.contains(&expected), "src/gql.rs does not declare `{expected}`");
    }
    assert_eq!(source.matches(".graphql\", ").count(), files);
}

fn file_name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// Every type and field of the schema file is selected, or taken, by some document.
#[test]
fn nothing_in_the_schema_file_is_idle() {
    let mut documents = String::new();
    for entry in std::fs::read_dir(manifest().join("graphql")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() != "schema.graphql" {
            documents.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
    let words: std::collections::HashSet<&str> =
        documents.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    for (name, definition) in ours() {
        if definition.kind == "type" {
            for member in definition.members {
                assert!(words.contains(member.name.as_str()), "nobody asks for `{name}.{}`", member.name);
            }
        }
    }
}
