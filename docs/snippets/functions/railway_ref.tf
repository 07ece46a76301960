output "reference" {
  value = provider::spectra::railway_ref("postgres", "DATABASE_URL")
}
