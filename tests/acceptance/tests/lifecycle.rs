//! From nothing to a running service and back to nothing.

use spectra_acceptance::{
    ImageBuilder, SHOP, Sandbox, Terraform, eventually, get, shop_with_rollout, shop_with_rollout_that,
};

#[test]
fn a_plan_straight_after_an_apply_is_empty_and_a_second_apply_changes_nothing() {
    let sandbox = Sandbox::start();
    let image = ImageBuilder::new("good").push(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout());
    terraform.var("image", &image.pinned);

    let _ = terraform.apply().success();
    terraform.assert_empty_plan();

    let before = sandbox.now();
    let _ = terraform.apply().success();
    assert_eq!(sandbox.mutations(before), Vec::<String>::new());
    assert!(!sandbox.requests(before).is_empty(), "the journal has to see the reads, or it sees nothing");
}

#[test]
fn green_means_that_the_planned_digest_serves() {
    let sandbox = Sandbox::start();
    let image = ImageBuilder::new("good").push(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout());
    terraform.var("image", &image.pinned);
    let _ = terraform.apply().success();

    let answer = get(&terraform.output("url"));
    assert_eq!((answer.status, answer.body.trim()), (200, "good"));
    let state = terraform.state();
    for attribute in ["running_digest", "stable_digest"] {
        assert_eq!(state.text("spectra_rollout.web", attribute), image.digest, "{attribute}");
    }
}

#[test]
fn a_new_digest_replaces_the_old_one_and_the_state_remembers_it() {
    let sandbox = Sandbox::start();
    let (first, second) =
        (ImageBuilder::new("first").push(&sandbox), ImageBuilder::new("second").push(&sandbox));
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout());
    let _ = terraform.var("image", &first.pinned).apply().success();
    let _ = terraform.var("image", &second.pinned).apply().success();

    assert_eq!(get(&terraform.output("url")).body.trim(), "second");
    let state = terraform.state();
    assert_eq!(state.text("spectra_rollout.web", "running_digest"), second.digest);
    assert_eq!(state.text("spectra_rollout.web", "previous_digest"), first.digest);
    terraform.assert_empty_plan();
}

#[test]
fn destroy_leaves_the_platform_without_any_object() {
    let sandbox = Sandbox::start();
    let image = ImageBuilder::new("good").push(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout());
    let _ = terraform.var("image", &image.pinned).apply().success();
    assert!(!sandbox.objects().is_empty(), "an applied configuration has to show up as objects");

    let _ = terraform.destroy().success();
    assert_eq!(sandbox.objects(), Vec::new());
    assert_eq!(terraform.state().addresses(), Vec::<String>::new());
}

#[test]
fn destroying_a_rollout_retains_or_removes_the_deployment_as_asked() {
    let sandbox = Sandbox::start();
    let image = ImageBuilder::new("good").push(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout());
    let _ = terraform.var("image", &image.pinned).apply().success();
    let url = terraform.output("url");

    terraform.configure(SHOP);
    let before = sandbox.now();
    let _ = terraform.apply().success();
    assert_eq!(sandbox.mutations(before), Vec::<String>::new(), "retaining touches nothing");
    assert_eq!(get(&url).status, 200);

    // Adopted as it runs, then given up for good.
    terraform.configure(&shop_with_rollout_that("on_destroy = \"remove\""));
    let _ = terraform.apply().success();
    terraform.configure(SHOP);
    let _ = terraform.apply().success();
    eventually("the service stops answering", || (get(&url).status != 200).then_some(()));
    terraform.assert_empty_plan();
}
