variable "project_id" {
  type = string
}

variable "environment_id" {
  type = string
}

variable "service_id" {
  type = string
}

# terraform apply -invoke=action.spectra_promote.web
action "spectra_promote" "web" {
  config {
    project_id     = var.project_id
    environment_id = var.environment_id
    service_id     = var.service_id
  }
}
