variable "project_id" {
  type = string
}

variable "environment_id" {
  type = string
}

variable "service_id" {
  type = string
}

variable "image" {
  type = string
}

variable "hook_url" {
  type      = string
  sensitive = true
}

variable "hook_secret" {
  type      = string
  ephemeral = true
}

action "spectra_notify" "released" {
  config {
    url       = var.hook_url
    secret_wo = var.hook_secret

    body = jsonencode({
      text = "web runs ${var.image}"
    })
  }
}

resource "spectra_rollout" "web" {
  project_id     = var.project_id
  environment_id = var.environment_id
  service_id     = var.service_id
  image          = var.image

  # Only what was seen healthy is announced.
  lifecycle {
    action_trigger {
      events  = [after_create, after_update]
      actions = [action.spectra_notify.released]
    }
  }
}
