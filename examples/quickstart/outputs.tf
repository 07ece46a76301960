output "url" {
  description = "Where production answers."
  value       = spectra_domain.web.url
}

output "running_digest" {
  description = "The digest that was seen healthy."
  value       = spectra_rollout.web.running_digest
}

output "environments" {
  description = "Environment ids by name."
  value = {
    production = spectra_project.shop.default_environment_id
    staging    = spectra_environment.staging.id
  }
}
