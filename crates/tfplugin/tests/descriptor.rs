//! The compiled protocol against the published facts, element by element.

#![expect(clippy::unwrap_used, reason = "tests end by panicking, their helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};
use serde_json::Value;

/// One field, as both sides describe it.
#[derive(Debug, PartialEq)]
struct Field {
    number: i64,
    kind: String,
    label: &'static str,
    explicit_presence: bool,
    oneof: Option<String>,
    deprecated: bool,
}

/// Everything that is on the wire, by full name.
#[derive(Debug, Default)]
struct Protocol {
    methods: BTreeMap<String, (String, String, bool, bool)>,
    messages: BTreeMap<String, BTreeMap<String, Field>>,
    enums: BTreeMap<String, BTreeMap<String, i64>>,
}

impl Protocol {
    fn compiled(packages: &[&str]) -> Self {
        let set = FileDescriptorSet::decode(tfplugin::proto::FILE_DESCRIPTOR_SET).unwrap();
        let mut protocol = Self::default();
        for file in set.file.iter().filter(|file| packages.contains(&file.package())) {
            for message in &file.message_type {
                protocol.add_message(file.package(), message);
            }
            for descriptor in &file.enum_type {
                protocol.add_enum(file.package(), descriptor);
            }
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let input = method.input_type().trim_start_matches('.').to_owned();
                    let output = method.output_type().trim_start_matches('.').to_owned();
                    let streams = (method.client_streaming(), method.server_streaming());
                    protocol.methods.insert(path, (input, output, streams.0, streams.1));
                }
            }
        }
        protocol
    }

    fn add_enum(&mut self, scope: &str, descriptor: &EnumDescriptorProto) {
        let values =
            descriptor.value.iter().map(|value| (value.name().to_owned(), i64::from(value.number())));
        self.enums.insert(format!("{scope}.{}", descriptor.name()), values.collect());
    }

    fn add_message(&mut self, scope: &str, message: &DescriptorProto) {
        let name = format!("{scope}.{}", message.name());
        let entries: BTreeMap<String, String> = message
            .nested_type
            .iter()
            .filter(|nested| nested.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry))
            .map(|entry| {
                let sides: Vec<String> = entry.field.iter().map(kind).collect();
                (format!(".{name}.{}", entry.name()), format!("map<{}>", sides.join(", ")))
            })
            .collect();
        let mut fields = BTreeMap::new();
        for field in &message.field {
            let map = entries.get(field.type_name());
            let oneof = field
                .oneof_index
                .filter(|_| !field.proto3_optional())
                .map(|index| message.oneof_decl[usize::try_from(index).unwrap()].name().to_owned());
            let facts = Field {
                number: i64::from(field.number()),
                kind: map.cloned().unwrap_or_else(|| kind(field)),
                label: match (map, field.label()) {
                    (Some(_), _) => "map",
                    (None, Label::Repeated) => "repeated",
                    (None, _) => "singular",
                },
                explicit_presence: field.proto3_optional(),
                oneof,
                deprecated: field.options.as_ref().is_some_and(prost_types::FieldOptions::deprecated),
            };
            fields.insert(field.name().to_owned(), facts);
        }
        self.messages.insert(name.clone(), fields);
        for nested in &message.nested_type {
            if !entries.contains_key(&format!(".{name}.{}", nested.name())) {
                self.add_message(&name, nested);
            }
        }
        for descriptor in &message.enum_type {
            self.add_enum(&name, descriptor);
        }
    }

    fn published(facts: &Value, added: Option<&Value>) -> Self {
        let mut protocol = Self::default();
        for (_, methods) in object(&facts["services"]) {
            for (_, method) in object(methods) {
                let text = |key: &str| method[key].as_str().unwrap().to_owned();
                let flag = |key: &str| method[key].as_bool().unwrap();
                let streams = (flag("client_streaming"), flag("server_streaming"));
                protocol.methods.insert(text("path"), (text("input"), text("output"), streams.0, streams.1));
            }
        }
        for (name, message) in object(&facts["messages"]) {
            let fields = message["fields"].as_array().unwrap().iter().map(published_field).collect();
            protocol.messages.insert(name.clone(), fields);
        }
        for addition in added.into_iter().flat_map(|added| added.as_array().unwrap()) {
            let (name, field) = published_field(&addition["field"]);
            let message = protocol.messages.get_mut(addition["message"].as_str().unwrap()).unwrap();
            assert!(message.insert(name, field).is_none(), "the added field exists already: {addition}");
        }
        for (name, values) in object(&facts["enums"]) {
            let values = object(values).iter().map(|(name, number)| (name.clone(), number.as_i64().unwrap()));
            protocol.enums.insert(name.clone(), values.collect());
        }
        protocol
    }

    /// Every difference in words; empty means equal.
    fn differences(&self, published: &Self) -> Vec<String> {
        let mut found = Vec::new();
        differ("method", &self.methods, &published.methods, &mut found);
        differ("enum", &self.enums, &published.enums, &mut found);
        let names: BTreeSet<_> = self.messages.keys().chain(published.messages.keys()).collect();
        for name in names {
            match (self.messages.get(name), published.messages.get(name)) {
                (Some(ours), Some(theirs)) => differ(&format!("field of {name}:"), ours, theirs, &mut found),
                (ours, _) => {
                    found.push(format!(
                        "message {name}: {}",
                        if ours.is_some() { "surplus" } else { "missing" }
                    ));
                }
            }
        }
        found
    }
}

