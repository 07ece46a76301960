variable "project_id" {
  type = string
}

variable "production_id" {
  type = string
}

variable "sentry_token" {
  type      = string
  sensitive = true
  ephemeral = true
}

resource "spectra_environment" "staging" {
  project_id            = var.project_id
  name                  = "staging"
  source_environment_id = var.production_id

  variables = {
    STAGE = "staging"
  }

  secrets_wo = {
    SENTRY_TOKEN = var.sentry_token
  }
  secrets_wo_version = 1
}
