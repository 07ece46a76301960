variable "bake" {
  type    = string
  default = "5m"

  validation {
    condition     = provider::spectra::duration(var.bake) <= 3600
    error_message = "bake must be an hour or less."
  }
}
