variable "project_id" {
  type = string
}

variable "environment_id" {
  type = string
}

variable "api_service_id" {
  type = string
}

variable "service_id" {
  type = string
}

variable "registry_token" {
  type      = string
  ephemeral = true
}

data "spectra_image" "web" {
  image = "ghcr.io/acme/web:1.4"
}

resource "spectra_rollout" "web" {
  project_id     = var.project_id
  environment_id = var.environment_id
  service_id     = var.service_id
  image          = data.spectra_image.web.pinned
  bake           = "5m"

  health = {
    path              = "/healthz"
    interval          = "5s"
    failure_threshold = 3
  }

  # The image is private: Railway pulls it, and the one from before, with this login.
  registry_credentials = {
    username            = "acme-deploy"
    password_wo         = var.registry_token
    password_wo_version = 1
  }
}

# With steps: the schema first, then a canary beside stable that is measured, then everybody; the old column goes after the
# bake. Whatever fails, all of it is undone in reverse.
resource "spectra_rollout" "api" {
  project_id     = var.project_id
  environment_id = var.environment_id
  service_id     = var.api_service_id
  image          = data.spectra_image.web.pinned
  bake           = "10m"
  timeout        = "1h"

  health = {
    path = "/healthz"
  }

  steps = [
    { migrate = {
      name = "add-email"
      part = "expand"
      up   = { command = ["sqlx", "migrate", "run"] }
      down = { command = ["sqlx", "migrate", "revert"] }
    } },
    { canary = {
      duration = "5m"
      metrics = [{
        name        = "errors"
        source      = { http_log_status = "server_error" }
        max         = 0.01
        compare     = { max_ratio = 1.5 }
        min_samples = 50
      }]
    } },
    { swap = true },
    { migrate = {
      name         = "drop-mail"
      part         = "contract"
      up           = { command = ["sqlx", "migrate", "run", "--source", "contract"] }
      irreversible = true
    } },
  ]

  metrics = [{
    name   = "latency"
    source = { http_duration = "p95" }
    max    = 500
  }]

  # It takes the other one with it when it fails in the same apply.
  depends_on_rollouts = [spectra_rollout.web.rollout_id]
}
