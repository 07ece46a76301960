provider "spectra" {}

variable "project_id" {
  type = string
}

variable "environment_id" {
  type = string
}

list "spectra_rollout" "running" {
  provider = spectra

  config {
    project_id     = var.project_id
    environment_id = var.environment_id
  }
}
