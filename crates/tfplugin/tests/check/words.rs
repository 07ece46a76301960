//! What is said of a difference, and what is not.

use tfplugin::Value;
use tfplugin::check::{apply_consistent, final_plan, plan_valid, read_valid};
use tfplugin::schema::{Attribute, Shape};

use crate::{body, found, inner, schema};

#[test]
fn text_is_compared_as_core_has_it() {
    let config = body([("zone", Value::from("Caf\u{e9}"))]);
    let raw = |text: &str| body([("zone", Value::String(text.to_owned()))]);
    assert_eq!(found(&apply_consistent(&schema(), &config, &raw("Cafe\u{301}"))), []);
    assert_eq!(found(&plan_valid(&schema(), &Value::Null, &config, &raw("Cafe\u{301}"))), []);
}

#[test]
fn what_is_sensitive_is_never_shown() {
    let mut schema = schema();
    let hide = |attributes: &mut Vec<Attribute>| {
        attributes.iter_mut().filter(|attribute| attribute.name == "value").for_each(|attribute| {
            attribute.sensitive = true;
        });
    };
    for attribute in &mut schema.block.attributes {
        if let Shape::Nested(nested) = &mut attribute.shape {
            hide(&mut nested.attributes);
        }
    }
    for nested in &mut schema.block.blocks {
        hide(&mut nested.block.attributes);
    }
    let object = |secret: &str| inner("k", secret, Value::Null);
    let body = |secret: &str| {
        body([
            ("secret", Value::from(secret)),
            ("password_wo", Value::from(secret)),
            ("one", object(secret)),
            ("many", Value::list([object(secret)])),
            ("keyed", Value::map([("x", object(secret))])),
            ("unordered", Value::set([object(secret)])),
            ("single", object(secret)),
            ("list", Value::list([object(secret)])),
            ("set", Value::set([object(secret)])),
            ("map", Value::map([("x", object(secret))])),
        ])
    };
    let (before, after) = (body("hunter2"), body("swordfish"));
    let violations = [
        plan_valid(&schema, &Value::Null, &before, &after),
        plan_valid(&schema, &body("hunter1"), &before, &after),
        apply_consistent(&schema, &before, &after),
        final_plan(&schema, &before, &after),
        read_valid(&schema, &after),
    ];
    for violations in violations {
        assert!(!violations.is_empty());
        let said = format!("{violations:?}");
        assert!(!said.contains("hunter") && !said.contains("swordfish"), "{said}");
    }
}
