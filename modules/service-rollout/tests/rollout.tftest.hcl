# Applies the module for real. The provider reads its endpoint and token from the environment, and TF_VAR_image
# names an image that the platform can pull; `cargo xtask test` sets all three for the sandbox.

run "setup" {
  module {
    source = "./tests/setup"
  }
}

run "apply" {
  variables {
    project_id     = run.setup.project_id
    environment_id = run.setup.environment_id
    name           = "web"
    bake           = "0s"
    health         = { interval = "200ms", success_threshold = 1 }
    variables      = { LOG_LEVEL = "info" }
    secrets        = { SESSION_KEY = "not-in-the-state" }
  }

  assert {
    condition     = endswith(var.image, output.running_digest)
    error_message = "The module reports ${output.running_digest} as running, but ${var.image} was asked for."
  }

  assert {
    condition     = output.stable_digest == output.running_digest
    error_message = "After a good rollout, what runs is what a later failure returns to."
  }

  assert {
    condition     = can(regex("^https?://.+", output.url))
    error_message = "The url has to be one that a client can use, not ${output.url}."
  }

  assert {
    condition     = spectra_rollout.this.phase != "" && output.deployment_id != ""
    error_message = "The rollout has to say where it ended and which deployment serves."
  }
}

run "more_replicas" {
  variables {
    project_id     = run.setup.project_id
    environment_id = run.setup.environment_id
    name           = "web"
    replicas       = 2
    bake           = "0s"
    health         = { interval = "200ms", success_threshold = 1 }
    variables      = { LOG_LEVEL = "info" }
    secrets        = { SESSION_KEY = "not-in-the-state" }
  }

  assert {
    condition     = output.service_id == run.apply.service_id
    error_message = "Another number of replicas is a change of the same service, not a new one."
  }
}
