variable "project_id" {
  type = string
}

variable "environment_id" {
  type = string
}

variable "service_id" {
  type = string
}

variable "session_key" {
  type      = string
  sensitive = true
  ephemeral = true
}

resource "spectra_variables" "web" {
  project_id     = var.project_id
  environment_id = var.environment_id
  service_id     = var.service_id

  variables = {
    LOG_LEVEL    = "info"
    DATABASE_URL = provider::spectra::railway_ref("postgres", "DATABASE_URL")
  }

  secrets_wo = {
    SESSION_KEY = var.session_key
  }
  secrets_wo_version = 1
}
