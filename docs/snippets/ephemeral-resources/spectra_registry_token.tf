variable "project_id" {
  type = string
}

variable "environment_id" {
  type = string
}

ephemeral "spectra_registry_token" "pull" {
  host       = "ghcr.io"
  repository = "acme/web"
  actions    = ["pull"]
}

# In no plan and no state: only write-only attributes take it.
resource "spectra_variables" "mirror" {
  project_id     = var.project_id
  environment_id = var.environment_id

  secrets_wo = {
    MIRROR_TOKEN = ephemeral.spectra_registry_token.pull.token
  }
  secrets_wo_version = 1
}
