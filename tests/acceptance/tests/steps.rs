//! The steps of a rollout, from HCL to the platform and back.

use std::path::Path;

use spectra_acceptance::{ImageBuilder, SHOP, Sandbox, Terraform, get, shop_with_rollout_that};

/// Every kind of step; migrations and the hook write into one file, which stands for a database.
fn every_step(database: &Path) -> String {
    let program =
        |line: &str| format!(r#"{{ command = ["/bin/sh", "-c", "echo {line} >> {}"] }}"#, database.display());
    shop_with_rollout_that(&format!(
        r#"
  bake  = "500ms"
  steps = [
    {{ migrate = {{ name = "add-column", part = "expand", up = {}, down = {} }} }},
    {{ hook    = {{ name = "warm-up", run = {}, undo = {} }} }},
    {{ canary  = {{ duration = "500ms" }} }},
    {{ pause   = {{ duration = "200ms" }} }},
    {{ swap    = true }},
    {{ migrate = {{ name = "drop-column", part = "contract", up = {}, irreversible = true }} }},
  ]
"#,
        program("expand"),
        program("expand-back"),
        program("hook"),
        program("hook-back"),
        program("contract"),
    ))
}

fn lines(database: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(database).unwrap_or_default();
    text.lines().map(ToOwned::to_owned).collect()
}

fn services(sandbox: &Sandbox) -> u64 {
    sandbox.objects().into_iter().find(|(kind, _)| kind == "services").map_or(0, |(_, count)| count)
}

#[test]
fn every_step_is_planned_taken_and_undone_in_reverse() {
    let sandbox = Sandbox::start();
    let database = sandbox.scratch("database");
    let first = ImageBuilder::new("first").push(&sandbox);
    let second = ImageBuilder::new("second").push(&sandbox);
    let bad = ImageBuilder::new("bad").label("health-status", "503").push(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &every_step(&database));

    // The first deployment has nobody to protect: no canary, no pause.
    let _ = terraform.var("image", &first.pinned).apply().success();
    assert_eq!(lines(&database), ["expand", "hook", "contract"]);
    assert_eq!(services(&sandbox), 1);

    let plan = terraform.var("image", &second.pinned).plan().code(2);
    let _ = plan.says("canary for").says("migrate `add-column`").says("at the latest");
    let _ = terraform.apply().success();
    assert_eq!(get(&terraform.output("url")).body.trim(), "second");
    assert_eq!(lines(&database)[3..], ["expand", "hook", "contract"]);
    assert_eq!(services(&sandbox), 1, "the canary is gone");
    terraform.assert_empty_plan();

    // It fails in the canary, so the service itself is never touched.
    let before = sandbox.now();
    let refused = terraform.var("image", &bad.pinned).apply().code(1);
    let _ = refused.says("canary").says("503").says(&second.digest);
    assert_eq!(lines(&database)[6..], ["expand", "hook", "hook-back", "expand-back"]);
    assert_eq!(services(&sandbox), 1, "the canary is gone");
    assert_eq!(get(&terraform.output("url")).body.trim(), "second");
    assert_eq!(terraform.state().text("spectra_rollout.web", "running_digest"), second.digest);
    assert!(!sandbox.mutations(before).is_empty(), "the canary was made and removed");
    let _ = terraform.plan().code(2).says("spectra_rollout.web");
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_made() {
    let sandbox = Sandbox::start();
    let image = ImageBuilder::new("fine").push(&sandbox);
    for (settings, words) in [
        (r#"steps = [{ pause = { approval = "1h" } }]"#, "does not say whose"),
        ("steps = [{ analysis = { metrics = [] } }]", "decides nothing"),
        (
            r#"steps = [{ swap = true }, { migrate = { name = "late", part = "expand", irreversible = true, up = { command = ["true"] } } }]"#,
            "runs before traffic",
        ),
        (
            r#"metrics = [{ name = "m", source = { http_status = "server_error" }, compare = { max_ratio = 1.2 } }]"#,
            "http_log_status",
        ),
        (r#"bake = "45m""#, "raise it"),
        (r#"steps = [{ swap = true, pause = { duration = "1s" } }]"#, "swap"),
    ] {
        let mut terraform = Terraform::new(&sandbox, &shop_with_rollout_that(settings));
        let before = sandbox.now();
        let refused = terraform.var("image", &image.pinned).apply().code(1);
        assert!(refused.dense().contains(&words.replace(' ', "")), "{words} in:\n{}", refused.stderr);
        assert_eq!(sandbox.mutations(before), Vec::<String>::new(), "{settings}");
    }
}

/// Two services; the second one's rollout takes the first one's with it.
fn two_services() -> String {
    format!(
        r#"{SHOP}
variable "api_image" {{
  type = string
}}

resource "spectra_service" "api" {{
  project_id     = spectra_project.shop.id
  environment_id = spectra_project.shop.default_environment_id
  name           = "api"
}}

resource "spectra_domain" "api" {{
  project_id     = spectra_project.shop.id
  environment_id = spectra_project.shop.default_environment_id
  service_id     = spectra_service.api.id
}}

resource "spectra_rollout" "api" {{
  project_id     = spectra_project.shop.id
  environment_id = spectra_project.shop.default_environment_id
  service_id     = spectra_service.api.id
  image          = var.api_image
}}

resource "spectra_rollout" "web" {{
  project_id          = spectra_project.shop.id
  environment_id      = spectra_project.shop.default_environment_id
  service_id          = spectra_service.web.id
  image               = var.image
  depends_on_rollouts = [spectra_rollout.api.rollout_id]
  health              = {{ path = "/healthz", interval = "100ms" }}
  depends_on          = [spectra_domain.web]
}}

output "api_url" {{
  value = spectra_domain.api.url
}}
"#
    )
}

#[test]
fn argo_2088_a_failed_rollout_takes_back_what_it_depends_on() {
    let sandbox = Sandbox::start();
    let web = ImageBuilder::new("web-1").push(&sandbox);
    let bad = ImageBuilder::new("web-2").label("health-status", "503").push(&sandbox);
    let api = ImageBuilder::new("api-1").push(&sandbox);
    let api_2 = ImageBuilder::new("api-2").push(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &two_services());
    let _ = terraform.var("image", &web.pinned).var("api_image", &api.pinned).apply().success();
    assert_eq!(get(&terraform.output("api_url")).body.trim(), "api-1");

    let failed = terraform.var("image", &bad.pinned).var("api_image", &api_2.pinned).apply().code(1);
    assert!(failed.dense().contains("wentbackwithit"), "{}", failed.stderr);
    assert_eq!(get(&terraform.output("url")).body.trim(), "web-1");
    assert_eq!(get(&terraform.output("api_url")).body.trim(), "api-1");
    // The next plan shows both again.
    let plan = terraform.plan().code(2);
    let _ = plan.says("spectra_rollout.api").says("spectra_rollout.web");

    // What an earlier apply brought out stays.
    let _ = terraform.var("image", &web.pinned).apply().success();
    assert_eq!(get(&terraform.output("api_url")).body.trim(), "api-2");
    let _ = terraform.var("image", &bad.pinned).apply().code(1);
    assert_eq!(get(&terraform.output("api_url")).body.trim(), "api-2");
}

#[test]
fn a_journal_that_is_lost_with_its_worker_is_warned_of() {
    let sandbox = Sandbox::start();
    let image = ImageBuilder::new("fine").push(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout_that(""));
    let _ = terraform.var("image", &image.pinned).env("TFC_RUN_ID", "run-1a2b").plan().says("postgres://");
}
