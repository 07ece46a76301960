variable "project_id" {
  type = string
}

variable "environment_id" {
  type = string
}

variable "service_id" {
  type = string
}

data "spectra_deployments" "web" {
  project_id     = var.project_id
  environment_id = var.environment_id
  service_id     = var.service_id
  limit          = 10
}

output "digests" {
  value = [for deployment in data.spectra_deployments.web.deployments : deployment.digest]
}
