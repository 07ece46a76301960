//! Functions and data sources.

use spectra_acceptance::{ImageBuilder, Sandbox, Terraform, shop_with_rollout};

#[test]
fn functions_compute_without_the_platform() {
    let sandbox = Sandbox::start();
    let digest = format!("sha256:{}", "a".repeat(64));
    let configuration = format!(
        r#"
output "registry" {{
  value = provider::spectra::image_ref("acme/web:1").registry
}}

output "repository" {{
  value = provider::spectra::image_ref("ghcr.io/acme/web:1").repository
}}

output "pinned" {{
  value = provider::spectra::pin("ghcr.io/acme/web:1", "{digest}")
}}

output "seconds" {{
  value = provider::spectra::duration("1h30m")
}}

output "reference" {{
  value = provider::spectra::railway_ref("postgres", "DATABASE_URL")
}}
"#
    );
    let terraform = Terraform::new(&sandbox, &configuration);
    let _ = terraform.apply().success();
    assert_eq!(terraform.output("registry"), "docker.io");
    assert_eq!(terraform.output("repository"), "acme/web");
    assert_eq!(terraform.output("pinned"), format!("ghcr.io/acme/web@{digest}"));
    assert_eq!(terraform.output("seconds"), "5400");
    assert_eq!(terraform.output("reference"), "${{postgres.DATABASE_URL}}");
    assert!(sandbox.requests(0).is_empty(), "{:?}", sandbox.requests(0));
}

#[test]
fn a_function_that_cannot_answer_names_its_argument() {
    let sandbox = Sandbox::start();
    let terraform =
        Terraform::new(&sandbox, "output \"x\" {\n  value = provider::spectra::duration(\"soon\")\n}\n");
    let _ = terraform.plan().code(1).says("soon");
}

#[test]
fn a_tag_is_resolved_to_its_digest_once_at_plan() {
    let sandbox = Sandbox::start();
    let image = ImageBuilder::new("good").push(&sandbox);
    let configuration = format!(
        "data \"spectra_image\" \"web\" {{\n  image = \"{}\"\n}}\n\n{}",
        image.tagged,
        shop_with_rollout().replace("= var.image", "= data.spectra_image.web.pinned")
    );
    let terraform = Terraform::new(&sandbox, &configuration);
    let _ = terraform.apply().success();
    let state = terraform.state();
    assert_eq!(state.text("data.spectra_image.web", "digest"), image.digest);
    assert_eq!(state.text("data.spectra_image.web", "pinned"), image.pinned);
    assert_eq!(state.text("spectra_rollout.web", "running_digest"), image.digest);
}

#[test]
fn deployments_are_listed_with_what_they_ran() {
    let sandbox = Sandbox::start();
    let image = ImageBuilder::new("good").push(&sandbox);
    let configuration = format!(
        "{}\ndata \"spectra_deployments\" \"web\" {{\n  project_id = spectra_project.shop.id\n  environment_id = \
         spectra_project.shop.default_environment_id\n  service_id = spectra_service.web.id\n  depends_on = \
         [spectra_rollout.web]\n}}\n\noutput \"latest\" {{\n  value = \
         data.spectra_deployments.web.deployments[0].digest\n}}\n",
        shop_with_rollout()
    );
    let mut terraform = Terraform::new(&sandbox, &configuration);
    let _ = terraform.var("image", &image.pinned).apply().success();
    assert_eq!(terraform.output("latest"), image.digest);
}
