# One service in one environment, reachable under a generated domain, running exactly one digest.

resource "spectra_service" "this" {
  project_id     = var.project_id
  environment_id = var.environment_id
  name           = var.name
  replicas       = var.replicas

  health_check = {
    path    = var.health.path
    timeout = var.health.start_timeout
  }
}

resource "spectra_variables" "this" {
  project_id         = var.project_id
  environment_id     = var.environment_id
  service_id         = spectra_service.this.id
  variables          = var.variables
  secrets_wo         = var.secrets
  secrets_wo_version = var.secrets_version
}

resource "spectra_domain" "this" {
  project_id     = var.project_id
  environment_id = var.environment_id
  service_id     = spectra_service.this.id
}

resource "spectra_rollout" "this" {
  project_id     = var.project_id
  environment_id = var.environment_id
  service_id     = spectra_service.this.id
  image          = var.image
  bake           = var.bake
  on_destroy     = var.on_destroy

  progress_deadline = var.deadlines.progress
  timeout           = var.deadlines.total
  abort_timeout     = var.deadlines.abort

  health = {
    path              = var.health.path
    expected_status   = var.health.expected_status
    interval          = var.health.interval
    timeout           = var.health.timeout
    success_threshold = var.health.success_threshold
    failure_threshold = var.health.failure_threshold
  }

  # A changed variable reaches the running version only by a new deployment.
  triggers = merge(var.variables, { secrets_version = tostring(var.secrets_version) })

  # The variables are read by the new version, and the domain is where it is probed.
  depends_on = [spectra_variables.this, spectra_domain.this]
}
