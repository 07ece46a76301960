output "service_id" {
  description = "Id of the service."
  value       = spectra_service.this.id
}

output "url" {
  description = "Where the service answers."
  value       = spectra_domain.this.url
}

output "domain" {
  description = "The generated domain."
  value       = spectra_domain.this.domain
}

output "running_digest" {
  description = "The digest that was seen healthy."
  value       = spectra_rollout.this.running_digest
}

output "stable_digest" {
  description = "The digest that a failed rollout returns to."
  value       = spectra_rollout.this.stable_digest
}

output "rollout_id" {
  description = "Id of the latest rollout."
  value       = spectra_rollout.this.rollout_id
}

output "deployment_id" {
  description = "Id of the Railway deployment that serves."
  value       = spectra_rollout.this.deployment_id
}
