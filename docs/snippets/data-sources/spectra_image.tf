data "spectra_image" "web" {
  image = "ghcr.io/acme/web:1.4"

  # Reading it fails where the image is not signed so.
  verify = {
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
    attestations = ["slsaprovenance1"]
  }
}

output "pinned" {
  value = data.spectra_image.web.pinned
}
