# The token comes from RAILWAY_API_TOKEN; logins to registries from the Docker configuration.
provider "spectra" {}