fn differ<T: PartialEq + std::fmt::Debug>(
    what: &str,
    ours: &BTreeMap<String, T>,
    theirs: &BTreeMap<String, T>,
    found: &mut Vec<String>,
) {
    for name in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        let (ours, theirs) = (ours.get(name), theirs.get(name));
        if ours != theirs {
            found.push(format!("{what} {name}: compiled {ours:?}, published {theirs:?}"));
        }
    }
}

fn object(value: &Value) -> &serde_json::Map<String, Value> {
    value.as_object().unwrap()
}

fn kind(field: &prost_types::FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message | Type::Enum => field.type_name().trim_start_matches('.').to_owned(),
        other => other.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    }
}

fn published_field(field: &Value) -> (String, Field) {
    let text = |key: &str| field[key].as_str().map(str::to_owned);
    let flag = |key: &str| field[key].as_bool().unwrap_or(false);
    let label = match field["label"].as_str().unwrap() {
        "map" => "map",
        "repeated" => "repeated",
        "singular" => "singular",
        other => panic!("unknown label {other}"),
    };
    let kind = if label == "map" {
        let value = text("map_value_type_name").or_else(|| text("map_value")).unwrap();
        format!("map<{}, {value}>", text("map_key").unwrap())
    } else {
        text("type_name").or_else(|| text("type")).unwrap()
    };
    let facts = Field {
        number: field["number"].as_i64().unwrap(),
        kind,
        label,
        explicit_presence: flag("optional"),
        oneof: text("oneof"),
        deprecated: flag("deprecated"),
    };
    (text("name").unwrap(), facts)
}

/// The reference lies beside the repository where the protocol is maintained, and is not part of it.
fn reference(file: &str) -> Option<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference").join(file);
    let text = fs::read_to_string(path).ok()?;
    Some(serde_json::from_str(&text).unwrap())
}

#[test]
fn provider_protocol_is_the_published_one() {
    let Some(facts) = reference("tfplugin6.json") else { return };
    let added = &facts["variants"]["terraform_1.16"]["added_fields"];
    let differences =
        Protocol::compiled(&["tfplugin6"]).differences(&Protocol::published(&facts, Some(added)));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn launcher_services_are_the_published_ones() {
    let Some(facts) = reference("go-plugin.json") else { return };
    let differences =
        Protocol::compiled(&["plugin", "grpc.health.v1"]).differences(&Protocol::published(&facts, None));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Holds without the reference too.
#[test]
fn provider_protocol_is_whole() {
    let protocol = Protocol::compiled(&["tfplugin6"]);
    assert_eq!(protocol.methods.len(), 36);
    assert_eq!(protocol.messages.len(), 143);
    assert_eq!(protocol.enums.len(), 5);
    assert!(protocol.messages["tfplugin6.FunctionError"]["function_argument"].explicit_presence);
    assert_eq!(protocol.messages["tfplugin6.Schema.Block"]["computed"].number, 8);
    assert!(protocol.methods.keys().all(|path| path.starts_with("/tfplugin6.Provider/")));
}

/// The comparison itself must see what it is there for.
#[test]
fn a_changed_number_or_a_missing_message_is_reported() {
    let published = Protocol::compiled(&["tfplugin6"]);
    let mut ours = Protocol::compiled(&["tfplugin6"]);
    ours.messages.remove("tfplugin6.RawState");
    let diagnostic = ours.messages.get_mut("tfplugin6.Diagnostic").unwrap();
    diagnostic.get_mut("summary").unwrap().number = 9;
    let differences = ours.differences(&published);
    assert_eq!(differences.len(), 2, "{differences:?}");
    assert!(differences.iter().any(|text| text.contains("tfplugin6.RawState: missing")));
    assert!(differences.iter().any(|text| text.contains("Diagnostic: summary")));
}

/// A debug print of a request shows no value.
#[test]
fn values_do_not_print() {
    let value = tfplugin::proto::tfplugin6::DynamicValue {
        msgpack: bytes::Bytes::from_static(b"hunter2"),
        json: bytes::Bytes::new(),
    };
    let request = tfplugin::proto::tfplugin6::validate_provider_config::Request { config: Some(value) };
    let text = format!("{request:?}");
    assert!(text.contains("7 bytes"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}
