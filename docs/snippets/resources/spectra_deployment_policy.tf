variable "environment_id" {
  type = string
}

resource "spectra_deployment_policy" "production" {
  name                 = "production"
  environment_id       = var.environment_id
  minimum_bake         = "5m"
  health_required      = true
  allowed_repositories = ["ghcr.io/acme/*"]

  # Made by `railway-deployer image keygen` or `cosign generate-key-pair`.
  signatures = {
    keys = [
      {
        name       = "ci"
        public_key = <<-EOT
          -----BEGIN PUBLIC KEY-----
          MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAExM1q0MhhaHYJHnLrkqD6XHsWOnO8
          3ZXv/elZWZvvfsCFob2h0RD0TyL4FzWh4zfKTj0toI6j5Vyago3yKgZKZA==
          -----END PUBLIC KEY-----
        EOT
      },
    ]
    required     = "all"
    attestations = ["slsaprovenance1"]
  }

  approval = {
    required = 1

    # The public half of `openssl genpkey -algorithm ed25519`.
    approvers = [
      { name = "anna", public_key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=" },
    ]

    # Who approved the deployment to this environment of GitHub, in the same workflow run, counts too.
    github_environment = "production"
  }
}
