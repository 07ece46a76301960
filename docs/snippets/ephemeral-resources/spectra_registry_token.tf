ephemeral "spectra_registry_token" "pull" {
  host       = "ghcr.io"
  repository = "acme/web"
  actions    = ["pull"]
}

# Handed to a program that runs now; in no plan and no state.
resource "terraform_data" "tags" {
  provisioner "local-exec" {
    command = "curl --fail --header \"Authorization: Bearer $TOKEN\" https://ghcr.io/v2/acme/web/tags/list"

    environment = {
      TOKEN = ephemeral.spectra_registry_token.pull.token
    }
  }
}
