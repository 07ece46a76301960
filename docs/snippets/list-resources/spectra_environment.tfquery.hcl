provider "spectra" {}

variable "project_id" {
  type = string
}

list "spectra_environment" "all" {
  provider = spectra

  config {
    project_id   = var.project_id
    is_ephemeral = false
  }
}
