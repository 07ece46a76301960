data "spectra_image" "web" {
  image = "ghcr.io/acme/web:1.4"
}

output "pinned" {
  value = data.spectra_image.web.pinned
}
