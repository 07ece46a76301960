//! What `#[derive(Model)]` and `#[derive(TfEnum)]` make of Rust types.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};

use tfplugin::schema::{Attribute, Nesting, Shape};
use tfplugin::{
    Attr, AttributePath, Diagnostic, FromValue as _, Model, Number, Sensitive, Set, Text, TfEnum,
    ToValue as _, Type, Value,
};

/// A thing.
///
/// With a second paragraph.
#[derive(Clone, Debug, PartialEq, Model)]
#[tf(version = 3, deprecated = "Use another thing.")]
struct Thing {
    /// The name
    /// over two lines.
    #[tf(required, force_new, validate(length(1..=3), with = no_spaces))]
    name: String,
    #[tf(optional, computed, stable, name = "type")]
    kind: Attr<String>,
    #[tf(default = 3, validate(range(1..=LIMIT)))]
    count: Attr<i64>,
    #[tf(default = ["b", "a", "b"])]
    tags: Attr<BTreeSet<String>>,
    #[tf(default = Mode::Slow)]
    mode: Attr<Mode>,
    #[tf(optional, validate(with(no_spaces, "no spaces")))]
    token: Attr<Sensitive<String>>,
    plain: Number,
    maybe: Option<Vec<bool>>,
    #[tf(optional)]
    modes: Option<Vec<Mode>>,
    #[tf(optional, validate(pattern("^[a-z]+$")))]
    label: Attr<String>,
    #[tf(optional, validate(pattern("^v[0-9]")))]
    labels: Attr<BTreeMap<String, String>>,
    #[tf(optional)]
    part: Attr<Part>,
    #[tf(optional)]
    parts: Attr<BTreeMap<String, Part>>,
    #[tf(optional)]
    port: Option<Text<std::num::NonZeroU16>>,
    #[tf(block(min = 1, max = 2))]
    rule: Vec<Part>,
    /// Described here.
    #[tf(block)]
    extra: Option<Part>,
    #[tf(block)]
    bag: Set<Part>,
}

const LIMIT: i64 = 9;

/// A part.
#[derive(Clone, Debug, PartialEq, Model)]
struct Part {
    #[tf(required)]
    size: i64,
    #[tf(computed)]
    made: Attr<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, TfEnum)]
enum Mode {
    /// Quick,
    /// and dear.
    FastLane,
    #[tf(name = "slow-lane")]
    Slow,
}

fn no_spaces(value: &Value) -> Result<(), String> {
    value
        .as_str()
        .filter(|text| text.contains(' '))
        .map_or(Ok(()), |text| Err(format!("{text:?} has a space")))
}

fn attribute(name: &str) -> Attribute {
    Thing::block().attributes.into_iter().find(|attribute| attribute.name == name).unwrap()
}

fn refused(name: &str, value: impl Into<Value>) -> Vec<String> {
    let value = value.into();
    attribute(name).validators.iter().filter_map(|validator| (validator.check)(&value).err()).collect()
}

#[test]
fn documentation_comes_from_comments() {
    let block = Thing::block();
    assert_eq!(block.description, "A thing.\n\nWith a second paragraph.");
    assert_eq!(block.deprecated.as_deref(), Some("Use another thing."));
    assert_eq!(Thing::VERSION, 3);
    assert_eq!(attribute("name").description, "The name\nover two lines.");
    assert_eq!(
        block.blocks[0].block.description, "A part.",
        "a block without a comment has that of its struct"
    );
    assert_eq!(block.blocks[1].block.description, "Described here.");
}

#[test]
fn flags_are_as_told_or_as_the_type_says() {
    let flags = |name: &str| {
        let attribute = attribute(name);
        (attribute.required, attribute.optional, attribute.computed)
    };
    assert_eq!(flags("name"), (true, false, false));
    assert_eq!(flags("type"), (false, true, true));
    assert_eq!(flags("count"), (false, true, true), "a default makes it optional and computed");
    assert_eq!(flags("plain"), (true, false, false), "a plain type is required");
    assert_eq!(flags("maybe"), (false, true, false), "an optional type is optional");
    assert!(attribute("name").force_new && attribute("type").stable);
    assert!(attribute("token").sensitive, "what is sensitive in Rust is so in the schema");
    assert!(!attribute("name").sensitive);
}

#[test]
fn types_and_nesting_follow_the_fields() {
    let ty = |name: &str| attribute(name).shape.implied_type();
    assert_eq!(ty("tags"), Type::set(Type::String));
    assert_eq!(ty("modes"), Type::list(Type::String));
    assert_eq!(ty("port"), Type::String);
    let nesting = |name: &str| match attribute(name).shape {
        Shape::Nested(nested) => nested.nesting,
        Shape::Type(ty) => panic!("`{name}` is a plain {ty}"),
    };
    assert_eq!(nesting("part"), Nesting::Single);
    assert_eq!(nesting("parts"), Nesting::Map);
    let blocks: Vec<_> = Thing::block()
        .blocks
        .into_iter()
        .map(|block| (block.name, block.nesting, block.min_items, block.max_items))
        .collect();
    assert_eq!(
        blocks,
        [
            ("rule".to_owned(), Nesting::List, 1, 2),
            ("extra".to_owned(), Nesting::Single, 0, 0),
            ("bag".to_owned(), Nesting::Set, 0, 0),
        ]
    );
}

