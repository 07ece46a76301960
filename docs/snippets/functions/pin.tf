variable "digest" {
  type = string
}

output "pinned" {
  value = provider::spectra::pin("ghcr.io/acme/web:1.4", var.digest)
}
