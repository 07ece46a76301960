//! Pieces of configuration that scenarios put together.

/// A project with one service, its domain, and the input variable `image`. The rollout is left to the
/// scenario.
pub const SHOP: &str = r#"
variable "image" {
  type    = string
  default = ""
}

provider "spectra" {}

resource "spectra_project" "shop" {
  name = "shop"
}

resource "spectra_environment" "staging" {
  project_id            = spectra_project.shop.id
  name                  = "staging"
  source_environment_id = spectra_project.shop.default_environment_id
}

resource "spectra_service" "web" {
  project_id     = spectra_project.shop.id
  environment_id = spectra_project.shop.default_environment_id
  name           = "web"
}

resource "spectra_domain" "web" {
  project_id     = spectra_project.shop.id
  environment_id = spectra_project.shop.default_environment_id
  service_id     = spectra_service.web.id
}

output "url" {
  value = spectra_domain.web.url
}
"#;

/// [`SHOP`] with a rollout of `var.image` that probes quickly and does not bake.
#[must_use]
pub fn shop_with_rollout() -> String {
    shop_with_rollout_that("bake = \"0s\"")
}

/// [`SHOP`] with a rollout of `var.image` that probes quickly; `settings` are further attributes.
#[must_use]
pub fn shop_with_rollout_that(settings: &str) -> String {
    format!(
        r#"{SHOP}
resource "spectra_rollout" "web" {{
  project_id     = spectra_project.shop.id
  environment_id = spectra_project.shop.default_environment_id
  service_id     = spectra_service.web.id
  image          = var.image
  {settings}

  health = {{
    path              = "/healthz"
    expected_status   = 200
    interval          = "100ms"
    timeout           = "2s"
    success_threshold = 2
    failure_threshold = 3
  }}

  # Probed on the service's own domain.
  depends_on = [spectra_domain.web]
}}
"#
    )
}