#[test]
fn defaults_are_of_the_type_of_the_attribute() {
    assert_eq!(attribute("count").default, Some(Value::from(3)));
    assert_eq!(attribute("tags").default, Some(Value::set([Value::from("a"), Value::from("b")])));
    assert_eq!(attribute("mode").default, Some(Value::from("slow-lane")));
    assert_eq!(attribute("name").default, None);
}

#[test]
fn validators_say_what_is_wrong() {
    assert_eq!(refused("name", "abc"), Vec::<String>::new());
    assert_eq!(
        refused("name", "a cd"),
        ["it has 4 characters, and must have between 1 and 3", "\"a cd\" has a space"]
    );
    assert_eq!(refused("name", "äöü"), Vec::<String>::new(), "characters are counted, not bytes");
    assert_eq!(refused("count", 10), ["10 is not between 1 and 9"]);
    assert_eq!(refused("mode", "fast"), ["\"fast\" is not one of \"fast_lane\", \"slow-lane\""]);
    let modes = Value::list([Value::from("fast_lane"), Value::unknown(), Value::from("x")]);
    assert_eq!(refused("modes", modes), ["element 2: \"x\" is not one of \"fast_lane\", \"slow-lane\""]);
    assert_eq!(refused("port", "0").len(), 1);
    assert_eq!(refused("label", "abc"), Vec::<String>::new());
    assert_eq!(refused("label", "ab1"), ["\"ab1\" does not match `^[a-z]+$`"]);
    assert_eq!(refused("label", ""), ["\"\" does not match `^[a-z]+$`"]);
    let labels = Value::map([("a", Value::from("v1.2")), ("b", Value::unknown()), ("c", Value::from("2"))]);
    assert_eq!(refused("labels", labels), ["element \"c\": \"2\" does not match `^v[0-9]`"]);
    assert_eq!(attribute("label").validators[0].description, "matches `^[a-z]+$`");
    let described: Vec<_> =
        attribute("token").validators.into_iter().map(|validator| validator.description).collect();
    assert_eq!(described, ["no spaces"]);
    assert_eq!(attribute("name").validators[1].description, "no spaces", "a function's name describes it");
}

fn thing() -> Thing {
    let part = |size| Part { size, made: Attr::Unknown };
    Thing {
        name: "a".to_owned(),
        kind: Attr::Unknown,
        count: 2.into(),
        tags: BTreeSet::from(["x".to_owned()]).into(),
        mode: Mode::FastLane.into(),
        token: Attr::Known("secret".to_owned().into()),
        plain: Number::parse("0.1").unwrap(),
        maybe: None,
        modes: Some(vec![Mode::Slow]),
        label: "abc".into(),
        labels: Attr::Null,
        part: part(1).into(),
        parts: Attr::Null,
        port: Some("080".parse().unwrap()),
        rule: vec![part(2), part(3)],
        extra: None,
        bag: Set::from(vec![part(5), part(4)]),
    }
}

#[test]
fn values_come_back_as_they_went() {
    let value = tfplugin::testing::to_value(&thing()).unwrap();
    value.conforms_to(&Thing::block().implied_type()).unwrap();
    assert_eq!(value.get("type"), Some(&Value::unknown()));
    assert_eq!(value.get("port").and_then(Value::as_str), Some("080"), "the text is kept");
    assert_eq!(Thing::from_value(&value, &AttributePath::root()).unwrap(), thing());
    assert!(!format!("{:?}", thing()).contains("secret"));
}

#[test]
fn values_that_do_not_fit_are_named() {
    let error = |path: &AttributePath, value: Value| -> Diagnostic {
        let mut whole = tfplugin::testing::to_value(&thing()).unwrap();
        whole.set_path(path, value).unwrap();
        Thing::from_value(&whole, &AttributePath::root()).unwrap_err()
    };
    let size = AttributePath::from("rule").index(1).attribute("size");
    let found = error(&size, Value::Number(Number::parse("1e30").unwrap()));
    assert_eq!(found.attribute, Some(size.clone()));
    assert!(found.detail.starts_with("`rule[1].size` must be a whole number"), "{}", found.detail);
    let found = error(&size, Value::Null);
    assert_eq!(found.detail, "`rule[1].size` must be a number, and is null.");
    assert_eq!(error(&size, Value::unknown()).summary, "Value not known yet");
    let found = error(&"port".into(), "x".into());
    assert!(found.detail.starts_with("`port` is \"x\": "), "{}", found.detail);
    assert_eq!(
        error(&"maybe".into(), Value::list([Value::Null])).attribute,
        Some(AttributePath::from("maybe").index(0))
    );
}

#[test]
fn enums_are_their_names() {
    let values = |name: &str| {
        attribute(name).values.iter().map(|value| (value.name, value.description)).collect::<Vec<_>>()
    };
    assert_eq!(values("mode"), [("fast_lane", "Quick,\nand dear."), ("slow-lane", "")]);
    assert_eq!(values("modes"), values("mode"), "those of the elements");
    assert_eq!(values("label"), []);
    assert_eq!(Mode::NAMES, ["fast_lane", "slow-lane"]);
    assert_eq!("slow-lane".parse(), Ok(Mode::Slow));
    assert_eq!(Mode::FastLane.to_string(), "fast_lane");
    assert_eq!(Mode::FastLane.to_value(), Value::from("fast_lane"));
}
