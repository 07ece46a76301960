# A project for the module's service to live in.

terraform {
  required_providers {
    spectra = {
      source = "spectra/spectra"
    }
  }
}

resource "spectra_project" "this" {
  name = "service-rollout-test"
}

output "project_id" {
  value = spectra_project.this.id
}

output "environment_id" {
  value = spectra_project.this.default_environment_id
}
