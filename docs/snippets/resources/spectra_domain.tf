variable "project_id" {
  type = string
}

variable "environment_id" {
  type = string
}

variable "service_id" {
  type = string
}

resource "spectra_domain" "web" {
  project_id     = var.project_id
  environment_id = var.environment_id
  service_id     = var.service_id
}

output "url" {
  value = spectra_domain.web.url
}
