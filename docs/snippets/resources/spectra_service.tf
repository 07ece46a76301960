variable "project_id" {
  type = string
}

variable "environment_id" {
  type = string
}

variable "registry_password" {
  type      = string
  sensitive = true
  ephemeral = true
}

resource "spectra_service" "web" {
  project_id     = var.project_id
  environment_id = var.environment_id
  name           = "web"
  replicas       = 2

  health_check = {
    path    = "/healthz"
    timeout = "60s"
  }

  restart_policy = {
    type        = "ON_FAILURE"
    max_retries = 3
  }

  registry_credentials = {
    username            = "robot"
    password_wo         = var.registry_password
    password_wo_version = 1
  }
}
