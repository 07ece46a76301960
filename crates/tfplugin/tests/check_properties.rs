//! The twins of Terraform core's checks agree with one another, for any schema and any values of it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod check_gen;
mod values_gen;

use proptest::prelude::*;
use tfplugin::Value;
use tfplugin::check::{Violation, apply_consistent, final_plan, plan_valid, proposed_new_state, read_valid};

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// What core proposes is a valid plan, whatever was before.
    #[test]
    fn the_proposal_is_a_valid_plan((schema, prior, config) in check_gen::situation()) {
        let proposed = proposed_new_state(&schema, &prior, &config);
        proposed.conforms_to(&schema.implied_type()).unwrap();
        let planned = schema.block.without_write_only(proposed);
        prop_assert_eq!(plan_valid(&schema, &prior, &config, &planned), Vec::<Violation>::new());
        // Planning again with the plan as the prior state changes nothing.
        let again = schema.block.without_write_only(proposed_new_state(&schema, &planned, &config));
        prop_assert_eq!(again, planned);
    }

    /// A result is consistent with a plan in which any part of it was unknown.
    #[test]
    fn any_part_may_have_been_unknown((schema, actual, _) in check_gen::situation(), mut seed in any::<u64>()) {
        let planned = actual.clone().transform(&mut |path, part| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if !path.is_root() && seed >> 61 == 0 { Value::unknown() } else { part }
        });
        prop_assert_eq!(apply_consistent(&schema, &planned, &actual), Vec::<Violation>::new());
    }

    /// Of wholly known plans exactly those are consistent with a result that are equal to it.
    #[test]
    fn known_plans_are_kept_to_the_letter((schema, a, _) in check_gen::situation(), pick in any::<prop::sample::Index>()) {
        let mut places = Vec::new();
        a.walk(&mut |path, _| {
            places.push(path.clone());
            true
        });
        let place = pick.get(&places);
        let mut b = a.clone();
        b.set_path(place, Value::Null).unwrap_or_default();
        prop_assert_eq!(apply_consistent(&schema, &a, &b).is_empty(), a == b);
        prop_assert_eq!(apply_consistent(&schema, &b, &a).is_empty(), a == b);
        prop_assert_eq!(final_plan(&schema, &a, &b).is_empty(), a == b);
        prop_assert_eq!(read_valid(&schema, &a), Vec::<Violation>::new());
    }

    #[test]
    fn empty_values_are_of_the_implied_type((schema, _, config) in check_gen::situation()) {
        schema.block.empty_value().conforms_to(&schema.implied_type()).unwrap();
        config.conforms_to(&schema.implied_type()).unwrap();
        prop_assert_eq!(schema.block.complete(config.clone()), config);
    }
}
