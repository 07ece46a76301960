provider "spectra" {}

variable "project_id" {
  type = string
}

list "spectra_domain" "all" {
  provider = spectra

  config {
    project_id = var.project_id
  }
}
