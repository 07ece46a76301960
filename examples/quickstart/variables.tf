variable "image" {
  description = "The image that production runs, pinned by digest: registry/repository@sha256:…"
  type        = string

  validation {
    condition     = can(regex("@sha(256|512):[0-9a-f]+$", var.image))
    error_message = "image must be pinned by digest, such as ghcr.io/acme/web@sha256:…; a tag can change between plan and apply."
  }
}

variable "session_key" {
  description = "Secret that the service signs sessions with; it is sent to Railway and kept nowhere else."
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "project_name" {
  description = "Name of the Railway project."
  type        = string
  default     = "quickstart-shop"
}
