provider "spectra" {}

# terraform query
list "spectra_project" "shops" {
  provider = spectra

  config {
    name_prefix = "shop"
  }
}
