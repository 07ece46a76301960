provider "spectra" {}

list "spectra_deployment_policy" "all" {
  provider = spectra
}
