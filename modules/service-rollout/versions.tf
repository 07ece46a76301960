terraform {
  # Write-only attributes and ephemeral variables.
  required_version = ">= 1.11"

  required_providers {
    spectra = {
      source = "spectra/spectra"
    }
  }
}
