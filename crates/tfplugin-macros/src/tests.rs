//! What the macros say of mistakes. That the messages point at the field follows from the spans they are made with.

use syn::parse_str;

fn model(source: &str) -> Result<String, String> {
    let input = parse_str(source).map_err(|error| error.to_string())?;
    crate::model::derive(&input).map(|tokens| tokens.to_string()).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(field: &str, expected: &str) {
    let source = format!("struct Thing {{ {field} }}");
    let error = model(&source).expect_err(&source);
    assert!(error.contains(expected), "{error:?} does not say {expected:?}");
}

#[test]
fn contradictions_are_refused() {
    refused("#[tf(required, optional)] a: String", "either `required` or `optional`");
    refused("#[tf(required, computed)] a: String", "never `computed`");
    refused("#[tf(required, default = 1)] a: Attr<i64>", "no use for a default");
    refused("#[tf(computed, write_only)] a: Attr<i64>", "cannot be `computed`");
    refused("#[tf(write_only, default = 1)] a: Attr<i64>", "cannot have a default");
    refused("#[tf(write_only, force_new)] a: Attr<i64>", "no prior value to compare with");
    refused("#[tf(optional, stable)] a: Attr<i64>", "add `computed`");
    refused("#[tf(stable, computed, default = 1)] a: Attr<i64>", "`stable` has no meaning");
    refused("#[tf(required, required)] a: String", "said twice");
    refused("#[tf(block, required)] a: Vec<Part>", "mark the fields inside it");
    refused("#[tf(variadic)] a: Vec<String>, b: String", "only the last field");
}

#[test]
fn unknown_options_are_refused_with_those_there_are() {
    refused("#[tf(require)] a: String", "unknown option: a field takes required, optional");
    refused("#[tf(validate(ranges(1..=2)))] a: i64", "unknown validator: there are `range(a..=b)`");
    refused("#[tf(validate(range(1..2)))] a: i64", "write an inclusive range");
    refused("#[tf(validate(range(..)))] a: i64", "without ends");
    refused("#[tf(validate(range(5)))] a: i64", "write a range");
    refused("#[tf(validate(one_of()))] a: String", "accepts no value");
    refused("#[tf(validate(pattern(\"[a-\")))] a: String", "this pattern cannot be used: ");
    refused("#[tf(validate(pattern(5)))] a: String", "expected string literal");
    refused("#[tf(validate())] a: String", "unexpected end of input");
    refused("#[tf(block(least = 1))] a: Vec<Part>", "takes `min = N` and `max = N`");
}

#[test]
fn names_are_those_of_terraform() {
    refused("#[tf(name = \"Upper\")] a: String", "only a-z, 0-9 and _");
    refused("#[tf(name = \"\")] a: String", "it is empty");
    refused("#[tf(name = \"9a\")] a: String", "starts with a digit");
    refused("#[tf(name = \"b\")] a: String, b: String", "already the name of field `a`");
    assert!(model("struct Thing { r#type: String }").is_ok_and(|code| code.contains("\"type\"")));
}

#[test]
fn planning_options_fit_the_flags() {
    refused("#[tf(optional, never_null)] a: Attr<i64>", "add `computed`");
    refused("#[tf(computed, never_null, default = 1)] a: Attr<i64>", "`never_null` has no meaning");
    refused("#[tf(write_only, same_as = f)] a: Attr<i64>", "no prior value to compare with");
    refused("#[tf(write_only, modify = f)] a: Attr<i64>", "no prior value to compare with");
    refused("#[tf(force_new, force_new_if = f)] a: Attr<i64>", "every change demands another object already");
    refused("#[tf(same_as = f, same_as = g)] a: Attr<i64>", "`same_as` is said twice");
    refused("#[tf(computed, never_null, never_null)] a: Attr<i64>", "`never_null` is said twice");
    refused("#[tf(modify = |a, b, c| None)] a: Attr<i64>", "expected identifier");
    refused("#[tf(block, same_as = f)] a: Vec<Part>", "mark the fields inside it");
}

#[test]
fn rules_name_fields_that_are_there() {
    refused(
        "#[tf(optional, conflicts_with(\"c\"))] a: Attr<String>, b: String",
        "no attribute `c` next to this one",
    );
    refused("#[tf(optional, conflicts_with(\"a\"))] a: Attr<String>", "`a` is the attribute itself");
    refused("#[tf(optional, required_with(\"b\", \"b\"))] a: Attr<String>, b: String", "`b` is said twice");
    refused("#[tf(optional, required_with())] a: Attr<String>", "name the other attribute");
    refused(
        "#[tf(optional, conflicts_with(\"b\"))] a: Attr<String>, #[tf(name = \"c\")] b: String",
        "write `c`",
    );
    let own = |rule: &str| model(&format!("#[tf({rule})] struct Thing {{ a: Attr<i64>, b: Attr<i64> }}"));
    assert!(own("exactly_one_of(\"a\")").is_err_and(|error| error.contains("two attributes or more")));
    assert!(own("at_least_one_of(\"a\", \"x\")").is_err_and(|error| error.contains("there are `a`, `b`")));
    assert!(own("exactly_one_of(\"a\", \"b\")").is_ok_and(|code| code.contains("ExactlyOneOf")));
}

#[test]
fn only_plain_structs_are_models() {
    assert!(model("enum Thing { A }").is_err_and(|error| error.contains("a struct with named fields")));
    assert!(model("struct Thing(String);").is_err_and(|error| error.contains("named fields")));
    assert!(
        model("struct Thing<T> { a: T }")
            .is_err_and(|error| error.contains("no type or lifetime parameters"))
    );
    assert!(
        model("#[tf(vers = 1)] struct Thing { a: String }")
            .is_err_and(|error| error.contains("`version = N`"))
    );
    assert!(model("struct Thing;").is_ok());
}

#[test]
fn enums_carry_no_data() {
    let derive = |source: &str| {
        crate::enumeration::derive(&parse_str(source).unwrap()).map_err(|error| error.to_string())
    };
    assert!(derive("enum Mode { A(String) }").is_err_and(|error| error.contains("carries no data")));
    assert!(derive("enum Mode {}").is_err_and(|error| error.contains("accepts no value")));
    assert!(derive("struct Mode;").is_err_and(|error| error.contains("enums without data")));
    let code = derive("enum Mode { FastLane, #[tf(name = \"x-y\")] Other }").unwrap().to_string();
    assert!(code.contains("\"fast_lane\" , \"x-y\""), "{code}");
}
