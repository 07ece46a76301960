variable "environment_id" {
  type = string
}

resource "spectra_notification_channel" "ops" {
  name           = "ops"
  environment_id = var.environment_id
  min_severity   = "warning"

  slack = {
    # The name of a variable, set where the rollout runs. The URL itself is in no state and no journal.
    url_env = "OPS_SLACK_URL"
  }

  template = {
    title = "{{field.service}}: {{event}}"
  }
}
