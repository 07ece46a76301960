variable "project_id" {
  description = "Id of the Railway project."
  type        = string

  validation {
    condition     = trimspace(var.project_id) != ""
    error_message = "project_id must be the id of a Railway project, such as spectra_project.shop.id."
  }
}

variable "environment_id" {
  description = "Id of the environment that runs the service."
  type        = string

  validation {
    condition     = trimspace(var.environment_id) != ""
    error_message = "environment_id must be the id of an environment, such as spectra_project.shop.default_environment_id."
  }
}

variable "name" {
  description = "Name of the service, unique in the project."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9 _-]{0,31}$", var.name))
    error_message = "name must have 1 to 32 letters, digits, spaces, dashes or underscores and start with a letter or digit."
  }
}

variable "image" {
  description = "What the service runs, pinned by digest: registry/repository@sha256:…"
  type        = string

  validation {
    condition     = can(regex("@(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$", var.image))
    error_message = "image must be pinned by digest (…@sha256:<64 hex digits>). A tag can change between plan and apply; the data source spectra_image resolves one."
  }
}

variable "replicas" {
  description = "How many instances run."
  type        = number
  default     = 1

  validation {
    condition     = var.replicas >= 1 && var.replicas <= 50 && floor(var.replicas) == var.replicas
    error_message = "replicas must be a whole number from 1 to 50."
  }
}

variable "health" {
  description = <<-EOT
    When the service counts as healthy, for Railway's own gate and for the rollout's probe: `path` has to
    answer `expected_status` `success_threshold` times in a row; `failure_threshold` other answers in a row
    end the rollout. `interval` and `timeout` are durations; `start_timeout` is how long Railway waits for the
    first healthy answer.
  EOT
  type = object({
    path              = optional(string, "/healthz")
    expected_status   = optional(number, 200)
    interval          = optional(string, "5s")
    timeout           = optional(string, "5s")
    start_timeout     = optional(string, "5m")
    success_threshold = optional(number, 3)
    failure_threshold = optional(number, 3)
  })
  default  = {}
  nullable = false

  validation {
    condition     = startswith(var.health.path, "/")
    error_message = "health.path must start with a slash, such as /healthz."
  }

  validation {
    condition     = var.health.expected_status >= 100 && var.health.expected_status <= 599
    error_message = "health.expected_status must be an HTTP status from 100 to 599."
  }

  validation {
    condition = alltrue([
      for value in [var.health.interval, var.health.timeout, var.health.start_timeout] :
      can(regex("^([0-9]+(ms|h|m|s))+$", value))
    ])
    error_message = "health.interval, health.timeout and health.start_timeout must be durations with a unit, such as 500ms, 30s or 1m30s."
  }

  validation {
    condition     = var.health.success_threshold >= 1 && var.health.failure_threshold >= 1
    error_message = "health.success_threshold and health.failure_threshold must be 1 or more."
  }
}

variable "bake" {
  description = "How long a new version is watched after it is healthy, before the rollout counts as done."
  type        = string
  default     = "1m"

  validation {
    condition     = can(regex("^([0-9]+(ms|h|m|s))+$", var.bake))
    error_message = "bake must be a duration with a unit, such as 30s, 5m or 1h30m; a bare number is refused because its unit would be a guess."
  }
}

variable "deadlines" {
  description = "`progress` without any progress, or `total` since the start, end a rollout; `abort` bounds the way back."
  type = object({
    progress = optional(string, "10m")
    total    = optional(string, "30m")
    abort    = optional(string, "5m")
  })
  default  = {}
  nullable = false

  validation {
    condition = alltrue([
      for value in [var.deadlines.progress, var.deadlines.total, var.deadlines.abort] :
      can(regex("^([0-9]+(ms|h|m|s))+$", value))
    ])
    error_message = "deadlines.progress, deadlines.total and deadlines.abort must be durations with a unit, such as 90s or 10m."
  }
}

variable "variables" {
  description = "Environment variables that are no secrets. They are in the plan and in the state."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for name in keys(var.variables) : can(regex("^[A-Za-z_][A-Za-z0-9_]*$", name))])
    error_message = "The names in variables must be letters, digits and underscores and must not start with a digit."
  }

  validation {
    condition     = alltrue([for name in keys(var.variables) : !startswith(name, "RAILWAY_")])
    error_message = "Names that start with RAILWAY_ belong to the platform; remove them from variables."
  }
}

variable "secrets" {
  description = "Environment variables that are secrets. They are sent to Railway and are in no plan and no state."
  type        = map(string)
  default     = {}
  nullable    = false
  sensitive   = true
  ephemeral   = true
}

variable "secrets_version" {
  description = "Raise this to send the secrets again; Terraform cannot see that a value it does not keep has changed."
  type        = number
  default     = 1

  validation {
    condition     = floor(var.secrets_version) == var.secrets_version
    error_message = "secrets_version must be a whole number; any change of it sends the secrets again."
  }
}

variable "on_destroy" {
  description = "What destroying the rollout does to the running version: `retain` leaves it, `remove` takes it down."
  type        = string
  default     = "retain"

  validation {
    condition     = contains(["retain", "remove"], var.on_destroy)
    error_message = "on_destroy must be retain or remove."
  }
}
