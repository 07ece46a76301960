variable "project_id" {
  type = string
}

variable "environment_id" {
  type = string
}

variable "service_id" {
  type = string
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
}
