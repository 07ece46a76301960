//! The framework under real cores: a provider with one of everything, through every command.
//!
//! Without the usual harness, because the program is its own provider: Terraform starts a link to it and finds
//! the plugin there. Every core that is there runs every test that it has the features for:
//!
//! - `TERRAFORM`, else `terraform` on `PATH`;
//! - `TERRAFORM_LATEST`, for what came after the oldest release that works;
//! - `tofu` on `PATH`.
//!
//! Without any the tests are skipped. `REQUIRE_TERRAFORM` makes it a failure when a test finds no core at all.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unnecessary_debug_formatting,
    reason = "a test program, which writes paths as HCL strings"
)]

mod actions;
mod declared;
mod everything;
mod identities;
mod item;
mod lifecycle;
mod logs;
mod mistakes;
mod promises;
mod provider;
mod queries;
mod schemas;
mod takeovers;
mod terraform;
mod thousand;
mod usage;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use self::terraform::{Needs, Terraform};

struct Test {
    name: &'static str,
    needs: Needs,
    run: fn(&Terraform),
}

const fn test(name: &'static str, needs: Needs, run: fn(&Terraform)) -> Test {
    Test { name, needs, run }
}

const TESTS: &[Test] = &[
    // The longest first: tests run side by side.
    test("a_thousand_resources_fit_in_memory", Needs::Latest, thousand::fit_in_memory),
    test("everything_lives_and_dies", Needs::Nothing, lifecycle::everything_lives_and_dies),
    test("everything_is_taken_over", Needs::Nothing, takeovers::everything_is_taken_over),
    test("the_least_is_enough", Needs::Nothing, lifecycle::the_least_is_enough),
    test(
        "unknown_values_pass_through_every_kind_of_attribute",
        Needs::Nothing,
        lifecycle::unknown_values_pass_through,
    ),
    test("numbers_are_exact", Needs::Nothing, lifecycle::numbers_are_exact),
    test("secrets_are_in_no_state", Needs::Nothing, lifecycle::secrets_are_in_no_state),
    test("old_state_is_upgraded", Needs::Nothing, lifecycle::old_state_is_upgraded),
    test("data_sources_and_functions_answer", Needs::Nothing, lifecycle::data_sources_and_functions_answer),
    test(
        "the_command_line_describes_the_provider",
        Needs::Latest,
        lifecycle::the_command_line_describes_the_provider,
    ),
    test(
        "one_process_serves_many_configurations",
        Needs::Nothing,
        lifecycle::one_process_serves_many_configurations,
    ),
    test(
        "an_unknown_provider_configuration_plans",
        Needs::Nothing,
        lifecycle::an_unknown_provider_configuration_plans,
    ),
    test("declarations_hold", Needs::Nothing, declared::declarations_hold),
    test("promises_are_kept", Needs::Nothing, promises::promises_are_kept),
    test("bad_values_are_refused_by_name", Needs::Nothing, mistakes::bad_values_are_refused_by_name),
    test("provider_bugs_are_named_and_state_stays_true", Needs::Nothing, mistakes::provider_bugs_are_named),
    test("an_interrupt_loses_nothing", Needs::Nothing, mistakes::an_interrupt_loses_nothing),
    test("private_state_guards_an_update", Needs::Nothing, identities::private_state_guards_an_update),
    test("objects_move_between_types", Needs::Nothing, identities::objects_move_between_types),
    test("a_module_says_who_it_is", Needs::Nothing, identities::a_module_says_who_it_is),
    test("an_import_by_id_writes_configuration", Needs::Nothing, identities::an_import_by_id),
    test("an_import_by_identity_writes_configuration", Needs::Identity, identities::an_import_by_identity),
    test("identities_are_kept_and_upgraded", Needs::Identity, identities::identities_are_kept_and_upgraded),
    test("functions_answer_in_the_console", Needs::Nothing, queries::functions_in_the_console),
    test("terraform_test_applies_and_asserts", Needs::Nothing, queries::terraform_test),
    test("every_other_command_reads_what_is_stored", Needs::Nothing, queries::every_other_command),
    test("a_query_finds_and_its_findings_import", Needs::Newest, queries::a_query_finds),
    test("an_ephemeral_value_reaches_a_write_only_attribute", Needs::Nothing, actions::an_ephemeral_value),
    test("an_action_is_invoked", Needs::Newest, actions::an_action_is_invoked),
    test("an_action_is_triggered", Needs::Newest, actions::an_action_is_triggered),
    test("every_log_line_has_the_form_that_is_read", Needs::Nothing, logs::every_line_has_its_form),
    test("the_schema_is_what_it_was", Needs::Nothing, schemas::the_schema_is_what_it_was),
];

fn main() -> ExitCode {
    if std::env::var_os("TF_PLUGIN_MAGIC_COOKIE").is_some() || std::env::var_os("CORNER_PROVIDER").is_some() {
        let code = tfplugin::run(provider::Corner);
        usage::report();
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        for test in TESTS {
            println!("{}: test", test.name);
        }
        return ExitCode::SUCCESS;
    }
    let cores = Terraform::find();
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let chosen =
        |test: &&Test| filters.is_empty() || filters.iter().any(|filter| test.name.contains(*filter));
    let mut runs = Vec::new();
    let mut skipped = 0;
    for test in TESTS.iter().filter(chosen) {
        let able: Vec<_> = cores.iter().filter(|core| core.has(test.needs)).collect();
        if able.is_empty() {
            println!("test {} ... ignored: no core here has what it needs ({:?})", test.name, test.needs);
            skipped += 1;
        }
        runs.extend(able.into_iter().map(|core| (core, test)));
    }
    let failed = run(&runs);
    let demanded = skipped > 0 && std::env::var_os("REQUIRE_TERRAFORM").is_some();
    if demanded {
        eprintln!("REQUIRE_TERRAFORM demands a core for every test: set TERRAFORM and TERRAFORM_LATEST");
    }
    let ok = failed == 0 && !demanded;
    println!(
        "\ntest result: {}. {} passed; {failed} failed; {skipped} ignored",
        if ok { "ok" } else { "FAILED" },
        runs.len() - failed
    );
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs tests side by side, one for each processor; how many have failed.
fn run(runs: &[(&Terraform, &Test)]) -> usize {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((core, test)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let passed = catch_unwind(AssertUnwindSafe(|| (test.run)(core))).is_ok();
                    println!("test {} with {core} ... {}", test.name, if passed { "ok" } else { "FAILED" });
                    failed.fetch_add(usize::from(!passed), Ordering::Relaxed);
                }
            });
        }
    });
    failed.into_inner()
}
