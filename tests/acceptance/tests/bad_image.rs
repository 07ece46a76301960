//! An image that is not healthy never stays: the apply fails, the previous digest serves, the state is true.

use spectra_acceptance::{ImageBuilder, Sandbox, Terraform, get, shop_with_rollout, shop_with_rollout_that};

#[test]
fn a_failed_rollout_is_red_and_the_previous_digest_serves() {
    let sandbox = Sandbox::start();
    let good = ImageBuilder::new("good").push(&sandbox);
    let bad = ImageBuilder::new("bad").label("health-status", "503").push(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout());
    let _ = terraform.var("image", &good.pinned).apply().success();
    let url = terraform.output("url");

    let refused = terraform.var("image", &bad.pinned).apply().code(1);
    // The diagnostic lets the reader act: phase, the probe's last answer, both digests.
    let refused = refused.says("503").says(&bad.digest).says(&good.digest).says("phase");
    assert!(refused.text().contains("spectra_rollout.web"), "{}", refused.stderr);

    // What happened is kept for those who have to explain it.
    let folder = terraform.work().join(".spectra/postmortems");
    let names = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let (documents, data): (Vec<_>, Vec<_>) =
        names.partition(|path| path.extension().is_some_and(|extension| extension == "md"));
    assert_eq!((documents.len(), data.len()), (1, 1));
    let document = std::fs::read_to_string(&documents[0]).unwrap();
    assert!(document.contains(&bad.digest) && document.contains(&good.digest), "{document}");

    let answer = get(&url);
    assert_eq!((answer.status, answer.body.trim()), (200, "good"));
    let state = terraform.state();
    assert_eq!(state.text("spectra_rollout.web", "running_digest"), good.digest);
    assert_eq!(state.text("spectra_rollout.web", "stable_digest"), good.digest);
    assert!(!state.tainted("spectra_rollout.web"));

    // Asking again is planned again, and going back to the good image is nothing to do.
    let _ = terraform.plan().code(2).says("spectra_rollout.web");
    let _ = terraform.var("image", &good.pinned).plan().code(0);
}

#[test]
fn a_failed_first_rollout_leaves_no_object_and_no_taint() {
    let sandbox = Sandbox::start();
    let good = ImageBuilder::new("good").push(&sandbox);
    let bad = ImageBuilder::new("bad").label("health-status", "503").push(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout());
    let _ = terraform.var("image", &bad.pinned).apply().code(1).says("503").says(&bad.digest);
    assert!(!terraform.state().addresses().contains(&"spectra_rollout.web".to_owned()));

    let _ = terraform.var("image", &good.pinned).apply().success();
    assert_eq!(get(&terraform.output("url")).body.trim(), "good");
    terraform.assert_empty_plan();
}

#[test]
fn an_image_that_crashes_while_it_bakes_is_rolled_back() {
    let sandbox = Sandbox::start_with(&["--time-scale", "20"]);
    let good = ImageBuilder::new("good").push(&sandbox);
    let crashing = ImageBuilder::new("crashing").label("crash-after", "20s").push(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout_that("bake = \"15s\""));
    // The good image is not worth fifteen seconds of baking.
    terraform.configure(&shop_with_rollout());
    let _ = terraform.var("image", &good.pinned).apply().success();
    terraform.configure(&shop_with_rollout_that("bake = \"15s\""));
    let _ =
        terraform.var("image", &crashing.pinned).apply().code(1).says(&crashing.digest).says(&good.digest);
    assert_eq!(get(&terraform.output("url")).body.trim(), "good");
    assert_eq!(terraform.state().text("spectra_rollout.web", "running_digest"), good.digest);
}

#[test]
fn an_image_that_does_not_exist_is_refused_by_name() {
    let sandbox = Sandbox::start();
    let good = ImageBuilder::new("good").push(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout());
    let _ = terraform.var("image", &good.pinned).apply().success();
    let absent = format!("{}/acceptance/absent@sha256:{}", sandbox.registry(), "0".repeat(64));
    let _ = terraform.var("image", &absent).apply().code(1).says(&absent);
    assert_eq!(get(&terraform.output("url")).body.trim(), "good");
    assert_eq!(terraform.state().text("spectra_rollout.web", "running_digest"), good.digest);
}

#[test]
fn an_interrupted_rollout_returns_to_the_previous_digest() {
    let sandbox = Sandbox::start();
    let (first, second) =
        (ImageBuilder::new("first").push(&sandbox), ImageBuilder::new("second").push(&sandbox));
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout());
    let _ = terraform.var("image", &first.pinned).apply().success();
    let url = terraform.output("url");

    // Nobody waits for this bake time: the interrupt comes as soon as the new version serves.
    terraform.configure(&shop_with_rollout_that("bake = \"20m\""));
    terraform.var("image", &second.pinned);
    let code = terraform.interrupt(&["apply", "-auto-approve"], || get(&url).body.trim() == "second");
    assert_eq!(code, 1);
    assert_eq!(get(&url).body.trim(), "first");
    assert_eq!(terraform.state().text("spectra_rollout.web", "running_digest"), first.digest);
    let _ = terraform.plan().code(2);
}
