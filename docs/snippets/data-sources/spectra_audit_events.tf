data "spectra_audit_events" "changes" {
  subject = "settings"
  since   = "2026-08-01T00:00:00Z"
  limit   = 50
}

# Who changed which freeze window, policy or channel.
output "changes" {
  value = [for event in data.spectra_audit_events.changes.events : {
    at   = event.at
    kind = event.kind
    id   = jsondecode(event.body).id
    by   = try(jsondecode(event.body).by.user, null)
  }]
}

check "journal" {
  assert {
    condition     = data.spectra_audit_events.changes.verified
    error_message = join("; ", data.spectra_audit_events.changes.violations)
  }
}
