variable "project_id" {
  type = string
}

resource "spectra_freeze_window" "weekend" {
  name       = "weekend"
  reason     = "nobody is there to look after it"
  project_id = var.project_id

  weekly = {
    days      = ["friday"]
    from      = "16:00"
    to        = "00:00"
    time_zone = "Europe/Berlin"
  }
}

resource "spectra_freeze_window" "holidays" {
  name   = "holidays-2026"
  reason = "the office is closed"

  once = {
    from = "2026-12-24T00:00:00+01:00"
    to   = "2027-01-02T00:00:00+01:00"
  }
}
