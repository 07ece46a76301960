provider "spectra" {}

variable "project_id" {
  type = string
}

# Whole objects, from which `terraform query -generate-config-out=services.tf` writes configuration.
list "spectra_service" "all" {
  provider         = spectra
  include_resource = true
  limit            = 500

  config {
    project_id = var.project_id
  }
}
