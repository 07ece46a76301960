variable "project_id" {
  type = string
}

variable "environment_id" {
  type = string
}

# Minted now, deleted when this command ends.
ephemeral "spectra_railway_project_token" "ci" {
  project_id     = var.project_id
  environment_id = var.environment_id
  max_age        = "2h"
}

# Write-only attributes and the configuration of providers take ephemeral values.
provider "spectra" {
  alias = "one_environment"

  railway = {
    token      = ephemeral.spectra_railway_project_token.ci.token
    token_type = "project"
  }
}
