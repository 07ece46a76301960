output "repository" {
  value = provider::spectra::image_ref("ghcr.io/acme/web:1.4").repository
}
