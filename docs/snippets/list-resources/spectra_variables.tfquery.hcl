provider "spectra" {}

variable "project_id" {
  type = string
}

variable "environment_id" {
  type = string
}

list "spectra_variables" "of_web" {
  provider = spectra

  config {
    project_id     = var.project_id
    environment_id = var.environment_id
    name_prefix    = "web"
  }
}
