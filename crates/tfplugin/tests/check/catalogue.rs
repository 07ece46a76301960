//! Each mistake of the catalogue, and what is none.

use tfplugin::check::{
    Rule, apply_consistent, final_plan, plan_valid, read_valid, wholly_known, write_only_null,
};
use tfplugin::value::Refinements;
use tfplugin::{AttributePath, Number, Unknown, Value};

use crate::{body, found, inner, schema};

/// One mistake after apply: what was planned, what came out, and what is said.
fn inconsistent(
    row: &str,
    planned: (&'static str, Value),
    actual: (&'static str, Value),
    path: &str,
    message: &str,
) {
    let (planned, actual) = (body([planned]), body([actual]));
    let violations = apply_consistent(&schema(), &planned, &actual);
    let rule = violations.first().map(|violation| violation.rule);
    assert_eq!(found(&violations), [(path.to_owned(), rule.unwrap_or(Rule::Unknown), message)], "{row}");
    assert!(
        apply_consistent(&schema(), &planned, &planned).is_empty() || !planned.is_wholly_known(),
        "{row}"
    );
}

#[test]
fn catalogue_a_inconsistent_result_after_apply() {
    let text = |text: &str| Value::from(text);
    inconsistent("1", ("etag", text("old")), ("etag", text("new")), "etag", "was \"old\", but now \"new\"");
    inconsistent("2", ("etag", Value::Null), ("etag", text("new")), "etag", "was null, but now \"new\"");
    inconsistent("3", ("zone", text("EU")), ("zone", text("eu")), "zone", "was \"EU\", but now \"eu\"");
    let tags = |tags: &[&str]| Value::map(tags.iter().map(|tag| (*tag, Value::from(*tag))));
    inconsistent(
        "4",
        ("tags", tags(&["a"])),
        ("tags", tags(&["a", "managed"])),
        "tags",
        "new element \"managed\" has appeared",
    );
    inconsistent(
        "4b",
        ("tags", tags(&["a", "b"])),
        ("tags", tags(&["a"])),
        "tags",
        "element \"b\" has vanished",
    );
    let ports = |ports: &[i64]| Value::list(ports.iter().map(|port| Value::from(*port)));
    inconsistent(
        "5",
        ("ports", ports(&[1, 2])),
        ("ports", ports(&[1])),
        "ports",
        "length changed from 2 to 1",
    );
    inconsistent("5b", ("ports", ports(&[1, 2])), ("ports", ports(&[1, 3])), "ports[1]", "was 2, but now 3");
    inconsistent("6", ("zone", Value::Null), ("zone", text("")), "zone", "was null, but now \"\"");
    inconsistent("6b", ("zone", text("")), ("zone", Value::Null), "zone", "was \"\", but now null");
    inconsistent(
        "6c",
        ("ports", Value::Null),
        ("ports", ports(&[])),
        "ports",
        "was null, but now a list of 0 elements",
    );
    let hosts = |hosts: &[&str]| Value::set(hosts.iter().map(|host| Value::from(*host)));
    inconsistent(
        "7",
        ("hosts", hosts(&["a", "b"])),
        ("hosts", hosts(&["a", "B"])),
        "hosts",
        "planned set element \"b\" does not correlate with any element in actual",
    );
    let number = |text: &str| Value::Number(Number::parse(text).unwrap());
    inconsistent(
        "8",
        ("size", number("9007199254740993")),
        ("size", number("9007199254740992")),
        "size",
        "was 9007199254740993, but now 9007199254740992",
    );
    inconsistent(
        "9",
        ("secret", text("hunter2")),
        ("secret", text("****")),
        "secret",
        "inconsistent values for sensitive attribute",
    );
    let promised = Value::Unknown(Unknown::with_prefix("srv-"));
    let message = "value \"web-1\" does not conform to planning placeholder";
    inconsistent("11", ("etag", promised.clone()), ("etag", text("web-1")), "etag", message);
    let message = "value null does not conform to planning placeholder";
    inconsistent("11b", ("etag", promised.clone()), ("etag", Value::Null), "etag", message);
    let info = |b: &str| Value::object([("a", text("x")), ("b", text(b))]);
    inconsistent("12", ("info", info("1")), ("info", info("2")), "info.b", "was \"1\", but now \"2\"");
    let list = |count| Value::list(vec![inner("k", "v", Value::Null); count]);
    inconsistent("14", ("list", list(2)), ("list", list(1)), "list", "block count changed from 2 to 1");

    let schema = schema();
    let violations = apply_consistent(&schema, &body([]), &Value::Null);
    assert_eq!(
        found(&violations),
        [(String::new(), Rule::Inconsistent, "root object was present, but now absent")],
        "13"
    );
    let violations = apply_consistent(&schema, &Value::Null, &body([]));
    assert_eq!(violations[0].message, "root object was absent, but now present", "33");
    assert!(apply_consistent(&schema, &Value::Null, &Value::Null).is_empty(), "deleted");
    let planned = body([("etag", promised), ("info", Value::unknown())]);
    let actual = body([("etag", text("srv-1")), ("info", info("2"))]);
    assert_eq!(found(&apply_consistent(&schema, &planned, &actual)), []);
    let kept = "\"hunter2\"";
    assert!(
        !format!("{:?}", apply_consistent(&schema, &body([("secret", text("hunter2"))]), &body([])))
            .contains(kept)
    );
}

/// One mistake in a plan without prior state.
fn invalid(
    row: &str,
    config: (&'static str, Value),
    planned: (&'static str, Value),
    path: &str,
    rule: Rule,
    message: &str,
) {
    let config = body([config]);
    let violations = plan_valid(&schema(), &Value::Null, &config, &body([planned]));
    assert_eq!(found(&violations), [(path.to_owned(), rule, message)], "{row}");
    assert_eq!(found(&plan_valid(&schema(), &Value::Null, &config, &config)), [], "{row}: as configured");
}

#[test]
fn catalogue_b_invalid_plan() {
    let text = |text: &str| Value::from(text);
    invalid(
        "15",
        ("size", Value::Null),
        ("size", Value::from(3)),
        "size",
        Rule::PlannedNotComputed,
        "planned value 3 for a non-computed attribute",
    );
    invalid(
        "16",
        ("zone", text("eu")),
        ("zone", text("EU")),
        "zone",
        Rule::PlannedOtherThanConfigured,
        "planned value \"EU\" does not match config value \"eu\"",
    );
    let message = "planned unknown for configured value";
    invalid("17", ("zone", text("eu")), ("zone", Value::unknown()), "zone", Rule::PlannedUnknown, message);
    invalid(
        "17b",
        ("one", inner("k", "v", Value::Null)),
        ("one", Value::unknown()),
        "one",
        Rule::PlannedUnknown,
        message,
    );
    invalid(
        "19",
        ("one", Value::Null),
        ("one", inner("k", "v", Value::Null)),
        "one",
        Rule::PlannedNotComputed,
        "planned value an object for a non-computed attribute",
    );
    invalid(
        "19b",
        ("one", inner("k", "v", Value::Null)),
        ("one", Value::Null),
        "one",
        Rule::PlannedExistence,
        "planned for absence but config wants existence",
    );
    for (name, kind) in [("list", "list"), ("set", "set"), ("map", "map")] {
        let message = format!(
            "attribute representing a {kind} of nested blocks must be empty to indicate no blocks, not null"
        );
        let nothing = schema().block.nested_block(name).unwrap().absent_value();
        invalid("20, 23", (name, nothing), (name, Value::Null), name, Rule::BlockNull, &message);
    }
}

#[test]
fn catalogue_b_invalid_plan_by_count_and_place() {
    let many = |count| vec![inner("k", "v", Value::Null); count];
    let distinct = |count: i64| Value::set((0..count).map(|n| inner(&n.to_string(), "v", Value::Null)));
    let message = "count in plan (1) disagrees with count in config (2)";
    invalid(
        "24",
        ("many", Value::List(many(2))),
        ("many", Value::List(many(1))),
        "many",
        Rule::PlannedElements,
        message,
    );
    invalid(
        "24b",
        ("unordered", distinct(2)),
        ("unordered", distinct(1)),
        "unordered",
        Rule::PlannedElements,
        message,
    );
    let message = "block count in plan (1) disagrees with count in config (2)";
    invalid(
        "24c",
        ("list", Value::List(many(2))),
        ("list", Value::List(many(1))),
        "list",
        Rule::PlannedElements,
        message,
    );
    invalid("24d", ("set", distinct(2)), ("set", distinct(1)), "set", Rule::PlannedElements, message);
    for (name, what) in [("keyed", "map"), ("map", "block")] {
        let map = |key: &'static str| Value::map([(key, inner("k", "v", Value::Null))]);
        let violations =
            plan_valid(&schema(), &Value::Null, &body([(name, map("a"))]), &body([(name, map("b"))]));
        let messages = [
            format!("{what} key \"a\" from configuration is not present in plan"),
            format!("{what} key \"b\" from plan is not present in config"),
        ];
        let rule = Rule::PlannedElements;
        assert_eq!(
            found(&violations),
            messages.each_ref().map(|message| (name.to_owned(), rule, message.as_str()))
        );
    }
    // Deep inside, at the exact place.
    invalid(
        "16b",
        ("list", Value::list([inner("k", "v", Value::Null), inner("k2", "v", Value::Null)])),
        ("list", Value::list([inner("k", "v", Value::unknown()), inner("k2", "w", Value::unknown())])),
        "list[1].value",
        Rule::PlannedOtherThanConfigured,
        "planned value \"w\" does not match config value \"v\"",
    );
    let text = |text: &str| Value::from(text);
    let secret = plan_valid(
        &schema(),
        &Value::Null,
        &body([("secret", text("hunter2"))]),
        &body([("secret", text("x"))]),
    );
    assert_eq!(secret[0].message, "planned value (sensitive) does not match config value (sensitive)");
}

#[test]
fn catalogue_b_write_only_and_type() {
    let config = body([("password_wo", Value::from("hunter2"))]);
    let violations = plan_valid(&schema(), &Value::Null, &config, &config);
    let expected = [("password_wo".to_owned(), Rule::WriteOnly, "write-only attribute is not null")];
    assert_eq!(found(&violations), expected, "18");
    assert_eq!(found(&write_only_null(&schema(), &config)), expected);
    assert_eq!(found(&read_valid(&schema(), &config)), expected);
    assert_eq!(schema().block.without_write_only(config.clone()), body([]));
    assert!(plan_valid(&schema(), &Value::Null, &config, &body([])).is_empty());

    let Value::Object(mut entries) = body([]) else { unreachable!() };
    entries.remove("etag");
    let violations = plan_valid(&schema(), &Value::Null, &body([]), &Value::Object(entries.clone()));
    assert_eq!(violations[0].path, AttributePath::from("etag"), "22");
    assert_eq!(violations[0].rule, Rule::WrongType, "22");
    entries.insert("etag".to_owned(), Value::Null);
    entries.insert("surplus".to_owned(), Value::Null);
    let violations = plan_valid(&schema(), &Value::Null, &body([]), &Value::Object(entries));
    assert_eq!(violations[0].path, AttributePath::from("surplus"), "22");
    let diagnostic = violations[0].to_diagnostic("Provider produced invalid plan");
    assert_eq!(diagnostic.attribute, Some("surplus".into()));
}

#[test]
fn what_a_plan_may_do() {
    let text = |text: &str| Value::from(text);
    let ok = |prior: Value, config: Value, planned: Value| {
        assert_eq!(found(&plan_valid(&schema(), &prior, &config, &planned)), []);
    };
    // The old form of a value that means the same.
    ok(body([("zone", text("EU"))]), body([("zone", text("eu"))]), body([("zone", text("EU"))]));
    // Anything where it is computed and not configured.
    ok(
        Value::Null,
        body([]),
        body([("zone", Value::unknown()), ("etag", text("x")), ("info", Value::unknown())]),
    );
    ok(Value::Null, body([]), body([("maybe", inner("k", "v", Value::unknown()))]));
    // A promise about what configuration leaves unknown.
    let promised = Unknown::refined(Refinements { null: Some(false), ..Refinements::default() });
    ok(Value::Null, body([("zone", Value::unknown())]), body([("zone", promised.into())]));
    // Deletion.
    ok(body([]), Value::Null, Value::Null);
    // But not known where configuration is unknown, nor something for nothing.
    let unknown = body([("size", Value::unknown())]);
    let violations = plan_valid(&schema(), &Value::Null, &unknown, &body([("size", Value::from(1))]));
    assert_eq!(violations[0].rule, Rule::PlannedOtherThanConfigured);
    let dynamic = body([("list", Value::unknown())]);
    let violations = plan_valid(&schema(), &Value::Null, &dynamic, &body([]));
    assert_eq!(violations[0].message, "planned value a list of 0 elements for unknown dynamic block");
    let violations = plan_valid(&schema(), &Value::Null, &body([]), &dynamic);
    assert_eq!(
        (violations[0].path.to_string(), violations[0].rule),
        ("list".to_owned(), Rule::PlannedUnknown)
    );
    let violations = plan_valid(&schema(), &Value::Null, &body([]), &Value::Null);
    assert_eq!(violations[0].message, "planned for absence but config wants existence");
}

#[test]
fn catalogue_c_final_plan() {
    let first = body([("zone", Value::unknown()), ("etag", Value::from("1"))]);
    let second = body([("zone", Value::from("eu")), ("etag", Value::from("1"))]);
    assert_eq!(found(&final_plan(&schema(), &first, &second)), [], "more is known");
    assert_eq!(found(&final_plan(&schema(), &first, &first)), [], "still unknown");
    let other = body([("zone", Value::from("eu")), ("etag", Value::from("2"))]);
    assert_eq!(found(&final_plan(&schema(), &first, &other))[0].0, "etag", "25 to 27");
    let less = body([("zone", Value::from("eu")), ("etag", Value::unknown())]);
    assert_eq!(final_plan(&schema(), &second, &less)[0].message, "was known, but now unknown", "28, 29");
}

#[test]
fn catalogue_d_results_that_are_not_objects() {
    let unknown =
        body([("etag", Value::unknown()), ("hosts", Value::set([Value::unknown(), Value::from("a")]))]);
    let paths: Vec<String> =
        wholly_known(&unknown).into_iter().map(|violation| violation.path.to_string()).collect();
    assert_eq!(paths, ["etag", "hosts"], "30");
    let planned = body([("etag", Value::unknown())]);
    let violations = apply_consistent(&schema(), &planned, &planned);
    assert_eq!((violations.len(), violations[0].rule), (1, Rule::Unknown), "30");
    assert_eq!(read_valid(&schema(), &unknown)[0].rule, Rule::Unknown, "31");
    let wrong = body([("size", Value::from("3"))]);
    assert_eq!(
        found(&read_valid(&schema(), &wrong)),
        [("size".to_owned(), Rule::WrongType, "wrong type: expected number, found string")],
        "31"
    );
    let lacking = Value::object([("name", Value::from("n"))]);
    assert_eq!(read_valid(&schema(), &lacking)[0].rule, Rule::WrongType, "32");
    assert_eq!(read_valid(&schema(), &body([("list", Value::Null)]))[0].rule, Rule::BlockNull);
    assert!(read_valid(&schema(), &Value::Null).is_empty(), "gone");
    let completed = schema().block.complete(body([("list", Value::Null), ("set", Value::Null)]));
    assert_eq!(completed, body([]));
}
