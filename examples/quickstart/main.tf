# A shop on Railway: one project with a production and a staging environment, and one service whose
# production environment runs exactly the image that `var.image` names.
#
# `cargo xtask quickstart` applies this against the sandbox. Against Railway itself, set RAILWAY_API_TOKEN
# and give `image` the digest of an image that Railway can pull.

terraform {
  # Write-only attributes came with 1.11.
  required_version = ">= 1.11"

  required_providers {
    spectra = {
      source = "spectra/spectra"
    }
  }
}

# Reads RAILWAY_API_TOKEN, and SPECTRA_RAILWAY_ENDPOINT for the sandbox.
provider "spectra" {}

resource "spectra_project" "shop" {
  name                     = var.project_name
  description              = "Applied by the Spectra quickstart"
  default_environment_name = "production"
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
  replicas       = 1

  health_check = {
    path    = "/healthz"
    timeout = "60s"
  }

  restart_policy = {
    type        = "ON_FAILURE"
    max_retries = 3
  }
}

# Variables are written before the rollout deploys, and secrets never enter plan or state.
resource "spectra_variables" "web" {
  project_id     = spectra_project.shop.id
  environment_id = spectra_project.shop.default_environment_id
  service_id     = spectra_service.web.id

  variables = {
    LOG_LEVEL = "info"
  }

  secrets_wo = {
    SESSION_KEY = var.session_key
  }
  secrets_wo_version = 1
}

resource "spectra_domain" "web" {
  project_id     = spectra_project.shop.id
  environment_id = spectra_project.shop.default_environment_id
  service_id     = spectra_service.web.id
}

# Green means that this digest was seen healthy; otherwise the apply fails and the previous one serves.
resource "spectra_rollout" "web" {
  project_id     = spectra_project.shop.id
  environment_id = spectra_project.shop.default_environment_id
  service_id     = spectra_service.web.id
  image          = var.image
  bake           = "2s"

  health = {
    path              = "/healthz"
    expected_status   = 200
    interval          = "500ms"
    timeout           = "5s"
    success_threshold = 2
    failure_threshold = 3
  }

  progress_deadline = "60s"
  timeout           = "5m"
  abort_timeout     = "60s"

  # The variables are read by the new version, and the domain is where it is probed.
  depends_on = [spectra_variables.web, spectra_domain.web]
}
