# Bad inputs are refused at plan, by name, before anything is asked of the platform: there is none behind the mock.

mock_provider "spectra" {}

variables {
  project_id     = "3f6c1a52-0000-4000-8000-000000000001"
  environment_id = "3f6c1a52-0000-4000-8000-000000000002"
  name           = "web"
  image          = "ghcr.io/acme/web@sha256:0000000000000000000000000000000000000000000000000000000000000000"
}

run "a_tag_is_not_a_version" {
  command = plan

  variables {
    image = "ghcr.io/acme/web:latest"
  }

  expect_failures = [var.image]
}

run "a_short_digest_is_not_a_digest" {
  command = plan

  variables {
    image = "ghcr.io/acme/web@sha256:0123456789ab"
  }

  expect_failures = [var.image]
}

run "an_empty_project_id" {
  command = plan

  variables {
    project_id = " "
  }

  expect_failures = [var.project_id]
}

run "an_empty_environment_id" {
  command = plan

  variables {
    environment_id = ""
  }

  expect_failures = [var.environment_id]
}

run "a_name_that_railway_refuses" {
  command = plan

  variables {
    name = "-web-"
  }

  expect_failures = [var.name]
}

run "no_replica_at_all" {
  command = plan

  variables {
    replicas = 0
  }

  expect_failures = [var.replicas]
}

run "half_a_replica" {
  command = plan

  variables {
    replicas = 1.5
  }

  expect_failures = [var.replicas]
}

run "a_health_path_without_a_slash" {
  command = plan

  variables {
    health = { path = "healthz" }
  }

  expect_failures = [var.health]
}

run "a_status_that_http_does_not_have" {
  command = plan

  variables {
    health = { expected_status = 42 }
  }

  expect_failures = [var.health]
}

run "an_interval_without_a_unit" {
  command = plan

  variables {
    health = { interval = "5" }
  }

  expect_failures = [var.health]
}

run "a_threshold_of_zero" {
  command = plan

  variables {
    health = { failure_threshold = 0 }
  }

  expect_failures = [var.health]
}

run "a_bake_time_without_a_unit" {
  command = plan

  variables {
    bake = "90"
  }

  expect_failures = [var.bake]
}

run "a_deadline_without_a_unit" {
  command = plan

  variables {
    deadlines = { total = "soon" }
  }

  expect_failures = [var.deadlines]
}

run "a_variable_name_with_a_dash" {
  command = plan

  variables {
    variables = { "LOG-LEVEL" = "info" }
  }

  expect_failures = [var.variables]
}

run "a_variable_of_the_platform" {
  command = plan

  variables {
    variables = { RAILWAY_TOKEN = "x" }
  }

  expect_failures = [var.variables]
}

run "an_unknown_destroy_behaviour" {
  command = plan

  variables {
    on_destroy = "forget"
  }

  expect_failures = [var.on_destroy]
}

run "half_a_version" {
  command = plan

  variables {
    secrets_version = 1.5
  }

  expect_failures = [var.secrets_version]
}
