resource "spectra_project" "shop" {
  name                     = "shop"
  description              = "The web shop"
  default_environment_name = "production"
}
